"""The ASGI application: a request in, past the gate to its endpoint, the response out."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from typing import Any

from exporter.logs import get_logger
from exporter.web.admission import Admission
from exporter.web.config import WebSettings
from exporter.web.connections import HttpConnection
from exporter.web.responses import Response, header_lines, text
from exporter.web.routes import HEALTH_PATHS, Request, Routes

log = get_logger(__name__)

_PIECE = 128 * 1024
"""No more bytes are handed over at once, so that little is copied for a client that does not read."""

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Application:
    """An ASGI 3 application for HTTP, on connections of this program's own class.

    `settings` gives what holds at the moment; `patience` is the time in seconds after which a response that is being
    sent no longer takes a place among the requests under way.
    """

    def __init__(self, routes: Routes, gate: Admission, settings: Callable[[], WebSettings], patience: float) -> None:
        self._endpoints = routes
        self._gate = gate
        self._settings = settings
        self._patience = patience

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Answer one request; whatever its body is, nobody wants it."""
        request = _request(scope)
        delivery = _Delivery(scope["state"]["connection"], request, self._settings(), send)
        try:
            await self._serve(request, delivery)
        except Exception:  # a mistake costs one answer, which shows nothing of it
            log.exception("a request failed", method=request.method, path=request.path)
            if delivery.begun:
                raise  # uvicorn then closes the connection, which tells the client that the body is not complete
            await delivery.deliver(text(500))

    async def _serve(self, request: Request, delivery: "_Delivery") -> None:
        if request.path in HEALTH_PATHS:
            await delivery.deliver(await self._endpoints.answer(request))
            return
        entered = await self._gate.enter(request, delivery.settings)
        if isinstance(entered, Response):
            await delivery.deliver(entered)
            return
        with entered as place:
            response = await self._endpoints.answer(request)
            release = asyncio.get_running_loop().call_later(self._patience, place.release)
            try:
                await delivery.deliver(response)
            finally:
                release.cancel()


class _Delivery:
    """Sends the response to one request."""

    def __init__(self, connection: HttpConnection, request: Request, settings: WebSettings, send: Send) -> None:
        self.settings = settings
        self.begun = False
        self._connection = connection
        self._request = request
        self._send = send

    async def deliver(self, response: Response) -> None:
        """Send the response, no faster than the client takes it; call its `sent` when all of it has left."""
        answered_before = self._connection.answered
        self.begun = True
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


def _request(scope: MutableMapping[str, Any]) -> Request:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Request(scope["method"], scope["path"], headers, scope["query_string"].decode("latin-1"))


def _pieces(chunks: Sequence[bytes]) -> Iterator[bytes | memoryview]:
    for chunk in chunks:
        if len(chunk) <= _PIECE:
            yield chunk
        else:
            view = memoryview(chunk)
            yield from (view[start : start + _PIECE] for start in range(0, len(chunk), _PIECE))
