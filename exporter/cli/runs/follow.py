"""`runs --follow`: find the runs that are new or have changed.

A run that has ended does not change any more. So every later change concerns a run that started after the oldest run
that is active now. The follower reads all runs from that start again and again, and compares them with the last ones.
"""

from exporter.cli.runs.query import RunQuery
from exporter.glue.decode import Record
from exporter.model.transform import Target

OVERLAP = 900.0
"""Seconds before the beginning from which runs are read in any case, because Glue lists some runs late."""


class Follower:
    """Follows one transform from the moment at which the follower is made."""

    def __init__(self, query: RunQuery, target: Target, now: float) -> None:
        """Read the runs as they are at `now` (UTC seconds); none of them is new afterwards.

        Raises:
            GlueError: a call to AWS failed.
        """
        self.target = target
        self.last_error: str | None = None
        """The reason of the last search if it failed. The caller sets it."""
        self._query = query
        oldest = query.oldest_active(target)
        # Times on the wire are whole seconds, and Glue may exclude the second of "started after" itself.
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
