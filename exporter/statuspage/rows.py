"""The rows of the front page, one for each transform that the filter selects. Problems come first.

A row is rendered only after a poll has changed its text. Times such as "5m ago" also change between two polls. The
rendered row therefore has a placeholder for each time, and each request fills in the times.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote

from exporter.counting.recent_runs import RecentRun
from exporter.exposition.snapshot import TransformSnapshot
from exporter.model.transform import Target
from exporter.statuspage.summary import Health, TransformReport, TransformSummary
from exporter.statuspage.times import PageTime

SHOW_VALUES = ("all", "problems", "active")
PROBLEMS = (Health.DOWN, Health.FAILING)

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
    pieces: list[bytes]
    """The HTML between the placeholders."""

    @property
    def sort_key(self) -> tuple[int, str, str]:
        """The order on the page: by health, then by name without regard to case, then by id."""
        return _HEALTH_ORDER[self.summary.health], self.summary.name.casefold(), self.target.id

    def is_current(self, report: TransformReport) -> bool:
        """Return whether the row was made from this report."""
        return self.snapshot is report.snapshot and self.recent is report.recent and self.target is report.target

    def html(self, due: float | None, page_time: PageTime) -> Iterator[bytes]:
        """Yield the row with its times filled in, in the order of the placeholders in `row.html`.

        `due` is the time of the next poll in monotonic seconds, None while a poll runs.
        """
        summary = self.summary
        times: list[str] = [] if summary.oldest is None else [page_time.since(summary.oldest)]
        times += (page_time.html(summary.success), page_time.html(summary.failure), page_time.html(summary.polled))
        times.append(page_time.until(due))
        if summary.problem is not None and summary.problem.when is not None:
            times.append(page_time.html(summary.problem.when))
        yield self.pieces[0]
        for time, piece in zip(times, self.pieces[1:], strict=True):
            yield time.encode()
            yield piece


class Rows:
    """The rows of all transforms, kept between requests.

    `render` returns the HTML of one row with a `TIME_PLACEHOLDER` for each time. It is called only for a row whose text
    has changed.
    """

    def __init__(self, render: Callable[[Target, TransformSummary, Sequence[RecentRun]], str]) -> None:
        self._render = render
        self._rows: dict[str, Row] = {}

    def update(self, reports: Iterable[TransformReport]) -> list[tuple[Row, float | None]]:
        """Return each transform's row and the time of its next poll (monotonic seconds); delete all other rows."""
        previous_rows, self._rows = self._rows, {}
        rows = []
        for report in reports:
            row = previous_rows.get(report.target.id)
            if row is None or not row.is_current(report):
                row = self._make_row(report, row)
            self._rows[report.target.id] = row
            rows.append((row, report.due))
        return rows

    def _make_row(self, report: TransformReport, previous: Row | None) -> Row:
        if previous is not None and _only_poll_time_changed(previous, report):
            polled = report.snapshot.poll.succeeded if report.snapshot and report.snapshot.poll else None
            summary = previous.summary._replace(polled=polled)
            return Row(report.target, report.snapshot, report.recent, summary, previous.pieces)
        summary = report.summary()
        if (
            previous is not None
            and previous.recent is report.recent
            and _text_inputs(previous.target, previous.summary) == _text_inputs(report.target, summary)
        ):
            pieces = previous.pieces
        else:
            pieces = split_at_times(self._render(report.target, summary, report.recent))
        return Row(report.target, report.snapshot, report.recent, summary, pieces)


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
        and (before.gauge_values, before.latest, before.details) == (after.gauge_values, after.latest, after.details)
    )


def _text_inputs(target: Target, summary: TransformSummary) -> tuple[object, ...]:
    """Return everything that decides the text of a row, except the times and the run strip."""
    problem = summary.problem and (summary.problem.what, summary.problem.when is None, summary.problem.why)
    return target, summary.name, summary.health, problem, summary.counts, summary.active, summary.oldest is None


def path_of(target: Target) -> str:
    """Return the address of a transform's page, relative to the front page."""
    return f"transforms/{quote(target.id, safe='')}"


class RowFilter(NamedTuple):
    """Selects the transforms that contain all `words` and match `show`, which is one of `SHOW_VALUES`."""

    words: str
    show: str

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> "RowFilter":
        """Read the parameters `q` and `show` of a query string; an unknown `show` selects all."""
        show = query.get("show", "")
        return cls(query.get("q", "")[:200].strip(), show if show in SHOW_VALUES else "all")

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
    down: int
    failing: int
    active: int
    """Number of transforms with at least one active run."""
    runs: int
    """Number of active runs of all transforms."""

    @classmethod
    def of(cls, summaries: Sequence[TransformSummary]) -> "StatusCounts":
        """Count the transforms."""
        healths = [summary.health for summary in summaries]
        active = [summary.active for summary in summaries if summary.active]
        down, failing = (healths.count(health) for health in PROBLEMS)
        return cls(len(summaries), down, failing, len(active), sum(active))

    @property
    def problems(self) -> int:
        """The number of transforms that are down or failing."""
        return self.down + self.failing

    @property
    def title(self) -> str:
        """The state of all transforms in a few words, for the window title."""
        parts = [f"{count} {word}" for count, word in ((self.down, "down"), (self.failing, "failing")) if count]
        return ", ".join(parts) or "All OK"
