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

from exporter.logs import get_logger
from exporter.polling.threads import ThreadPool

HEARTBEAT = 1.0
"""Seconds within which the scheduler comes round at the latest."""

DEAF_AFTER = 30.0
"""Seconds without a heartbeat after which the scheduler is taken for dead."""

LONGEST_STEP_BACK = 0.1
"""The share of its interval by which a job that has lost its place comes earlier, until it has it again."""

GATHER = 0.05
"""Seconds for which turns are gathered before they begin, and for which a job that is ready waits for a thread at work
before it has one of its own."""

PROCESS_THREADS = 128
"""Threads for sound jobs, shared equally by all lanes. With 200 lanes of which all hang, each lane keeps one thread
for these and one for jobs that went wrong; without this bound there would be 1,800 threads."""

PUNCTUAL = 0.001
"""Seconds before or after its place at which a job is at its place."""

log = get_logger(__name__)


def threads_of_a_lane(concurrency: int, lanes: int) -> int:
    """Return how many jobs of a lane may be under way: ``concurrency``, or fewer where there are many lanes."""
    return min(concurrency, max(1, PROCESS_THREADS // max(1, lanes)))


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
    begun: int = 0
    """How many are under way, or ready for whichever thread is free next."""


class Scheduler:
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
        self._crew = ThreadPool("poll")
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._jobs: set[Job] = set()
        self._turns: list[tuple[float, int, Job]] = []
        self._order = itertools.count()
        self._queues: dict[tuple[Hashable, bool], _Queue] = {}
        self._ready: deque[tuple[_Queue, Job]] = deque()
        self._free = 0
        """How many threads will look for a ready job before they end."""
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
                    self._plan(job, min(job.due, now + _until_place(job, now)))
            for queue in self._queues.values():
                self._release(queue)
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
            # Turns that come close together begin together: to wake up for each costs more than it is worth.
            stop.wait(min(GATHER, self.interval / 10))
            self._wake.wait(max(0.0, min(HEARTBEAT, next_turn - now, cycle_began + self.interval - now)))
            self._wake.clear()

    def _plan(self, job: Job, due: float) -> None:
        job.due = due
        heapq.heappush(self._turns, (due, next(self._order), job))
        if self._turns[0][2] is job:
            # Before all others: `run` waits for one that is later.
            self._wake.set()

    def _begin_turns(self, now: float) -> float:
        """Hand the jobs that are due to their lanes, and see to threads; return when to come round next."""
        with self._lock:
            # Nobody has taken these since the last time: those at work have met something slow.
            self._hire(len(self._ready))
            while self._turns and self._turns[0][0] <= now:
                due, _, job = heapq.heappop(self._turns)
                if job.active and not job.pending and due == job.due:
                    job.pending = True
                    queue = self._queues.setdefault((job.lane, job.sound), _Queue(job.sound))
                    queue.waiting.append(job)
                    self._release(queue)
            if self._ready:
                self._hire(1)
                return now
            return self._turns[0][0] if self._turns else now + HEARTBEAT

    def _release(self, queue: _Queue) -> None:
        """Make jobs of a lane ready, as many as it may have under way."""
        while queue.waiting and queue.begun < (self.threads_per_lane if queue.sound else 1):
            queue.begun += 1
            self._ready.append((queue, queue.waiting.popleft()))

    def _hire(self, threads: int) -> None:
        """See to it that so many threads look for a job, unless they do already.

        If the system gives no more, those at work take what is ready, and it is tried again soon.
        """
        while self._free < threads and self._crew.run(self._serve):
            self._free += 1

    def _serve(self) -> None:
        """Do jobs for as long as some are ready, of whatever lane: a thread at work needs not be woken."""
        while True:
            with self._lock:
                if not self._ready:
                    self._free -= 1
                    return
                queue, job = self._ready.popleft()
                self._free -= 1
            self._end_turn(queue, job, went_well=_done(job))

    def _end_turn(self, queue: _Queue, job: Job, *, went_well: bool) -> None:
        """Plan the job's next turn, and let another one of its lane follow."""
        now = time.monotonic()
        with self._lock:
            self._lag = max(self._lag, now - job.due)
            job.pending = False
            job.sound = went_well
            job.turns += 1
            if job.active:
                self._plan(job, max(job.due + self._step(job), now))
            queue.begun -= 1
            self._release(queue)
            self._free += 1

    def _interval_of(self, job: Job) -> float:
        return max(self.interval, self.idle_interval or 0.0) if job.idle else self.interval

    def _step(self, job: Job) -> float:
        """Return the seconds from the job's last turn to its next, an interval at most.

        In another interval it takes its place first. One that a late turn has moved off it goes back little by little:
        all of them at once, after a slow cycle, would make the next one slow too.
        """
        before, job.rhythm = job.rhythm, self._interval_of(job)
        until_place = _until_place(job, job.due)
        if job.rhythm != before:
            return until_place
        return max(until_place, (1 - LONGEST_STEP_BACK) * job.rhythm)

    def _end_cycle(self, now: float) -> None:
        with self._lock:
            pending = [now - job.due for job in self._jobs if job.pending]
            lag = max([self._lag, *pending])
            self._lag = 0.0
        self._on_cycle(lag, lag > self.interval)


def _until_place(job: Job, now: float) -> float:
    """Return the seconds, more than 0, until the job's place in the interval comes round; intervals begin at 0."""
    seconds = (job.place * job.rhythm - now) % job.rhythm
    return seconds if seconds > PUNCTUAL else seconds + job.rhythm


def _done(job: Job) -> bool:
    """Do the job; whether it went well. A mistake in it costs this turn and no other."""
    try:
        return job.work()
    except Exception:  # whatever it is, the thread has other jobs to do
        log.exception("a poll has met a mistake of this program; please report it")
        return False
