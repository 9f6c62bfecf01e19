"""The web server: `WebServer` puts listeners, connections and the application together and runs them on uvicorn."""

import asyncio
import os
import resource
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

import uvicorn
import uvloop

from exporter.config.parsing import Address
from exporter.web.acceptor import Acceptor
from exporter.web.admission import Admission
from exporter.web.application import Application
from exporter.web.config import PLAIN, ServerTls, WebConfig, WebSettings
from exporter.web.connections import Connections, HttpConnection, OpenConnection
from exporter.web.limits import Limits
from exporter.web.listeners import address_of, open_listeners
from exporter.web.responses import as_bytes
from exporter.web.routes import Backend, Routes
from exporter.web.workers import Workers

_CHECK_TICKS = 5
_REFRESH_TICKS = 10
"""uvicorn ticks ten times a second."""


class WebServer:
    """Serves a site over HTTP until it is stopped.

    Args:
        site: what is served.
        addresses: hosts and ports to listen on, see `open_listeners`; not used if systemd passed sockets.
        telemetry_path: the path of the metrics; ValueError if it is taken.
        max_requests: so many requests under way at once, 503 beyond; 0 for any number.
        enable_lifecycle: whether `/-/reload` works.
        web_config: the web configuration file; it is looked at again every second.
        limits: what a client may ask.
        environ: where systemd says which sockets it passed.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        addresses: Sequence[Address],
        telemetry_path: str = "/metrics",
        max_requests: int = 40,
        enable_lifecycle: bool = False,
        web_config: WebConfig | None = None,
        limits: Limits | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        limits = limits or Limits()
        settings = (lambda: PLAIN) if web_config is None else (lambda: web_config.current)
        routes = Routes(backend, telemetry_path, enable_lifecycle=enable_lifecycle)
        application = Application(routes, Admission(max_requests), settings, limits.patience)
        self._configured = tuple(addresses)
        self._environ = environ
        self._listeners: list[socket.socket] = []
        self._uvicorn = _UvicornServer(_uvicorn_config(application, limits), settings, limits, web_config)

    def start(self) -> None:
        """Listen; raise ListenError if that is not possible. Clients can connect, and are answered by `run`."""
        self._listeners = open_listeners(self._configured, self._environ)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens once it is started, with the ports that it took."""
        return tuple(address_of(listener) for listener in self._listeners)

    def run(self) -> None:
        """Serve, in this thread, until `stop` is called; it takes over no signal.

        The requests that are under way then are answered within `Limits.stop` seconds, the rest is cut off.
        """
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._uvicorn.serve(sockets=self._listeners))

    def stop(self) -> None:
        """Let `run` come to its end; may be called from a signal handler, from any thread, again, or before `run`."""
        self._uvicorn.should_exit = True


def _uvicorn_config(application: Application, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        http=HttpConnection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        log_level="critical",  # below, uvicorn reports what clients do wrong, which anybody can do a million times
        timeout_keep_alive=limits.idle,
        timeout_graceful_shutdown=limits.stop,
    )


class _UvicornServer(uvicorn.Server):
    """uvicorn's server with our way of accepting connections, and nobody else's signals."""

    def __init__(
        self,
        config: uvicorn.Config,
        settings: Callable[[], WebSettings],
        limits: Limits,
        web_config: WebConfig | None,
    ) -> None:
        super().__init__(config)
        self._settings = settings
        self._limits = limits
        self._web_config = web_config
        self._refreshing: asyncio.Task[None] | None = None
        self._workers = Workers("web-config", limit=1)
        self._connections = Connections(_affordable(limits.connections))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept on every socket."""
        acceptors = [
            Acceptor(
                listener, self._connections, self._limits, tls=lambda: self._settings().tls, serve=self._connection
            )
            for listener in sockets or []
        ]
        self.servers = cast("list[asyncio.Server]", acceptors)  # they have what uvicorn uses of a server
        self.started = True

    async def on_tick(self, counter: int) -> bool:
        """Look after deadlines and changed files; tell whether to stop."""
        if counter % _CHECK_TICKS == 0:
            self._connections.check(asyncio.get_running_loop().time())
        if counter % _REFRESH_TICKS == 0 and self._web_config is not None:
            self._refresh(self._web_config)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is under way, then cut off the rest."""
        await super().shutdown(sockets)
        self._connections.drop_all()
        await asyncio.sleep(0)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take over no signal."""
        yield

    def _connection(self, tls: ServerTls | None, arrival: OpenConnection) -> HttpConnection:
        return HttpConnection(
            self.config,
            self.server_state,
            self._connections,
            self._limits,
            arrival=arrival,
            allowed_sans=frozenset() if tls is None else tls.allowed_sans,
            refusal=lambda response: as_bytes(response, self._settings().headers),
        )

    def _refresh(self, web_config: WebConfig) -> None:
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._workers.run(web_config.refresh))


def _affordable(connections: int) -> int:
    """Return the number of connections that leaves half of the file descriptors to everything else."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return connections if soft == resource.RLIM_INFINITY else max(8, min(connections, soft // 2))
