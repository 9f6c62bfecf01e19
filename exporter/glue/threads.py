"""A pool of daemon threads. It begins each piece of work at once, on an idle thread or on a new thread."""

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from exporter.logs import get_logger

IDLE_TIMEOUT = 30.0
"""Seconds after which an idle thread ends."""

WARNING_INTERVAL = 60.0
"""Shortest time between two warnings about missing threads, in seconds."""

log = get_logger(__name__)

Inbox = SimpleQueue[Callable[[], None]]
"""Carries the next work to one thread."""


class ThreadPool:
    """Starts each piece of work immediately, on an idle thread or on a new thread.

    The threads are daemons, so the process can end while a call hangs. A ``concurrent.futures``
    executor would prevent this, because Python waits for its threads at exit.
    """

    def __init__(self, name: str) -> None:
        """Take the name that all its threads have."""
        self._name = name
        self._lock = threading.Lock()
        self._last_warning: float | None = None
        self._idle: list[Inbox] = []
        """The inboxes of the idle threads. The thread that became idle last is used first, so surplus threads end."""

    def run(self, work: Callable[[], None]) -> bool:
        """Begin ``work`` and return at once; return False and log a warning if the system allows no more threads."""
        with self._lock:
            if self._idle:
                inbox = self._idle.pop()
            else:
                inbox = SimpleQueue()
                try:
                    threading.Thread(target=self._serve, args=(inbox,), name=self._name, daemon=True).start()
                except RuntimeError as error:
                    self._warn(error)
                    return False
            inbox.put(work)
            return True

    def _warn(self, error: RuntimeError) -> None:
        now = time.monotonic()
        if self._last_warning is None or now - self._last_warning > WARNING_INTERVAL:
            self._last_warning = now
            log.warning("the system allows no more threads; work is delayed", what=self._name, error=str(error))

    def _serve(self, inbox: Inbox) -> None:
        while True:
            try:
                work = inbox.get(timeout=IDLE_TIMEOUT)
            except Empty:
                with self._lock:
                    # If the inbox is no longer listed as idle, `run` has just put work into it.
                    if inbox in self._idle:
                        self._idle.remove(inbox)
                        return
                continue
            work()
            # A reference kept while the thread is idle would keep the clients of a former configuration in memory.
            del work
            with self._lock:
                self._idle.append(inbox)
