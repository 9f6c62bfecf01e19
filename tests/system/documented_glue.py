"""A small Glue server with GetMLTaskRuns and GetMLTaskRun, written from the API document alone.

It shares no code with the exporter or the simulator. If the exporter and the simulator contain the same mistake, a test
with this server fails.

Source: AWS Glue Web API Reference, GetMLTaskRuns, GetMLTaskRun, and the examples of AWS JSON 1.1 there.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar


class DocumentedGlue:
    """Serves the runs of one transform, which are JSON of the API, and keeps the requests in `asked`.

    `spoil` replaces the body of every answer to GetMLTaskRuns. With `repeat_token` each page has the same token.
    """

    def __init__(self, runs: list[dict[str, Any]]) -> None:
        self.runs = runs
        self.spoil: bytes | None = None
        self.repeat_token = False
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.url = ""

    def answer(self, operation: str, request: dict[str, Any]) -> tuple[int, bytes]:
        """Return the HTTP status and the body of an answer."""
        self.asked.append((operation, request))
        if operation == "GetMLTaskRuns":
            return 200, self.spoil if self.spoil is not None else json.dumps(self._page(request)).encode()
        if operation == "GetMLTaskRun":
            for run in self.runs:
                if run["TaskRunId"] == request["TaskRunId"]:
                    return 200, json.dumps(run).encode()
        error = {"__type": "EntityNotFoundException", "Message": "A specified entity does not exist"}
        return 400, json.dumps(error).encode()

    def _page(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request.get("Filter", {})
        assert wanted.keys() <= {"StartedAfter", "StartedBefore", "Status", "TaskRunType"}, wanted
        after = wanted.get("StartedAfter", -1)
        runs = [run for run in self.runs if "StartedOn" not in run or run["StartedOn"] > after]
        sort = request.get("Sort", {})
        runs.sort(key=lambda run: run.get("StartedOn", 0), reverse=sort.get("SortDirection") == "DESCENDING")
        first = int(request.get("NextToken") or 0)
        size = request.get("MaxResults", 100)
        assert 1 <= size <= 1000, size
        page: dict[str, Any] = {"TaskRuns": runs[first : first + size]}
        if self.repeat_token:
            page["NextToken"] = "0"
        elif first + size < len(runs):
            page["NextToken"] = str(first + size)
        return page


@contextmanager
def serving(glue: DocumentedGlue) -> Iterator[DocumentedGlue]:
    """Serve `glue` on a free port of 127.0.0.1, and set `glue.url`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        headers_of_answer: ClassVar = {"Content-Type": "application/x-amz-json-1.1"}

        def do_POST(self) -> None:
            operation = self.headers["X-Amz-Target"].rpartition(".")[2]
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = glue.answer(operation, request)
            self.send_response(status)
            for name, value in {**self.headers_of_answer, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        glue.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield glue
        finally:
            server.shutdown()
            thread.join()
