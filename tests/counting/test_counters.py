"""Totals: immutable values that only grow."""

import pytest

from exporter.counting.counters import Count, Exemplar, Histogram

BOUNDS = (30.0, 60.0)


@pytest.mark.parametrize(
    ("seconds", "counts"),
    [(0.0, (1, 0, 0)), (30.0, (1, 0, 0)), (30.001, (0, 1, 0)), (60.0, (0, 1, 0)), (60.001, (0, 0, 1))],
)
def test_a_bound_belongs_to_its_bucket(seconds: float, counts: tuple[int, ...]) -> None:
    """An observation equal to an upper bound is counted under it, as "le" says."""
    assert Histogram.empty(BOUNDS).plus(Exemplar("tsk-1", seconds, None), BOUNDS).counts == counts


def test_a_histogram_keeps_the_newest_exemplar_of_each_bucket() -> None:
    """Each bucket remembers the run that it has observed last, and the sum is that of all observations."""
    first, second, third = (Exemplar(f"tsk-{n}", value, 100.0 + n) for n, value in enumerate((10.0, 50.0, 20.0)))
    histogram = Histogram.empty(BOUNDS)
    for exemplar in (first, second, third):
        histogram = histogram.plus(exemplar, BOUNDS)
    assert histogram == Histogram((2, 1, 0), 80.0, (third, second, None))


def test_a_total_is_replaced_and_never_changed() -> None:
    """Whoever holds a total keeps the value that it had."""
    before = Histogram.empty(BOUNDS)
    before.plus(Exemplar("tsk-1", 1.0, None), BOUNDS)
    assert before == Histogram.empty(BOUNDS)


def test_a_count_without_an_exemplar_keeps_the_one_it_had() -> None:
    """An increment that names no run leaves the exemplar of the last one that did."""
    named = Count().plus_one(Exemplar("tsk-1", 1.0, None))
    assert named.plus_one(None) == Count(2, Exemplar("tsk-1", 1.0, None))
