"""The value of a counter or a histogram: immutable, and it only grows.

An increment makes a new value. So a publication, the state file and the initial values can all keep a value without
a copy, and one comparison of identities shows whether a counter has changed.
"""

from bisect import bisect_left
from typing import Literal, NamedTuple

from exporter.model.task_run import FINAL_STATUSES, TASK_TYPES

Family = Literal["started", "finished", "execution", "duration"]


class Series(NamedTuple):
    """The key of one counter or histogram of a transform. ``status`` is empty for runs started."""

    family: Family
    task_type: str
    status: str


FIRST_SERIES: frozenset[Series] = frozenset(
    [Series("started", t, "") for t in TASK_TYPES]
    + [Series("finished", t, s) for t in TASK_TYPES for s in FINAL_STATUSES]
)
"""The counters that exist at 0 from the first poll on.

``increase()`` takes the first sample of a series as its base. It would miss the run of a counter that appears at 1.
"""


class Exemplar(NamedTuple):
    """The run that caused an increment (OpenMetrics 1.0, "Exemplars").

    ``value`` is 1 in a counter and the observed seconds in a histogram. ``time`` is CompletedOn in UTC seconds.
    """

    run_id: str
    value: float
    time: float | None


class Count(NamedTuple):
    """The value of a counter and the run that incremented it last."""

    value: int = 0
    exemplar: Exemplar | None = None

    def plus_one(self, exemplar: Exemplar | None) -> "Count":
        """Return the count after one more run; without an exemplar, the last one stays."""
        return Count(self.value + 1, exemplar or self.exemplar)


class Histogram(NamedTuple):
    """The observations of a histogram by bucket, in seconds.

    ``counts`` and ``exemplars`` have one item for each upper bound and one for +Inf. Counts are not cumulative.
    """

    counts: tuple[int, ...]
    sum: float
    exemplars: tuple[Exemplar | None, ...]

    @classmethod
    def empty(cls, bounds: tuple[float, ...]) -> "Histogram":
        """Return a histogram without observations over ``bounds`` (ascending, without +Inf)."""
        buckets = len(bounds) + 1
        return cls((0,) * buckets, 0.0, (None,) * buckets)

    def plus(self, exemplar: Exemplar, bounds: tuple[float, ...]) -> "Histogram":
        """Return the histogram with ``exemplar.value`` observed; a value equal to a bound is in its bucket (``le``)."""
        bucket = bisect_left(bounds, exemplar.value)
        counts, exemplars = list(self.counts), list(self.exemplars)
        counts[bucket] += 1
        exemplars[bucket] = exemplar
        return Histogram(tuple(counts), self.sum + exemplar.value, tuple(exemplars))


Total = Count | Histogram
