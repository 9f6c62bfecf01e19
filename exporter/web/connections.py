"""HTTP connections: uvicorn's httptools protocol with additional deadlines and size limits.

uvicorn has no deadline for a client that does not finish its request or does not read its answer. It accepts heads and
pipelines of any size. Its `limit_concurrency` also counts idle connections. This module overrides methods of
`uvicorn.protocols.http.httptools_impl.HttpToolsProtocol`. A test fails if a uvicorn release changes their signatures.
"""

import asyncio
import math
import time
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import Protocol

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from exporter.web.addresses import Holdings
from exporter.web.config import ServerTls
from exporter.web.fairness import FairTurns
from exporter.web.limits import Limits
from exporter.web.responses import Response, text_response
from exporter.web.tls import is_allowed

_HEADER_OVERHEAD = 32
"""Number of bytes that are added to the length of each header, as in HTTP/2 (RFC 9113 section 6.5.2). They are added
because an empty header uses memory too."""


_READS_PER_TURN = 16
"""Maximum number of connections whose data is parsed in one turn of the event loop. An answer takes about 1 ms."""

_GRACE = 1.0
"""Seconds that a new client has to send its first request, before its connection may be closed to make room."""

_PROBES = (b"GET /-/", b"HEAD /-/")
"""The first bytes of a probe. It is answered before other requests, because its answer costs almost nothing."""

_CHUNK_OVERHEAD = 16 * 1024
"""Number of bytes that the sizes and extensions of chunks may add to a body."""


class OpenConnection(Protocol):
    """A connection as `Connections` sees it: a TLS handshake or an HTTP connection."""

    group: str
    """The group of its client, from `address_group`."""

    answered: int
    """Number of complete responses on this connection."""

    @property
    def waiting_since(self) -> float | None:
        """Time at which the server began to wait for the client; None while a request waits or is being answered."""

    def drop(self) -> None:
        """Close the connection at once."""

    def check(self, now: float) -> None:
        """Close the connection if it has passed its deadline."""


class Connections:
    """The open connections, with a limit of their number. Only the thread of the event loop may use this class.

    `check` enforces the deadlines. `clock` returns monotonic seconds, and all deadlines use this clock.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.turns = FairTurns(_READS_PER_TURN)
        self._limit = limit
        self._open: Holdings[OpenConnection] = Holdings()

    def add(self, connection: OpenConnection) -> None:
        """Count a new connection. Call `make_room` first, because this method does not check the limit."""
        self._open.add(connection, connection.group)

    def remove(self, connection: OpenConnection) -> None:
        """Stop counting a connection that has ended. A connection that is not counted is ignored."""
        self._open.discard(connection)

    def replace(self, handshake: OpenConnection, connection: OpenConnection) -> bool:
        """Count `connection` instead of `handshake`, so that a client never counts twice.

        Return False and count nothing if the handshake was closed to make room.
        """
        if not self._open.discard(handshake):
            return False
        self._open.add(connection, connection.group)
        return True

    def close(self, connection: OpenConnection) -> None:
        """Stop counting a connection and drop it. A connection that is not counted is ignored."""
        if self._open.discard(connection):
            connection.drop()

    def make_room(self, newcomer: str) -> None:
        """If the limit is reached, close a connection of the group of clients that would hold most connections.

        `newcomer` is the group of the client that wants to connect. The first of these is closed:

        1. the connection that has waited longest for the next request of its client
        2. the connection that has waited longest for its first request, if it has waited for more than `_GRACE`
        3. the oldest connection with a request that waits or is being answered
        4. the connection that has waited longest for its first request

        So a new client, such as a probe, has time to send its request.
        """
        if len(self._open) < self._limit:
            return
        candidates = self._open.held_by(self._open.largest_groups(newcomer))
        self.close(min(candidates, key=partial(_eviction_order, now=self.clock())))

    def check(self) -> None:
        """Close the connections that have passed their deadlines."""
        now = self.clock()
        for connection in list(self._open):
            connection.check(now)

    def drop_all(self) -> None:
        """Close every connection at once."""
        for connection in list(self._open):
            connection.drop()


def _eviction_order(connection: OpenConnection, now: float) -> tuple[int, float]:
    since = connection.waiting_since
    if since is None:
        return 3, 0.0
    if connection.answered:
        return 1, since
    return 2 if now - since > _GRACE else 4, since


class _Phase(Enum):
    READING = auto()
    ANSWERING = auto()
    IDLE = auto()
    CLOSING = auto()


class _RefusedError(Exception):
    """Raised in a callback to leave the parser. httptools wraps this error in HttpParserCallbackError."""


class HttpConnection(HttpToolsProtocol):
    """One HTTP connection. An ASGI application finds it as `scope["state"]["connection"]`.

    Args:
        config: uvicorn's configuration.
        server_state: uvicorn's list of connections.
        connections: the open connections, among which this connection is counted.
        limits: deadlines and sizes.
        handshake: the handshake that this connection replaces in `connections`.
        tls: the TLS settings with which the connection was made; None for plain HTTP.
        current_tls: returns the TLS settings in force.
        render: returns the HTTP message of an error response as bytes.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        connections: Connections,
        limits: Limits,
        *,
        handshake: OpenConnection,
        tls: ServerTls | None,
        current_tls: Callable[[], ServerTls | None],
        render: Callable[[Response], bytes],
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state={"connection": self})
        self.answered = 0
        self.group = handshake.group
        self._connections = connections
        self._handshake = handshake
        self._limits = limits
        self._tls = tls
        self._current_tls = current_tls
        self._render = render
        self._refusal_status = 400
        self._phase = _Phase.READING
        self._phase_began = connections.clock()
        self._in_message = self._in_head = self._message_is_new = False
        self._head_bytes = self._body_bytes = 0
        # The parser does not report an unfinished header or the extensions of a chunk, so their bytes are counted here.
        self._head_bytes_received = self._body_bytes_received = 0
        self._hosts = self._transfer_encodings = 0
        self._queued = 0
        self._unsent = 0
        self._unsent_since = 0.0

    # Methods that asyncio calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Start to wait for a request, or close the connection if its client may not connect."""
        super().connection_made(transport)
        is_counted = self._connections.replace(self._handshake, self)
        allowed_sans = frozenset() if self._tls is None else self._tls.allowed_sans
        if not is_counted or not is_allowed(transport.get_extra_info("peercert"), allowed_sans):
            self.drop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting the connection."""
        self._connections.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data, in this turn of the event loop or in a later one.

        It is parsed in parts of at most `head_bytes`. A head above the limit is then refused after a few parts, even if
        one read has returned much more data.
        """
        is_probe = not (self._queued or self._in_message) and data.startswith(_PROBES)
        if is_probe or self._connections.turns.has_room():
            self._parse_all(data)
            return
        self._queued += 1
        self.flow.pause_reading()
        self._connections.turns.wait(partial(self._parse_queued, data), self.group)

    def _parse_queued(self, data: bytes) -> None:
        self._queued -= 1
        if not self.transport.is_closing():
            if not self.pipeline:
                self.flow.resume_reading()
            self._parse_all(data)

    def _parse_all(self, data: bytes) -> None:
        if self._phase is _Phase.IDLE:
            self._enter(_Phase.READING)
        for start in range(0, len(data), self._limits.head_bytes):
            if self._phase is _Phase.CLOSING or self.transport.is_closing():
                return
            self._parse(data[start : start + self._limits.head_bytes])

    def _parse(self, data: bytes) -> None:
        self._message_is_new = False
        was_in_body = self._in_message and not self._in_head
        super().data_received(data)
        if self._message_is_new:
            return
        if self._in_head:
            self._head_bytes_received += len(data)
            if self._head_bytes_received > self._limits.head_bytes:
                self._refuse(431)
        elif was_in_body:
            self._body_bytes_received += len(data)
            if self._body_bytes_received > self._limits.body_bytes + _CHUNK_OVERHEAD:
                self._refuse(413)

    # Methods that the parser calls

    def on_message_begin(self) -> None:
        """Reset the byte counts for a new request."""
        super().on_message_begin()
        self._in_message = self._in_head = self._message_is_new = True
        self._head_bytes = self._head_bytes_received = self._body_bytes = self._body_bytes_received = 0
        self._hosts = self._transfer_encodings = 0

    def on_url(self, url: bytes) -> None:
        """Count the bytes of the request target."""
        self._count_head_bytes(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count the bytes of a header, and refuse a Content-Length above the limit and unknown transfer encodings.

        RFC 9112 section 7.1.2: a trailer after a chunked body must not be merged with the headers. It is discarded.
        """
        self._count_head_bytes(len(name) + len(value) + _HEADER_OVERHEAD)
        if not self._in_head:
            return
        lower = name.lower()
        if lower == b"content-length" and value.isdigit() and self._is_too_long(value):
            self._leave_parser(413)
        if lower == b"host":
            self._hosts += 1
        elif lower == b"transfer-encoding":
            self._transfer_encodings += 1
            if value.strip().lower() != b"chunked":
                self._leave_parser(400)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start to answer the request, unless its head is malformed or its client may no longer connect."""
        if not self._client_may_stay():
            self.drop()
            self._leave_parser(400)
        if len(self.pipeline) >= self._limits.pipelined or not self._has_valid_framing():
            self._leave_parser(400)
        super().on_headers_complete()
        self._in_head = False
        if self.parser.should_upgrade():
            # llhttp parses no data after an upgrade request, so the connection could not answer another request.
            self.cycle.keep_alive = False
        if self._phase is _Phase.READING:
            self._enter(_Phase.ANSWERING)

    def on_body(self, body: bytes) -> None:
        """Discard the body, and refuse the request if its body is longer than the limit."""
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.body_bytes:
            self._leave_parser(413)

    def on_message_complete(self) -> None:
        """Record that the client has sent the whole request."""
        self._in_message = False
        super().on_message_complete()

    # Methods that uvicorn calls

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - our own text replaces uvicorn's
        """Refuse a request that the parser cannot parse, or that a callback refused."""
        self._refuse(self._refusal_status)

    def on_response_complete(self) -> None:
        """Count the response and wait for the next request."""
        self.answered += 1
        has_next = bool(self.pipeline)
        super().on_response_complete()
        if self.transport.is_closing():
            self._enter(_Phase.CLOSING)
        elif has_next:
            self._enter(_Phase.ANSWERING)
        else:
            self._enter(_Phase.READING if self._in_message else _Phase.IDLE)

    # What Connections uses

    @property
    def waiting_since(self) -> float | None:
        """Time at which the server began to wait for the client; None while a request waits or is being answered."""
        return None if self._queued or self._phase is _Phase.ANSWERING else self._phase_began

    def drop(self) -> None:
        """Close the connection at once."""
        self._enter(_Phase.CLOSING)
        self.transport.abort()

    def check(self, now: float) -> None:
        """Close the connection if its phase has lasted too long, or if the client does not read the answer."""
        if self.transport.is_closing() and self._phase is not _Phase.CLOSING:
            self._enter(_Phase.CLOSING)
        allowed = {
            _Phase.READING: self._limits.head,
            _Phase.ANSWERING: self._limits.answer,
            _Phase.CLOSING: self._limits.linger,
            _Phase.IDLE: math.inf,  # uvicorn closes an idle connection itself, after timeout_keep_alive
        }[self._phase]
        if now - self._phase_began > allowed and self._phase is _Phase.READING and self._in_head:
            self._refuse(408)
        elif now - self._phase_began > allowed or self._is_stalled(now):
            self.drop()
        elif self._phase is _Phase.IDLE and not self._client_may_stay():
            self.transport.close()

    def _is_stalled(self, now: float) -> bool:
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent or not unsent:
            self._unsent, self._unsent_since = unsent, now
        return now - self._unsent_since > self._limits.stall

    def _client_may_stay(self) -> bool:
        """Return whether the TLS settings in force accept the same clients as those of this connection."""
        tls = self._current_tls()
        return self._tls is None if tls is None else tls.accepts_the_clients_of(self._tls)

    def _has_valid_framing(self) -> bool:
        """Return whether the request has one Host and at most one Transfer-Encoding (RFC 9112 sections 3.2 and 6.1)."""
        if self.parser.get_http_version() == "1.0":
            return self._hosts <= 1 and not self._transfer_encodings
        return self._hosts == 1 and self._transfer_encodings <= 1

    def _enter(self, phase: _Phase) -> None:
        self._phase = phase
        self._phase_began = self._connections.clock()

    def _count_head_bytes(self, length: int) -> None:
        self._head_bytes += length
        if self._head_bytes > self._limits.head_bytes:
            self._leave_parser(431)

    def _is_too_long(self, content_length: bytes) -> bool:
        return len(content_length) > 18 or int(content_length) > self._limits.body_bytes

    def _leave_parser(self, status: int) -> None:
        self._refusal_status = status
        raise _RefusedError

    def _refuse(self, status: int) -> None:
        """Answer with an error and stop reading requests.

        If the server has already begun to answer the request, drop the connection instead. The client would read the
        error text as a part of that answer.
        """
        if self._phase is _Phase.CLOSING:
            return
        if self._phase is _Phase.ANSWERING or (self._in_message and not self._in_head):
            self.drop()
            return
        self.transport.write(self._render(text_response(status, Connection="close")))
        self._enter(_Phase.CLOSING)
        if self.transport.can_write_eof():
            # If the client is still sending, close() would reset the connection, and the client would lose the answer.
            self.transport.write_eof()
        else:
            self.transport.close()
