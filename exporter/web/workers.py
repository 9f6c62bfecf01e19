"""Runs blocking functions in threads, so that the event loop does not wait for them."""

import asyncio
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from exporter.logs import get_logger

_WARNING_INTERVAL = 60.0
"""Shortest time between two warnings about missing threads, in seconds."""

log = get_logger(__name__)

T = TypeVar("T")


class Workers:
    """Runs blocking functions in threads, at most `limit` at once. Further calls wait, and the first of them runs next.

    `asyncio.to_thread` is not used, because the interpreter waits for the threads of an executor at exit. If one call
    hung, the process could not end. This class starts a daemon thread for each call instead. The start of a thread
    takes about 50 µs, which is much less than the time of the call.

    If the system allows no more threads, the event loop itself runs the function: a late answer is better than none.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._slots = asyncio.Semaphore(limit)
        self._next_warning = -math.inf

    async def run(self, function: Callable[[], T]) -> T:
        """Return the result of `function`, or raise its exception.

        If the caller is cancelled, the function still runs to its end and the result is discarded.
        """
        async with self._slots:
            result: Future[T] = Future()
            result.set_running_or_notify_cancel()
            try:
                threading.Thread(target=_run, args=(function, result), name=self._name, daemon=True).start()
            except RuntimeError as error:
                self._warn(error)
                return function()
            return await asyncio.wrap_future(result)

    def _warn(self, error: RuntimeError) -> None:
        now = time.monotonic()
        if now >= self._next_warning:
            self._next_warning = now + _WARNING_INTERVAL
            log.warning("the system allows no more threads; answers are delayed", what=self._name, error=str(error))


def _run(function: Callable[[], T], result: Future[T]) -> None:
    try:
        result.set_result(function())
    except Exception as error:  # every exception is raised to the caller of Workers.run
        result.set_exception(error)
