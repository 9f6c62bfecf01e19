"""The rows of the front page, one for each transform that the filter selects. Problems come first.

A row is rendered only after a poll, an outage or a missed expectation has changed its text. Times such as "5m ago" also
change between two polls. The rendered row therefore has a placeholder for each time, and each request fills in the
times.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from exporter.counting.recent_runs import RecentRun
from exporter.exposition.snapshot import TransformSnapshot
from exporter.model.transform import Lane, Target
from exporter.statuspage.limits import Limits
from exporter.statuspage.outages import Outage
from exporter.statuspage.summary import PROBLEMS, Health, Problem, TransformReport, TransformSummary
from exporter.statuspage.times import PageTime

SHOW_VALUES = ("all", "problems", "active")

TIME_PLACEHOLDER = f"time-{secrets.token_hex(16)}"
"""Marks the positions of the times in a rendered row. It is random, so that no name or error string can contain it."""

_HEALTH_ORDER = {health: position for position, health in enumerate(Health)}


@dataclass(slots=True)
class Row:
    """One transform with its rendered row."""

    target: Target
    snapshot: TransformSnapshot | None
    recent: Sequence[RecentRun]
    summary: TransformSummary
    problems: tuple[Problem, ...]
    """The problems of the summary, without the problem that an outage explains."""
    outage: tuple[Lane, str] | None
    """The outage of its account and region, with its reason."""
    pieces: list[bytes]
    """The HTML between the placeholders."""

    def is_current(self, report: TransformReport, outage: tuple[Lane, str] | None, now: float) -> bool:
        """Return whether the row was made from this report, and nothing has become due since."""
        return (
            self.snapshot is report.snapshot
            and self.recent is report.recent
            and self.target is report.target
            and self.outage == outage
            and now < self.summary.valid_until
        )

    def html(self, due: float | None, page_time: PageTime) -> Iterator[bytes]:
        """Yield the row with its times filled in, in the order of the placeholders in `row.html`.

        `due` is the time of the next poll in monotonic seconds, None while a poll runs.
        """
        summary = self.summary
        times: list[str] = [] if summary.oldest is None else [page_time.since(summary.oldest)]
        times += (page_time.html(summary.success), page_time.html(summary.failure), page_time.html(summary.polled))
        for problem in self.problems:
            if problem.since is not None:
                times.append(page_time.lasting(problem.since, at_least=problem.at_least))
            if problem.expected:
                times.append(page_time.until(due) if problem.due is None else page_time.html(problem.due))
        yield self.pieces[0]
        for time, piece in zip(times, self.pieces[1:], strict=True):
            yield time.encode()
            yield piece


class Rows:
    """The rows of all transforms, kept between requests.

    `render` returns the HTML of one row with a `TIME_PLACEHOLDER` for each time. It is called only for a row whose text
    has changed.
    """

    def __init__(
        self,
        render: Callable[[Target, TransformSummary, Sequence[Problem], Sequence[RecentRun]], str],
        limits: Limits,
    ) -> None:
        self._render = render
        self._limits = limits
        self._rows: dict[str, Row] = {}

    def update(
        self, reports: Iterable[TransformReport], outages: Mapping[Lane, Outage], now: float
    ) -> list[tuple[Row, float | None]]:
        """Return each transform's row and the time of its next poll (monotonic seconds); delete all other rows.

        `now` is in UTC seconds.
        """
        previous_rows, self._rows = self._rows, {}
        reasons = {lane: (lane, outage.reason) for lane, outage in outages.items()}
        rows = []
        for report in reports:
            row, outage = previous_rows.get(report.target.id), reasons.get(report.target.lane)
            if row is None or not row.is_current(report, outage, now):
                row = self._make_row(report, row, outage, now)
            self._rows[report.target.id] = row
            rows.append((row, report.due))
        return rows

    def _make_row(
        self, report: TransformReport, previous: Row | None, outage: tuple[Lane, str] | None, now: float
    ) -> Row:
        if previous is not None and now < previous.summary.valid_until and _only_poll_time_changed(previous, report):
            polled = report.snapshot.poll.succeeded if report.snapshot and report.snapshot.poll else None
            summary = previous.summary._replace(polled=polled)
            return Row(
                report.target, report.snapshot, report.recent, summary, previous.problems, outage, previous.pieces
            )
        summary = report.summary(self._limits, now)
        problems = summary.problems
        if outage is not None:
            problems = tuple(one for one in problems if one.health is not Health.DOWN or one.reason != outage[1])
        if (
            previous is not None
            and previous.recent is report.recent
            and _text_inputs(previous.target, previous.summary, previous.problems)
            == _text_inputs(report.target, summary, problems)
        ):
            pieces = previous.pieces
        else:
            pieces = split_at_times(self._render(report.target, summary, problems, report.recent))
        return Row(report.target, report.snapshot, report.recent, summary, problems, outage, pieces)


def split_at_times(html: str) -> list[bytes]:
    """Return the UTF-8 text between the time placeholders. A lone surrogate from outside becomes "?"."""
    return [piece.encode("utf-8", "replace") for piece in html.split(TIME_PLACEHOLDER)]


def _only_poll_time_changed(previous: Row, report: TransformReport) -> bool:
    """Return whether both polls succeeded and differ only in their time. For most polls this is true."""
    before, after = previous.snapshot, report.snapshot
    if before is None or after is None or before.poll is None or after.poll is None:
        return False
    return (
        before.poll.up
        and after.poll.up
        and previous.recent is report.recent
        and previous.target == report.target
        and after.parts_other_than(before) <= {"poll"}
    )


def _text_inputs(target: Target, summary: TransformSummary, problems: Iterable[Problem]) -> tuple[object, ...]:
    """Return everything that decides the text of a row, except the times and the run strip."""
    timeless = [
        one._replace(since=None if one.since is None else 0.0, due=None if one.due is None else 0.0) for one in problems
    ]
    counts = (summary.counts is None, summary.runs, summary.failed, summary.active, summary.oldest is None)
    return target, summary.name, summary.health, timeless, counts


def path_of(target: Target) -> str:
    """Return the address of a transform's page, relative to the front page."""
    return f"transforms/{quote(target.id, safe='')}"


_SORT_KEYS: dict[str, tuple[Callable[[Row], Any], bool]] = {
    "name": (lambda row: row.summary.name.casefold(), False),
    "account": (lambda row: row.target.lane, False),
    "active": (lambda row: row.summary.oldest, False),
    "runs": (lambda row: row.summary.failed or None, True),
    "success": (lambda row: row.summary.success, False),
    "failure": (lambda row: row.summary.failure, True),
    "polled": (lambda row: row.summary.polled, False),
}
"""The columns by which the table can be sorted, with the value, and whether the highest value comes first."""


def by_problem(row: Row) -> tuple[int, float, str, str]:
    """Return the order of the page without `sort`: the worst state first, and in a state the newest problem or failure.

    A transform that is only part of an outage comes after those that have a problem of their own.
    """
    if row.problems:
        worst = row.problems[0]
        begin = row.summary.failure if worst.health is Health.FAILING else worst.since
        rank, since = _HEALTH_ORDER[worst.health], begin or 0.0
    else:
        rank, since = _HEALTH_ORDER[row.summary.health], 0.0
        if row.summary.health is Health.DOWN:
            rank = _HEALTH_ORDER[Health.WAITING]
    return rank, -since, row.summary.name.casefold(), row.target.id


class RowFilter(NamedTuple):
    """Selects the transforms that contain all `words` and match `show`, and sorts them.

    `show` is one of `SHOW_VALUES`. `sort` is the name of a column, with "-" before it for the reverse of its usual
    order; empty for the worst first.
    """

    words: str
    show: str
    sort: str = ""

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> "RowFilter":
        """Read the parameters `q`, `show` and `sort` of a query string; an unknown value is ignored."""
        show, sort = query.get("show", ""), query.get("sort", "")
        return cls(
            query.get("q", "")[:200].strip(),
            show if show in SHOW_VALUES else "all",
            sort if sort.removeprefix("-") in _SORT_KEYS else "",
        )

    def query(self, **changes: str) -> dict[str, str]:
        """Return the parameters of a link to the page with these changes, without those that have their default."""
        values = {"q": self.words, "show": self.show, "sort": self.sort} | changes
        return {name: value for name, value in values.items() if value and (name, value) != ("show", "all")}

    def sort_link(self, column: str) -> dict[str, str]:
        """Return the parameters of the link in the head of a column: sort by it, or reverse its order."""
        return self.query(sort=f"-{column}" if self.sort == column else column)

    def direction(self, column: str) -> str:
        """Return the value of `aria-sort` for the head of a column; empty if the table is not sorted by it."""
        if self.sort.removeprefix("-") != column:
            return ""
        is_reversed = self.sort.startswith("-")
        return "descending" if _SORT_KEYS[column][1] != is_reversed else "ascending"

    def sorted(self, rows: Iterable[tuple[Row, float | None]]) -> list[tuple[Row, float | None]]:
        """Return the rows in order. Rows without a value come last."""
        in_order = sorted(rows, key=lambda pair: by_problem(pair[0]))
        column = self.sort.removeprefix("-")
        if not column:
            return in_order
        value = _SORT_KEYS[column][0]
        present = [pair for pair in in_order if value(pair[0]) is not None]
        present.sort(key=lambda pair: value(pair[0]), reverse=self.direction(column) == "descending")
        return present + [pair for pair in in_order if value(pair[0]) is None]

    def matches(self, row: Row) -> bool:
        """Return whether the filter selects this row."""
        if self.show == "problems" and row.summary.health not in PROBLEMS:
            return False
        if self.show == "active" and not row.summary.active:
            return False
        return not self.words or _contains_all(row, self.words.casefold().split())


def _contains_all(row: Row, words: Iterable[str]) -> bool:
    target, summary = row.target, row.summary
    searched = (summary.name, target.id, *target.lane, summary.health.value, *target.labels.values())
    text = "\n".join(searched).casefold()
    return all(word in text for word in words)


class StatusCounts(NamedTuple):
    """The numbers of transforms in the tiles above the table."""

    all: int
    by_health: Mapping[Health, int]
    """Number of transforms in each state that is a problem."""
    active: int
    """Number of transforms with at least one active run."""
    runs: int
    """Number of active runs of all transforms."""

    @classmethod
    def of(cls, summaries: Sequence[TransformSummary]) -> "StatusCounts":
        """Count the transforms."""
        healths = Counter(summary.health for summary in summaries)
        active = [summary.active for summary in summaries if summary.active]
        return cls(
            len(summaries),
            {health: healths[health] for health in PROBLEMS if healths[health]},
            len(active),
            sum(active),
        )

    @property
    def problems(self) -> int:
        """The number of transforms with a problem."""
        return sum(self.by_health.values())

    @property
    def title(self) -> str:
        """The state of all transforms in a few words, for the window title."""
        return ", ".join(f"{count} {health.value.lower()}" for health, count in self.by_health.items()) or "All OK"
