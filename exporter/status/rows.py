"""Standings as the lines of a page: chosen by a filter, the worst first, times in words."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote

from exporter.durations import format_duration
from exporter.moments import ago, stamp
from exporter.standing import Condition, Standing
from exporter.targets import Target

SHOWS = ("all", "problems", "active")
PROBLEMS = (Condition.DOWN, Condition.FAILING)


class Document(NamedTuple):
    """A page and what the browser may do with it."""

    body: bytes
    policy: str
    """Its Content-Security-Policy."""


class Time(NamedTuple):
    """A point in time, absolute and in words."""

    stamp: str
    ago: str


def time_of(seconds: float | None, now: float) -> Time | None:
    """Return UTC seconds as they are shown at ``now``."""
    return None if seconds is None else Time(stamp(seconds), ago(seconds, now))


@dataclass(frozen=True, slots=True)
class Moment:
    """The time of a page, by both clocks, in seconds."""

    utc: float
    monotonic: float

    def until(self, due: float | None) -> str:
        """Return when something is due, in words."""
        if due is None:
            return "now"
        seconds = round(due - self.monotonic)
        return f"in {format_duration(float(seconds))}" if seconds > 0 else "now"


@dataclass(frozen=True, slots=True)
class Row:
    """One transform in the table."""

    standing: Standing
    condition: Condition
    name: str
    path: str
    """Its page, relative to the front page."""
    counts: Mapping[str, int] | None
    active: int | None
    success: Time | None
    failure: Time | None
    data: Time | None
    oldest: Time | None
    """Since when the oldest active run is active."""
    trouble: str
    """Why it is down or failing."""
    next_poll: str

    @property
    def target(self) -> Target:
        """What is watched."""
        return self.standing.target


def row_of(standing: Standing, moment: Moment) -> Row:
    """Return the line of a transform."""
    poll = standing.picture.poll if standing.picture else None
    return Row(
        standing=standing,
        condition=standing.condition,
        name=standing.name,
        path=f"transforms/{quote(standing.target.id, safe='')}",
        counts=standing.by_status,
        active=standing.active,
        success=time_of(standing.last_success, moment.utc),
        failure=time_of(standing.last_failure, moment.utc),
        data=time_of(poll.succeeded if poll else None, moment.utc),
        oldest=time_of(standing.oldest_active, moment.utc),
        trouble=_trouble(standing, moment),
        next_poll=moment.until(standing.due),
    )


def _trouble(standing: Standing, moment: Moment) -> str:
    poll = standing.picture.poll if standing.picture else None
    if poll is not None and not poll.up:
        return poll.trouble or "the last poll takes too long"
    run = standing.newest_failure
    if standing.condition is not Condition.FAILING:
        return ""
    if run is None:
        return f"{', '.join(standing.failing_types)} has not succeeded since it failed"
    ended = "" if run.completed is None else f" {ago(run.completed, moment.utc)}"
    return f"{run.task_type} {run.status}{ended}: {run.error or 'without an error string'}"


class Wanted(NamedTuple):
    """What the reader has asked for: transforms with all of the words, in one of the `SHOWS`."""

    words: str
    show: str

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Wanted":
        """Take the parameters of a query string; what makes no sense asks for nothing."""
        show = query.get("show", "")
        return cls(query.get("q", "")[:200].strip(), show if show in SHOWS else "all")

    def has(self, standing: Standing) -> bool:
        """Whether a transform is asked for."""
        if self.show == "problems" and standing.condition not in PROBLEMS:
            return False
        if self.show == "active" and not standing.active:
            return False
        return not self.words or _has_words(standing, self.words.casefold().split())


def _has_words(standing: Standing, words: Iterable[str]) -> bool:
    target = standing.target
    its = (standing.name, target.id, *target.lane, standing.condition.value, *target.labels.values())
    text = "\n".join(its).casefold()
    return all(word in text for word in words)


def rows_of(standings: Iterable[Standing], wanted: Wanted, moment: Moment) -> list[Row]:
    """Return the lines that are asked for, the worst first."""
    rows = [row_of(standing, moment) for standing in standings if wanted.has(standing)]
    order = {condition: place for place, condition in enumerate(Condition)}
    return sorted(rows, key=lambda row: (order[row.condition], row.name.casefold(), row.target.id))


class Tally(NamedTuple):
    """How many transforms there are of each kind."""

    all: int
    down: int
    failing: int
    active: int
    runs: int
    """Active runs of all transforms."""

    @property
    def problems(self) -> int:
        """How many are down or failing."""
        return self.down + self.failing

    @property
    def words(self) -> str:
        """The shortest summary, for the title of the window."""
        parts = [f"{count} {word}" for count, word in ((self.down, "down"), (self.failing, "failing")) if count]
        return ", ".join(parts) or "All well"


def tally_of(standings: Iterable[Standing]) -> Tally:
    """Count."""
    conditions: Counter[Condition] = Counter()
    active = []
    for standing in standings:
        conditions[standing.condition] += 1
        active.append(standing.active or 0)
    return Tally(
        all=len(active),
        down=conditions[Condition.DOWN],
        failing=conditions[Condition.FAILING],
        active=sum(map(bool, active)),
        runs=sum(active),
    )
