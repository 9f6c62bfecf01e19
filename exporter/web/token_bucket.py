"""The rate limit of the web configuration: a token bucket, as in golang.org/x/time/rate, which Prometheus uses."""

from collections.abc import Callable


class TokenBucket:
    """Admits one request per `interval` seconds, and up to `burst` requests at once after a pause.

    `clock` returns monotonic seconds. The bucket is not thread-safe.
    """

    def __init__(self, interval: float, burst: int, clock: Callable[[], float]) -> None:
        self._interval = interval
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._filled_at = clock()

    def take(self) -> float:
        """Take a token for one request. Return 0 if the request may proceed, else the seconds until the next token."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) / self._interval)
        self._filled_at = now
        if self._tokens < 1:
            return (1 - self._tokens) * self._interval
        self._tokens -= 1
        return 0.0
