"""Accepts connections on one listening socket, limits their number, and ends TLS handshakes that take too long."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from exporter.logs import get_logger
from exporter.web.addresses import address_group
from exporter.web.config import ServerTls
from exporter.web.connections import Connections, HttpConnection, OpenConnection
from exporter.web.limits import Limits

log = get_logger(__name__)

_ACCEPTS_PER_TURN = 16
"""Maximum number of connections that are accepted in one turn of the event loop. It is not more than the number of
requests that are read in a turn. If it were, a crowd of new clients would close connections faster than these get their
answers."""
_RETRY_AFTER = 0.1
_MAX_UNSENT_IN_KERNEL = 256 * 1024
"""Maximum number of bytes that the kernel buffers for a client that does not read. By default Linux buffers up to 4 MB.
The memory limit of a container includes this buffer, although the memory of the process does not."""


class Acceptor:
    """Accepts connections on one socket.

    `tls` returns the TLS settings for the next connection, or None for plain HTTP. `make_connection` returns the
    protocol object for a connection.

    This class replaces `asyncio.Server`, which keeps one TLS context for its whole life and hides connections during
    their handshake. Hidden connections cannot be limited, so 1,000 silent clients could use up all file descriptors.
    uvicorn calls `close` and `wait_closed`, as it does for an `asyncio.Server`.
    """

    def __init__(
        self,
        listener: socket.socket,
        connections: Connections,
        limits: Limits,
        *,
        tls: Callable[[], ServerTls | None],
        make_connection: Callable[[ServerTls | None, OpenConnection], HttpConnection],
    ) -> None:
        self._listener = listener
        self._connections = connections
        self._limits = limits
        self._tls = tls
        self._make_connection = make_connection
        self._loop = asyncio.get_running_loop()
        # Keeps the tasks alive: the event loop has only weak references to them.
        self._handshakes: dict[asyncio.Task[None], _Handshake] = {}
        self._retry: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._start_accepting()

    def close(self) -> None:
        """Stop accepting connections and end all handshakes. The listening socket stays open."""
        self._stop_accepting()
        for handshake in self._handshakes.values():
            self._connections.close(handshake)

    async def wait_closed(self) -> None:
        """Wait until every handshake has ended."""
        await asyncio.gather(*self._handshakes, return_exceptions=True)

    def _start_accepting(self) -> None:
        self._retry = None
        self._loop.add_reader(self._listener, self._accept)

    def _stop_accepting(self) -> None:
        self._loop.remove_reader(self._listener)
        if self._retry is not None:
            self._retry.cancel()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                accepted, peer = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # out of file descriptors or memory
                self._retry_later(error)
                return
            accepted.setblocking(False)
            if accepted.family != socket.AF_UNIX and hasattr(socket, "TCP_NOTSENT_LOWAT"):
                with suppress(OSError):  # the client has disconnected already
                    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MAX_UNSENT_IN_KERNEL)
            self._start_handshake(accepted, address_group(peer))

    def _start_handshake(self, accepted: socket.socket, group: str) -> None:
        self._connections.make_room(group)
        handshake = _Handshake(accepted, group, self._connections, self._limits.handshake)
        self._connections.add(handshake)
        task = self._loop.create_task(self._shake_hands(handshake))
        self._handshakes[task] = handshake

        def forget(_: asyncio.Task[None]) -> None:
            del self._handshakes[task]
            self._connections.remove(handshake)

        task.add_done_callback(forget)

    def _retry_later(self, error: OSError) -> None:
        log.warning("cannot accept a connection", error=error.strerror)
        self._stop_accepting()
        self._retry = self._loop.call_later(_RETRY_AFTER, self._start_accepting)

    async def _shake_hands(self, handshake: "_Handshake") -> None:
        tls = self._tls()
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._make_connection(tls, handshake),
                handshake.accepted,
                ssl=None if tls is None else tls.context,
                ssl_shutdown_timeout=None if tls is None else self._limits.linger,
            )
        except OSError as error:  # debug level, because a client can cause many such failures
            log.debug("a connection failed before its first request", error=str(error))


class _Handshake:
    """An accepted socket whose HTTP connection does not exist yet. It counts as a connection and can be closed."""

    def __init__(self, accepted: socket.socket, group: str, connections: Connections, timeout: float) -> None:
        now = connections.clock()
        self.group = group
        self.answered = 0
        self.waiting_since: float | None = now
        self.accepted = accepted
        self._connections = connections
        self._deadline = now + timeout

    def drop(self) -> None:
        """Shut the socket down, so that the handshake ends as if the client had disconnected.

        It would be wrong to cancel the task of the handshake. The event loop may have made the HTTP connection in the
        meantime, and no task would then remove this connection from the count.
        """
        with suppress(OSError):  # the client has disconnected already
            self.accepted.shutdown(socket.SHUT_RDWR)

    def check(self, now: float) -> None:
        """End the handshake if it has passed its deadline."""
        if now > self._deadline:
            self._connections.close(self)
