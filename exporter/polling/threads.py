"""Threads for work that waits on the network: as many as are busy, and gone when they are not."""

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from exporter.logs import get_logger

IDLE = 30.0
"""Seconds after which a thread without work ends."""

TOLD_EVERY = 60.0
"""Seconds for which nothing more is said of missing threads."""

log = get_logger(__name__)

Inbox = SimpleQueue[Callable[[], None]]
"""Where a thread is given its next work."""


class ThreadPool:
    """Runs what it is given at once, on an idle thread or a new one.

    The threads are daemons: a call that hangs must not keep the process from ending, which those of
    ``concurrent.futures`` do.
    """

    def __init__(self, name: str) -> None:
        """Take the name that its threads bear."""
        self._name = name
        self._lock = threading.Lock()
        self._told: float | None = None
        self._idle: list[Inbox] = []
        """The desks of the threads without work. Who was busy last is given work first: of the threads that a busy
        hour has left, only as many stay as are needed, where taking turns would keep all of them, and none warm."""

    def run(self, work: Callable[[], None]) -> bool:
        """Begin ``work`` without waiting for it; False if the system gives no thread for it, which the log tells."""
        with self._lock:
            if self._idle:
                inbox = self._idle.pop()
            else:
                inbox = SimpleQueue()
                try:
                    threading.Thread(target=self._serve, args=(inbox,), name=self._name, daemon=True).start()
                except RuntimeError as error:
                    self._tell(error)
                    return False
            inbox.put(work)
            return True

    def _tell(self, error: RuntimeError) -> None:
        now = time.monotonic()
        if self._told is None or now - self._told > TOLD_EVERY:
            self._told = now
            log.warning("work waits: the system gives no more threads", what=self._name, error=str(error))

    def _serve(self, inbox: Inbox) -> None:
        while True:
            try:
                work = inbox.get(timeout=IDLE)
            except Empty:
                with self._lock:
                    # Somebody may have put work here in the very moment when this thread gave up waiting.
                    if inbox in self._idle:
                        self._idle.remove(inbox)
                        return
                continue
            work()
            # An idle thread would keep alive what its last work was about: the clients of a former configuration.
            del work
            with self._lock:
                self._idle.append(inbox)
