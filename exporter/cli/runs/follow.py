"""New and changed runs as they come.

A run that has ended does not change any more. So whatever can be news started after the oldest run that was active when
the following began; from there on everything is read again and again, and compared with what was read before.
"""

from exporter.cli.runs.query import History
from exporter.glue.decode import Record
from exporter.model.transform import Target

OVERLAP = 900.0
"""Seconds before the beginning from which on runs are read at least: some appear late."""


class Follower:
    """Follows one transform from the moment at which it is made."""

    def __init__(self, history: History, target: Target, now: float) -> None:
        """Take the present time (UTC seconds). May raise `GlueError`, as `changes` may."""
        self.target = target
        self.trouble: str | None = None
        """The reason of the failure that was told last, None after a success; the caller's to set."""
        self._history = history
        oldest = history.oldest_active(target)
        # The wire has whole seconds, and "after" may exclude the second itself.
        self._start = (now if oldest is None else min(now, oldest)) - OVERLAP - 1
        self._seen: dict[str, Record] = {}
        self.changes()

    def shown(self, runs: list[Record]) -> None:
        """Note that these runs were shown as they are."""
        self._seen |= {_id(run): run for run in runs}

    def changes(self) -> list[Record]:
        """Return the runs that are new or not what they were, the oldest first."""
        read = {_id(run): run for page in self._history.since(self.target, self._start) for run in page}
        changed = [run for run_id, run in read.items() if self._seen.get(run_id) != run]
        self._seen |= read
        return changed


def _id(run: Record) -> str:
    return str(run.get("TaskRunId"))
