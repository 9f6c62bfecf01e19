"""What a ledger tells the gauges: plain facts about the runs of one transform.

Pure, as the ledger is.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.counting.run_kinds import RunKind
from exporter.model.task_run import TaskRun


@dataclass(slots=True)
class LatestRun:
    """The newest facts about one task type; times are UTC seconds, None until there is one.

    Only the reading that made its own copy changes it; what a ledger or a view holds stays as it is.
    """

    start: float | None = None
    run: int | None = None
    status: str | None = None
    success: float | None = None
    failed: float | None = None
    timeout: float | None = None
    finish: float | None = None
    execution: float | None = None

    def note(self, run: TaskRun, fingerprint: int, *, final: bool) -> None:
        """Take ``run`` into account, which is ``final`` or is not."""
        started, completed = run.started, run.completed
        if started is not None and (self.start is None or started >= self.start):
            self.start, self.run = started, fingerprint
        if fingerprint == self.run:
            self.status = run.status
        if completed is None or not final:
            return
        if self.finish is None or completed >= self.finish:
            self.finish, self.execution = completed, run.execution
        status = run.status
        if status == "SUCCEEDED":
            if self.success is None or completed > self.success:
                self.success = completed
        elif status == "FAILED":
            if self.failed is None or completed > self.failed:
                self.failed = completed
        elif status == "TIMEOUT" and (self.timeout is None or completed > self.timeout):
            self.timeout = completed


@dataclass(frozen=True, slots=True)
class GaugeValues:
    """What the gauges show: an immutable picture of the ledger after a poll."""

    runs: Mapping[RunKind, int]
    """Runs started within the lookback, by present status; every documented pair is there."""
    latest: Mapping[str, LatestRun]
    oldest_active: Mapping[str, float]
    """StartedOn of the oldest unfinished run, by task type."""
