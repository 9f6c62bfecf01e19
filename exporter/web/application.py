"""The ASGI application: it asks `Admission` about a request, gets the response from `Routes` and sends the response."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from typing import Any

from exporter.logs import get_logger
from exporter.web.admission import Admission
from exporter.web.config import WebSettings
from exporter.web.connections import HttpConnection
from exporter.web.responses import Response, header_lines, text_response
from exporter.web.routes import HEALTH_PATHS, Request, Routes

log = get_logger(__name__)

_PIECE_BYTES = 128 * 1024
"""Maximum number of bytes that are given to the transport at once. The transport copies the bytes that it cannot send
yet, so larger pieces would need more memory for a client that does not read."""

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Application:
    """An ASGI 3 application for HTTP. It works on connections of the class `HttpConnection` only.

    Args:
        routes: answers the requests.
        admission: decides which requests are answered.
        settings: returns the web settings in force.
        patience: seconds of sending after which a request no longer counts towards `max_requests`.
        prefix: path below which a proxy requests all paths, without "/" at its end. It is removed from the path of a
            request. Paths without it work too, for probes, for scrapes, and for a proxy that has removed it.
    """

    def __init__(
        self,
        routes: Routes,
        admission: Admission,
        settings: Callable[[], WebSettings],
        patience: float,
        prefix: str = "",
    ) -> None:
        self._routes = routes
        self._admission = admission
        self._settings = settings
        self._patience = patience
        self._prefix = prefix

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Answer one request. The request body is ignored, because no path needs it."""
        settings = self._settings()
        request = _request(scope, settings, self._prefix)
        sender = _ResponseSender(scope["state"]["connection"], request, settings, send)
        try:
            await self._answer(request, sender)
        except Exception:  # an internal error ends only this request; the client does not see the details
            log.exception("a request failed", method=request.method, path=request.path)
            if sender.started:
                raise  # uvicorn then closes the connection, so that the client sees an incomplete body
            await sender.send(text_response(500))

    async def _answer(self, request: Request, sender: "_ResponseSender") -> None:
        if request.path in HEALTH_PATHS:
            await sender.send(await self._routes.answer(request))
            return
        admitted = await self._admission.admit(request, sender.settings)
        if isinstance(admitted, Response):
            await sender.send(admitted)
            return
        with admitted:
            response = await self._routes.answer(request)
            release = asyncio.get_running_loop().call_later(self._patience, admitted.release)
            try:
                await sender.send(response)
            finally:
                release.cancel()


class _ResponseSender:
    """Sends the response to one request. `started` is True after the sending has begun."""

    def __init__(self, connection: HttpConnection, request: Request, settings: WebSettings, send: Send) -> None:
        self.settings = settings
        self.started = False
        self._connection = connection
        self._request = request
        self._send = send

    async def send(self, response: Response) -> None:
        """Send the response as fast as the client reads it.

        Call `response.sent` after the whole body of a GET was sent.
        """
        answered_before = self._connection.answered
        self.started = True
        headers = header_lines(response, self.settings.headers)
        await self._send({"type": "http.response.start", "status": response.status, "headers": headers})
        if self._request.method != "HEAD":
            for piece in _pieces(response.chunks):
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
                if self._connection.transport.is_closing():
                    return
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        is_complete = self._connection.answered > answered_before
        if is_complete and response.sent is not None and self._request.method == "GET":
            response.sent()


def _request(scope: MutableMapping[str, Any], settings: WebSettings, prefix: str) -> Request:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    path, depth = scope["path"], scope["raw_path"].count(b"/") - 1
    if prefix and path.startswith(f"{prefix}/"):
        path, depth = path.removeprefix(prefix), depth - prefix.count("/")
    return Request(
        scope["method"],
        path,
        headers,
        scope["query_string"].decode("latin-1"),
        client=scope["state"]["connection"].group,
        depth=depth,
        may_be_rebound=settings.tls is None and not settings.users,
    )


def _pieces(chunks: Sequence[bytes]) -> Iterator[bytes | memoryview]:
    for chunk in chunks:
        if len(chunk) <= _PIECE_BYTES:
            yield chunk
        else:
            view = memoryview(chunk)
            yield from (view[start : start + _PIECE_BYTES] for start in range(0, len(chunk), _PIECE_BYTES))
