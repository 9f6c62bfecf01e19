"""The values of counters and histograms are immutable, and an increment returns a new value."""

import pytest

from exporter.counting.counters import Count, Exemplar, Histogram

BOUNDS = (30.0, 60.0)


@pytest.mark.parametrize(
    ("seconds", "counts"),
    [(0.0, (1, 0, 0)), (30.0, (1, 0, 0)), (30.001, (0, 1, 0)), (60.0, (0, 1, 0)), (60.001, (0, 0, 1))],
)
def test_an_upper_bound_belongs_to_its_own_bucket(seconds: float, counts: tuple[int, ...]) -> None:
    """An observation equal to an upper bound is counted in the bucket of that bound, because ``le`` means <=."""
    assert Histogram.empty(BOUNDS).plus(Exemplar("tsk-1", seconds, None), BOUNDS).counts == counts


def test_a_histogram_keeps_the_newest_exemplar_of_each_bucket() -> None:
    """The exemplar of a bucket is the last run that it observed, and the sum includes all observations."""
    first, second, third = (Exemplar(f"tsk-{n}", value, 100.0 + n) for n, value in enumerate((10.0, 50.0, 20.0)))
    histogram = Histogram.empty(BOUNDS)
    for exemplar in (first, second, third):
        histogram = histogram.plus(exemplar, BOUNDS)
    assert histogram == Histogram((2, 1, 0), 80.0, (third, second, None))


def test_an_observation_does_not_change_the_histogram_before_it() -> None:
    """`Histogram.plus` returns a new histogram and does not change the old one."""
    before = Histogram.empty(BOUNDS)
    before.plus(Exemplar("tsk-1", 1.0, None), BOUNDS)
    assert before == Histogram.empty(BOUNDS)


def test_an_increment_without_an_exemplar_keeps_the_last_one() -> None:
    """A counter that is incremented without an exemplar keeps the exemplar of the increment before."""
    named = Count().plus_one(Exemplar("tsk-1", 1.0, None))
    assert named.plus_one(None) == Count(2, Exemplar("tsk-1", 1.0, None))
