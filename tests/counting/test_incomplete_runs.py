"""A run that ends before its CompletedOn and ExecutionTime come counts at once, and is observed when they come."""

from pathlib import Path

import pytest

from exporter.counting.counters import Histogram, Series
from exporter.counting.incomplete_runs import MAX_INCOMPLETE
from exporter.counting.ledger import Ledger
from exporter.counting.reading import Reading
from exporter.model.task_run import TaskRun
from tests.counting.world import BOUNDS, HOUR, MINUTE, NOW, STARTED, Exporter, Run, World, configuration

FAILURE = ("FIND_MATCHES", "FAILED")
LAST_FAILURE = "glue_ml_task_run_last_failure_timestamp_seconds"


@pytest.fixture
def world() -> World:
    """A world without runs."""
    return World()


def observed(exporter: Exporter) -> tuple[list[float], list[float]]:
    """Return the number and the sum of the execution times, and of the durations."""
    totals = exporter.monitored_transform("tfm-a").ledger.totals
    histograms = [totals.get(Series(family, *FAILURE)) for family in ("execution", "duration")]
    execution, duration = ([sum(h.counts), h.sum] if isinstance(h, Histogram) else [] for h in histograms)
    return execution, duration


def fails(world: World, times_after: float, started_ago: float = 30.0) -> Run:
    """Let a run fail now, whose times come later."""
    run = Run("tsk-1", world.now - started_ago, world.now, status="FAILED", execution=20.0, times_after=times_after)
    return world.add(run)


def test_times_that_come_two_seconds_late_are_observed_at_the_next_poll(world: World) -> None:
    """The finish counts at once; with a newer run started meanwhile, both histograms and the last failure follow."""
    exporter = Exporter(world, configuration("tfm-a"))
    exporter.poll()
    world.now += 60
    run = fails(world, 2.0)
    exporter.poll()
    assert (exporter.totals(), observed(exporter)) == ({FAILURE: 1}, ([], []))
    assert exporter.scrape().of(LAST_FAILURE) == {}
    world.now += 60
    world.add(Run("tsk-2", world.now, world.now + HOUR))
    for _ in range(3):
        exporter.poll()
        world.now += 60
    assert (exporter.totals(), observed(exporter)) == ({FAILURE: 1}, ([1, 20.0], [1, 30.0]))
    assert exporter.scrape().of(LAST_FAILURE) == {("FAILED", "FIND_MATCHES"): run.ends}


def test_a_run_is_looked_up_when_the_listing_no_longer_has_it(world: World) -> None:
    """A run that started before the overlap is looked up by its id until its times come, and then no more."""
    exporter = Exporter(world, configuration("tfm-a", page_size=1))
    exporter.poll()
    world.add(Run("tsk-1", world.now, world.now + 3 * HOUR, status="FAILED", execution=20.0, times_after=90.0))
    exporter.poll()
    for number in range(10):
        started = world.now + HOUR + number % 2 * HOUR
        world.add(Run(f"tsk-new-{number}", started, started, execution=1.0))
    world.now += 3 * HOUR
    looked_up = []
    for _ in range(4):
        exporter.poll()
        looked_up.append(world.calls.count("GetMLTaskRun"))
        world.now += 60
    assert looked_up == [0, 1, 1, 0]
    assert observed(exporter) == ([1, 20.0], [1, 3 * HOUR])


def test_a_run_that_never_gets_an_execution_time_is_looked_up_for_an_hour(world: World) -> None:
    """A run without ExecutionTime costs one call in each poll for an hour."""
    exporter = Exporter(world, configuration("tfm-a", overlap=MINUTE))
    exporter.poll()
    world.now += 60
    world.add(Run("tsk-1", world.now - 30, world.now, status="FAILED"))
    exporter.poll()
    for number in range(3000):
        started = world.now + MINUTE + number % 2 * 5 * MINUTE
        world.add(Run(f"tsk-new-{number}", started, started, execution=1.0))
    world.now += 10 * MINUTE
    exporter.poll()
    exporter.poll()
    assert "GetMLTaskRun" in world.calls
    world.now += HOUR
    exporter.poll()
    exporter.poll()
    assert "GetMLTaskRun" not in world.calls
    assert not exporter.monitored_transform("tfm-a").ledger.incomplete


def test_each_time_is_observed_once() -> None:
    """CompletedOn comes first and ExecutionTime later: the duration is observed first, the execution time later."""
    ledger = Ledger(BOUNDS)
    ledger.watched_since = NOW
    shown = [(None, None), (NOW + 30, None), (NOW + 30, 20.0), (NOW + 30, 20.0), (NOW + 40, 25.0)]
    for number, (completed, execution) in enumerate(shown):
        reading = Reading(ledger, now=NOW + 60 + number, since=0.0, cutoff=0.0)
        reading.add(TaskRun("tsk-1", *FAILURE, NOW + 10, completed, execution))
        ledger.commit(reading)
    sums = {s.family: (sum(t.counts), t.sum) for s, t in ledger.totals.items() if isinstance(t, Histogram)}
    assert sums == {"execution": (1, 20.0), "duration": (1, 20.0)}
    assert not ledger.incomplete


def test_times_that_come_on_a_later_page_are_observed_with_the_finish() -> None:
    """If two pages of a poll show a run first without its times and then with them, one finish counts, with times."""
    ledger = Ledger(BOUNDS)
    ledger.watched_since = NOW
    reading = Reading(ledger, now=NOW + 60, since=0.0, cutoff=0.0)
    reading.add(TaskRun("tsk-1", *FAILURE, NOW + 10))
    reading.add(TaskRun("tsk-1", *FAILURE, NOW + 10, NOW + 30, 20.0))
    changes = ledger.commit(reading)
    assert [run.completed for run in changes.finished] == [NOW + 30]
    assert ledger.totals[Series("duration", *FAILURE)].sum == 20.0  # type: ignore[union-attr] # a histogram


def test_a_run_without_an_end_counts_when_its_end_shows_that_it_is_new(world: World) -> None:
    """A run starts before the first attempt, and is first seen FAILED without CompletedOn: its CompletedOn decides."""
    exporter = Exporter(world, configuration("tfm-a"))
    world.fails_after = 0
    exporter.poll()
    world.fails_after = None
    world.now += 60
    fails(world, 30.0, started_ago=90.0)
    exporter.poll()
    assert exporter.totals() == {}
    world.now += 60
    exporter.poll()
    exporter.poll()
    assert (exporter.totals(), observed(exporter)) == ({FAILURE: 1}, ([1, 20.0], [1, 90.0]))


def test_a_restart_keeps_the_runs_that_lack_a_time(world: World, tmp_path: Path) -> None:
    """The times of a run that was counted before a kill are observed after the restart, and its finish stays one."""
    first = Exporter(world, configuration("tfm-a"), tmp_path / "state.db")
    first.poll()
    world.now += 60
    fails(world, 30.0)
    first.poll()
    first.kill()
    world.now += 60
    second = Exporter(world, configuration("tfm-a"), tmp_path / "state.db")
    second.poll()
    assert (second.totals(), observed(second)) == ({FAILURE: 1}, ([1, 20.0], [1, 30.0]))
    second.close()


def test_times_are_observed_after_the_run_has_left_the_lookback(world: World) -> None:
    """A run that started before a short lookback is observed when its times come, and counts once."""
    exporter = Exporter(world, configuration("tfm-a", lookback=HOUR))
    exporter.poll()
    world.add(Run("tsk-1", world.now, world.now + 2 * HOUR, status="FAILED", execution=20.0, times_after=90.0))
    for pause in (2 * HOUR, 60.0, 60.0, 60.0):
        exporter.poll()
        world.now += pause
    exporter.poll()
    assert (exporter.totals(), observed(exporter)) == ({FAILURE: 1}, ([1, 20.0], [1, 2 * HOUR]))


@pytest.mark.parametrize("seen_open", [True, False])
def test_an_older_state_does_not_open_a_run_again_that_has_left_the_lookback(world: World, seen_open: bool) -> None:
    """A run ends, and a look-up then shows it open again: it counts once, and it is neither open nor awaited after."""
    exporter = Exporter(world, configuration("tfm-a", lookback=HOUR))
    if seen_open:
        exporter.poll()
        run = Run("tsk-1", world.now, world.now + 2 * HOUR, status="FAILED", execution=20.0, times_after=90.0)
        world.add(run)
        exporter.poll()
        world.now = run.ends
        exporter.poll()
    else:
        # The first poll lists the run, because Glue cuts the start of the lookback to whole seconds.
        world.add(Run("tsk-1", world.now - HOUR - 0.5, world.now, status="FAILED", execution=20.0, times_after=90.0))
        exporter.poll()
    assert list(exporter.monitored_transform("tfm-a").ledger.incomplete) == ["tsk-1"]
    world.now += 60
    world.look_ups_lag = 120.0
    exporter.poll()
    world.look_ups_lag = 0.0
    for _ in range(4):
        world.now += 60
        exporter.poll()
    ledger = exporter.monitored_transform("tfm-a").ledger
    assert (exporter.totals(), ledger.open, ledger.incomplete) == ({FAILURE: 1}, {}, {})


def test_an_older_state_of_a_run_that_lacks_a_time_is_ignored() -> None:
    """An answer that shows a failed run as running again changes no gauge, and is not logged as another status."""
    ledger = Ledger(BOUNDS)
    ledger.watched_since = NOW
    for status in ("FAILED", "RUNNING"):
        reading = Reading(ledger, now=NOW + 60, since=0.0, cutoff=0.0)
        reading.add(TaskRun("tsk-1", "FIND_MATCHES", status, NOW + 10))
        assert ledger.commit(reading).status_changed == ()
        gauges = ledger.gauge_values(0.0)
        assert (gauges.runs[FAILURE], gauges.latest["FIND_MATCHES"].status) == (1, "FAILED")


def test_a_run_that_lacks_a_time_returns_to_the_gauge_with_the_lookback(world: World) -> None:
    """A run without ExecutionTime is forgotten under a clock that is a day fast, and is shown again, counted once."""
    exporter = Exporter(world, configuration("tfm-a"))
    exporter.poll()
    world.now += 60
    fails(world, HOUR)
    exporter.poll()
    for skew in (90 * 24 * HOUR, 0.0):
        world.skew = skew
        exporter.poll()
    assert exporter.totals() == {FAILURE: 1}
    assert exporter.scrape().of("glue_ml_task_runs")["FAILED", "FIND_MATCHES"] == 1


def test_a_run_that_glue_no_longer_knows_is_not_awaited(world: World) -> None:
    """A finished run that lacks a time is dropped when Glue no longer knows it, and its finish stays counted."""
    exporter = Exporter(world, configuration("tfm-a"))
    exporter.poll()
    world.now += 60
    run = fails(world, HOUR)
    exporter.poll()
    run.hidden = True
    exporter.poll()
    ledger = exporter.monitored_transform("tfm-a").ledger
    assert (exporter.totals(), ledger.incomplete, ledger.missing) == ({FAILURE: 1}, {}, {})


def test_the_number_of_awaited_runs_is_bounded() -> None:
    """Of many runs without times the newest are awaited, and counted runs before history."""
    ledger = Ledger(BOUNDS)
    ledger.watched_since = NOW
    reading = Reading(ledger, now=NOW + 900, since=0.0, cutoff=0.0)
    for number in range(-500, 150):
        reading.add(TaskRun(f"tsk-{number}", *FAILURE, NOW + number))
    ledger.commit(reading)
    assert list(ledger.incomplete) == [f"tsk-{number}" for number in range(150 - MAX_INCOMPLETE, 150)]


def test_a_run_that_only_its_late_completion_shows_as_new_has_also_started(world: World) -> None:
    """A run that the first poll shows without any time is counted as started and finished when CompletedOn comes."""
    exporter = Exporter(world, configuration("tfm-a"))
    run = Run("tsk-1", world.now, world.now, status="FAILED", times_after=90.0, shows_start=False)
    world.add(run)
    exporter.poll()
    assert (exporter.totals(), sum(exporter.scrape().of(STARTED).values())) == ({}, 0)
    world.now += 120
    exporter.poll()
    exporter.scrape()
    assert (exporter.totals(), sum(exporter.scrape().of(STARTED).values())) == ({FAILURE: 1}, 1)
