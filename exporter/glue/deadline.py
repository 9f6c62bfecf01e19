"""A deadline for each call to AWS, over credentials, connections, answers and retries.

botocore limits the wait for a connection and for each part of an answer. Nothing limits an answer that comes one byte
a second, a process that prints credentials, or a file on a network that hangs. Therefore each call runs in a thread of
its own. When its time is over, the caller gets an error at once. The connection of the call is shut down and its
process is killed, so that the thread ends soon. If the thread hangs nevertheless, it is let go.
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

from exporter.glue.error_table import too_late
from exporter.glue.threads import ThreadPool

MAX_LET_GO = 4
"""If so many threads of one account and region were let go and have not ended, no further call is begun."""

CREDENTIALS, ANSWER = "credentials", "answer"
"""The stages of a call: its credentials are loaded and it is signed; it is sent and its answer is read."""

MIN_WAIT = 0.05
"""Shortest wait for the end of a call, in seconds. The time of a call can stand still just before its end."""

T = TypeVar("T")


class Call:
    """The time and the state of one call. Its thread changes it; the caller only reads the time and may `interrupt`.

    Waiting for the rate limit, and between two attempts, does not count: `pause` stops the time and `resume` starts it.
    A call begins with its time stopped.
    """

    def __init__(self, limit: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        """``limit`` is in seconds; ``clock`` returns monotonic seconds."""
        self.limit = limit
        self.stage = CREDENTIALS
        self.expired = False
        """Whether the caller has given up."""
        self.secrets: Sequence[str] = ()
        """The secrets in the headers of the last request. An answer may return them."""
        self._clock = clock
        self._lock = threading.Lock()
        self._spent = 0.0
        self._since: float | None = None
        self._cut: Callable[[], None] | None = None

    def resume(self, stage: str) -> None:
        """Let the time run from now on, in this stage. Raises `GlueError` if the call has expired."""
        self.check()
        with self._lock:
            self.stage = stage
            if self._since is None:
                self._since = self._clock()

    def pause(self) -> None:
        """Stop the time."""
        with self._lock:
            if self._since is not None:
                self._spent += self._clock() - self._since
                self._since = None

    def left(self) -> float:
        """Return the time that is left, in seconds."""
        with self._lock:
            running = 0.0 if self._since is None else self._clock() - self._since
            return self.limit - self._spent - running

    def check(self) -> None:
        """Raise `GlueError` if the call has expired. A thread that was let go must not begin anything else."""
        if self.expired:
            raise too_late(self.stage, self.limit)

    def on_interrupt(self, cut: Callable[[], None] | None) -> None:
        """Call ``cut`` from another thread when the call expires, at once if it has expired; None: nothing to cut."""
        with self._lock:
            self._cut = cut
            expired = self.expired
        if expired and cut is not None:
            cut()

    def interrupt(self) -> None:
        """End the call: cut the wait that is going on, and let every later step fail."""
        with self._lock:
            self.expired = True
            cut = self._cut
        if cut is not None:
            cut()


_thread = threading.local()
_UNLIMITED = Call(float("inf"))


def current_call() -> Call:
    """Return the call of this thread, or a call without limit if the thread runs none."""
    call: Call = getattr(_thread, "call", _UNLIMITED)
    return call


class _Result(Generic[T]):
    """What a call has returned or raised, once `ended` is set."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.value: T
        self.error: BaseException | None = None


class Deadline:
    """Runs the calls of one account and region, each with a limit."""

    def __init__(self, seconds: float, threads: ThreadPool) -> None:
        """Take the limit of a call in seconds, and the threads that run the calls."""
        self._seconds = seconds
        self._threads = threads
        self._lock = threading.Lock()
        self._running: set[Call] = set()
        self._let_go: set[Call] = set()

    def run(self, work: Callable[[], T]) -> T:
        """Return the result of ``work``, or raise its exception.

        Raises `GlueError` with reason "timeout" or "credentials" when the limit has passed, or at once if `MAX_LET_GO`
        earlier calls hang. If the system allows no more threads, the work runs in this thread without a limit.
        """
        call, result = Call(self._seconds), _Result[T]()
        with self._lock:
            if len(self._let_go) >= MAX_LET_GO:
                raise too_late(next(iter(self._let_go)).stage, self._seconds, hanging=len(self._let_go))
            self._running.add(call)
        if not self._threads.run(partial(self._work, call, work, result)):
            self._work(call, work, result)
        while not result.ended.wait(max(call.left(), MIN_WAIT)):
            if call.left() <= 0:
                late = too_late(call.stage, self._seconds)
                self._give_up(call, result)
                raise late
        if result.error is not None:
            try:
                raise result.error
            finally:
                # The exception has this frame in its traceback. The cycle would keep the answer in memory.
                result.error = None
        return result.value

    def interrupt(self) -> None:
        """End all calls that are running."""
        with self._lock:
            running = [*self._running, *self._let_go]
        for call in running:
            call.interrupt()

    def _give_up(self, call: Call, result: _Result[T]) -> None:
        with self._lock:
            if not result.ended.is_set():
                self._running.discard(call)
                self._let_go.add(call)
        call.interrupt()

    def _work(self, call: Call, work: Callable[[], T], result: _Result[T]) -> None:
        _thread.call = call
        try:
            result.value = work()
        except BaseException as error:  # the caller raises it
            result.error = error
        finally:
            del _thread.call
            with self._lock:
                result.ended.set()
                self._running.discard(call)
                self._let_go.discard(call)
