"""One task run from Glue, and the rules for ended runs and for impossible times.

The fields of `TaskRun` contain these members of the answer of GetMLTaskRuns (AWS Glue API reference): ``TaskRunId``,
``Properties.TaskType``, ``Status``, ``StartedOn``, ``CompletedOn``, ``ExecutionTime``, ``ErrorString``,
``LogGroupName``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

TASK_TYPES = (
    "EVALUATION",
    "LABELING_SET_GENERATION",
    "IMPORT_LABELS",
    "EXPORT_LABELS",
    "FIND_MATCHES",
)
"""The documented task types (``TaskType`` of the Glue service model)."""

STATUSES = ("STARTING", "RUNNING", "STOPPING", "STOPPED", "SUCCEEDED", "FAILED", "TIMEOUT")
"""The documented statuses (``TaskStatusType``). Runs with the last four statuses have ended."""

ACTIVE_STATUSES, FINAL_STATUSES = STATUSES[:3], STATUSES[3:]
FAILURES = ("FAILED", "TIMEOUT")

UNKNOWN = "UNKNOWN"
"""The task type or status of a run if the answer does not contain it."""

MAX_CLOCK_SKEW = 900.0
"""Longest accepted time from the host's clock to a later time in an answer, in seconds.

AWS refuses a signed request if the clock of the host is wrong by more than 15 minutes. Therefore a time that is later
by more than 15 minutes is an error of the answer and not of the clock.
"""

_MAX_TIME = 1e11
"""The year 5138, in UTC seconds. Later times are impossible, and too large for the integers of the state file."""

MAX_EXECUTION = 1e9
"""Longest possible ExecutionTime, in seconds (32 years). A larger number is an error of the answer. Without this limit,
a single run could make the sum of a histogram infinite, and no date could be calculated from its duration."""

_ACTIVE = frozenset(ACTIVE_STATUSES)
_FINAL = frozenset(FINAL_STATUSES)


class TaskRun(NamedTuple):
    """One run. Times are UTC seconds since 1970. A value is None if the answer does not contain it."""

    run_id: str
    task_type: str
    status: str
    started: float | None = None
    completed: float | None = None
    execution: float | None = None
    """Seconds for which the run consumed resources (``ExecutionTime``)."""
    error: str | None = None
    log_group: str | None = None

    @property
    def final(self) -> bool:
        """Whether the run has ended. If its status is undocumented, a run with a CompletedOn has ended."""
        return self.status in _FINAL or (self.completed is not None and self.status not in _ACTIVE)

    @property
    def effective_time(self) -> float | None:
        """The start of the run in UTC seconds. If the start is missing or impossible: the end of the run, or None.

        The ledger computes the age of a run from this time. `sanitized` is not used here, because it depends on the
        host's clock, and a wrong clock must not change which runs are new.
        """
        started, completed = self.started, self.completed
        if started is not None and 0 < started < _MAX_TIME:
            return started
        if completed is not None and 0 < completed < _MAX_TIME:
            return completed
        return None

    @property
    def duration(self) -> float | None:
        """Seconds from the start to the end of the run, including waiting time; None if unknown or negative."""
        if self.started is None or self.completed is None or self.completed < self.started:
            return None
        return self.completed - self.started


class Properties(NamedTuple):
    """The input, output and job of a run (``TaskRunProperties``). A value is None if the answer does not have it."""

    input_path: str | None = None
    """``InputS3Path`` of an IMPORT_LABELS run."""
    replace: bool | None = None
    """``Replace`` of an IMPORT_LABELS run: whether the new labels replace the old labels."""
    output_path: str | None = None
    """``OutputS3Path`` of an EXPORT_LABELS or LABELING_SET_GENERATION run."""
    job_id: str | None = None
    """``JobId`` of a FIND_MATCHES run."""
    job_name: str | None = None
    """``JobName`` of a FIND_MATCHES run."""
    job_run_id: str | None = None
    """``JobRunId`` of a FIND_MATCHES run."""


NO_PROPERTIES = Properties()


class SkippedRun(NamedTuple):
    """A run of an answer that does not have the documented shape."""

    run_id: str
    """Its id; without an id, a text that is the same whenever Glue lists this run."""
    error: str
    """The member with another shape, and the expected shape."""


@dataclass(slots=True, eq=False)
class RunPage:
    """The runs of one answer, in the order of the answer.

    Each attribute from ``ids`` to ``ends`` has one item for each run. `run_at` and `properties_of` create an object for
    one run when they are called. The first poll of a million runs needs only few of these objects.
    """

    ids: Sequence[str]
    kinds: Sequence[tuple[str, str]]
    """The task type and the status of each run."""
    starts: Sequence[float | None]
    """StartedOn of each run in UTC seconds."""
    ends: Sequence[float | None]
    """CompletedOn of each run in UTC seconds."""
    run_at: Callable[[int], TaskRun]
    """Returns the run at a position, counted from 0."""
    properties_of: Callable[[int], Properties]
    """Returns the properties of the run at a position."""
    skipped: Sequence[SkippedRun] = ()
    """The runs that are left out of this page."""

    @classmethod
    def of(
        cls, runs: Iterable[TaskRun], properties_of: Callable[[int], Properties] = lambda _: NO_PROPERTIES
    ) -> "RunPage":
        """Return a page with these runs."""
        runs = tuple(runs)
        return cls(
            ids=[run.run_id for run in runs],
            kinds=[(run.task_type, run.status) for run in runs],
            starts=[run.started for run in runs],
            ends=[run.completed for run in runs],
            run_at=runs.__getitem__,
            properties_of=properties_of,
        )

    def __len__(self) -> int:
        """Return the number of runs."""
        return len(self.ids)

    def __iter__(self) -> Iterator[TaskRun]:
        """Yield the runs in the order of the answer."""
        return map(self.run_at, range(len(self.ids)))


def sanitized(run: TaskRun, now: float) -> TaskRun:
    """Return the run with None instead of impossible times; ``now`` is UTC seconds.

    A time is impossible if it is before 1970, or more than ``MAX_CLOCK_SKEW`` after ``now``. An execution time is
    impossible if it is negative or above ``MAX_EXECUTION``. Example: without this check, a start in the year 2100 would
    remain the latest start until 2100.
    """
    latest = now + MAX_CLOCK_SKEW
    started, completed, execution = run.started, run.completed, run.execution
    if (
        (started is None or 0 < started <= latest)
        and (completed is None or 0 < completed <= latest)
        and (execution is None or 0 <= execution <= MAX_EXECUTION)
    ):
        return run
    return run._replace(
        started=started if started is not None and 0 < started <= latest else None,
        completed=completed if completed is not None and 0 < completed <= latest else None,
        execution=execution if execution is not None and 0 <= execution <= MAX_EXECUTION else None,
    )
