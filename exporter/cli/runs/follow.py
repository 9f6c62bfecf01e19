"""`runs --follow`: find the runs that are new or have changed.

A run that has ended does not change any more. Only runs that are active now and new runs can change later. The follower
therefore reads the runs from the start of the oldest active run on. It reads them again and again, and compares them
with the runs of the previous reading.
"""

from exporter.cli.runs.query import RunQuery
from exporter.glue.decode import Record
from exporter.model.transform import Target

OVERLAP = 900.0
"""Seconds that are subtracted from the earliest start to read, because Glue lists some runs late."""


class Follower:
    """Finds the runs of one transform that are new or change after the follower was made."""

    def __init__(self, query: RunQuery, target: Target, now: float) -> None:
        """Read the runs at `now` (UTC seconds). Later, `changes` does not report these runs as new.

        Raises:
            GlueError: a call to AWS failed.
        """
        self.target = target
        self.last_error: str | None = None
        """Reason of the failure of the last search, None after a success. The caller sets this field."""
        self._query = query
        oldest = query.oldest_active(target)
        # Times in requests are whole seconds, and "StartedAfter" may exclude the given second itself.
        self._start = (now if oldest is None else min(now, oldest)) - OVERLAP - 1
        self._seen: dict[str, Record] = {}
        self.changes()

    def mark_seen(self, runs: list[Record]) -> None:
        """Record that these runs were printed in their present state."""
        self._seen |= {_id(run): run for run in runs}

    def changes(self) -> list[Record]:
        """Return the runs that are new or have changed since the last call, the oldest first.

        Raises:
            GlueError: a call to AWS failed.
        """
        read = {_id(run): run for page in self._query.started_since(self.target, self._start) for run in page}
        changed = [run for run_id, run in read.items() if self._seen.get(run_id) != run]
        self._seen |= read
        return changed


def _id(run: Record) -> str:
    return str(run.get("TaskRunId"))
