"""Finished runs whose CompletedOn or ExecutionTime has not come yet.

Glue may show the final status of a run some seconds before these times. The run is counted at once. Its times are
observed in the histograms when they come, and until then the run is looked up at each poll.

This module does not read a clock, use the network or take a lock.
"""

from collections.abc import Mapping
from typing import NamedTuple

from exporter.model.task_run import TaskRun

AWAITED_FOR = 3600.0
"""Time for which a run is looked up, in seconds. Some runs never get an ExecutionTime."""

MAX_INCOMPLETE = 100
"""Maximum number of incomplete runs of a transform. Each may cost one call in a poll."""


class IncompleteRun(NamedTuple):
    """A finished run that lacks a time."""

    # The state file stores the fields in this order.
    run: TaskRun
    """The run as it was counted; its times are added when they come."""
    since: float
    """When it was first seen finished, in UTC seconds by the clock of AWS."""
    counted: bool
    """Whether its finish is counted. If not, its CompletedOn will tell whether it is new."""

    @property
    def lacks_times(self) -> bool:
        """Whether a time is still missing that the metrics need."""
        return self.run.completed is None or (self.counted and self.run.execution is None)

    def plus(self, run: TaskRun) -> "IncompleteRun":
        """Return the run with the times of ``run``, which is the same run. Times that came before are kept."""
        before = self.run
        completed = run.completed if before.completed is None else before.completed
        execution = run.execution if before.execution is None else before.execution
        started = run.started if before.started is None else before.started
        return self._replace(run=before._replace(started=started, completed=completed, execution=execution))


def still_awaited(runs: Mapping[str, IncompleteRun], now: float) -> dict[str, IncompleteRun]:
    """Return the runs to look up at the next poll, by id; ``now`` is UTC seconds by the clock of AWS."""
    awaited = {run_id: one for run_id, one in runs.items() if one.lacks_times and 0 <= now - one.since < AWAITED_FOR}
    if len(awaited) > MAX_INCOMPLETE:
        newest_last = sorted(
            awaited.items(), key=lambda item: (item[1].counted, item[1].since, item[1].run.started or 0)
        )
        awaited = dict(newest_last[-MAX_INCOMPLETE:])
    return awaited
