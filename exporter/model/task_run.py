"""One task run as Glue shows it, whether it has ended, and which of its times are possible.

The fields hold these members of the answer of GetMLTaskRuns (AWS Glue API reference): ``TaskRunId``,
``Properties.TaskType``, ``Status``, ``StartedOn``, ``CompletedOn``, ``ExecutionTime``, ``ErrorString``,
``LogGroupName``.
"""

import math
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
"""The documented statuses (``TaskStatusType``); the last four are final."""

ACTIVE_STATUSES, FINAL_STATUSES = STATUSES[:3], STATUSES[3:]
FAILURES = ("FAILED", "TIMEOUT")

UNKNOWN = "UNKNOWN"
"""The task type or status of a run if the answer has none."""

MAX_CLOCK_SKEW = 900.0
"""Seconds by which a time may lie ahead of the host's clock and still be used.

AWS refuses requests that were signed with a clock further off than this, so a later time is an error, not clock skew.
"""

_MAX_TIME = 1e11
"""The year 5138, in UTC seconds. Glue has no run this late, and the state file has no room for a later time."""

_ACTIVE = frozenset(ACTIVE_STATUSES)
_FINAL = frozenset(FINAL_STATUSES)


class TaskRun(NamedTuple):
    """One run. Times are UTC seconds since 1970. A value that the answer does not have is None."""

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
        """Whether the run has ended. A run with an undocumented status has ended if it has a CompletedOn."""
        return self.status in _FINAL or (self.completed is not None and self.status not in _ACTIVE)

    @property
    def effective_time(self) -> float | None:
        """The start of the run (UTC seconds), or its end if the start is missing or impossible, or None.

        The age of a run is computed from it. Unlike `sanitized`, it does not use the host's clock, because a clock that
        jumps must not change which runs count as new.
        """
        started, completed = self.started, self.completed
        if started is not None and 0 < started < _MAX_TIME:
            return started
        if completed is not None and 0 < completed < _MAX_TIME:
            return completed
        return None

    @property
    def duration(self) -> float | None:
        """Wall-clock seconds from start to completion, including waiting; None if unknown or negative."""
        if self.started is None or self.completed is None or self.completed < self.started:
            return None
        return self.completed - self.started


class Properties(NamedTuple):
    """The input, output and job of a run (``TaskRunProperties``). A value that the answer does not have is None."""

    input_path: str | None = None
    """``InputS3Path`` of an IMPORT_LABELS run."""
    replace: bool | None = None
    """``Replace`` of an IMPORT_LABELS run: whether the labels replace the former ones."""
    output_path: str | None = None
    """``OutputS3Path`` of an EXPORT_LABELS or LABELING_SET_GENERATION run."""
    job_id: str | None = None
    """``JobId`` of a FIND_MATCHES run; the next two are ``JobName`` and ``JobRunId``."""
    job_name: str | None = None
    job_run_id: str | None = None


NO_PROPERTIES = Properties()


@dataclass(slots=True, eq=False)
class RunPage:
    """The runs of one answer, in its order.

    The values that the ledger reads of every run are in columns. A `TaskRun` and its `Properties` are created only when
    they are requested, because a first scan of a million runs needs few of them.
    """

    ids: Sequence[str]
    kinds: Sequence[tuple[str, str]]
    """Task type and status of each run."""
    starts: Sequence[float | None]
    """UTC seconds, as are ``ends``."""
    ends: Sequence[float | None]
    run_at: Callable[[int], TaskRun]
    """Returns the run at a position, counted from 0."""
    properties_of: Callable[[int], Properties]
    """Returns the properties of the run at a position."""

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
    """Return the run with its impossible times replaced by None; ``now`` is UTC seconds.

    A time is impossible before 1970 and more than ``MAX_CLOCK_SKEW`` after ``now``. An execution time is impossible if
    it is negative or infinite. If such times were used, a start in the year 2100 would be the latest for decades.
    """
    latest = now + MAX_CLOCK_SKEW
    started, completed, execution = run.started, run.completed, run.execution
    if (
        (started is None or 0 < started <= latest)
        and (completed is None or 0 < completed <= latest)
        and (execution is None or 0 <= execution < math.inf)
    ):
        return run
    return run._replace(
        started=started if started is not None and 0 < started <= latest else None,
        completed=completed if completed is not None and 0 < completed <= latest else None,
        execution=execution if execution is not None and 0 <= execution < math.inf else None,
    )
