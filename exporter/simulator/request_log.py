"""The log of the requests that the simulator has met."""

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KEPT_REQUESTS = 20_000


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request as the simulator saw it.

    `status` is the HTTP status, 0 if it was never answered; `code` is the error code, or the kind of the fault that
    spoiled the answer, or None. `time` is the world's, in epoch seconds.
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
    """The requests answered so far: the last 20,000 of them, and exact counters of all; thread-safe."""

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
        """Give the logged requests (of one operation), oldest first."""
        with self._lock:
            return [one for one in self._kept if operation is None or one.operation == operation]

    def count(self, operation: str | None = None, code: str | None = None) -> int:
        """Count all requests, of one operation and with one code (`OK` for success) if given."""
        with self._lock:
            return sum(
                number
                for (one, its_code), number in self._counts.items()
                if (operation is None or one == operation) and (code is None or its_code == code)
            )

    def counts(self) -> dict[str, dict[str, int]]:
        """Give the exact number of requests per operation and code."""
        with self._lock:
            table: dict[str, dict[str, int]] = {}
            for (operation, code), number in sorted(self._counts.items()):
                table.setdefault(operation, {})[code] = number
            return table

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self._counts.clear()
