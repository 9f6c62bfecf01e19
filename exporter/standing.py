"""How a transform stands, as a person asks it: does it answer, does it fail, what runs, what comes next.

Made of what the polls have published; every part is immutable, so any thread may read it while polls go on.
"""

from dataclasses import dataclass
from enum import Enum

from exporter.metrics import Picture
from exporter.recent import RecentRun
from exporter.runs import FAILURES, STATUSES, TaskRun
from exporter.targets import Target

_ACTIVE = STATUSES[:3]


class Condition(Enum):
    """What there is to worry about, the worst first."""

    DOWN = "Down"
    """The last poll failed: what is shown may be old."""
    FAILING = "Failing"
    """Of some task type the latest run that ended well is older than one that did not."""
    WAITING = "Waiting"
    """It has not been polled yet."""
    OK = "OK"


@dataclass(frozen=True, slots=True)
class Standing:
    """One watched transform."""

    target: Target
    picture: Picture | None
    """What metrics show of it; None before the first poll."""
    recent: tuple[RecentRun, ...]
    """Its newest runs, the newest first."""
    due: float | None
    """When it is polled next (monotonic seconds), None while it is being polled."""

    @property
    def name(self) -> str:
        """The name by which it is shown."""
        return self.picture.name if self.picture else self.target.name or self.target.id

    @property
    def condition(self) -> Condition:
        """What there is to worry about."""
        if self.picture is None or self.picture.poll is None:
            return Condition.WAITING
        if not self.picture.poll.up:
            return Condition.DOWN
        return Condition.FAILING if self.failing_types else Condition.OK

    @property
    def failing_types(self) -> list[str]:
        """The task types with a failure or timeout later than their last success."""
        latest = self.picture.latest if self.picture else {}
        return [
            kind for kind, its in latest.items() if max(its.failed or 0.0, its.timeout or 0.0) > (its.success or 0.0)
        ]

    @property
    def last_success(self) -> float | None:
        """When a run last succeeded (UTC seconds)."""
        latest = self.picture.latest.values() if self.picture else ()
        return max((its.success for its in latest if its.success is not None), default=None)

    @property
    def last_failure(self) -> float | None:
        """When a run last failed or timed out (UTC seconds)."""
        latest = self.picture.latest.values() if self.picture else ()
        return max((time for its in latest for time in (its.failed, its.timeout) if time is not None), default=None)

    @property
    def newest_failure(self) -> TaskRun | None:
        """The newest of its recent runs that failed or timed out."""
        return next((one.run for one in self.recent if one.run.status in FAILURES), None)

    @property
    def oldest_active(self) -> float | None:
        """When the oldest run that has not ended began (UTC seconds)."""
        view = self.picture.view if self.picture else None
        return min(view.oldest_active.values(), default=None) if view else None

    @property
    def by_status(self) -> dict[str, int] | None:
        """How many runs of the lookback have which status, without the zeros; None while nobody knows."""
        if self.picture is None or self.picture.view is None:
            return None
        counts = dict.fromkeys(STATUSES, 0)
        for (_, status), count in self.picture.view.runs.items():
            counts[status] = counts.get(status, 0) + count
        return {status: count for status, count in counts.items() if count}

    @property
    def active(self) -> int | None:
        """How many runs have not ended; None while nobody knows."""
        counts = self.by_status
        return None if counts is None else sum(counts.get(status, 0) for status in _ACTIVE)
