"""The log of the requests that the simulator has received."""

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KEPT_REQUESTS = 20_000


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request and its result.

    `status` is the HTTP status, or 0 if no answer was sent. `code` is the error code, or the kind of the fault that
    broke the answer, or None for a correct answer. `time` is the world's time in epoch seconds.
    """

    time: float
    operation: str
    transform_id: str | None
    region: str
    account: str
    access_key_id: str
    params: Mapping[str, Any]
    status: int
    code: str | None


class RequestLog:
    """The last 20,000 requests, and the counts of all requests; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: deque[LoggedRequest] = deque(maxlen=KEPT_REQUESTS)
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, request: LoggedRequest) -> None:
        """Log one request."""
        with self._lock:
            self._kept.append(request)
            self._counts[request.operation, request.code or "OK"] += 1

    def all(self, operation: str | None = None) -> list[LoggedRequest]:
        """Return the logged requests, oldest first. `operation` selects the requests of one operation."""
        with self._lock:
            return [request for request in self._kept if operation in (None, request.operation)]

    def count(self, operation: str | None = None, code: str | None = None) -> int:
        """Return the number of requests. `operation` and `code` (`OK` for success) select some of the requests."""
        with self._lock:
            return sum(
                number
                for (counted_operation, counted_code), number in self._counts.items()
                if operation in (None, counted_operation) and code in (None, counted_code)
            )

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of requests: {operation: {code: number}}."""
        with self._lock:
            table: dict[str, dict[str, int]] = {}
            for (operation, code), number in sorted(self._counts.items()):
                table.setdefault(operation, {})[code] = number
            return table

    def clear(self) -> None:
        """Remove all requests and reset the counts."""
        with self._lock:
            self._kept.clear()
            self._counts.clear()
