"""A lock for which groups of clients wait in turns."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairLock:
    """A lock that goes to the groups of waiting clients in turns, however many clients of one group wait.

    `waiting` counts the clients of each group that wait for the lock or hold it.

    Example: ten clients of group A wait, then one of group B. The lock goes to A, to B, and to A again. With one queue
    for all clients, B would get it after ten clients of A.
    """

    def __init__(self) -> None:
        self.waiting: Counter[str] = Counter()
        self._is_held = False
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}  # the group whose turn is next comes first

    @asynccontextmanager
    async def hold(self, group: str) -> AsyncIterator[None]:
        """Wait for the turn of a client of `group`, and hold the lock until the end of the block."""
        self.waiting[group] += 1
        try:
            await self._turn(group)
            try:
                yield
            finally:
                self._pass_on(group)
        finally:
            self.waiting[group] -= 1
            if not self.waiting[group]:
                del self.waiting[group]

    async def _turn(self, group: str) -> None:
        if self._is_held:
            turn = asyncio.get_running_loop().create_future()
            self._queues.setdefault(group, deque()).append(turn)
            await turn
        self._is_held = True

    def _pass_on(self, last: str) -> None:
        """Give the lock to the next group. The group `last`, which held it, goes behind all other groups."""
        self._is_held = False
        if last in self._queues:
            self._queues[last] = self._queues.pop(last)
        while self._queues:
            group, queue = next(iter(self._queues.items()))
            turn = queue.popleft()
            if not queue:
                del self._queues[group]
            if not turn.done():  # a client that was cancelled at the end of the server has left its place
                self._is_held = True
                turn.set_result(None)
                return
