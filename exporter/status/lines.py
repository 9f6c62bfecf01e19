"""The lines of the front page, one per transform: chosen by a filter, the worst first.

A line is rendered when a poll has changed what it says, with gaps where times go; they alone are filled at each look.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote

from exporter.metrics import Picture
from exporter.recent import RecentRun
from exporter.standing import Condition, Standing, Summary
from exporter.status.times import Moment
from exporter.targets import Target

SHOWS = ("all", "problems", "active")
PROBLEMS = (Condition.DOWN, Condition.FAILING)

GAP = f"gap-{secrets.token_hex(16)}"
"""Stands for what is put in at each look. Nobody outside can write it into a name or an error string."""

_ORDER = {condition: place for place, condition in enumerate(Condition)}


@dataclass(slots=True)
class Line:
    """What is known of a transform, and its line with gaps."""

    target: Target
    picture: Picture | None
    recent: Sequence[RecentRun]
    summary: Summary
    pieces: list[bytes]

    @property
    def order(self) -> tuple[int, str, str]:
        """The place among the others."""
        return _ORDER[self.summary.condition], self.summary.name.casefold(), self.target.id

    def shows(self, standing: Standing) -> bool:
        """Whether this is the standing's own line still."""
        return self.picture is standing.picture and self.recent is standing.recent and self.target is standing.target

    def html(self, due: float | None, moment: Moment) -> Iterator[bytes]:
        """Fill the gaps, in the order that they have in the template."""
        its = self.summary
        times: list[str] = [] if its.oldest is None else [moment.since(its.oldest)]
        times += (moment.html(its.success), moment.html(its.failure), moment.html(its.polled), moment.until(due))
        if its.trouble is not None and its.trouble.when is not None:
            times.append(moment.html(its.trouble.when))
        yield self.pieces[0]
        for time, piece in zip(times, self.pieces[1:], strict=True):
            yield time.encode()
            yield piece


class Lines:
    """The lines of all transforms; ``render`` makes one, with a `GAP` for each time, where it has to be made anew."""

    def __init__(self, render: Callable[[Target, Summary, Sequence[RecentRun]], str]) -> None:
        self._render = render
        self._lines: dict[str, Line] = {}

    def of(self, standings: Iterable[Standing]) -> list[tuple[Line, float | None]]:
        """Return the line of each transform with when it is due; those of others are forgotten."""
        before, self._lines = self._lines, {}
        found = []
        for standing in standings:
            line = before.get(standing.target.id)
            if line is None or not line.shows(standing):
                line = self._line(standing, line)
            self._lines[standing.target.id] = line
            found.append((line, standing.due))
        return found

    def _line(self, standing: Standing, before: Line | None) -> Line:
        summary = standing.summary()
        if (
            before is not None
            and before.recent is standing.recent
            and _words(before.target, before.summary) == _words(standing.target, summary)
        ):
            pieces = before.pieces
        else:
            pieces = pieces_of(self._render(standing.target, summary, standing.recent))
        return Line(standing.target, standing.picture, standing.recent, summary, pieces)


def pieces_of(html: str) -> list[bytes]:
    """Return what lies between the gaps, as it is sent; half a character that came from outside becomes a "?"."""
    return [piece.encode("utf-8", "replace") for piece in html.split(GAP)]


def _words(target: Target, its: Summary) -> tuple[object, ...]:
    """Return all that a line says beside the times and the marks."""
    trouble = its.trouble and (its.trouble.what, its.trouble.when is None, its.trouble.why)
    return target, its.name, its.condition, trouble, its.counts, its.active, its.oldest is None


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
        if self.show == "problems" and line.summary.condition not in PROBLEMS:
            return False
        if self.show == "active" and not line.summary.active:
            return False
        return not self.words or _has_words(line, self.words.casefold().split())


def _has_words(line: Line, words: Iterable[str]) -> bool:
    target, summary = line.target, line.summary
    its = (summary.name, target.id, *target.lane, summary.condition.value, *target.labels.values())
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
        conditions = [summary.condition for summary in summaries]
        active = [summary.active for summary in summaries if summary.active]
        down, failing = (conditions.count(condition) for condition in PROBLEMS)
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
