"""Runs blocking functions beside the event loop."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class Workers:
    """Runs blocking functions in threads, at most `limit` at once. More wait in order of their calls.

    `asyncio.to_thread` is not used: the interpreter joins the threads of an executor at exit, so one call that hangs
    would keep the process from ending. These are daemon threads. To start one takes about 50 µs, which is little beside
    the work done in it.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._slots = asyncio.Semaphore(limit)

    async def run(self, function: Callable[[], T]) -> T:
        """Return the result of `function`, or raise its exception.

        If the caller is cancelled, the function still runs to its end and the result is discarded.
        """
        async with self._slots:
            result: Future[T] = Future()
            result.set_running_or_notify_cancel()
            threading.Thread(target=_run, args=(function, result), name=self._name, daemon=True).start()
            return await asyncio.wrap_future(result)


def _run(function: Callable[[], T], result: Future[T]) -> None:
    try:
        result.set_result(function())
    except Exception as error:  # every exception is raised to the caller of Workers.run
        result.set_exception(error)
