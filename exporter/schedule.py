"""When each job runs: once per interval, spread over it, and never twice at the same time.

A job that is idle has an interval of its own, which is longer.

A lane (jobs that share a fate) has its own queue and its own share of threads, so one that is slow, throttled or
hanging delays no other. Jobs that went wrong queue apart for a single thread of their lane, so that one that hangs
delays none that does not. Nothing here knows what a job does.
"""

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial

from exporter.crew import Crew
from exporter.logs import get_logger

HEARTBEAT = 1.0
"""Seconds within which the scheduler comes round at the latest."""

DEAF_AFTER = 30.0
"""Seconds without a heartbeat after which the scheduler is taken for dead."""

log = get_logger(__name__)


@dataclass(slots=True, eq=False)
class Job:
    """Something to do once per interval."""

    work: Callable[[], bool]
    """Does it; whether it went well."""
    lane: Hashable
    place: float
    """Where in the interval it has its turn, a fraction in (0, 1]."""
    due: float = 0.0
    """When the turn under way, or the next one, began or begins (monotonic seconds)."""
    turns: int = 0
    pending: bool = False
    """Whether its turn has come and is not over yet."""
    sound: bool = True
    """Whether its last turn went well."""
    idle: bool = False
    """Whether the longer interval will do; the work itself says so."""
    rhythm: float = 0.0
    """The interval for which its turns are planned, 0 before the first."""
    active: bool = True


@dataclass(slots=True)
class _Queue:
    """The jobs of a lane that are sound, or those that are not."""

    sound: bool
    waiting: deque[Job] = field(default_factory=deque)
    threads: int = 0


class Schedule:
    """All jobs and their turns."""

    def __init__(
        self,
        *,
        interval: float,
        idle_interval: float | None,
        threads_per_lane: int,
        on_cycle: Callable[[float, bool], None],
    ) -> None:
        """Take the interval in seconds, that of idle jobs if it is another, and a lane's share of threads.

        ``on_cycle`` is told after each interval how long after it was due the last job had ended, and whether that is
        longer than the interval.
        """
        self.interval = interval
        self.idle_interval = idle_interval
        self.threads_per_lane = threads_per_lane
        self._on_cycle = on_cycle
        self._crew = Crew("poll")
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._jobs: set[Job] = set()
        self._turns: list[tuple[float, int, Job]] = []
        self._order = itertools.count()
        self._queues: dict[tuple[Hashable, bool], _Queue] = {}
        self._lag = 0.0
        self._heartbeat = time.monotonic()

    def add(self, job: Job) -> None:
        """Give the job its first turn now and the next one at its place in the interval."""
        with self._lock:
            job.active = True
            self._jobs.add(job)
            if not job.pending:
                job.turns, job.rhythm = 0, 0.0
                self._plan(job, time.monotonic())

    def remove(self, job: Job) -> None:
        """Give the job no further turn; one under way goes on."""
        with self._lock:
            job.active = False
            self._jobs.discard(job)

    def retime(self, interval: float, idle_interval: float | None, threads_per_lane: int) -> None:
        """Use other intervals and another share of threads from the next turns on."""
        with self._lock:
            self.interval, self.idle_interval, self.threads_per_lane = interval, idle_interval, threads_per_lane
            now = time.monotonic()
            for job in self._jobs:
                if not job.pending and self._interval_of(job) < job.rhythm:
                    job.rhythm = self._interval_of(job)
                    self._plan(job, min(job.due, now + job.rhythm * job.place))
        self._wake.set()

    @property
    def first_turns_over(self) -> bool:
        """Whether every job has had a turn."""
        with self._lock:
            return all(job.turns for job in self._jobs)

    @property
    def alive(self) -> bool:
        """Whether the scheduler still comes round."""
        return time.monotonic() - self._heartbeat < DEAF_AFTER

    def run(self, stop: threading.Event) -> None:
        """Run the jobs until ``stop`` is set; a thread of its own."""
        cycle_began = time.monotonic()
        while not stop.is_set():
            self._heartbeat = now = time.monotonic()
            if now >= cycle_began + self.interval:
                self._end_cycle(now)
                cycle_began = now
            next_turn = self._begin_turns(now)
            self._wake.wait(max(0.0, min(HEARTBEAT, next_turn - now, cycle_began + self.interval - now)))
            self._wake.clear()

    def _plan(self, job: Job, due: float) -> None:
        job.due = due
        heapq.heappush(self._turns, (due, next(self._order), job))
        if self._turns[0][2] is job:
            # Before all others: `run` waits for one that is later.
            self._wake.set()

    def _begin_turns(self, now: float) -> float:
        """Hand the jobs that are due to their lanes; return when the next one is."""
        with self._lock:
            while self._turns and self._turns[0][0] <= now:
                due, _, job = heapq.heappop(self._turns)
                if job.active and not job.pending and due == job.due:
                    job.pending = True
                    queue = self._queues.setdefault((job.lane, job.sound), _Queue(job.sound))
                    queue.waiting.append(job)
                    self._staff(queue)
            return self._turns[0][0] if self._turns else now + HEARTBEAT

    def _staff(self, queue: _Queue) -> None:
        while queue.waiting and queue.threads < self._share(queue):
            queue.threads += 1
            self._crew.run(partial(self._serve, queue, queue.waiting.popleft()))

    def _share(self, queue: _Queue) -> int:
        return self.threads_per_lane if queue.sound else 1

    def _serve(self, queue: _Queue, job: Job) -> None:
        following: Job | None = job
        while following is not None:
            following = self._end_turn(queue, following, went_well=_done(following))

    def _end_turn(self, queue: _Queue, job: Job, *, went_well: bool) -> Job | None:
        """Plan the job's next turn; return the next job of the queue for this thread, if there is one for it."""
        now = time.monotonic()
        with self._lock:
            self._lag = max(self._lag, now - job.due)
            job.pending = False
            job.sound = went_well
            job.turns += 1
            if job.active:
                self._plan(job, max(job.due + self._step(job), now))
            queue.threads -= 1
            following = queue.waiting.popleft() if queue.waiting and queue.threads < self._share(queue) else None
            if following is not None:
                queue.threads += 1
            self._staff(queue)
            return following

    def _interval_of(self, job: Job) -> float:
        return max(self.interval, self.idle_interval or 0.0) if job.idle else self.interval

    def _step(self, job: Job) -> float:
        """Return the seconds from the job's last turn to its next; in another interval it takes its place first."""
        before, job.rhythm = job.rhythm, self._interval_of(job)
        return job.rhythm if job.rhythm == before else job.rhythm * job.place

    def _end_cycle(self, now: float) -> None:
        with self._lock:
            pending = [now - job.due for job in self._jobs if job.pending]
            lag = max([self._lag, *pending])
            self._lag = 0.0
        self._on_cycle(lag, lag > self.interval)


def _done(job: Job) -> bool:
    """Do the job; whether it went well. A mistake in it costs this turn and no other."""
    try:
        return job.work()
    except Exception:  # whatever it is, the thread has other jobs to do
        log.exception("a poll has met a mistake of this program; please report it")
        return False
