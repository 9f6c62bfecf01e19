"""One task run as Glue tells of it: what it is, whether it has ended, what of it can be believed.

Names follow the GetMLTaskRuns document: ``TaskRunId``, ``Properties.TaskType``, ``Status``, ``StartedOn``,
``CompletedOn``, ``ExecutionTime``, ``ErrorString``, ``LogGroupName``.
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
"""Stands for a task type or a status that the answer leaves out."""

MAX_CLOCK_SKEW = 900.0
"""Seconds by which a time may lie ahead of our clock and still be believed.

AWS refuses requests signed by a clock further off than this, so a later time is no skew but nonsense.
"""

_END_OF_TIME = 1e11
"""The year 5138, in UTC seconds; what lies beyond is no date, and would not fit into the state file."""

_ACTIVE = frozenset(ACTIVE_STATUSES)
_FINAL = frozenset(FINAL_STATUSES)


class TaskRun(NamedTuple):
    """One run. Times are UTC seconds since 1970; whatever the answer left out is None."""

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
        """Whether the run has ended; a status that Glue adds later has ended once there is a CompletedOn."""
        return self.status in _FINAL or (self.completed is not None and self.status not in _ACTIVE)

    @property
    def effective_time(self) -> float | None:
        """UTC seconds that tell how old the run is: its start, else its end; None when neither is a time.

        As Glue has them, even ahead of our clock: which runs are news must not depend on a clock that jumps.
        """
        started, completed = self.started, self.completed
        if started is not None and 0 < started < _END_OF_TIME:
            return started
        if completed is not None and 0 < completed < _END_OF_TIME:
            return completed
        return None

    @property
    def duration(self) -> float | None:
        """Wall-clock seconds from start to completion, waiting included; None when they do not tell."""
        if self.started is None or self.completed is None or self.completed < self.started:
            return None
        return self.completed - self.started


class Properties(NamedTuple):
    """What a run worked on and which job did it (``TaskRunProperties``); None where the answer tells nothing."""

    input_path: str | None = None
    """``InputS3Path`` of an IMPORT_LABELS run."""
    replace: bool | None = None
    """``Replace`` of an IMPORT_LABELS run: whether the labels take the place of those known before."""
    output_path: str | None = None
    """``OutputS3Path`` of an EXPORT_LABELS or LABELING_SET_GENERATION run."""
    job_id: str | None = None
    """This and the next two: the Glue job of a FIND_MATCHES run."""
    job_name: str | None = None
    job_run_id: str | None = None


NO_PROPERTIES = Properties()


@dataclass(slots=True, eq=False)
class RunPage:
    """The runs of one answer, in its order.

    What is asked of all of them comes in columns. A run is made, and its properties are made out, when somebody asks
    for it: of a million runs nobody asks for most.
    """

    ids: Sequence[str]
    kinds: Sequence[tuple[str, str]]
    """Types and statuses."""
    starts: Sequence[float | None]
    ends: Sequence[float | None]
    run_at: Callable[[int], TaskRun]
    """Makes the run at a position, counted from 0."""
    properties_of: Callable[[int], Properties]
    """Makes out the properties of the run at a position."""

    @classmethod
    def of(
        cls, runs: Iterable[TaskRun], properties_of: Callable[[int], Properties] = lambda _: NO_PROPERTIES
    ) -> "RunPage":
        """Return a page of runs that are made already."""
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
        """Return how many runs there are."""
        return len(self.ids)

    def __iter__(self) -> Iterator[TaskRun]:
        """Make one run after the other."""
        return map(self.run_at, range(len(self.ids)))


def sanitized(run: TaskRun, now: float) -> TaskRun:
    """Return the run without the times that cannot be true at ``now`` (UTC seconds).

    A time before 1970 or further ahead than ``MAX_CLOCK_SKEW`` is dropped, so is a negative execution time: a wrong
    time would poison "latest" for years, a missing one is ordinary.
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
