"""Plans when each job is due: once per interval, at the job's own offset. Pure: the present time is an argument.

Times are monotonic seconds, and intervals are counted from the clock's zero. With an interval of 60 s, a job with the
offset 0.25 is due at 15, 75, 135, ...
"""

import heapq
import itertools
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

TOLERANCE = 0.001
"""A job within this many seconds of its offset is treated as exactly there, because sums of floats are not exact."""


@dataclass(slots=True, eq=False)
class Job:
    """Work to do once per interval."""

    work: Callable[[], bool]
    """Does the work; returns whether it went well."""
    lane: Hashable
    """The group of jobs that fail together: for polls, an account and region."""
    offset: float
    """Time within the interval at which the job is due, as a fraction in [0, 1)."""
    due: float = 0.0
    """Due time of the pending turn, or else of the next turn."""
    turns: int = 0
    """Number of turns that have ended since the job was added."""
    pending: bool = False
    """Whether a turn is due and has not ended."""
    healthy: bool = True
    """Whether the last turn went well."""
    idle: bool = False
    """Whether the job runs at the idle interval. The work itself sets this."""
    planned_interval: float = 0.0
    """Interval for which the next turn was planned, in seconds; 0 for the first turn, which is due at once."""
    active: bool = True
    """False after the job was removed. A turn that was pending at that time still ends."""


class Timetable:
    """The due times of all jobs. Not thread-safe: the scheduler holds its lock around every call."""

    def __init__(self, interval: float, idle_interval: float | None) -> None:
        """Take the interval of jobs, and the interval of idle jobs if it is different, in seconds."""
        self.interval = interval
        self.idle_interval = idle_interval
        self.jobs: set[Job] = set()
        self._turns: list[tuple[float, int, Job]] = []
        self._order = itertools.count()

    @property
    def next_due(self) -> float | None:
        """When the next turn is due; None if no turn is planned."""
        return self._turns[0][0] if self._turns else None

    def add(self, job: Job, now: float) -> None:
        """Plan the first turn of a job for now, and later turns at its offset."""
        job.active = True
        self.jobs.add(job)
        if not job.pending:
            job.turns, job.planned_interval = 0, 0.0
            self._plan(job, now)

    def remove(self, job: Job) -> None:
        """Stop planning turns of a job. A pending turn is not interrupted."""
        job.active = False
        self.jobs.discard(job)

    def change_intervals(self, interval: float, idle_interval: float | None, now: float) -> None:
        """Use other intervals from now on. A planned turn comes earlier if the interval of its job is now shorter."""
        self.interval, self.idle_interval = interval, idle_interval
        for job in self.jobs:
            if not job.pending and self._interval_of(job) < job.planned_interval:
                job.planned_interval = self._interval_of(job)
                self._plan(job, min(job.due, now + _until_offset(job, now)))

    def due_jobs(self, now: float) -> Iterator[Job]:
        """Yield each job that is due, and mark the job as pending."""
        while self._turns and self._turns[0][0] <= now:
            due, _, job = heapq.heappop(self._turns)
            # The heap still has the old entries of jobs that were removed or planned again.
            if job.active and not job.pending and due == job.due:
                job.pending = True
                yield job

    def end_turn(self, job: Job, now: float, *, went_well: bool) -> None:
        """Plan the next turn of a job for the next time its offset comes, or for now if that has passed already.

        Example: with an interval of 60 s, a job is due at 15, 75, 135, ... The turn that was due at 15 ends at 100.
        The next turn is due at 100, and the turn after it at 135.
        """
        job.pending, job.healthy = False, went_well
        job.turns += 1
        if job.active:
            job.planned_interval = self._interval_of(job)
            self._plan(job, max(job.due + _until_offset(job, job.due), now))

    def _plan(self, job: Job, due: float) -> None:
        job.due = due
        heapq.heappush(self._turns, (due, next(self._order), job))

    def _interval_of(self, job: Job) -> float:
        return max(self.interval, self.idle_interval or 0.0) if job.idle else self.interval


def _until_offset(job: Job, now: float) -> float:
    """Return the time until the job is at its offset next, in seconds; always more than 0."""
    seconds = (job.offset * job.planned_interval - now) % job.planned_interval
    return seconds if seconds > TOLERANCE else seconds + job.planned_interval
