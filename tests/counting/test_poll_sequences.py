"""Sequences of polls that were once counted wrongly: missing runs, clocks that jump, a longer lookback."""

from pathlib import Path

import pytest

from exporter.counting.counters import Count, Series
from tests.counting.world import DAY, HOUR, MINUTE, Exporter, Run, World, configuration


@pytest.fixture
def world() -> World:
    """A world without runs."""
    return World()


def test_a_run_that_was_forgotten_under_a_fast_clock_does_not_count_again(world: World) -> None:
    """A run forgotten under a clock that was a day ahead does not count again when the clock is right."""
    exporter = Exporter(world, configuration("tfm-a", lookback=3 * HOUR))
    world.add(Run("tsk-0", world.now - 2, world.now - 2))
    exporter.poll()
    world.now += 10
    world.add(Run("tsk-1", world.now - 1.483, world.now - 1.383))
    exporter.poll()
    world.skew = DAY
    exporter.poll()
    world.skew = 0.0
    exporter.poll()
    assert exporter.totals() == {("FIND_MATCHES", "SUCCEEDED"): 1}


def test_an_open_run_that_was_missing_once_is_back_at_the_next_poll(world: World) -> None:
    """An open run that Glue did not know at one poll is looked up again, although the listing starts after it."""
    exporter = Exporter(world, configuration("tfm-a", overlap=600, page_size=1))
    exporter.poll()
    hung = world.add(Run("tsk-0", world.now, world.now + 10 * HOUR))
    exporter.poll()
    world.now += HOUR
    world.add(Run("tsk-1", world.now, world.now))
    exporter.poll()
    hung.hidden = True
    exporter.poll()
    assert not exporter.monitored_transform("tfm-a").ledger.open
    hung.hidden = False
    exporter.poll()
    assert list(exporter.monitored_transform("tfm-a").ledger.open) == ["tsk-0"]
    world.now += 10 * HOUR
    exporter.poll()
    assert exporter.totals() == {("FIND_MATCHES", "SUCCEEDED"): 2}


def test_a_missing_open_run_is_looked_up_again_after_a_restart(world: World, tmp_path: Path) -> None:
    """The state file keeps a missing open run, so the next process counts its end."""
    config = configuration("tfm-a", overlap=600, page_size=1)
    first = Exporter(world, config, tmp_path / "state.db")
    first.poll()
    hung = world.add(Run("tsk-0", world.now, world.now + 10 * HOUR))
    first.poll()
    world.now += HOUR
    world.add(Run("tsk-1", world.now, world.now))
    hung.hidden = True
    first.poll()
    first.kill()
    hung.hidden = False
    world.now += 10 * HOUR
    second = Exporter(world, config, tmp_path / "state.db")
    second.poll()
    assert second.totals() == {("FIND_MATCHES", "SUCCEEDED"): 2}
    second.close()


def test_a_longer_lookback_after_a_restart_is_read_at_the_first_poll(world: World, tmp_path: Path) -> None:
    """After a restart with a longer lookback the gauges include its older runs, and no counter changes."""
    world.add(Run("tsk-0", world.now - 3.5 * HOUR, world.now - 3 * HOUR))
    first = Exporter(world, configuration("tfm-a", lookback=3 * HOUR), tmp_path / "state.db")
    first.poll()
    first.close()
    second = Exporter(world, configuration("tfm-a", lookback=4 * HOUR), tmp_path / "state.db")
    second.poll()
    gauges = second.monitored_transform("tfm-a").ledger.gauge_values(world.now - 4 * HOUR)
    assert gauges.runs["FIND_MATCHES", "SUCCEEDED"] == 1
    assert second.totals() == {}
    second.close()


def test_a_run_that_ends_just_before_the_host_clock_jumps_is_counted(world: World) -> None:
    """A run that the poll with a wrong clock does not list counts at the next poll."""
    exporter = Exporter(world, configuration("tfm-a", lookback=3 * HOUR))
    world.add(Run("tsk-0", world.now - 60, world.now - 60))
    exporter.poll()
    world.now += 60
    world.add(Run("tsk-1", world.now - 10, world.now - 5))
    world.skew = DAY
    exporter.poll()
    world.skew = 0.0
    exporter.poll()
    assert exporter.totals() == {("FIND_MATCHES", "SUCCEEDED"): 1}


def test_a_run_on_two_pages_starts_and_ends_once(world: World) -> None:
    """A new run that is on two pages of one poll counts one start and one end."""
    exporter = Exporter(world, configuration("tfm-a", page_size=2))
    exporter.poll()
    for number in range(3):
        world.add(Run(f"tsk-{number}", world.now + number, world.now + number, execution=1.0))
    world.now += 10
    world.duplicates = 1
    exporter.poll()
    assert exporter.totals() == {("FIND_MATCHES", "SUCCEEDED"): 3}
    assert exporter.monitored_transform("tfm-a").ledger.totals[Series("started", "FIND_MATCHES", "")] == Count(3)


def test_an_old_open_run_that_was_missing_once_counts_when_it_ends(world: World) -> None:
    """A run that started before the lookback, was missing at one poll and has ended at the next is counted."""
    exporter = Exporter(world, configuration("tfm-a", lookback=HOUR))
    exporter.poll()
    run = world.add(Run("tsk-0", world.now, world.now + 3 * HOUR, status="FAILED"))
    world.now += MINUTE
    exporter.poll()
    world.now += 2 * HOUR
    exporter.poll()
    run.hidden = True
    exporter.poll()
    run.hidden = False
    world.now += HOUR
    exporter.poll()
    assert exporter.totals() == {("FIND_MATCHES", "FAILED"): 1}
