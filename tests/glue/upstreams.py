"""Upstreams that no simulator of AWS plays: answers without an end, byte by byte, or with the request in them."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

Answer = Callable[[socket.socket, bytes], None]
"""Answers one request on a connection; the bytes are the request."""

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\n"


class Upstream:
    """A server that passes each request to `answer`, which a test may replace, and counts the open connections."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests = 0
        self.ended = threading.Event()
        """Set when the server stops. An answer that goes on for long waits for it between its parts."""
        self._lock = threading.Lock()
        self.open = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self.ended.set()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self.open += 1
        with suppress(OSError), connection:
            while request := _read_request(connection):
                self.requests += 1
                self.answer(connection, request)
        with self._lock:
            self.open -= 1


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(65536)):
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    while lengths and len(body) < lengths[0]:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def upstream(answer: Answer) -> Iterator[Upstream]:
    server = Upstream(answer)
    try:
        yield server
    finally:
        server.stop()


def complete(body: bytes, status: bytes = b"200 OK", headers: Mapping[str, str] | None = None) -> Answer:
    """Return an answer with this body and these headers."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items()).encode()
    head = b"HTTP/1.1 " + status + b"\r\n" + lines + b"Content-Length: %d\r\n\r\n" % len(body)

    def answer(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(head + body)

    return answer


def endless(head: bytes, part: bytes) -> Answer:
    """Return an answer that sends a part again and again as fast as the client reads."""

    def answer(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(part)

    return answer
