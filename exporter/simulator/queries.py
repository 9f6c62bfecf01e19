"""Filter, sort and page the results of GetMLTaskRuns and of the transform listings.

A run that started exactly at a bound of the filter is not selected. Runs are sorted by the column of Sort, then by
StartedOn, then by TaskRunId. DESCENDING reverses this order. Without Sort the newest run comes first.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from exporter.simulator.run_table import RunTable

_NEWEST_FIRST = {"Column": "STARTED", "SortDirection": "DESCENDING"}
_BY_ID = {"Column": "NAME", "SortDirection": "ASCENDING"}


def find_runs(
    table: RunTable, now: int, request: Mapping[str, Any], offset: int, size: int
) -> tuple[Sequence[int], bool]:
    """Return the rows of one page of the runs that a GetMLTaskRuns request selects, and whether more pages follow."""
    criteria = request.get("Filter") or {}
    sort = request.get("Sort") or _NEWEST_FIRST
    descending = sort["SortDirection"] == "DESCENDING"
    listed = table.between(_bound(criteria, "StartedAfter"), _bound(criteria, "StartedBefore"))
    task_type, status = criteria.get("TaskRunType"), criteria.get("Status")
    by_start = sort["Column"] == "STARTED"
    if by_start and task_type is None and status is None:
        return _slice(listed, offset, size, descending=descending)
    matching: Iterable[int] = reversed(listed) if by_start and descending else listed
    if task_type is not None:
        matching = (row for row in matching if table.task_type(row) == task_type)
    if status is not None:
        matching = (row for row in matching if table.status(row, now) == status)
    if not by_start:
        matching = _sorted(table, now, matching, sort["Column"], descending=descending)
    page = list(islice(matching, offset, offset + size + 1))
    return page[:size], len(page) > size


def _bound(criteria: Mapping[str, Any], name: str) -> int | None:
    value = criteria.get(name)
    return None if value is None else round(value * 1000)


def _slice(listed: Sequence[int], offset: int, size: int, *, descending: bool) -> tuple[Sequence[int], bool]:
    total = len(listed)
    more = offset + size < total
    if not descending:
        return listed[offset : offset + size], more
    page = listed[max(0, total - offset - size) : max(0, total - offset)]
    return page[::-1], more


def _sorted(table: RunTable, now: int, rows: Iterable[int], column: str, *, descending: bool) -> list[int]:
    groups: dict[str, list[int]] = {}
    for row in rows:
        value = table.task_type(row) if column == "TASK_RUN_TYPE" else table.status(row, now)
        groups.setdefault(value, []).append(row)
    ascending = [row for value in sorted(groups) for row in groups[value]]
    return ascending[::-1] if descending else ascending


def find_transforms(records: Iterable[dict[str, Any]], request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the transforms that match the Filter of a listing, sorted by its Sort and then by id."""
    criteria = request.get("Filter") or {}
    sort = request.get("Sort") or _BY_ID
    matching = [record for record in records if _matches(record, criteria)]
    sort_key = _SORT_KEYS[sort["Column"]]
    descending = sort["SortDirection"] == "DESCENDING"
    matching.sort(key=lambda record: (sort_key(record), record["TransformId"]), reverse=descending)
    return matching


def _matches(record: dict[str, Any], criteria: Mapping[str, Any]) -> bool:
    return all(_FILTERS[name](record, wanted) for name, wanted in criteria.items() if name in _FILTERS)


def _before(member: str) -> Callable[[dict[str, Any], Any], bool]:
    return lambda record, wanted: record[member] < wanted


def _after(member: str) -> Callable[[dict[str, Any], Any], bool]:
    return lambda record, wanted: record[member] > wanted


def _equal(member: str) -> Callable[[dict[str, Any], Any], bool]:
    return lambda record, wanted: record.get(member) == wanted


_FILTERS: Mapping[str, Callable[[dict[str, Any], Any], bool]] = {
    "Name": _equal("Name"),
    "TransformType": lambda record, wanted: record["Parameters"]["TransformType"] == wanted,
    "Status": _equal("Status"),
    "GlueVersion": _equal("GlueVersion"),
    "CreatedBefore": _before("CreatedOn"),
    "CreatedAfter": _after("CreatedOn"),
    "LastModifiedBefore": _before("LastModifiedOn"),
    "LastModifiedAfter": _after("LastModifiedOn"),
    "Schema": _equal("Schema"),
}

_SORT_KEYS: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "NAME": lambda record: record["Name"],
    "TRANSFORM_TYPE": lambda record: record["Parameters"]["TransformType"],
    "STATUS": lambda record: record["Status"],
    "CREATED": lambda record: record["CreatedOn"],
    "LAST_MODIFIED": lambda record: record["LastModifiedOn"],
}
