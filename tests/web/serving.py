"""A backend with fixed answers, a web server in front of it, and a client that can misbehave."""

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from exporter.exposition.formats import Encoding, TextFormat
from exporter.web.connections import HttpConnection
from exporter.web.server import WebServer
from tests.support import wait_for

DEADLINE = 60.0
"""The deadline of a test in seconds. It is generous, so that no test fails on a busy machine."""


class Clock:
    """A clock for the deadlines of connections that moves only when a test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Body:
    """A scrape that counts how often it was sent."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks: Sequence[bytes] = chunks
        self.length = sum(len(chunk) for chunk in chunks)
        self.times_sent = 0

    def sent(self) -> None:
        self.times_sent += 1


class Page(NamedTuple):
    """A page of the status pages."""

    body: bytes
    policy: str


@dataclass
class FakeBackend:
    """Answers with the values of its fields, and records the requests.

    `hold` makes `prepare_scrape` wait until the test sets it.
    """

    body: Body = field(default_factory=lambda: Body(b"up 1\n"))
    alive: bool = True
    ready: bool = True
    reload_reason: str | None = None
    page: Page | None = None
    asked_pages: list[object] = field(default_factory=list)
    broken: bool = False
    hold: threading.Event | None = None
    asked: list[tuple[TextFormat, Encoding]] = field(default_factory=list)
    reloads: int = 0
    preparing: int = 0

    def scrape(self, format: TextFormat, encoding: Encoding) -> Body | None:  # noqa: A002
        self.asked.append((format, encoding))
        if self.broken:
            raise RuntimeError("inner detail")
        return None if self.hold else self.body

    def prepare_scrape(self, format: TextFormat, encoding: Encoding) -> Body:  # noqa: A002, ARG002
        self.preparing += 1
        if self.hold:
            self.hold.wait(DEADLINE)
        return self.body

    def is_alive(self) -> bool:
        return self.alive

    def is_ready(self) -> bool:
        return self.ready

    def reload(self) -> str | None:
        self.reloads += 1
        return self.reload_reason

    def effective_config(self) -> str:
        return "region: <eu-west-1>\n"

    def status_page(self, query: Mapping[str, str], telemetry_path: str) -> Page | None:
        self.asked_pages.append((dict(query), telemetry_path))
        return self.page

    def transform_page(self, transform_id: str, telemetry_path: str) -> Page | None:
        self.asked_pages.append((transform_id, telemetry_path))
        return self.page

    def not_found_page(self, root: str, telemetry_path: str) -> Page | None:
        self.asked_pages.append((root, telemetry_path))
        return self.page


@dataclass
class Served:
    """A running server, its backend, its port and its thread."""

    server: WebServer
    backend: FakeBackend
    port: int
    thread: threading.Thread

    def ask(
        self,
        path: str = "/metrics",
        *,
        method: str = "GET",
        tls: ssl.SSLContext | None = None,
        body: bytes | None = None,
        **headers: str,
    ) -> http.client.HTTPResponse:
        """Send one request on a connection of its own; the body is in `.content`, `_` in header names is `-`."""
        connection = (
            http.client.HTTPSConnection("localhost", self.port, context=tls, timeout=DEADLINE)
            if tls
            else http.client.HTTPConnection("localhost", self.port, timeout=DEADLINE)
        )
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response: Any = connection.getresponse()
            response.content = response.read()
            return response
        finally:
            connection.close()

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """Connect from the address `source`; all addresses 127.0.0.0/8 belong to the machine."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE, source_address=(source, 0))

    def send(self, request: bytes) -> bytes:
        """Send raw bytes and return all that comes until the server closes the connection."""
        with self.connect() as connection:
            with suppress(OSError):
                connection.sendall(request)
            return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    received = b""
    with suppress(ConnectionResetError):
        while data := connection.recv(1 << 20):
            received += data
    return received


def answer_of(connection: socket.socket) -> bytes:
    """Read one answer with a one-line body from a connection that stays open."""
    received = b""
    while b"\r\n\r\n" not in received or not received.endswith(b"\n") or received.endswith(b"\r\n"):
        data = connection.recv(65536)
        if not data:
            break
        received += data
    return received


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@contextmanager
def serving(backend: FakeBackend | None = None, **options: Any) -> Iterator[Served]:
    """Yield a server that runs in a thread; stop it at the end of the block."""
    backend = backend or FakeBackend()
    options.setdefault("addresses", [("127.0.0.1", 0)])
    server = WebServer(backend, environ={}, **options)
    server.start()
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    try:
        yield Served(server, backend, int(server.addresses[0].rpartition(":")[2]), thread)
    finally:
        server.stop()
        thread.join(DEADLINE)
        assert not thread.is_alive()


def read_until_closed(connection: socket.socket, clock: Clock, *, step: float = 1.0) -> bytes:
    """Move the clock on, `step` seconds at a time, until the server closes the connection; return all that it sent."""
    received = b""
    connection.settimeout(0.02)

    def is_closed() -> bool:
        nonlocal received
        clock.now += step
        try:
            while data := connection.recv(1 << 20):
                received += data
        except TimeoutError:
            return False
        except ConnectionResetError:
            pass
        return True

    wait_for(is_closed, timeout=DEADLINE, describe="the server closes the connection")
    return received


def open_connections(served: Served) -> set[HttpConnection]:
    """The HTTP connections that the server has open."""
    return served.server._uvicorn.server_state.connections.copy()  # type: ignore[return-value]


def wait_until_closed(connection: socket.socket, timeout: float = DEADLINE) -> bool:
    """Return whether the server closes the connection within `timeout` seconds. Data that it sends is discarded."""
    connection.settimeout(timeout)
    try:
        while connection.recv(1 << 20):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True
