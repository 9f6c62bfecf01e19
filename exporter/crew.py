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
            else:
                # Given to the thread as an argument, its first work would be kept for as long as the thread lives.
                threading.Thread(target=self._serve, name=self._name, daemon=True).start()
            self._work.put(work)

    def _serve(self) -> None:
        while True:
            try:
                work = self._work.get(timeout=IDLE)
            except Empty:
                with self._lock:
                    # Somebody may have counted on this thread in the very moment when it gave up waiting.
                    if self._work.empty():
                        self._idle -= 1
                        return
                continue
            work()
            # An idle thread would keep alive what its last work was about: the clients of a former configuration.
            del work
            with self._lock:
                self._idle += 1
