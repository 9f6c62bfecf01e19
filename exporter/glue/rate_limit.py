"""Who may call AWS when: evenly spaced calls for each account and region, and a bounded number under way."""

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

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


class ConcurrencyLimit:
    """Bounds how many calls are under way, without letting the slow ones starve the rest.

    A call that has had its slot for longer than ``lease`` seconds no longer counts: an account that hangs would
    otherwise take every slot, and all the others would wait for its time-outs. For as long as its calls do count, a
    quarter of the slots is not for it, if there is anybody else.
    """

    def __init__(self, size: int, *, lease: float = 2.0) -> None:
        """Take how many calls may be under way."""
        self._size = size
        self._lease = lease
        self._lock = threading.Lock()
        self._users: set[Hashable] = set()
        self._taken: dict[object, tuple[Hashable, float]] = {}
        self._waiting: dict[threading.Condition, Hashable] = {}

    @contextmanager
    def slot(self, user: Hashable) -> Iterator[None]:
        """Wait for a slot and keep it for the body; ``user`` is the account and region that wants it."""
        ticket = threading.Condition(self._lock)
        with self._lock:
            self._users.add(user)
            self._take(ticket, user)
        try:
            yield
        finally:
            with self._lock:
                del self._taken[ticket]
                self._give_all()

    def _take(self, ticket: threading.Condition, user: Hashable) -> None:
        self._waiting[ticket] = user
        while ticket in self._waiting:
            if self._patience(user) <= 0:
                self._give(ticket)
            elif next(iter(self._waiting)) is not ticket:
                ticket.wait()
            elif not ticket.wait(self._until_a_lease_ends()):
                self._give_all()

    def _give_all(self) -> None:
        """Give the slots that are free to those who wait for them longest and may have them; wake nobody else.

        Hundreds may wait: when all accounts and regions have their first polls, for instance. Only the first of them
        looks at the clock, for all.
        """
        barred: set[Hashable] = set()
        for ticket, user in list(self._waiting.items()):
            if len(self._counting()) >= self._size:
                return
            if user not in barred:
                if self._patience(user) <= 0:
                    self._give(ticket)
                else:
                    barred.add(user)

    def _give(self, ticket: threading.Condition) -> None:
        self._taken[ticket] = self._waiting.pop(ticket), time.monotonic()
        ticket.notify()
        for first in self._waiting:
            first.notify()  # to look at the clock from now on
            break

    def _until_a_lease_ends(self) -> float:
        """Return the seconds until the oldest call that counts does not any more."""
        return min((since for _, since in self._counting()), default=0.0) - (time.monotonic() - self._lease)

    def _counting(self) -> list[tuple[Hashable, float]]:
        oldest_lease = time.monotonic() - self._lease
        return [(user, since) for user, since in self._taken.values() if since > oldest_lease]

    def _patience(self, user: Hashable) -> float:
        """Return the seconds until a slot is free for the user if no call ends before, 0 if one is free now."""
        oldest_lease = time.monotonic() - self._lease
        counting = self._counting()
        own = [since for holder, since in counting if holder == user]
        share = self._size if len(self._users) == 1 else max(1, self._size - max(1, self._size // 4))
        if len(own) >= share:
            return min(own) - oldest_lease
        if len(counting) >= self._size:
            return min(since for _, since in counting) - oldest_lease
        return 0.0
