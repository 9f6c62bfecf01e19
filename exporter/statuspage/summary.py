"""Makes the summary of a transform for the pages: its health, its problem, its active runs and its times.

The summary is made from published snapshots. They are immutable, so a page can be rendered while a poll runs.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from exporter.counting.latest import LatestRun
from exporter.counting.recent_runs import RecentRun
from exporter.exposition.snapshot import PollResult, TransformSnapshot
from exporter.model.task_run import FAILURES, STATUSES
from exporter.model.transform import Target

_ACTIVE = STATUSES[:3]


class Health(Enum):
    """The state of a transform; the worst state comes first."""

    DOWN = "Down"
    """The last poll failed, so the data on the page may be old."""
    FAILING = "Failing"
    """For at least one task type, the latest failed or timed-out run is newer than the latest success."""
    WAITING = "Waiting"
    """The transform has not been polled yet."""
    OK = "OK"


class Problem(NamedTuple):
    """The reason why a transform is down or failing."""

    what: str
    """Task type and status of the failed run; "" if the poll failed."""
    when: float | None
    """The end of the failed run (UTC seconds)."""
    why: str
    """The error text from AWS."""


class TransformSummary(NamedTuple):
    """The contents of one row. Times are UTC seconds, or None if the event is unknown."""

    name: str
    health: Health
    problem: Problem | None
    counts: Mapping[str, int] | None
    """Number of runs in the lookback, for each status that has runs. None before the first successful poll and after
    `stale_after`."""
    active: int | None
    """Number of runs that have not ended; None if `counts` is None."""
    oldest: float | None
    """Start of the oldest active run."""
    success: float | None
    """End of the latest successful run."""
    failure: float | None
    """End of the latest run that failed or timed out."""
    polled: float | None
    """Time of the last successful poll. The other fields describe the runs at this time."""


@dataclass(frozen=True, slots=True)
class TransformReport:
    """All data about one transform that the pages need."""

    target: Target
    snapshot: TransformSnapshot | None
    """The published values, which are also in the metrics; None before the first poll."""
    recent: tuple[RecentRun, ...]
    """The newest runs, the newest first."""
    due: float | None
    """The time of the next poll (monotonic seconds); None while a poll runs."""

    def summary(self) -> TransformSummary:
        """Return the summary for one row."""
        snapshot = self.snapshot
        if snapshot is None or snapshot.poll is None:
            name = self.target.name or self.target.id if snapshot is None else snapshot.name
            return TransformSummary(name, Health.WAITING, None, None, None, None, None, None, None)
        success = failure = 0.0
        failing = []
        for task_type, latest in snapshot.latest.items():
            failed, succeeded = _latest_failure(latest), latest.success or 0.0
            success, failure = max(success, succeeded), max(failure, failed)
            if failed > succeeded:
                failing.append(task_type)
        up = snapshot.poll.up
        gauges = snapshot.gauge_values
        counts = None if gauges is None else _counts_by_status(gauges.runs)
        return TransformSummary(
            name=snapshot.name,
            health=Health.DOWN if not up else Health.FAILING if failing else Health.OK,
            problem=None if up and not failing else self._problem(snapshot, snapshot.poll, failing),
            counts=counts,
            active=None if counts is None else sum(counts.get(status, 0) for status in _ACTIVE),
            oldest=None
            if snapshot.gauge_values is None
            else min(snapshot.gauge_values.oldest_active.values(), default=None),
            success=success or None,
            failure=failure or None,
            polled=snapshot.poll.succeeded,
        )

    def _problem(self, snapshot: TransformSnapshot, poll: PollResult, failing: Collection[str]) -> Problem:
        if not poll.up:
            return Problem("", None, poll.error or "The poll takes too long.")
        for run, _ in self.recent:
            if run.status in FAILURES and run.task_type in failing:
                return Problem(f"{run.task_type} {run.status}", run.completed, run.error or "No error string.")
        newest = max(failing, key=lambda task_type: _latest_failure(snapshot.latest[task_type]))
        return Problem(
            f"{newest} failed",
            _latest_failure(snapshot.latest[newest]),
            "The error string is no longer known, because the run is not among the recent runs.",
        )


def _latest_failure(latest: LatestRun) -> float:
    return max(latest.failed or 0.0, latest.timeout or 0.0)


def _counts_by_status(runs: Mapping[tuple[str, str], int]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for (_, status), count in runs.items():
        if count:
            counts[status] = counts.get(status, 0) + count
    return counts
