"""From a listening socket to connections: a bounded number, and no patience with silent TLS handshakes."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from exporter.logs import get_logger
from exporter.web.config import ServerTls
from exporter.web.connections import Connections, HttpConnection, OpenConnection
from exporter.web.limits import Limits

log = get_logger(__name__)

_AT_ONCE = 64
_PAUSE = 0.1
_UNSENT = 256 * 1024
"""How many bytes the kernel keeps for a client before it sends them. Left alone it keeps 4 MB for one that does not
read, outside of our memory but inside that of our container."""


class Acceptor:
    """Accepts on one socket. `tls` tells how the next connection begins (None: in the clear), `serve` makes it.

    An event loop's own server would fix the TLS context for all connections to come and hide those whose handshake is
    not done: 1,000 silent ones take all file descriptors. `close` and `wait_closed` are what uvicorn asks of a server.
    """

    def __init__(
        self,
        listener: socket.socket,
        connections: Connections,
        limits: Limits,
        *,
        tls: Callable[[], ServerTls | None],
        serve: Callable[[ServerTls | None, OpenConnection], HttpConnection],
    ) -> None:
        self._listener = listener
        self._connections = connections
        self._limits = limits
        self._tls = tls
        self._serve = serve
        self._loop = asyncio.get_running_loop()
        self._arrivals: dict[asyncio.Task[None], _Arrival] = {}  # an event loop by itself may forget a task
        self._resumption: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._resume()

    def close(self) -> None:
        """Accept no more, and hang up on handshakes under way; the socket stays open."""
        self._pause()
        for guest in self._arrivals.values():
            self._connections.evict(guest)

    async def wait_closed(self) -> None:
        """Wait until nothing of it runs."""
        await asyncio.gather(*self._arrivals, return_exceptions=True)

    def _resume(self) -> None:
        self._resumption = None
        self._loop.add_reader(self._listener, self._accept)

    def _pause(self) -> None:
        self._loop.remove_reader(self._listener)
        if self._resumption is not None:
            self._resumption.cancel()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # out of descriptors or memory
                self._wait_for_room(error)
                return
            accepted.setblocking(False)
            if accepted.family != socket.AF_UNIX and hasattr(socket, "TCP_NOTSENT_LOWAT"):
                with suppress(OSError):  # of a connection that is gone already
                    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
            self._arrive(accepted)

    def _arrive(self, accepted: socket.socket) -> None:
        self._connections.make_room()
        guest = _Arrival(accepted, self._connections, self._loop.time(), self._limits.handshake)
        self._connections.add(guest)
        arrival = self._loop.create_task(self._receive(guest))
        self._arrivals[arrival] = guest

        def leave(_: asyncio.Task[None]) -> None:
            del self._arrivals[arrival]
            self._connections.remove(guest)

        arrival.add_done_callback(leave)

    def _wait_for_room(self, error: OSError) -> None:
        log.warning("cannot accept a connection", error=error.strerror)
        self._pause()
        self._resumption = self._loop.call_later(_PAUSE, self._resume)

    async def _receive(self, guest: "_Arrival") -> None:
        tls = self._tls()
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._serve(tls, guest),
                guest.accepted,
                ssl=None if tls is None else tls.context,
                ssl_shutdown_timeout=None if tls is None else self._limits.linger,
            )
        except OSError as error:  # the client's fault, and a flood of them is no news
            log.debug("a connection failed before its first request", error=str(error))


class _Arrival:
    """A connection before there is one, so that it counts and can be dropped; mostly a TLS handshake."""

    def __init__(self, accepted: socket.socket, connections: Connections, now: float, seconds: float) -> None:
        self.waiting_since: float | None = now
        self.accepted = accepted
        self._connections = connections
        self._overdue_at = now + seconds

    def drop(self) -> None:
        """Hang up, so that it comes to its end as if the client had left.

        Cancelling its task would let uvloop close a connection that was made meanwhile without telling its protocol,
        which would then be counted for ever.
        """
        with suppress(OSError):  # of a client that has left
            self.accepted.shutdown(socket.SHUT_RDWR)

    def check(self, now: float) -> None:
        """Give the handshake up if it takes too long."""
        if now > self._overdue_at:
            self._connections.evict(self)
