"""What a counter or a histogram has come to: immutable values that only grow.

A total is replaced, never changed, so whoever holds one (a publication, the state file, a held-back series) may keep it
without a copy, and "has it moved?" is a comparison of identities.
"""

from bisect import bisect_left
from typing import Literal, NamedTuple

from exporter.model.task_run import FINAL_STATUSES, TASK_TYPES

Family = Literal["started", "finished", "execution", "duration"]


class Series(NamedTuple):
    """The name of one counting series of a transform. ``status`` is empty for runs started."""

    family: Family
    task_type: str
    status: str


FIRST_SERIES: frozenset[Series] = frozenset(
    [Series("started", t, "") for t in TASK_TYPES]
    + [Series("finished", t, s) for t in TASK_TYPES for s in FINAL_STATUSES]
)
"""The counters that exist, at 0, from the first poll on: a counter born at 1 is invisible to ``increase()``."""


class Exemplar(NamedTuple):
    """The run behind an increment (OpenMetrics 1.0, "Exemplars"); ``time`` is UTC seconds."""

    run_id: str
    value: float
    time: float | None


class Count(NamedTuple):
    """A counter's value and the newest run that moved it."""

    value: int = 0
    exemplar: Exemplar | None = None

    def plus_one(self, exemplar: Exemplar | None) -> "Count":
        """Return the count after one more run."""
        return Count(self.value + 1, exemplar or self.exemplar)


class Histogram(NamedTuple):
    """A histogram's observations by bucket.

    ``counts`` and ``exemplars`` have one place per upper bound, and one more for +Inf; counts are not cumulative.
    """

    counts: tuple[int, ...]
    sum: float
    exemplars: tuple[Exemplar | None, ...]

    @classmethod
    def empty(cls, bounds: tuple[float, ...]) -> "Histogram":
        """Return a histogram over ``bounds`` (ascending, without +Inf) that has seen nothing."""
        places = len(bounds) + 1
        return cls((0,) * places, 0.0, (None,) * places)

    def plus(self, exemplar: Exemplar, bounds: tuple[float, ...]) -> "Histogram":
        """Return the histogram after observing ``exemplar.value``; bounds are inclusive as ``le`` demands."""
        place = bisect_left(bounds, exemplar.value)
        counts, exemplars = list(self.counts), list(self.exemplars)
        counts[place] += 1
        exemplars[place] = exemplar
        return Histogram(tuple(counts), self.sum + exemplar.value, tuple(exemplars))


Total = Count | Histogram
