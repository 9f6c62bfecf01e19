"""The lines of the front page, one per transform: chosen by a filter, the worst first.

A line is rendered when a poll has changed what it says, with gaps where times go; they alone are filled at each look.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote

from exporter.counting.recent_runs import RecentRun
from exporter.exposition.snapshot import TransformSnapshot
from exporter.model.transform import Target
from exporter.statuspage.summary import Health, Summary, TransformReport
from exporter.statuspage.times import Moment

SHOWS = ("all", "problems", "active")
PROBLEMS = (Health.DOWN, Health.FAILING)

GAP = f"gap-{secrets.token_hex(16)}"
"""Stands for what is put in at each look. Nobody outside can write it into a name or an error string."""

_ORDER = {health: place for place, health in enumerate(Health)}


@dataclass(slots=True)
class Line:
    """What is known of a transform, and its line with gaps."""

    target: Target
    snapshot: TransformSnapshot | None
    recent: Sequence[RecentRun]
    summary: Summary
    pieces: list[bytes]

    @property
    def order(self) -> tuple[int, str, str]:
        """The place among the others."""
        return _ORDER[self.summary.health], self.summary.name.casefold(), self.target.id

    def shows(self, report: TransformReport) -> bool:
        """Whether this is the standing's own line still."""
        return self.snapshot is report.snapshot and self.recent is report.recent and self.target is report.target

    def html(self, due: float | None, moment: Moment) -> Iterator[bytes]:
        """Fill the gaps, in the order that they have in the template."""
        its = self.summary
        times: list[str] = [] if its.oldest is None else [moment.since(its.oldest)]
        times += (moment.html(its.success), moment.html(its.failure), moment.html(its.polled), moment.until(due))
        if its.problem is not None and its.problem.when is not None:
            times.append(moment.html(its.problem.when))
        yield self.pieces[0]
        for time, piece in zip(times, self.pieces[1:], strict=True):
            yield time.encode()
            yield piece


class Lines:
    """The lines of all transforms; ``render`` makes one, with a `GAP` for each time, where it has to be made anew."""

    def __init__(self, render: Callable[[Target, Summary, Sequence[RecentRun]], str]) -> None:
        self._render = render
        self._lines: dict[str, Line] = {}

    def of(self, reports: Iterable[TransformReport]) -> list[tuple[Line, float | None]]:
        """Return the line of each transform with when it is due; those of others are forgotten."""
        before, self._lines = self._lines, {}
        found = []
        for report in reports:
            line = before.get(report.target.id)
            if line is None or not line.shows(report):
                line = self._line(report, line)
            self._lines[report.target.id] = line
            found.append((line, report.due))
        return found

    def _line(self, report: TransformReport, before: Line | None) -> Line:
        if before is not None and _tells_nothing_new(before, report):
            polled = report.snapshot.poll.succeeded if report.snapshot and report.snapshot.poll else None
            summary = before.summary._replace(polled=polled)
            return Line(report.target, report.snapshot, report.recent, summary, before.pieces)
        summary = report.summary()
        if (
            before is not None
            and before.recent is report.recent
            and _words(before.target, before.summary) == _words(report.target, summary)
        ):
            pieces = before.pieces
        else:
            pieces = pieces_of(self._render(report.target, summary, report.recent))
        return Line(report.target, report.snapshot, report.recent, summary, pieces)


def pieces_of(html: str) -> list[bytes]:
    """Return what lies between the gaps, as it is sent; half a character that came from outside becomes a "?"."""
    return [piece.encode("utf-8", "replace") for piece in html.split(GAP)]


def _tells_nothing_new(before: Line, report: TransformReport) -> bool:
    """Whether a good poll after a good poll has left everything but its own time as it was: nearly every poll does."""
    was, now = before.snapshot, report.snapshot
    if was is None or now is None or was.poll is None or now.poll is None or not (was.poll.up and now.poll.up):
        return False
    return (
        before.recent is report.recent
        and before.target == report.target
        and (was.view, was.latest, was.details) == (now.view, now.latest, now.details)
    )


def _words(target: Target, its: Summary) -> tuple[object, ...]:
    """Return all that a line says beside the times and the marks."""
    problem = its.problem and (its.problem.what, its.problem.when is None, its.problem.why)
    return target, its.name, its.health, problem, its.counts, its.active, its.oldest is None


def path_of(target: Target) -> str:
    """Return the address of a transform's page, relative to the front page."""
    return f"transforms/{quote(target.id, safe='')}"


class Wanted(NamedTuple):
    """What the reader has asked for: transforms with all of the words, in one of the `SHOWS`."""

    words: str
    show: str

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Wanted":
        """Take the parameters of a query string; what makes no sense asks for nothing."""
        show = query.get("show", "")
        return cls(query.get("q", "")[:200].strip(), show if show in SHOWS else "all")

    def has(self, line: Line) -> bool:
        """Whether a transform is asked for."""
        if self.show == "problems" and line.summary.health not in PROBLEMS:
            return False
        if self.show == "active" and not line.summary.active:
            return False
        return not self.words or _has_words(line, self.words.casefold().split())


def _has_words(line: Line, words: Iterable[str]) -> bool:
    target, summary = line.target, line.summary
    its = (summary.name, target.id, *target.lane, summary.health.value, *target.labels.values())
    text = "\n".join(its).casefold()
    return all(word in text for word in words)


class Tally(NamedTuple):
    """How many transforms there are of each kind."""

    all: int
    down: int
    failing: int
    active: int
    runs: int
    """Active runs of all transforms."""

    @classmethod
    def of(cls, summaries: Sequence[Summary]) -> "Tally":
        """Count."""
        conditions = [summary.health for summary in summaries]
        active = [summary.active for summary in summaries if summary.active]
        down, failing = (conditions.count(health) for health in PROBLEMS)
        return cls(len(summaries), down, failing, len(active), sum(active))

    @property
    def problems(self) -> int:
        """How many are down or failing."""
        return self.down + self.failing

    @property
    def words(self) -> str:
        """The shortest summary, for the title of the window."""
        parts = [f"{count} {word}" for count, word in ((self.down, "down"), (self.failing, "failing")) if count]
        return ", ".join(parts) or "All well"
