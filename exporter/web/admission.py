"""Decides whether a request may be answered, and otherwise returns the response 429, 401 or 503.

It checks first the rate limit, then the password (with `basic_auth`), then the number of requests in flight.
"""

import math
from types import TracebackType
from typing import Self

from exporter.web.addresses import Holdings
from exporter.web.basic_auth import BasicAuth, Verdict
from exporter.web.config import WebSettings
from exporter.web.responses import Response, text_response
from exporter.web.routes import Request

_CHALLENGE = 'Basic realm="glue-ml-exporter", charset="UTF-8"'


class InFlight:
    """An admitted request. It counts towards `max_requests` until `release` is called or the `with` block ends."""

    def __init__(self, counted: "Holdings[InFlight]", client: str) -> None:
        self._counted = counted
        counted.add(self, client)

    def release(self) -> None:
        """Stop counting the request. A second call has no effect."""
        self._counted.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class Admission:
    """Admits or rejects requests. `max_requests` is the maximum number of requests that count; 0 means no limit.

    At the maximum, a client whose address has fewer requests in flight than another address is admitted all the same.
    The oldest request of the other address then no longer counts. So one address cannot use up the maximum, and a
    request that was admitted is not broken off.
    """

    def __init__(self, max_requests: int) -> None:
        self._in_flight: Holdings[InFlight] = Holdings()
        self._max_requests = max_requests
        self._auth = BasicAuth()

    async def admit(self, request: Request, settings: WebSettings) -> InFlight | Response:
        """Return the admitted request, which the caller must release, or the response that rejects it.

        The response is 429 above the rate limit, and 401 for a missing or wrong password. It is 503 if too many
        passwords from the address wait to be checked, or if too many requests are in flight.
        """
        if settings.bucket is not None and (wait := settings.bucket.take()):
            return text_response(429, Retry_After=str(math.ceil(wait)))
        if settings.users:
            authorization = request.headers.get("authorization")
            verdict = await self._auth.check(authorization, settings.users, request.client)
            if verdict is Verdict.REFUSED:
                return text_response(401, WWW_Authenticate=_CHALLENGE)
            if verdict is Verdict.BUSY:
                return text_response(503, "Too many passwords are being checked; retry later", Retry_After="1")
        if self._max_requests and len(self._in_flight) >= self._max_requests:
            largest = self._in_flight.largest_groups(request.client)
            if request.client in largest:
                return text_response(503, "Too many concurrent requests; see --web.max-requests", Retry_After="1")
            self._in_flight.held_by(largest)[0].release()
        return InFlight(self._in_flight, request.client)
