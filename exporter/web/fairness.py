"""Lets groups of clients take turns, however many clients of one group wait."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """A queue that gives its items group by group in turns. The items of one group keep their order.

    Example: ten items of group A wait, then one of group B. The queue gives one of A, the one of B, and one of A again.
    """

    def __init__(self) -> None:
        self._queues: dict[str, deque[T]] = {}  # the group whose turn is next comes first
        self._last = ""

    def __bool__(self) -> bool:
        return bool(self._queues)

    def put(self, item: T, group: str) -> None:
        """Add an item."""
        self._queues.setdefault(group, deque()).append(item)

    def take(self) -> T:
        """Return the next item. Raises StopIteration if there is none."""
        if self._last in self._queues:  # the group that had the last turn goes behind all others
            self._queues[self._last] = self._queues.pop(self._last)
        group, queue = next(iter(self._queues.items()))
        item = queue.popleft()
        if not queue:
            del self._queues[group]
        self._last = group
        return item


class FairLock:
    """A lock that goes to the groups of waiting clients in turns.

    `waiting` counts the clients of each group that wait for the lock or hold it.
    """

    def __init__(self) -> None:
        self.waiting: Counter[str] = Counter()
        self._is_held = False
        self._queue: FairQueue[asyncio.Future[None]] = FairQueue()

    @asynccontextmanager
    async def hold(self, group: str) -> AsyncIterator[None]:
        """Wait for the turn of a client of `group`, and hold the lock until the end of the block."""
        turn = asyncio.get_running_loop().create_future()
        self.waiting[group] += 1
        self._queue.put(turn, group)
        if not self._is_held:
            self._pass_on()
        try:
            await turn
            try:
                yield
            finally:
                self._pass_on()
        finally:
            self.waiting[group] -= 1
            if not self.waiting[group]:
                del self.waiting[group]

    def _pass_on(self) -> None:
        """Give the lock to the next client."""
        self._is_held = False
        while self._queue and not self._is_held:
            turn = self._queue.take()
            if not turn.done():  # a client that was cancelled at the end of the server has left its place
                self._is_held = True
                turn.set_result(None)


class FairTurns:
    """Calls a limited number of functions in each turn of the event loop, so that no turn takes long.

    A new connection needs about five turns until its request is answered. If a turn answered 500 requests, a probe
    would wait for 2,500 of them. Functions above the limit wait, and the groups of clients take turns.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit
        self._queue: FairQueue[Callable[[], None]] = FairQueue()
        self._is_planned = False

    def has_room(self) -> bool:
        """Return whether the caller may do its work now. If so, it counts as one function of this turn."""
        self._plan()
        if self._queue or not self._left:
            return False
        self._left -= 1
        return True

    def wait(self, function: Callable[[], None], group: str) -> None:
        """Call a function for a client of `group` in a later turn."""
        self._queue.put(function, group)
        self._plan()

    def _plan(self) -> None:
        if not self._is_planned:
            self._is_planned = True
            asyncio.get_running_loop().call_soon(self._begin_turn)

    def _begin_turn(self) -> None:
        self._is_planned = False
        self._left = self._limit
        while self._left and self._queue:
            self._left -= 1
            self._queue.take()()
        if self._queue:
            self._plan()
