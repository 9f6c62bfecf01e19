"""The values of one transform's gauges: its newest runs, and the number of runs of each kind.

This module does not read a clock, use the network or take a lock.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.counting.run_kinds import RunKind
from exporter.model.failure_reasons import LONGEST_ERROR
from exporter.model.task_run import TaskRun


@dataclass(slots=True)
class LatestRun:
    """The newest times and values of one task type. A time is in UTC seconds, or None before the first such run.

    Only a `Reading` calls `update`, and only on its own copy. The objects in a ledger and in `GaugeValues` never
    change, so any thread may read them.
    """

    # The field names are keys of the JSON in the state file (table ``transform``, column ``latest``).
    start: float | None = None
    """StartedOn of the run with the latest start."""
    run: int | None = None
    """Fingerprint of the run with the latest start."""
    status: str | None = None
    """Current status of the run with the latest start."""
    success: float | None = None
    """Latest CompletedOn of the SUCCEEDED runs; ``failed`` and ``timeout`` are the same for FAILED and TIMEOUT."""
    failed: float | None = None
    timeout: float | None = None
    finish: float | None = None
    """CompletedOn of the run with the latest end."""
    execution: float | None = None
    """ExecutionTime in seconds of the run with the latest end."""
    failed_error: str | None = None
    """The first characters of the ErrorString of the run of ``failed``; ``timeout_error`` is the same for TIMEOUT."""
    timeout_error: str | None = None

    def update(self, run: TaskRun, fingerprint: int, *, final: bool) -> None:
        """Update the values from one sanitized run; ``final`` is True if the run has ended."""
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
            # A run that is read again may have got its ErrorString in the meantime.
            if self.failed is None or completed >= self.failed:
                self.failed, self.failed_error = completed, run.error and run.error[:LONGEST_ERROR]
        elif status == "TIMEOUT" and (self.timeout is None or completed >= self.timeout):
            self.timeout, self.timeout_error = completed, run.error and run.error[:LONGEST_ERROR]


@dataclass(frozen=True, slots=True)
class GaugeValues:
    """The values of a transform's gauges after a poll. The object is immutable."""

    runs: Mapping[RunKind, int]
    """Number of runs that started within the lookback, by task type and current status.

    A documented kind without runs has the value 0.
    """
    latest: Mapping[str, LatestRun]
    """The newest values by task type."""
    oldest_active: Mapping[str, float]
    """StartedOn (UTC seconds) of the oldest open run, by task type."""
