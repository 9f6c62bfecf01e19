"""Runs each job when it is due, and never on two threads at the same time.

A lane is a group of jobs that fail together: for polls, an account and region. Each lane has its own queue and its own
share of threads. A slow, throttled or hanging lane therefore does not delay other lanes. Within a lane, jobs whose last
turn failed wait in a second queue with a single thread. A failed job that hangs therefore does not delay healthy jobs.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from exporter.glue.threads import ThreadPool
from exporter.logs import get_logger
from exporter.polling.timetable import Job, Timetable

HEARTBEAT = 1.0
"""Longest time between two rounds of the scheduler, in seconds."""

LONGEST_SILENCE = 600.0
"""Seconds without progress after which a turn counts as stuck, unless `reconfigure` sets another time."""

DEAD_AFTER = 30.0
"""Seconds without a heartbeat after which the scheduler counts as dead."""

GATHER = 0.05
"""Shortest time between two rounds, in seconds. Jobs that become due in this time begin together, which saves wake-ups.
If all threads are busy, a ready job waits for this time before another thread is started."""

PROCESS_THREADS = 128
"""Number of threads for healthy jobs, which all lanes share equally; each lane has at least one.

Example: all of 200 lanes hang. Each lane uses one thread for healthy jobs and one for failed jobs, 400 in total. With 8
threads for the healthy jobs of each lane, there would be 200 * (8 + 1) = 1,800 threads.
"""

log = get_logger(__name__)


def threads_of_a_lane(concurrency: int, lanes: int) -> int:
    """Return the number of healthy jobs of a lane that may run at once: ``concurrency``, or fewer for many lanes."""
    return min(concurrency, max(1, PROCESS_THREADS // max(1, lanes)))


@dataclass(slots=True)
class _Queue:
    """The healthy jobs of a lane, or its failed jobs."""

    healthy: bool
    waiting: deque[Job] = field(default_factory=deque)
    begun: int = 0
    """Number of jobs that are running, or are ready for the next free thread."""


class Scheduler:
    """Runs all jobs. `run` is the loop; each pass through it is a round."""

    def __init__(
        self,
        *,
        interval: float,
        idle_interval: float | None,
        threads_per_lane: int,
        on_cycle: Callable[[float, bool], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the intervals of jobs and of idle jobs in seconds, and how many jobs of a lane may run at once.

        ``on_cycle`` is called after each interval with a delay and a flag. The delay is the longest time from the due
        time of a turn to its end, in seconds. The flag says whether the delay exceeds the interval. ``clock`` gives
        monotonic seconds.
        """
        self._clock = clock
        self._threads_per_lane = threads_per_lane
        self._on_cycle = on_cycle
        self._pool = ThreadPool("poll")
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._next_round = 0.0
        """When the loop wakes up by itself (monotonic seconds)."""
        self._timetable = Timetable(interval, idle_interval)
        self._queues: dict[tuple[Hashable, bool], _Queue] = {}
        self._ready: deque[tuple[_Queue, Job]] = deque()
        self._available = 0
        """Number of threads that look for a ready job next, and end if no job is ready."""
        self._longest_delay = 0.0
        self._heartbeat = self._clock()
        self._longest_silence = LONGEST_SILENCE
        self._progress: dict[int, float] = {}
        """When each turn that is running has made progress last (monotonic seconds), by the id of its thread."""
        self._stuck_logged = False

    def add(self, job: Job) -> None:
        """Run the job now, and then once per interval at its offset."""
        with self._lock:
            self._timetable.add(job, self._clock())
            self._wake_if_early()

    def remove(self, job: Job) -> None:
        """Do not run the job again. A turn that is running is not interrupted."""
        with self._lock:
            self._timetable.remove(job)

    def reconfigure(
        self,
        interval: float,
        idle_interval: float | None,
        threads_per_lane: int,
        longest_silence: float = LONGEST_SILENCE,
    ) -> None:
        """Use other intervals and another share of threads from now on.

        A turn is stuck if it does not call `made_progress` for ``longest_silence`` seconds.
        """
        with self._lock:
            self._longest_silence = longest_silence
            self._threads_per_lane = threads_per_lane
            self._timetable.change_intervals(interval, idle_interval, self._clock())
            for queue in self._queues.values():
                self._make_ready(queue)
        self._wake.set()

    @property
    def first_turns_over(self) -> bool:
        """Whether every job has had a turn."""
        with self._lock:
            return all(job.turns for job in self._timetable.jobs)

    @property
    def alive(self) -> bool:
        """Whether the loop has made a round in the last `DEAD_AFTER` seconds, and no turn is stuck."""
        return self._clock() - self._heartbeat < DEAD_AFTER and not self._is_stuck()

    def made_progress(self) -> None:
        """Record that the turn of this thread goes on. A turn of thousands of calls to AWS is not stuck."""
        if threading.get_ident() in self._progress:
            self._progress[threading.get_ident()] = self._clock()

    def _is_stuck(self) -> bool:
        # `list` of a dict is one step for other threads.
        return self._clock() - min(list(self._progress.values()), default=self._clock()) > self._longest_silence

    def run(self, stop: threading.Event) -> None:
        """Run the jobs until ``stop`` is set; needs a thread of its own."""
        cycle_began = self._clock()
        while not stop.is_set():
            self._heartbeat = now = self._clock()
            self._log_stuck()
            interval = self._timetable.interval
            if now >= cycle_began + interval:
                self._end_cycle(now, interval)
                cycle_began = now
            self.begin_turns(now, latest=min(now + HEARTBEAT, cycle_began + interval))
            stop.wait(min(GATHER, interval / 10))
            self._wake.wait(max(0.0, self._next_round - self._clock()))
            self._wake.clear()

    def begin_turns(self, now: float, *, latest: float) -> None:
        """Make one round: begin the turns that are due, and plan the next round for ``latest`` or earlier."""
        with self._lock:
            # If jobs are still ready since the last round, every thread is busy with a slow job.
            self._start_workers(len(self._ready))
            for job in self._timetable.due_jobs(now):
                queue = self._queues.setdefault((job.lane, job.healthy), _Queue(job.healthy))
                queue.waiting.append(job)
                self._make_ready(queue)
            if self._ready:
                self._start_workers(1)
                self._next_round = now
            else:
                next_due = self._timetable.next_due
                self._next_round = latest if next_due is None else min(latest, next_due)

    def _log_stuck(self) -> None:
        """Log when a turn becomes stuck, because the orchestrator will restart this process."""
        if self._is_stuck() and not self._stuck_logged:
            log.error("a poll does not come to an end, so /-/healthy fails; see whether the state file's disk hangs")
        self._stuck_logged = self._is_stuck()

    def _wake_if_early(self) -> None:
        """Wake up the loop if a turn is due before its next round."""
        next_due = self._timetable.next_due
        if next_due is not None and next_due < self._next_round:
            self._wake.set()

    def _make_ready(self, queue: _Queue) -> None:
        """Make as many jobs of a queue ready as its lane may run at once."""
        while queue.waiting and queue.begun < (self._threads_per_lane if queue.healthy else 1):
            queue.begun += 1
            self._ready.append((queue, queue.waiting.popleft()))

    def _start_workers(self, count: int) -> None:
        """Start threads until ``count`` of them are available.

        If the system allows no more threads, busy threads take the ready jobs later, and the next round tries again.
        """
        while self._available < count and self._pool.run(self._work):
            self._available += 1

    def _work(self) -> None:
        """Run ready jobs of any lane until no job is ready. This saves the wake-up of another thread for each job."""
        while True:
            with self._lock:
                self._available -= 1
                if not self._ready:
                    return
                queue, job = self._ready.popleft()
            self._progress[threading.get_ident()] = self._clock()
            went_well = _run(job)
            del self._progress[threading.get_ident()]
            self._end_turn(queue, job, went_well=went_well)

    def _end_turn(self, queue: _Queue, job: Job, *, went_well: bool) -> None:
        now = self._clock()
        with self._lock:
            self._longest_delay = max(self._longest_delay, now - job.due)
            self._timetable.end_turn(job, now, went_well=went_well)
            self._wake_if_early()
            queue.begun -= 1
            self._make_ready(queue)
            self._available += 1

    def _end_cycle(self, now: float, interval: float) -> None:
        with self._lock:
            pending = [now - job.due for job in self._timetable.jobs if job.pending]
            delay = max([self._longest_delay, *pending])
            self._longest_delay = 0.0
        self._on_cycle(delay, delay > interval)


def _run(job: Job) -> bool:
    """Run the job once; return whether it went well. After an exception, the job runs again at its next turn."""
    try:
        return job.work()
    except Exception:  # a defect in one poll must not end the thread, which other jobs need
        log.exception("a poll failed because of a defect in this program; please report it")
        return False
