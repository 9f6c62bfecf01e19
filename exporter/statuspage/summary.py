"""How a transform stands, as a person asks it: does it answer, does it fail, what runs, what comes next.

Made of what the polls have published; every part is immutable, so any thread may read it while polls go on.
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
    """What there is to worry about, the worst first."""

    DOWN = "Down"
    """The last poll failed: what is shown may be old."""
    FAILING = "Failing"
    """Of some task type the latest run that ended well is older than one that did not."""
    WAITING = "Waiting"
    """It has not been polled yet."""
    OK = "OK"


class Problem(NamedTuple):
    """Why a transform is down or failing."""

    what: str
    """The task type and status of the run that failed, empty where the poll did."""
    when: float | None
    """When the run was over (UTC seconds)."""
    why: str
    """What AWS said."""


class Summary(NamedTuple):
    """What there is to tell of a transform in a line; times are UTC seconds."""

    name: str
    health: Health
    problem: Problem | None
    counts: Mapping[str, int] | None
    """How many runs of the lookback have which status, without the zeros; None while nobody knows."""
    active: int | None
    """How many runs have not ended; None while nobody knows."""
    oldest: float | None
    """When the oldest of them began."""
    success: float | None
    """When a run last succeeded."""
    failure: float | None
    """When a run last failed or timed out."""
    polled: float | None
    """When it was last polled well: the age of all the others."""


@dataclass(frozen=True, slots=True)
class TransformReport:
    """One watched transform."""

    target: Target
    snapshot: TransformSnapshot | None
    """What metrics show of it; None before the first poll."""
    recent: tuple[RecentRun, ...]
    """Its newest runs, the newest first."""
    due: float | None
    """When it is polled next (monotonic seconds), None while it is being polled."""

    def summary(self) -> Summary:
        """Return what there is to tell in a line."""
        snapshot = self.snapshot
        if snapshot is None or snapshot.poll is None:
            name = self.target.name or self.target.id if snapshot is None else snapshot.name
            return Summary(name, Health.WAITING, None, None, None, None, None, None, None)
        success = failure = 0.0
        failing = []
        for kind, its in snapshot.latest.items():
            failed, succeeded = _failed(its), its.success or 0.0
            success, failure = max(success, succeeded), max(failure, failed)
            if failed > succeeded:
                failing.append(kind)
        up = snapshot.poll.up
        health = Health.DOWN if not up else Health.FAILING if failing else Health.OK
        counts = None if snapshot.view is None else _counts(snapshot.view.runs)
        return Summary(
            name=snapshot.name,
            health=health,
            problem=None if up and not failing else self._problem(snapshot, snapshot.poll, failing),
            counts=counts,
            active=None if counts is None else sum(counts.get(status, 0) for status in _ACTIVE),
            oldest=None if snapshot.view is None else min(snapshot.view.oldest_active.values(), default=None),
            success=success or None,
            failure=failure or None,
            polled=snapshot.poll.succeeded,
        )

    def _problem(self, snapshot: TransformSnapshot, poll: PollResult, failing: Collection[str]) -> Problem:
        if not poll.up:
            return Problem("", None, poll.trouble or "The poll takes too long.")
        for run, _ in self.recent:
            if run.status in FAILURES and run.task_type in failing:
                return Problem(f"{run.task_type} {run.status}", run.completed, run.error or "No error string.")
        newest = max(failing, key=lambda kind: _failed(snapshot.latest[kind]))
        return Problem(
            f"{newest} failed", _failed(snapshot.latest[newest]), "Newer runs have taken the place of this one."
        )


def _failed(latest: LatestRun) -> float:
    return max(latest.failed or 0.0, latest.timeout or 0.0)


def _counts(runs: Mapping[tuple[str, str], int]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for (_, status), count in runs.items():
        if count:
            counts[status] = counts.get(status, 0) + count
    return counts
