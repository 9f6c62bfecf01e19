"""The web server: it connects listeners, connections and the application, and runs them with uvicorn."""

import asyncio
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast
from urllib.parse import urlsplit

import uvicorn

from exporter.config.parsing import Address
from exporter.web.acceptor import Acceptor
from exporter.web.admission import Admission
from exporter.web.application import Application
from exporter.web.browsers import host_check
from exporter.web.config import PLAIN, ServerTls, WebConfig, WebSettings
from exporter.web.connections import Connections, HttpConnection, OpenConnection
from exporter.web.limits import Limits
from exporter.web.listeners import address_of, open_listeners
from exporter.web.responses import as_bytes
from exporter.web.routes import Backend, Routes
from exporter.web.workers import Workers

_CHECK_TICKS = 5
_SECOND_TICKS = 10
"""Number of ticks in a second, because uvicorn calls `on_tick` ten times a second."""

_ALL_ADDRESSES = ("[::]", "0.0.0.0")  # noqa: S104 - only compared with


class WebServer:
    """Serves a backend over HTTP until it is stopped.

    Args:
        backend: the source of the responses.
        addresses: the hosts and ports to listen on (see `open_listeners`); ignored if systemd passed sockets.
        telemetry_path: the path of the metrics; ValueError if another page has this path.
        external_url: the URL of the front page behind a proxy, with "/" at its end; ValueError if its path is that of
            another page.
        max_requests: maximum number of requests in flight; a further request gets 503. 0 means no limit.
        enable_lifecycle: whether `/-/reload` works.
        web_config: the web configuration file, which is checked for changes every second.
        limits: the limits for clients.
        environ: the environment variables, with which systemd describes the sockets that it passed.
        clock: returns monotonic seconds, for the deadlines of connections.
        on_second: called about once a second by the event loop, as long as it serves. It must not block.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        addresses: Sequence[Address],
        telemetry_path: str = "/metrics",
        external_url: str | None = None,
        max_requests: int = 40,
        enable_lifecycle: bool = False,
        web_config: WebConfig | None = None,
        limits: Limits | None = None,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
        on_second: Callable[[], None] = lambda: None,
    ) -> None:
        limits = limits or Limits()
        settings = (lambda: PLAIN) if web_config is None else (lambda: web_config.current)
        external = urlsplit(external_url or "")
        prefix = external.path.rstrip("/")
        routes = Routes(
            backend,
            telemetry_path,
            prefix,
            enable_lifecycle=enable_lifecycle,
            host_check=host_check([*(host for host, _ in addresses), external.hostname or ""]),
        )
        application = Application(routes, Admission(max_requests), settings, limits.patience, prefix)
        connections = Connections(_affordable(limits.connections), clock)
        self._configured = tuple(addresses)
        self._external_url = external_url
        self._environ = environ
        self._settings: Callable[[], WebSettings] = settings
        self._listeners: list[socket.socket] = []
        self._uvicorn = _UvicornServer(
            _uvicorn_config(application, limits),
            settings,
            limits,
            connections,
            web_config=web_config,
            on_second=on_second,
        )

    def start(self) -> None:
        """Bind the addresses. Clients can connect from now on, but they get answers only from `run`.

        Raises ListenError if an address cannot be bound.
        """
        self._listeners = open_listeners(self._configured, self._environ)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The bound addresses, with the ports that the system chose for port 0."""
        return tuple(address_of(listener) for listener in self._listeners)

    @property
    def url(self) -> str:
        """The external URL of the front page, else its URL at the first address for a browser on this host.

        For a Unix socket it is the path of the socket.
        """
        if self._external_url:
            return self._external_url
        if self.addresses[0].startswith("/"):
            return self.addresses[0]
        scheme = "http" if self._settings().tls is None else "https"
        host, _, port = self.addresses[0].rpartition(":")
        return f"{scheme}://{'localhost' if host in _ALL_ADDRESSES else host}:{port}/"

    def run(self) -> None:
        """Serve in this thread until `stop` is called. This method does not install signal handlers.

        After `stop`, the requests in flight have `Limits.stop` seconds to finish. Then all connections are closed.
        """
        with asyncio.Runner() as runner:
            runner.run(self._uvicorn.serve(sockets=self._listeners))

    def stop(self) -> None:
        """Make `run` return. Any thread and any signal handler may call this method, even before `run`."""
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
        log_level="critical",  # at a lower level any client could fill the log with its own errors
        timeout_keep_alive=limits.idle,
        timeout_graceful_shutdown=limits.stop,
    )


class _UvicornServer(uvicorn.Server):
    """uvicorn's server with our own acceptors and connections, and without signal handlers."""

    def __init__(
        self,
        config: uvicorn.Config,
        settings: Callable[[], WebSettings],
        limits: Limits,
        connections: Connections,
        *,
        web_config: WebConfig | None,
        on_second: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._settings = settings
        self._limits = limits
        self._connections = connections
        self._web_config = web_config
        self._on_second = on_second
        self._refreshing: asyncio.Task[None] | None = None
        self._workers = Workers("web-config", limit=1)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections on every socket."""
        acceptors = [
            Acceptor(
                listener,
                self._connections,
                self._limits,
                tls=lambda: self._settings().tls,
                make_connection=self._make_connection,
            )
            for listener in sockets or []
        ]
        self.servers = cast("list[asyncio.Server]", acceptors)  # uvicorn only calls close and wait_closed of a server
        self.started = True

    async def on_tick(self, counter: int) -> bool:
        """Enforce the deadlines, and do what is due each second; return whether to stop."""
        if counter % _CHECK_TICKS == 0:
            self._connections.check()
        if counter % _SECOND_TICKS == 0:
            self._on_second()
            if self._web_config is not None:
                self._refresh(self._web_config)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer the requests in flight, then drop all connections."""
        await super().shutdown(sockets)
        self._connections.drop_all()
        await asyncio.sleep(0)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do not install signal handlers, because the command line has its own signal handlers."""
        yield

    def _make_connection(self, tls: ServerTls | None, handshake: OpenConnection) -> HttpConnection:
        return HttpConnection(
            self.config,
            self.server_state,
            self._connections,
            self._limits,
            handshake=handshake,
            tls=tls,
            current_tls=lambda: self._settings().tls,
            render=lambda response: as_bytes(response, self._settings().headers),
        )

    def _refresh(self, web_config: WebConfig) -> None:
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._workers.run(web_config.refresh))


def _affordable(connections: int) -> int:
    """Return `connections`, but at most half of the file descriptors that the process may open, and at least 8."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return connections if soft == resource.RLIM_INFINITY else max(8, min(connections, soft // 2))
