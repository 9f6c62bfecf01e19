"""When a request may be sent: the requests of an account and region are spaced evenly."""

import threading
import time
from collections.abc import Callable

from exporter.errors import GlueError


class Stopped(GlueError):  # noqa: N818 - an order to leave, not an error
    """The exporter is stopping; nothing is wrong with AWS."""

    def __init__(self) -> None:
        super().__init__("stopped", "the exporter is stopping")


class RateLimiter:
    """Spaces calls evenly, at most ``rate`` per second; there is no burst to save up for."""

    def __init__(self, rate: float, stop: threading.Event, on_wait: Callable[[float], None]) -> None:
        """Take calls per second, the event that ends all waiting, and who is told the seconds waited."""
        self._spacing = 1 / rate
        self._stop = stop
        self._on_wait = on_wait
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Return when the caller's turn has come; raises `Stopped` when the exporter stops before."""
        self.check_stop()
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._spacing
        if turn > now:
            self._on_wait(turn - now)
            self._stop.wait(turn - now)
            self.check_stop()

    def check_stop(self) -> None:
        """Raise `Stopped` when the exporter stops."""
        if self._stop.is_set():
            raise Stopped
