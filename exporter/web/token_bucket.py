"""How often requests are let in: a token bucket."""

from collections.abc import Callable


class TokenBucket:
    """Lets one request in every `interval` seconds, and `burst` of them at once after a pause.

    `clock` gives monotonic seconds. For one thread only.
    """

    def __init__(self, interval: float, burst: int, clock: Callable[[], float]) -> None:
        self._interval = interval
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._filled_at = clock()

    def take(self) -> float:
        """Return 0 if a request may come in now, else the seconds until the next one may."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) / self._interval)
        self._filled_at = now
        if self._tokens < 1:
            return (1 - self._tokens) * self._interval
        self._tokens -= 1
        return 0.0
