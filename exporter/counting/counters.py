"""The immutable values of counters and histograms.

This module only adds. `Ledger.commit` decides what is added, and is the only code that counts runs. Each addition
returns a new object. Therefore other modules can keep a value without a copy. A counter has changed if its object is
another object than before.
"""

from bisect import bisect_left
from typing import Literal, NamedTuple

from exporter.model.task_run import FINAL_STATUSES, TASK_TYPES

Family = Literal["started", "finished", "execution", "duration"]


class Series(NamedTuple):
    """The key of one counter or histogram of a transform. ``status`` is empty in the family ``started``."""

    family: Family
    task_type: str
    status: str


FIRST_SERIES: frozenset[Series] = frozenset(
    [Series("started", t, "") for t in TASK_TYPES]
    + [Series("finished", t, s) for t in TASK_TYPES for s in FINAL_STATUSES]
)
"""The counters that exist with the value 0 from the first poll on.

The PromQL function ``increase()`` computes the growth since the first sample of a series. If a counter had the value 1
in its first sample, ``increase()`` would not include this first run.
"""


class Exemplar(NamedTuple):
    """The run that caused an increment (OpenMetrics 1.0, "Exemplars").

    ``value`` is 1 for a counter, and the observed seconds for a histogram. ``time`` is CompletedOn in UTC seconds.
    """

    run_id: str
    value: float
    time: float | None


class Count(NamedTuple):
    """The value of a counter, and the last run that incremented the counter."""

    value: int = 0
    exemplar: Exemplar | None = None

    def plus_one(self, exemplar: Exemplar | None) -> "Count":
        """Return the count after one more run. If ``exemplar`` is None, the previous exemplar is kept."""
        return Count(self.value + 1, exemplar or self.exemplar)


class Histogram(NamedTuple):
    """The number and the sum of the observed seconds.

    ``counts`` and ``exemplars`` have one item for each bucket; the last bucket is +Inf. A count includes only the
    observations of its own bucket, so the counts are not cumulative as in the exposition format.
    """

    counts: tuple[int, ...]
    sum: float
    exemplars: tuple[Exemplar | None, ...]

    @classmethod
    def empty(cls, bounds: tuple[float, ...]) -> "Histogram":
        """Return a histogram without observations; ``bounds`` are the ascending upper bounds, without +Inf."""
        buckets = len(bounds) + 1
        return cls((0,) * buckets, 0.0, (None,) * buckets)

    def plus(self, exemplar: Exemplar, bounds: tuple[float, ...]) -> "Histogram":
        """Return the histogram after one more observation, ``exemplar.value``.

        The upper bound of a bucket belongs to the bucket (label ``le``, "less than or equal").
        """
        bucket = bisect_left(bounds, exemplar.value)
        counts, exemplars = list(self.counts), list(self.exemplars)
        counts[bucket] += 1
        exemplars[bucket] = exemplar
        return Histogram(tuple(counts), self.sum + exemplar.value, tuple(exemplars))


Total = Count | Histogram
