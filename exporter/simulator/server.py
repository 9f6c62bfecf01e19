"""A small HTTP/1.1 server on asyncio: keep-alive, and the ways to fail that a simulator needs (hang, RST).

It runs in a thread of its own and is ready when `start` returns.
"""

import asyncio
import contextlib
import logging
import socket
import struct
import threading
from collections.abc import Callable
from http import HTTPStatus

import httptools

from exporter.simulator.gateway import HttpRequest, Reaction
from exporter.simulator.protocol import Answer, AwsError, json_error

_MAX_BODY = 1 << 20
_LINGER_ZERO = struct.pack("ii", 1, 0)

Responder = Callable[[HttpRequest], Reaction]

_log = logging.getLogger(__name__)


class _Connection(asyncio.Protocol):
    """One client connection; its requests are answered one after the other."""

    def __init__(self, responder: Responder, open_connections: set["_Connection"]) -> None:
        self._responder = responder
        self._open = open_connections
        self._waiting: list[tuple[HttpRequest, bool]] = []
        self._busy = False
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # narrows the type of a TCP server's transport
        self._transport = transport
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self._open.discard(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._send(Answer(400, b"", "text/plain"), keep_alive=False)

    # -- called by the parser

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > _MAX_BODY:
            self._send(Answer(413, b"", "text/plain"), keep_alive=False)

    def on_message_complete(self) -> None:
        request = HttpRequest(
            method=self._parser.get_method().decode("latin-1"),
            path=self._path.decode("latin-1"),
            headers=self._headers,
            body=bytes(self._body),
            peer=str(self._transport.get_extra_info("peername")[0]),
        )
        self._waiting.append((request, self._parser.should_keep_alive()))
        self._path, self._headers, self._body = b"", {}, bytearray()
        if not self._busy:
            self._take_next()

    # -- answering

    def _take_next(self) -> None:
        if not self._waiting or self._transport.is_closing():
            return
        request, keep_alive = self._waiting.pop(0)
        self._busy = True
        reaction = self._react(request)
        if reaction.delay:
            loop = asyncio.get_running_loop()
            loop.call_later(reaction.delay, self._carry_out, reaction, keep_alive)
        else:
            self._carry_out(reaction, keep_alive)

    def _react(self, request: HttpRequest) -> Reaction:
        try:
            return self._responder(request)
        except Exception:  # a client sees a fault of the server, as it would of AWS
            _log.exception("the simulator failed on %s %s", request.method, request.path)
            return Reaction(json_error(AwsError("InternalServiceException", "Simulator error")))

    def _carry_out(self, reaction: Reaction, keep_alive: bool) -> None:
        if self._transport.is_closing():
            return
        if reaction.answer is not None:
            self._send(reaction.answer, keep_alive=keep_alive)
            self._busy = False
            self._take_next()
        elif reaction.reset:
            self.reset()

    def _send(self, answer: Answer, *, keep_alive: bool) -> None:
        reason = HTTPStatus(answer.status).phrase if answer.status in _KNOWN_STATUSES else "Error"
        headers = {
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            "Connection": "keep-alive" if keep_alive else "close",
            **answer.headers,
        }
        lines = [f"HTTP/1.1 {answer.status} {reason}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._transport.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + answer.body)
        if not keep_alive:
            self._transport.close()

    def reset(self) -> None:
        """Break the connection off with a TCP RST."""
        connection = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._transport.abort()


_KNOWN_STATUSES = frozenset(HTTPStatus)


class HttpServer:
    """Serves `responder` on host and port (0: any free one, kept over stop and start) from a thread of its own."""

    def __init__(self, responder: Responder, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._responder = responder
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen, and return as soon as connections are accepted.

        Raises:
            OSError: the address cannot be listened on.
        """
        ready = threading.Event()
        failure: list[OSError] = []
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(ready, failure)), name="glue-simulator", daemon=True
        )
        self._thread.start()
        ready.wait()
        if failure:
            self._thread.join()
            raise failure[0]

    def stop(self) -> None:
        """Stop listening and break off every connection, hanging ones too; no error if not started."""
        if self._thread is None:
            return
        if self._loop is not None and self._stopping is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._thread = None

    async def _serve(self, ready: threading.Event, failure: list[OSError]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        connections: set[_Connection] = set()
        try:
            server = await self._loop.create_server(
                lambda: _Connection(self._responder, connections), self.host, self.port, backlog=1024
            )
        except OSError as error:
            failure.append(error)
            ready.set()
            return
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stopping.wait()
        server.close()
        for connection in tuple(connections):
            connection.reset()
        await asyncio.sleep(0)
