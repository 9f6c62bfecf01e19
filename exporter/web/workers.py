"""Blocking work beside the event loop, a few pieces at a time."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class Workers:
    """Runs blocking functions in threads, at most `limit` at once; the others wait their turn in order.

    The threads are daemons of their own, not an executor's: the interpreter joins an executor's threads at its end, so
    one hung call would hold up the exit. Starting a thread takes some 50 µs, little beside what is done here.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._places = asyncio.Semaphore(limit)

    async def run(self, function: Callable[[], T]) -> T:
        """Return what `function` returns, or raise what it raises. If the caller is cancelled, it runs on unheard."""
        async with self._places:
            outcome: Future[T] = Future()
            outcome.set_running_or_notify_cancel()
            threading.Thread(target=_work, args=(function, outcome), name=self._name, daemon=True).start()
            return await asyncio.wrap_future(outcome)


def _work(function: Callable[[], T], outcome: Future[T]) -> None:
    try:
        outcome.set_result(function())
    except Exception as error:  # whatever it is, it belongs to the caller
        outcome.set_exception(error)
