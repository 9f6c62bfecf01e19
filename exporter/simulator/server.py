"""The simulator's HTTP server: uvicorn's HTTP protocol on an event loop in a thread of its own.

`uvicorn.Server` is not used, because it checks its stop flag only ten times a second. Each stop would therefore take up
to 0.1 s longer, and tests stop hundreds of simulators.
"""

import asyncio
import contextlib
import logging
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from exporter.simulator.messages import HttpRequest, HttpResponse, ServerAction

_MAX_BODY_BYTES = 1 << 20
_LINGER_ZERO = struct.pack("ii", 1, 0)
_YEAR_SECONDS = 366 * 86400

Handler = Callable[[HttpRequest], ServerAction]
_Receive = Callable[[], Awaitable[dict[str, Any]]]
_Send = Callable[[dict[str, Any]], Awaitable[None]]

_log = logging.getLogger(__name__)


class _Connection(HttpToolsProtocol):
    """A client connection that can be reset. The application finds it as `scope["state"]["connection"]`."""

    def __init__(self, config: uvicorn.Config, state: ServerState) -> None:
        super().__init__(config=config, server_state=state, app_state={"connection": self})

    def reset(self) -> None:
        """Close the connection with a TCP RST."""
        with contextlib.suppress(OSError):
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self.transport.abort()


class _Application:
    """The ASGI application. It reads a request, passes it to `handler`, and carries out the returned `ServerAction`."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: dict[str, Any], receive: _Receive, send: _Send) -> None:
        body, complete = b"", False
        while not complete:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            complete = not message["more_body"]
            if len(body) > _MAX_BODY_BYTES:
                await _send(send, HttpResponse(413, b"", "text/plain", {"Connection": "close"}))
                return
        action = self._action(_request(scope, body))
        if action.delay and await _client_leaves(receive, action.delay):
            return
        if action.response is not None:
            await _send(send, action.response)
            return
        if action.reset:
            scope["state"]["connection"].reset()
        await _client_leaves(receive)

    def _action(self, request: HttpRequest) -> ServerAction:
        try:
            return self._handler(request)
        except Exception:  # logged here, because the exporter's web server turns off uvicorn's logger
            _log.exception("the simulator failed on %s %s", request.method, request.target)
            return ServerAction(HttpResponse(500, b"", "text/plain"))


def _request(scope: dict[str, Any], body: bytes) -> HttpRequest:
    query = scope["query_string"]
    return HttpRequest(
        method=scope["method"],
        target=(scope["raw_path"] + (b"?" + query if query else b"")).decode("latin-1"),
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
        body=body,
        peer=scope["client"][0],
    )


async def _client_leaves(receive: _Receive, seconds: float | None = None) -> bool:
    """Return True when the client closes the connection, or False after `seconds` (None: without a limit)."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True


async def _send(send: _Send, response: HttpResponse) -> None:
    headers = {"Content-Type": response.content_type, "Content-Length": str(len(response.body)), **response.headers}
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": encoded})
    await send({"type": "http.response.body", "body": response.body})


class HttpServer:
    """Serves `handler` on `host` and `port` from a thread of its own.

    Port 0 selects any free port. The server keeps this port when it is stopped and started again. An exception in
    `handler` is logged and answered with HTTP status 500.
    """

    def __init__(self, handler: Handler, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._config = uvicorn.Config(
            _Application(handler),
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            date_header=False,  # the real date would contradict a simulator that has a clock of its own
            server_header=False,
            timeout_keep_alive=_YEAR_SECONDS,  # AWS keeps an idle connection open for longer than a test takes
        )
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Listen, and return as soon as connections are accepted.

        Raises:
            OSError: the address cannot be listened on.
        """
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="glue-simulator", daemon=True)
        self._thread.start()
        self._state = ServerState()
        try:
            self._server = asyncio.run_coroutine_threadsafe(self._listen(self._loop), self._loop).result()
        except BaseException:
            self._end_loop(self._loop)
            raise
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Stop listening, and reset every connection, even if a client waits for an answer. Can be repeated."""
        if self._loop is None:
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._end_loop(self._loop)

    async def _listen(self, loop: asyncio.AbstractEventLoop) -> asyncio.Server:
        return await loop.create_server(
            lambda: _Connection(self._config, self._state), self.host, self.port, backlog=1024
        )

    async def _close(self) -> None:
        # In Python 3.11, a connection that was just accepted when its server is closed stays open and is never served.
        # So accept no more, and give asyncio the two rounds of the loop that it needs to add such a connection.
        for listener in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listener.fileno())
        for _ in range(2):
            await asyncio.sleep(0)
        self._server.close()
        for connection in tuple(self._state.connections):
            cast("_Connection", connection).reset()
        # The tasks are not cancelled, because uvicorn logs a cancelled task as an error. Each task ends when its
        # connection is lost.
        while self._state.tasks:
            await asyncio.wait(self._state.tasks)

    def _end_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()
        self._loop = None
