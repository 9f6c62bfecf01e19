"""A scrape shows the base value of a counting series first, and its true value afterwards."""

import threading
from dataclasses import replace

from exporter.counting.counters import Count, Series, Total
from exporter.exposition.formats import Encoding, TextFormat
from exporter.exposition.initial_values import InitialValues
from tests.exposition.snapshots import (
    EXECUTION,
    FAILED,
    FINISHED,
    begin_scrape,
    body,
    exposition,
    failures,
    held,
    observed,
    scrape,
    snapshot,
    text_of,
    unheld,
    value,
)
from tests.support import wait_for

LATER = Series("finished", "NEW_TYPE", "FAILED")
"""A series that appears only with the first run of its type and status."""


def test_a_counter_moves_after_a_scrape_has_shown_its_base_value() -> None:
    """The first scrape shows 0, and the second scrape shows the number of failed runs."""
    exposed = exposition()
    exposed.update(snapshot(initial_values=held()), {FAILED: Count(3)})
    assert [failures(scrape(exposed)) for _ in range(3)] == [0, 3, 3]


def test_a_scrape_that_was_not_sent_ends_no_hold() -> None:
    """If the client disconnects before the answer is sent, the answer does not count as a scrape."""
    exposed = exposition()
    exposed.update(snapshot(initial_values=held()), {FAILED: Count(3)})
    assert [failures(scrape(exposed, sent=False)) for _ in range(3)] == [0, 0, 0]
    assert [failures(scrape(exposed)) for _ in range(2)] == [0, 3]


def test_each_of_two_servers_sees_the_base_value() -> None:
    """If birth_scrapes is the number of Prometheus servers, each server sees the base value first."""
    exposed = exposition()
    exposed.update(snapshot(initial_values=held(scrapes=2)), {FAILED: Count(3)})
    assert [failures(scrape(exposed)) for _ in range(3)] == [0, 0, 3]


def test_a_scrape_that_began_before_a_transform_was_shown_does_not_count() -> None:
    """A slow scrape of an earlier publication does not count, because it contains no value of the transform."""
    exposed = exposition()
    early = exposed.prepare_scrape(TextFormat.TEXT, Encoding.IDENTITY)
    exposed.update(snapshot(initial_values=held()), {FAILED: Count(3)})
    exposed.publish()
    early.sent()
    assert [failures(scrape(exposed)) for _ in range(2)] == [0, 3]


def test_a_counter_moves_after_the_timeout_without_any_scrape() -> None:
    """After `birth_timeout` a counter gets its true value, even if no scrape has shown its base value."""
    exposed = exposition()
    initial_values = held(timeout=0.05)
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(3)})
    assert failures(body(exposed)) == 0

    def moved() -> bool:
        exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(3)})
        return failures(body(exposed)) == 3

    wait_for(moved, timeout=30)


def test_a_series_that_is_added_later_is_held_alone() -> None:
    """A new histogram or status starts at 0, while the other series already have their true values."""
    exposed = exposition()
    initial_values = held()
    exposed.update(snapshot(initial_values=initial_values), {})
    scrape(exposed)
    exposed.update(
        snapshot(initial_values=initial_values), {FAILED: Count(1), LATER: Count(1), EXECUTION: observed(31.0)}
    )
    first, second = scrape(exposed), scrape(exposed)
    assert [failures(first), failures(second)] == [1, 1]
    assert [value(text, FINISHED, "NEW_TYPE") for text in (first, second)] == [0, 1]
    sums = [value(text, "glue_ml_task_run_execution_seconds_sum") for text in (first, second)]
    assert sums == [0, 31]


def test_gauges_and_timestamps_are_never_held() -> None:
    """The first scrape shows the true value of a gauge and the base value of a counter."""
    exposed = exposition()
    each = snapshot(initial_values=held())
    assert each.gauge_values is not None
    runs = replace(each.gauge_values, runs={**each.gauge_values.runs, ("FIND_MATCHES", "FAILED"): 3})
    exposed.update(replace(each, gauge_values=runs), {FAILED: Count(3)})
    text = scrape(exposed)
    assert value(text, "glue_ml_task_runs", 'status="FAILED"', "FIND_MATCHES") == 3
    assert failures(text) == 0


def base_of_the_next(initial_values: InitialValues) -> Total:
    """Give the value that restarted initial values serve first."""
    following = initial_values.restarted(scrapes=1, timeout=300)
    following.publish({FAILED: Count(99)}, now=0, tick=0, publication=9)
    return following.served[FAILED]


def test_a_transform_that_returns_begins_with_the_value_that_was_served_last() -> None:
    """The first scrape repeats the last scraped value, and the second scrape adds the runs that finished since."""
    exposed = exposition()
    initial_values = unheld()
    for number in (5, 7):
        exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(number)})
        scrape(exposed)
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(9)})
    exposed.remove("tfm-1")
    exposed.publish()
    exposed.update(snapshot(initial_values=initial_values.restarted(scrapes=1, timeout=300)), {FAILED: Count(9)})
    assert [failures(scrape(exposed)) for _ in range(2)] == [7, 9]


def test_a_scrape_that_ends_late_does_not_lower_the_base_value() -> None:
    """If a scrape with 5 ends after a scrape with 7, the base value after a restart is 7."""
    exposed = exposition()
    initial_values = unheld()
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(5)})
    exposed.publish()
    slow = begin_scrape(exposed)
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(7)})
    exposed.publish()
    begin_scrape(exposed).sent()
    slow.sent()
    exposed.publish()
    assert base_of_the_next(initial_values) == Count(7)


def test_a_scrape_that_ends_after_its_transform_has_left_counts() -> None:
    """A transform that is removed during a scrape and added later begins with the value of that scrape."""
    exposed = exposition()
    initial_values = unheld()
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(5)})
    exposed.publish()
    answer = begin_scrape(exposed)
    exposed.remove("tfm-1")
    answer.sent()
    exposed.publish()
    assert base_of_the_next(initial_values) == Count(5)


def test_a_publication_from_before_a_restart_is_not_served() -> None:
    """After initial values are restarted, a scrape shows the base value and not the value published before."""
    exposed = exposition()
    initial_values = unheld()
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(5)})
    scrape(exposed)
    exposed.publish()
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(7)})
    exposed.publish()
    exposed.update(snapshot(initial_values=initial_values.restarted(scrapes=1, timeout=300)), {FAILED: Count(7)})
    assert failures(text_of(begin_scrape(exposed))) == 5


def test_a_scrape_alone_lets_a_counter_move() -> None:
    """The publishing thread shows the true value after a scrape, without another poll."""
    exposed = exposition()
    exposed.update(snapshot(initial_values=held()), {FAILED: Count(3)})
    publishing = threading.Thread(target=exposed.run)
    publishing.start()
    begin_scrape(exposed).sent()
    try:
        wait_for(lambda: failures(text_of(begin_scrape(exposed))) == 3, timeout=30)
    finally:
        exposed.stop()
        publishing.join(5)
    assert not publishing.is_alive()
