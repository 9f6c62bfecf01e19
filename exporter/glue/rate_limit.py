"""The rate limit for the requests of one account and region."""

import threading
import time
from collections.abc import Callable

from exporter.model.errors import GlueError


class Stopped(GlueError):  # noqa: N818 - it ends a call, but nothing is wrong
    """Raised while the exporter stops. It does not mean a failure of AWS."""

    def __init__(self) -> None:
        super().__init__("stopped", "the exporter is stopping")


class RateLimiter:
    """Spaces calls evenly, at most ``rate`` per second. Time without calls does not allow a burst later."""

    def __init__(
        self,
        rate: float,
        stop: threading.Event,
        on_wait: Callable[[float], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``rate`` is in calls per second, ``stop`` ends all waiting, ``on_wait`` gets the seconds of each wait."""
        self._spacing = 1 / rate
        self._stop = stop
        self._on_wait = on_wait
        self._clock = clock
        self._lock = threading.Lock()
        self._next_turn = 0.0

    def wait(self) -> None:
        """Wait until the next call is allowed. Raises `Stopped` if the exporter stops first."""
        self.check_stop()
        with self._lock:
            now = self._clock()
            turn = max(now, self._next_turn)
            self._next_turn = turn + self._spacing
        if turn > now:
            self._on_wait(turn - now)
            self._stop.wait(turn - now)
            self.check_stop()

    def check_stop(self) -> None:
        """Raise `Stopped` when the exporter stops."""
        if self._stop.is_set():
            raise Stopped
