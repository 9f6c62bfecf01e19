"""The requests of GetMLTaskRuns for `runs`. Glue filters and sorts; this module only stops at the limit."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from exporter.cli.options import RunsOptions
from exporter.glue.client import GlueClients
from exporter.glue.decode import Record
from exporter.model.task_run import ACTIVE_STATUSES
from exporter.model.transform import Target

_OLDEST_FIRST = {"Column": "STARTED", "SortDirection": "ASCENDING"}


class LimitedPage(NamedTuple):
    """Runs of a transform. `truncated` is True if there are more runs than the limit allows."""

    runs: list[Record]
    truncated: bool = False


class RunQuery:
    """Reads the runs of transforms that match the options. Every method raises `GlueError` when a call to AWS fails."""

    def __init__(self, options: RunsOptions, clients: GlueClients, *, page_size: int, now: float) -> None:
        """Build filter and sort order.

        Args:
            options: filter and sort order, with the values of GetMLTaskRuns.
            clients: the clients that make the calls.
            page_size: runs for each request, 1 to 1000.
            now: UTC seconds to which relative times (`2h ago`) refer.
        """
        self._clients = clients
        self._page_size = page_size
        after, before = options.started_after, options.started_before
        criteria = {
            "TaskRunType": options.type,
            "Status": options.status,
            "StartedAfter": after and _date(after.at(now)),
            "StartedBefore": before and _date(before.at(now)),
        }
        self._criteria: dict[str, Any] = {name: value for name, value in criteria.items() if value is not None}
        self._sort = {
            "Column": options.sort,
            "SortDirection": "DESCENDING" if options.descending else "ASCENDING",
        }

    def pages(self, target: Target, limit: int) -> Iterator[LimitedPage]:
        """Yield the runs in the requested order, `limit` runs at most; 0 means all."""
        # The request asks for one run more than the limit, which shows whether there are more runs.
        size = min(self._page_size, limit + 1) if limit else self._page_size
        left = limit
        for runs in self._read(target, self._criteria, self._sort, size):
            if limit and len(runs) > left:
                yield LimitedPage(runs[:left], truncated=True)
                return
            left -= len(runs)
            yield LimitedPage(runs)

    def started_since(self, target: Target, start: float) -> Iterator[list[Record]]:
        """Yield the matching runs that started after `start` (UTC seconds), page by page, the oldest first."""
        after = max(_date(start), self._criteria.get("StartedAfter", _date(start)))
        return self._read(target, {**self._criteria, "StartedAfter": after}, _OLDEST_FIRST, self._page_size)

    def oldest_active(self, target: Target) -> float | None:
        """Return the start (UTC seconds) of the oldest run of any type that has not ended; None if all have ended."""
        starts = []
        for status in ACTIVE_STATUSES:
            page = next(self._read(target, {"Status": status}, _OLDEST_FIRST, 1), [])
            starts += [run["StartedOn"] for run in page if isinstance(run.get("StartedOn"), int | float)]
        return min(starts, default=None)

    def _read(
        self, target: Target, criteria: dict[str, Any], sort: dict[str, str], page_size: int
    ) -> Iterator[list[Record]]:
        glue = self._clients.client_for(target.lane)
        return glue.task_run_records(target.id, criteria=criteria, sort=sort, page_size=page_size)


def _date(seconds: float) -> datetime:
    return datetime.fromtimestamp(max(seconds, 0.0), UTC)
