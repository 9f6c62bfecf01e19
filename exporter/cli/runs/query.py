"""What GetMLTaskRuns is asked for on behalf of a person: Glue filters and sorts, here only pages are counted out."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from exporter.cli.options import RunsOptions
from exporter.glue.client import GlueClients
from exporter.glue.decode import Record
from exporter.model.task_run import ACTIVE_STATUSES
from exporter.model.transform import Target

_OLDEST_FIRST = {"Column": "STARTED", "SortDirection": "ASCENDING"}


class Page(NamedTuple):
    """Some runs of a transform, and whether there are more that the limit keeps away."""

    runs: list[Record]
    cut: bool = False


class History:
    """The runs of transforms as the options ask for them. Every method may raise `GlueError`."""

    def __init__(self, options: RunsOptions, clients: GlueClients, *, page_size: int, now: float) -> None:
        """Take the options, the runs per request, and when relative times are counted from (UTC seconds)."""
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

    def first(self, target: Target, limit: int) -> Iterator[Page]:
        """Yield the runs in the order that is asked for, at most ``limit``, 0 for all."""
        # One more than wanted tells whether there are more, without another request.
        size = min(self._page_size, limit + 1) if limit else self._page_size
        left = limit
        for runs in self._pages(target, self._criteria, self._sort, size):
            if limit and len(runs) > left:
                yield Page(runs[:left], cut=True)
                return
            left -= len(runs)
            yield Page(runs)

    def since(self, target: Target, start: float) -> Iterator[list[Record]]:
        """Yield the runs that started after ``start`` (UTC seconds), the oldest first."""
        after = max(_date(start), self._criteria.get("StartedAfter", _date(start)))
        return self._pages(target, {**self._criteria, "StartedAfter": after}, _OLDEST_FIRST, self._page_size)

    def oldest_active(self, target: Target) -> float | None:
        """Return when the oldest run started that has not ended, of whatever type; None if all have."""
        starts = []
        for status in ACTIVE_STATUSES:
            page = next(self._pages(target, {"Status": status}, _OLDEST_FIRST, 1), [])
            starts += [run["StartedOn"] for run in page if isinstance(run.get("StartedOn"), int | float)]
        return min(starts, default=None)

    def _pages(
        self, target: Target, criteria: dict[str, Any], sort: dict[str, str], page_size: int
    ) -> Iterator[list[Record]]:
        glue = self._clients.client_for(target.lane)
        return glue.task_run_records(target.id, criteria=criteria, sort=sort, page_size=page_size)


def _date(seconds: float) -> datetime:
    return datetime.fromtimestamp(max(seconds, 0.0), UTC)
