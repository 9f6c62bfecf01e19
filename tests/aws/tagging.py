"""GetTags, which the simulator does not speak, in front of one that answers everything else."""

import http.server
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from exporter.simulator import Simulator


class Tagging:
    """The tags by transform ARN, which arns were asked for, and whether asking is allowed."""

    def __init__(self) -> None:
        self.url = ""
        self.tags: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        self.allowed = True

    def answer(self, arn: str) -> tuple[int, dict[str, object]]:
        """Answer one GetTags request with an HTTP status and a body."""
        self.asked.append(arn)
        if not self.allowed:
            return 400, {"__type": "AccessDeniedException", "Message": "glue:GetTags"}
        if arn not in self.tags:
            return 400, {"__type": "EntityNotFoundException", "Message": arn}
        return 200, {"Tags": self.tags[arn]}


@contextmanager
def tagging(simulator: Simulator) -> Iterator[Tagging]:
    """Serve GetTags; forward every other operation to the simulator."""
    front = Tagging()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["X-Amz-Target"] == "AWSGlue.GetTags":
                status, answer = front.answer(json.loads(body)["ResourceArn"])
                self._send(status, json.dumps(answer).encode())
            else:
                self._send(*self._forwarded(body))

        def _forwarded(self, body: bytes) -> tuple[int, bytes]:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            request = urllib.request.Request(simulator.url, body, headers)  # noqa: S310 - our own simulator
            try:
                response = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10)
            except urllib.error.HTTPError as error:
                response = error
            with response:
                return response.status, response.read()

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        front.url = f"http://127.0.0.1:{server.server_port}"
        yield front
        server.shutdown()
