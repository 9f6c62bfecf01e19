"""A scrape shows the base value of a counting series for `initial_hold`, and its true value afterwards."""

import threading
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.schema import Metrics
from exporter.counting.counters import Count, Series, Total
from exporter.exposition.formats import Encoding, TextFormat
from exporter.exposition.initial_values import InitialValues
from exporter.exposition.publisher import Exposition
from tests.exposition.snapshots import (
    EXECUTION,
    FAILED,
    FINISHED,
    HOLD,
    VARIANTS,
    Clock,
    begin_scrape,
    body,
    exposition,
    failures,
    new_values,
    observed,
    publishing,
    scrape,
    snapshot,
    text_of,
    value,
)
from tests.support import wait_for

LATER = Series("finished", "NEW_TYPE", "FAILED")
"""A series that appears only with the first run of its type and status."""

MOMENT = 0.001
"""A time that is shorter than any hold."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def exposed(clock: Clock) -> Exposition:
    """An exposition that holds each series for `HOLD`."""
    return exposition(clock=clock)


def test_a_counter_moves_when_its_hold_is_over(exposed: Exposition, clock: Clock) -> None:
    """Each scrape shows 0 until `initial_hold` has passed since the first scrape; later scrapes show the true value."""
    exposed.update(snapshot(initial_values=new_values()), {FAILED: Count(3)})
    seen = [failures(scrape(exposed))]
    for seconds in (HOLD - MOMENT, MOMENT, HOLD):
        clock.now += seconds
        seen.append(failures(scrape(exposed)))
    assert seen == [0, 0, 3, 3]


def test_no_hold_begins_while_nobody_scrapes(exposed: Exposition, clock: Clock) -> None:
    """If the first scrape comes after a day, it shows 0, and the counter moves one hold later and not earlier."""
    exposed.update(snapshot(initial_values=new_values()), {FAILED: Count(3)})
    for _ in range(24):
        clock.now += 3600
        exposed.publish()
    assert failures(scrape(exposed)) == 0
    clock.now += HOLD - MOMENT
    assert failures(scrape(exposed)) == 0
    clock.now += MOMENT
    assert failures(scrape(exposed)) == 3


def test_more_scrapes_neither_shorten_nor_lengthen_a_hold(exposed: Exposition, clock: Clock) -> None:
    """If curl, an agent and two servers scrape a hundred times, the counter moves one hold after the first scrape."""
    exposed.update(snapshot(initial_values=new_values()), {FAILED: Count(3)})
    for _ in range(100):
        assert failures(scrape(exposed)) == 0
        clock.now += HOLD / 100
    clock.now += MOMENT
    assert failures(scrape(exposed)) == 3


def test_a_scrape_that_was_not_sent_begins_no_hold(exposed: Exposition, clock: Clock) -> None:
    """If the client disconnects before the answer is sent, the answer does not count as a scrape."""
    exposed.update(snapshot(initial_values=new_values()), {FAILED: Count(3)})
    assert failures(scrape(exposed, sent=False)) == 0
    clock.now += 2 * HOLD
    assert failures(scrape(exposed)) == 0
    clock.now += HOLD
    assert failures(scrape(exposed)) == 3


def test_a_hold_begins_at_the_end_of_a_scrape(exposed: Exposition, clock: Clock) -> None:
    """The hold is counted from the last byte of a slow scrape, even if the publisher notices it later."""
    exposed.update(snapshot(initial_values=new_values()), {FAILED: Count(3)})
    slow = begin_scrape(exposed)
    clock.now += HOLD
    slow.sent()
    clock.now += HOLD - MOMENT
    assert failures(scrape(exposed)) == 0
    clock.now += MOMENT
    assert failures(scrape(exposed)) == 3


def test_a_scrape_that_began_before_a_transform_was_shown_does_not_count(exposed: Exposition, clock: Clock) -> None:
    """A slow scrape of an earlier publication does not count, because it contains no value of the transform."""
    early = exposed.prepare_scrape(TextFormat.TEXT, Encoding.IDENTITY)
    exposed.update(snapshot(initial_values=new_values()), {FAILED: Count(3)})
    exposed.publish()
    early.sent()
    clock.now += HOLD
    assert failures(scrape(exposed)) == 0
    clock.now += HOLD
    assert failures(scrape(exposed)) == 3


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: f"{variant[0].name}-{variant[1].name}".lower())
def test_a_scrape_in_any_variant_begins_the_hold(
    exposed: Exposition, clock: Clock, variant: tuple[TextFormat, Encoding]
) -> None:
    """Both formats and both encodings show the same values, so a scrape in any of them counts."""
    exposed.update(snapshot(initial_values=new_values()), {FAILED: Count(3)})
    exposed.prepare_scrape(*variant).sent()
    clock.now += HOLD
    assert failures(body(exposed)) == 3


def test_a_series_that_is_added_later_is_held_alone(exposed: Exposition, clock: Clock) -> None:
    """A new histogram or status has a hold of its own, while the other series already have their true values."""
    initial_values = new_values()
    exposed.update(snapshot(initial_values=initial_values), {})
    scrape(exposed)
    clock.now += HOLD
    exposed.update(
        snapshot(initial_values=initial_values), {FAILED: Count(1), LATER: Count(1), EXECUTION: observed(31.0)}
    )
    clock.now += HOLD  # nobody scrapes, so the hold of the new series does not begin
    texts = [scrape(exposed)]
    for seconds in (HOLD - MOMENT, MOMENT):
        clock.now += seconds
        texts.append(scrape(exposed))
    assert [failures(text) for text in texts] == [1, 1, 1]
    assert [value(text, FINISHED, "NEW_TYPE") for text in texts] == [0, 0, 1]
    assert [value(text, "glue_ml_task_run_execution_seconds_sum") for text in texts] == [0, 0, 31]


def test_two_series_that_are_added_at_different_times_end_their_holds_apart(exposed: Exposition, clock: Clock) -> None:
    """Each series is released one hold after the scrape that showed it first."""
    initial_values = new_values()
    exposed.update(snapshot(initial_values=initial_values), {LATER: Count(1)})
    scrape(exposed)
    clock.now += HOLD / 2
    exposed.update(snapshot(initial_values=initial_values), {LATER: Count(1), EXECUTION: observed(31.0)})
    scrape(exposed)

    def now_shown() -> tuple[float, float]:
        text = body(exposed)
        return value(text, FINISHED, "NEW_TYPE"), value(text, "glue_ml_task_run_execution_seconds_count")

    clock.now += HOLD / 2
    assert now_shown() == (1, 0)
    clock.now += HOLD / 2
    assert now_shown() == (1, 1)


def test_without_a_hold_each_value_is_true_at_once() -> None:
    """With `initial_hold: 0s` the first scrape shows the true value of old and of new series."""
    exposed = exposition()
    exposed.configure(Metrics(initial_hold="0s"))
    initial_values = new_values()
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(3)})
    assert failures(scrape(exposed)) == 3
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(4), EXECUTION: observed(31.0)})
    assert value(scrape(exposed), "glue_ml_task_run_execution_seconds_sum") == 31


@pytest.mark.parametrize(("hold", "seen"), [("0s", 3), ("30s", 3), ("10m", 0)])
def test_a_reload_changes_the_holds_that_have_begun(exposed: Exposition, clock: Clock, hold: str, seen: float) -> None:
    """A minute after the first scrape a hold of 30 s is over, and a hold of 10 min is not."""
    exposed.update(snapshot(initial_values=new_values()), {FAILED: Count(3)})
    scrape(exposed)
    clock.now += 60
    exposed.configure(Metrics(initial_hold=hold))
    assert failures(scrape(exposed)) == seen


def test_a_longer_hold_does_not_stop_a_counter_that_moves(exposed: Exposition, clock: Clock) -> None:
    """After a reload with a longer hold, a series whose hold was over still follows its true value."""
    initial_values = new_values()
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(3)})
    scrape(exposed)
    clock.now += HOLD
    assert failures(scrape(exposed)) == 3
    exposed.configure(Metrics(initial_hold="1d"))
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(4)})
    assert failures(scrape(exposed)) == 4


def test_holds_that_end_together_are_released_in_one_publication(exposed: Exposition, clock: Clock) -> None:
    """After one scrape of 50 transforms, one publication shows all true values, and no timer is left."""
    names = [f"tfm-{number}" for number in range(50)]
    for name in names:
        exposed.update(snapshot(name, initial_values=new_values()), {FAILED: Count(3)})
    scrape(exposed)
    clock.now += HOLD / 2
    exposed.publish()
    before = exposed._publication.number
    assert exposed._until_next_release() == HOLD / 2
    clock.now += HOLD / 2
    exposed.publish()
    exposed.publish()
    assert exposed._publication.number == before + 1
    text = body(exposed)
    assert {value(text, FINISHED, f'"{name}"', 'status="FAILED"', "FIND_MATCHES") for name in names} == {3.0}
    assert exposed._until_next_release() is None


def test_a_transform_that_is_removed_leaves_no_timer(exposed: Exposition, clock: Clock) -> None:
    """If a transform leaves while it is held, the end of its hold is not waited for."""
    exposed.update(snapshot(initial_values=new_values()), {FAILED: Count(3)})
    scrape(exposed)
    exposed.publish()
    assert exposed._until_next_release() == HOLD
    exposed.remove("tfm-1")
    clock.now += HOLD
    exposed.publish()
    assert exposed._until_next_release() is None
    assert "tfm-1" not in body(exposed)


def test_gauges_and_timestamps_are_never_held(exposed: Exposition) -> None:
    """The first scrape shows the true value of a gauge and the base value of a counter."""
    each = snapshot(initial_values=new_values())
    assert each.gauge_values is not None
    runs = replace(each.gauge_values, runs={**each.gauge_values.runs, ("FIND_MATCHES", "FAILED"): 3})
    exposed.update(replace(each, gauge_values=runs), {FAILED: Count(3)})
    text = scrape(exposed)
    assert value(text, "glue_ml_task_runs", 'status="FAILED"', "FIND_MATCHES") == 3
    assert failures(text) == 0


# -- initial values that are restarted ---------------------------------------------------------------------------------


def base_of_the_next(initial_values: InitialValues) -> Total:
    """Give the value that restarted initial values serve first."""
    following = initial_values.restarted()
    following.publish({FAILED: Count(99)}, now=0, tick=0, hold=HOLD, publication=9)
    return following.served[FAILED]


def test_a_transform_that_returns_begins_with_the_value_that_was_served_last(exposed: Exposition, clock: Clock) -> None:
    """The first scrape repeats the last scraped value; after the hold the runs that finished since are added."""
    initial_values = new_values()
    for number in (5, 7):
        exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(number)})
        scrape(exposed)
        clock.now += HOLD
        scrape(exposed)
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(9)})
    exposed.remove("tfm-1")
    exposed.publish()
    exposed.update(snapshot(initial_values=initial_values.restarted()), {FAILED: Count(9)})
    seen = []
    for _ in range(2):
        seen.append(failures(scrape(exposed)))
        clock.now += HOLD
    assert seen == [7, 9]


def test_a_scrape_that_ends_late_does_not_lower_the_base_value() -> None:
    """If a scrape with 5 ends after a scrape with 7, the base value after a restart is 7."""
    exposed = exposition()
    initial_values = new_values()
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
    initial_values = new_values()
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(5)})
    exposed.publish()
    answer = begin_scrape(exposed)
    exposed.remove("tfm-1")
    answer.sent()
    exposed.publish()
    assert base_of_the_next(initial_values) == Count(5)


def test_a_publication_from_before_a_restart_is_not_served(exposed: Exposition, clock: Clock) -> None:
    """After initial values are restarted, a scrape shows the base value and not the value published before."""
    initial_values = new_values()
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(5)})
    scrape(exposed)
    clock.now += HOLD
    scrape(exposed)
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(7)})
    exposed.publish()
    exposed.update(snapshot(initial_values=initial_values.restarted()), {FAILED: Count(7)})
    assert failures(text_of(begin_scrape(exposed))) == 5


# -- the timer ---------------------------------------------------------------------------------------------------------


def test_a_timer_ends_a_hold() -> None:
    """The publishing thread shows the true value after the hold, without another poll or scrape."""
    exposed = exposition()
    exposed.configure(Metrics(initial_hold="100ms"))
    exposed.update(snapshot(initial_values=new_values()), {FAILED: Count(3)})
    with publishing(exposed):
        begin_scrape(exposed).sent()
        wait_for(lambda: failures(text_of(begin_scrape(exposed))) == 3, timeout=30)


def test_a_reload_with_a_shorter_hold_moves_the_timer() -> None:
    """The publishing thread waits for a hold of an hour, and a reload to 100 ms shows the true value soon."""
    exposed = exposition()
    exposed.configure(Metrics(initial_hold="1h"))
    exposed.update(snapshot(initial_values=new_values()), {FAILED: Count(3)})
    with publishing(exposed):
        begin_scrape(exposed).sent()
        wait_for(lambda: exposed._until_next_release() is not None, timeout=30)
        assert failures(text_of(begin_scrape(exposed))) == 0
        exposed.configure(Metrics(initial_hold="100ms"))
        wait_for(lambda: failures(text_of(begin_scrape(exposed))) == 3, timeout=30)


def test_the_longest_duration_is_a_hold() -> None:
    """The longest duration that the configuration accepts is not too long for the timer."""
    exposed = exposition()
    exposed.configure(Metrics(initial_hold="9223372036s854ms"))
    exposed.update(snapshot(initial_values=new_values()), {FAILED: Count(3)})
    scrape(exposed)
    exposed.publish()
    assert exposed._until_next_release() == pytest.approx(threading.TIMEOUT_MAX)


# -- any readers at any times ------------------------------------------------------------------------------------------


@dataclass
class Server:
    """A Prometheus server that scrapes once per interval; times are seconds."""

    interval: int
    offset: int
    samples: list[int] = field(default_factory=list)

    def is_due(self, now: int) -> bool:
        return now >= self.offset and (now - self.offset) % self.interval == 0

    def increase(self) -> int:
        return sum(after - before for before, after in zip(self.samples, self.samples[1:], strict=False))


servers = st.builds(Server, interval=st.integers(1, 30), offset=st.integers(0, 200))


@given(
    fleet=st.lists(servers, min_size=1, max_size=4),
    readers=st.sets(st.integers(1, 400), max_size=20),
    ends=st.lists(st.integers(0, 150), min_size=1, max_size=5),
    polls=st.integers(1, 40),
    base=st.sampled_from([0, 7]),
)
def test_each_server_sees_each_finish(
    fleet: list[Server], readers: set[int], ends: list[int], polls: int, base: int
) -> None:
    """If no interval is longer than the hold, `increase()` on each server counts each finish, beside any readers."""
    hold = max(server.interval for server in fleet)
    for server in fleet:
        server.offset = 1 + server.offset % server.interval
    recorded = {LATER: Count(base)} if base else {}
    initial_values = new_values(recorded=recorded)
    for now in range(max(ends) + 3 * hold + 2 * polls):
        if now % polls == 0:
            totals = {LATER: Count(base + sum(end <= now for end in ends))}
        # A scrape at the very instant of a release may come before or after it; here it comes before.
        for server in fleet:
            if server.is_due(now):
                server.samples.append(initial_values.served[LATER].value)  # type: ignore[union-attr] # a counter
                initial_values.scraped(now, now)
        if now in readers:
            initial_values.scraped(now, now)
        initial_values.publish(totals, now=now, tick=now, hold=hold, publication=now)
    assert [server.increase() for server in fleet] == [len(ends)] * len(fleet)
    assert all(server.samples == sorted(server.samples) for server in fleet)
