"""Shrunk examples of mistakes that random worlds have found; each stays."""

from dataclasses import replace
from pathlib import Path

import pytest

from exporter.config.settings import Config
from exporter.counting.counters import Count, Series
from tests.counting.world import (
    DAY,
    FINISHED,
    HOUR,
    Exporter,
    Prometheus,
    Run,
    Samples,
    World,
    configuration,
)


@pytest.fixture
def world() -> World:
    """A world in which nothing has happened yet."""
    return World()


def test_a_start_on_a_millisecond_is_not_counted_again_when_it_was_forgotten(world: World) -> None:
    """A run that a leap of the host clock made the ledger forget is history when it is seen again."""
    exporter = Exporter(world, configuration("tfm-a", lookback=3 * HOUR))
    world.add(Run("tsk-0", world.now - 2, world.now - 2))
    exporter.poll()
    world.add(Run("tsk-1", world.now - 1.483, world.now - 1.383))
    exporter.poll()
    world.skew = DAY
    exporter.poll()
    world.skew = 0.0
    exporter.poll()
    assert exporter.totals() == {("FIND_MATCHES", "SUCCEEDED"): 1}


def test_an_open_run_that_glue_denies_once_is_back_with_the_next_poll(world: World) -> None:
    """A run that Glue does not know for one poll is asked for again, though the listing does not reach back to it."""
    exporter = Exporter(world, configuration("tfm-a", overlap=600, page_size=1))
    exporter.poll()
    hung = world.add(Run("tsk-0", world.now, world.now + 10 * HOUR))
    exporter.poll()
    world.now += HOUR
    world.add(Run("tsk-1", world.now, world.now))
    exporter.poll()
    hung.hidden = True
    exporter.poll()
    assert not exporter.watch_of("tfm-a").ledger.open
    hung.hidden = False
    exporter.poll()
    assert list(exporter.watch_of("tfm-a").ledger.open) == ["tsk-0"]
    world.now += 10 * HOUR
    exporter.poll()
    assert exporter.totals() == {("FIND_MATCHES", "SUCCEEDED"): 2}


def test_an_open_run_that_was_denied_is_asked_for_again_after_a_restart(world: World, tmp_path: Path) -> None:
    """That Glue has denied an open run survives the process, so its end is counted by the next one."""
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


def test_a_lookback_that_grew_while_the_exporter_was_down_is_read_at_once(world: World, tmp_path: Path) -> None:
    """After a restart with a longer lookback the gauges show all of it, and none of it is news."""
    world.add(Run("tsk-0", world.now - 3.5 * HOUR, world.now - 3 * HOUR))
    first = Exporter(world, configuration("tfm-a", lookback=3 * HOUR), tmp_path / "state.db")
    first.poll()
    first.close()
    second = Exporter(world, configuration("tfm-a", lookback=4 * HOUR), tmp_path / "state.db")
    second.poll()
    view = second.watch_of("tfm-a").ledger.gauge_values(world.now - 4 * HOUR)
    assert view.runs["FIND_MATCHES", "SUCCEEDED"] == 1
    assert second.totals() == {}
    second.close()


def test_what_finishes_just_before_the_host_clock_leaps_is_counted(world: World) -> None:
    """A run that the poll of a wrong clock has missed is still news for the next one."""
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


def test_a_quiet_transform_that_leaves_is_stored_for_the_whole_lookback(world: World, tmp_path: Path) -> None:
    """The lookback of a transform that leaves begins when it leaves, not when its last run was stored."""
    both, other = configuration("tfm-a", "tfm-b"), configuration("tfm-b")
    path, prometheus = tmp_path / "state.db", Prometheus()
    exporter = Exporter(world, both, path)
    exporter.poll()
    exporter.scrape()
    world.add(Run("tsk-0", world.now, world.now))
    exporter.poll()
    prometheus.take("one", exporter.scrape())
    world.now += 20 * DAY
    exporter.reload(other)
    world.now += 11 * DAY
    exporter.reload(other)
    exporter.reload(both)
    world.add(Run("tsk-1", world.now, world.now + HOUR))
    exporter.poll()
    prometheus.take("one", exporter.scrape())
    exporter.kill()
    again = Exporter(world, both, path)
    again.poll()
    prometheus.take("one", again.scrape())
    again.close()
    assert not prometheus.falls()


def test_a_run_on_two_pages_starts_and_ends_once(world: World) -> None:
    """New runs that come again on the next page count one start and one end each."""
    exporter = Exporter(world, configuration("tfm-a", page_size=2))
    exporter.poll()
    for number in range(3):
        world.add(Run(f"tsk-{number}", world.now + number, world.now + number))
    world.now += 10
    world.duplicates = 1
    exporter.poll()
    assert exporter.totals() == {("FIND_MATCHES", "SUCCEEDED"): 3}
    assert exporter.watch_of("tfm-a").ledger.totals[Series("started", "FIND_MATCHES", "")] == Count(3)


def scraped_without_publishing(exporter: Exporter) -> Samples:
    """Scrape to the end, before the thread that publishes has come round."""
    samples, scrape = exporter.begin_scrape()
    scrape.sent()
    return samples


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("scraped", [False, True])
def test_a_transform_that_leaves_and_is_back_at_once_does_not_go_down(
    world: World, tmp_path: Path, stored: bool, scraped: bool
) -> None:
    """Two reloads before the next publication take no counter back that a scrape has seen or may still see."""
    both, other = configuration("tfm-a", "tfm-b"), configuration("tfm-b")
    exporter = Exporter(world, both, tmp_path / "state.db" if stored else None)
    exporter.poll()
    exporter.scrape()
    world.add(Run("tsk-0", world.now, world.now))
    exporter.poll()
    prometheus = Prometheus()
    if scraped:
        prometheus.take("one", scraped_without_publishing(exporter))
    exporter.reload(other)
    exporter.reload(both)
    for _ in range(3):
        prometheus.take("one", scraped_without_publishing(exporter))
        exporter.poll()
    exporter.close()
    assert not prometheus.falls()


def test_a_counter_that_was_just_scraped_does_not_go_down_when_the_buckets_change(world: World) -> None:
    """What a scrape has seen is the base of the births that follow it, though nothing was published in between."""
    exporter = Exporter(world, configuration("tfm-a"))
    exporter.poll()
    exporter.scrape()
    world.add(Run("tsk-0", world.now, world.now))
    exporter.poll()
    prometheus = Prometheus()
    prometheus.take("one", scraped_without_publishing(exporter))
    exporter.reload(configuration("tfm-a", buckets=(5.0, 50.0)))
    for _ in range(3):
        exporter.poll_quietly()
        prometheus.take("one", scraped_without_publishing(exporter))
        exporter.exposition.publish()
    assert not prometheus.falls()


def test_a_restart_does_not_change_when_a_series_was_born(world: World, tmp_path: Path) -> None:
    """The first series were born when the transform was first watched, before the restart and after it."""
    path, born = tmp_path / "state.db", []
    for _ in range(2):
        exporter = Exporter(world, configuration("tfm-a"), path)
        world.now += HOUR
        exporter.poll()
        born.append(exporter.watch_of("tfm-a").initial_values.created_at)
        exporter.close()
    assert born[0] == born[1]


def renamed(config: Config, name: str) -> Config:
    """Give the configuration with another name for its transforms."""
    return replace(config, transforms=tuple(replace(transform, name=name) for transform in config.transforms))


def test_what_is_scraped_after_a_reload_under_the_old_name_is_not_counted_under_the_new_one(world: World) -> None:
    """A finish that a scrape shows between the reload that renames a transform and its next poll is counted once."""
    exporter, prometheus = Exporter(world, configuration("tfm-a")), Prometheus()
    exporter.poll()
    prometheus.take("one", exporter.scrape())
    world.add(Run("tsk-0", world.now, world.now))
    exporter.poll()
    exporter.reload(renamed(exporter.config, "customers"))
    prometheus.take("one", exporter.scrape())
    for _ in range(3):
        exporter.poll()
        prometheus.take("one", exporter.scrape())
    assert sum(prometheus.increase(FINISHED).values()) == 1
