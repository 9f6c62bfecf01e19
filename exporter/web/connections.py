"""HTTP connections: uvicorn's httptools protocol with deadlines and bounds that it does not have.

uvicorn lets a client take for ever to send its request or to read the answer, accepts heads, bodies and pipelines of
any size, and its limit on concurrency counts idle connections. Everything here hangs on methods of
`uvicorn.protocols.http.httptools_impl.HttpToolsProtocol`; a test notices if a release changes their shape.
"""

import asyncio
import math
from collections.abc import Callable, Set
from enum import Enum, auto
from typing import Protocol

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from exporter.web.limits import Limits
from exporter.web.responses import Response, text
from exporter.web.tls import is_allowed

_HEADER_OVERHEAD = 32
"""What a header counts beside its bytes, as in HTTP/2 (RFC 9113 section 6.5.2): empty ones take memory too."""


class OpenConnection(Protocol):
    """Somebody connected, in the eyes of `Connections`."""

    waiting_since: float | None
    """When we began to wait for something the client has to send; None while it is being answered."""

    def drop(self) -> None:
        """End the connection at once."""

    def check(self, now: float) -> None:
        """End the connection if it is overdue."""


class Connections:
    """All that are open. Bounds their number and looks after their deadlines; for the event loop's thread only."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._guests: dict[OpenConnection, None] = {}

    def add(self, guest: OpenConnection) -> None:
        """Take a new one in, even if there are too many: see `make_room`."""
        self._guests[guest] = None

    def remove(self, guest: OpenConnection) -> None:
        """Forget one that has ended; harmless if it was forgotten before."""
        self._guests.pop(guest, None)

    def hand_over(self, leaving: OpenConnection, coming: OpenConnection) -> bool:
        """Give the place of one to another, so that both never count; False if it has lost it."""
        if leaving not in self._guests:
            return False
        del self._guests[leaving]
        self._guests[coming] = None
        return True

    def evict(self, guest: OpenConnection) -> None:
        """Take its place from one and end it, unless it has handed that over or lost it before."""
        if guest in self._guests:
            del self._guests[guest]
            guest.drop()

    def make_room(self) -> None:
        """If there are too many for one more, drop the one that has waited longest for its client, else the oldest."""
        if len(self._guests) < self._limit:
            return
        waiting = (guest for guest in self._guests if guest.waiting_since is not None)
        self.evict(min(waiting, key=lambda guest: guest.waiting_since or 0.0, default=next(iter(self._guests))))

    def check(self, now: float) -> None:
        """End those whose time is over; `now` is the event loop's."""
        for guest in list(self._guests):
            guest.check(now)

    def drop_all(self) -> None:
        """End every connection at once."""
        for guest in list(self._guests):
            guest.drop()


class _Phase(Enum):
    READING = auto()
    ANSWERING = auto()
    IDLE = auto()
    CLOSING = auto()


class _RefusedError(Exception):
    """Raised in a callback of the parser to leave it; it comes back as HttpParserCallbackError."""


class HttpConnection(HttpToolsProtocol):
    """One connection. `answered` is the number of responses completed on it.

    `arrival` counts for it until it is connected. `refusal` turns a response into the bytes of one that closes the
    connection; `allowed_sans` are the names of which a client certificate has to carry one (none: any client). An ASGI
    application finds the connection as `scope["state"]["connection"]`.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        connections: Connections,
        limits: Limits,
        *,
        arrival: OpenConnection,
        allowed_sans: Set[str],
        refusal: Callable[[Response], bytes],
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state={"connection": self})
        self.answered = 0
        self.waiting_since: float | None = self.loop.time()
        self._open = connections
        self._arrival = arrival
        self._limits = limits
        self._allowed_sans = allowed_sans
        self._refusal = refusal
        self._refused_with = 400
        self._phase = _Phase.READING
        self._since = self.loop.time()
        self._in_message = self._in_head = self._message_is_new = False
        self._head_bytes = self._body_bytes = 0
        self._head_bytes_read = 0  # without what the parser has told us of: it keeps a header until that is complete
        self._unsent = 0
        self._unsent_since = 0.0

    # what asyncio calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for a request."""
        super().connection_made(transport)
        has_place = self._open.hand_over(self._arrival, self)
        if not has_place or not is_allowed(transport.get_extra_info("peercert"), self._allowed_sans):
            self.drop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._open.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, in parts so small that a head cannot grow far beyond its limit within one."""
        if self._phase is _Phase.IDLE:
            self._enter(_Phase.READING)
        for start in range(0, len(data), self._limits.head_bytes):
            if self._phase is _Phase.CLOSING or self.transport.is_closing():
                return
            self._parse(data[start : start + self._limits.head_bytes])

    def _parse(self, data: bytes) -> None:
        self._message_is_new = False
        super().data_received(data)
        if self._in_head and not self._message_is_new:
            self._head_bytes_read += len(data)
            if self._head_bytes_read > self._limits.head_bytes:
                self._refuse(431)

    # what the parser calls

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._in_message = self._in_head = self._message_is_new = True
        self._head_bytes = self._head_bytes_read = self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Count the request target."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header, and see from it whether the body is too long."""
        self._count_head(len(name) + len(value) + _HEADER_OVERHEAD)
        if name.lower() == b"content-length" and value.isdigit() and self._is_too_long(value):
            self._leave_parser(413)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        if len(self.pipeline) >= self._limits.pipelined:
            self._leave_parser(400)
        super().on_headers_complete()
        self._in_head = False
        if self.parser.should_upgrade():  # llhttp reads nothing after it, so no further request would be answered
            self.cycle.keep_alive = False
        if self._phase is _Phase.READING:
            self._enter(_Phase.ANSWERING)

    def on_body(self, body: bytes) -> None:
        """Throw the body away, as long as it is short."""
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.body_bytes:
            self._leave_parser(413)

    def on_message_complete(self) -> None:
        """Note that the client has sent all of its request."""
        self._in_message = False
        super().on_message_complete()

    # what uvicorn calls

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the words are ours
        """Answer what could not be parsed, or what a callback of the parser refused."""
        self._refuse(self._refused_with)

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

    # what Connections calls

    def drop(self) -> None:
        """End the connection at once."""
        self._enter(_Phase.CLOSING)
        self.transport.abort()

    def check(self, now: float) -> None:
        """End the connection if its phase has lasted too long, or if the client takes nothing of the answer."""
        if self.transport.is_closing() and self._phase is not _Phase.CLOSING:
            self._enter(_Phase.CLOSING)
        allowed = {
            _Phase.READING: self._limits.head,
            _Phase.ANSWERING: self._limits.answer,
            _Phase.CLOSING: self._limits.linger,
            _Phase.IDLE: math.inf,  # that deadline is uvicorn's timeout_keep_alive
        }[self._phase]
        if now - self._since > allowed and self._phase is _Phase.READING and self._in_head:
            self._refuse(408)
        elif now - self._since > allowed or self._is_stalled(now):
            self.drop()

    def _is_stalled(self, now: float) -> bool:
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent or not unsent:
            self._unsent, self._unsent_since = unsent, now
        return now - self._unsent_since > self._limits.stall

    def _enter(self, phase: _Phase) -> None:
        self._phase = phase
        self._since = self.loop.time()
        self.waiting_since = None if phase is _Phase.ANSWERING else self._since

    def _count_head(self, length: int) -> None:
        self._head_bytes += length
        if self._head_bytes > self._limits.head_bytes:
            self._leave_parser(431)

    def _is_too_long(self, content_length: bytes) -> bool:
        return len(content_length) > 18 or int(content_length) > self._limits.body_bytes

    def _leave_parser(self, status: int) -> None:
        self._refused_with = status
        raise _RefusedError

    def _refuse(self, status: int) -> None:
        """Answer with an error and take no more requests; a client whose request has its answer is cut off instead."""
        if self._phase is _Phase.ANSWERING or (self._in_message and not self._in_head):
            self.drop()
            return
        self.transport.write(self._refusal(text(status, Connection="close")))
        self._enter(_Phase.CLOSING)
        if self.transport.can_write_eof():
            self.transport.write_eof()  # closing with unread data would reset the connection and lose the answer
        else:
            self.transport.close()
