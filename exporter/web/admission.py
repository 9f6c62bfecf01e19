"""Who is let in: rate limit, then password, then a place among the requests under way."""

import math
from types import TracebackType
from typing import Self

from exporter.web.basic_auth import BasicAuth, Verdict
from exporter.web.config import WebSettings
from exporter.web.responses import Response, text
from exporter.web.routes import Request

_CHALLENGE = 'Basic realm="glue-ml-exporter", charset="UTF-8"'


class InFlight:
    """One request under way, until the `with` block ends or `release` is called."""

    def __init__(self, gate: "Admission") -> None:
        self._gate: Admission | None = gate
        gate.under_way += 1

    def release(self) -> None:
        """Give the place to somebody else; harmless if it was given before."""
        if self._gate is not None:
            self._gate.under_way -= 1
            self._gate = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class Admission:
    """Lets requests in; `under_way` is how many are in. `max_requests` 0: any number."""

    def __init__(self, max_requests: int) -> None:
        self.under_way = 0
        self._max_requests = max_requests
        self._auth = BasicAuth()

    async def enter(self, request: Request, settings: WebSettings) -> InFlight | Response:
        """Return a place, to be released, or the response with which the request is turned away."""
        if settings.bucket is not None and (wait := settings.bucket.take()):
            return text(429, Retry_After=str(math.ceil(wait)))
        if settings.users:
            verdict = await self._auth.check(request.headers.get("authorization"), settings.users)
            if verdict is Verdict.REFUSED:
                return text(401, WWW_Authenticate=_CHALLENGE)
            if verdict is Verdict.BUSY:
                return text(503, "Too many passwords to check", Retry_After="1")
        if self._max_requests and self.under_way >= self._max_requests:
            return text(503, "Too many requests under way", Retry_After="1")
        return InFlight(self)
