"""Decides whether a request may be answered, and otherwise returns the response 429, 401 or 503.

It checks first the rate limit, then the password (with `basic_auth`), then the number of requests in flight.
"""

import math
from types import TracebackType
from typing import Self

from exporter.web.basic_auth import BasicAuth, Verdict
from exporter.web.config import WebSettings
from exporter.web.responses import Response, text_response
from exporter.web.routes import Request

_CHALLENGE = 'Basic realm="glue-ml-exporter", charset="UTF-8"'


class InFlight:
    """An admitted request. It counts towards `max_requests` until `release` is called or the `with` block ends."""

    def __init__(self, admission: "Admission") -> None:
        self._admission: Admission | None = admission
        admission.in_flight += 1

    def release(self) -> None:
        """Stop counting the request. A second call has no effect."""
        if self._admission is not None:
            self._admission.in_flight -= 1
            self._admission = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class Admission:
    """Admits or rejects requests. `in_flight` is the number of admitted requests that are not answered yet.

    `max_requests` is the maximum of `in_flight`; 0 means no limit.
    """

    def __init__(self, max_requests: int) -> None:
        self.in_flight = 0
        self._max_requests = max_requests
        self._auth = BasicAuth()

    async def admit(self, request: Request, settings: WebSettings) -> InFlight | Response:
        """Return the admitted request, which the caller must release, or the response that rejects it.

        The response is 429 above the rate limit, and 401 for a missing or wrong password. It is 503 if too many
        passwords wait to be checked, or if too many requests are in flight.
        """
        if settings.bucket is not None and (wait := settings.bucket.take()):
            return text_response(429, Retry_After=str(math.ceil(wait)))
        if settings.users:
            verdict = await self._auth.check(request.headers.get("authorization"), settings.users)
            if verdict is Verdict.REFUSED:
                return text_response(401, WWW_Authenticate=_CHALLENGE)
            if verdict is Verdict.BUSY:
                return text_response(503, "Too many passwords are being checked; retry later", Retry_After="1")
        if self._max_requests and self.in_flight >= self._max_requests:
            return text_response(503, "Too many concurrent requests; see --web.max-requests", Retry_After="1")
        return InFlight(self)
