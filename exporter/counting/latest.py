"""The newest runs and the current run counts of one transform, for the gauges.

Pure: no clock, no network, no lock.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.counting.run_kinds import RunKind
from exporter.model.task_run import TaskRun


@dataclass(slots=True)
class LatestRun:
    """The newest times and values of one task type. Times are UTC seconds, None while there is none.

    Only a `Reading` calls `update`, on a copy of its own. The objects of a ledger and of `GaugeValues` never change, so
    any thread may read them.
    """

    # The field names are keys of the JSON in the state file (table ``transform``, column ``latest``).
    start: float | None = None
    """StartedOn of the run that started last."""
    run: int | None = None
    """Fingerprint of that run."""
    status: str | None = None
    """Present status of that run."""
    success: float | None = None
    """CompletedOn of the newest SUCCEEDED run; the next two are for FAILED and TIMEOUT."""
    failed: float | None = None
    timeout: float | None = None
    finish: float | None = None
    """CompletedOn of the run that ended last."""
    execution: float | None = None
    """ExecutionTime of the run that ended last, in seconds."""

    def update(self, run: TaskRun, fingerprint: int, *, final: bool) -> None:
        """Update the values from one sanitized run; ``final`` is whether it has ended."""
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
    """The values of a transform's gauges after a poll; immutable."""

    runs: Mapping[RunKind, int]
    """Number of runs started within the lookback, by present status; 0 for a documented kind without runs."""
    latest: Mapping[str, LatestRun]
    """By task type."""
    oldest_active: Mapping[str, float]
    """StartedOn (UTC seconds) of the oldest unfinished run, by task type."""
