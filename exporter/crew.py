"""Threads for work that waits on the network: as many as are busy, and gone when they are not."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

IDLE = 30.0
"""Seconds after which a thread without work ends."""


class Crew:
    """Runs what it is given at once, on an idle thread or a new one.

    The threads are daemons: a call that hangs must not keep the process from ending, which those of
    ``concurrent.futures`` do.
    """

    def __init__(self, name: str) -> None:
        """Take the name that its threads bear."""
        self._name = name
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0

    def run(self, work: Callable[[], None]) -> None:
        """Begin ``work`` without waiting for it."""
        with self._lock:
            if self._idle:
                self._idle -= 1
                self._work.put(work)
                return
        threading.Thread(target=self._serve, args=(work,), name=self._name, daemon=True).start()

    def _serve(self, work: Callable[[], None]) -> None:
        while True:
            work()
            with self._lock:
                self._idle += 1
            try:
                work = self._work.get(timeout=IDLE)
            except Empty:
                with self._lock:
                    # Somebody may have counted on this thread in the very moment when it gave up waiting.
                    if self._work.empty():
                        self._idle -= 1
                        return
                work = self._work.get()
