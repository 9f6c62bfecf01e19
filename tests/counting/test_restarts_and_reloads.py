"""Restarts, reloads and renames that once made a counter fall or hid a finish from Prometheus."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.config.settings import Config
from exporter.model.transform import Details
from exporter.state.store import StateFile, open_state
from tests.counting.world import (
    DAY,
    FINISHED,
    HOUR,
    MINUTE,
    Exporter,
    Prometheus,
    Run,
    Samples,
    World,
    by_kind,
    configuration,
    traced,
)

ONE_FAILURE = {("FIND_MATCHES", "FAILED"): 1}


@pytest.fixture
def world() -> World:
    """A world without runs."""
    return World()


def fail(world: World, run_id: str, status: str = "FAILED") -> Run:
    """Add a run that starts and ends now."""
    return world.add(Run(run_id, world.now, world.now, status=status))


def renamed(config: Config, name: str) -> Config:
    """Return the configuration with another name for its transforms."""
    return replace(config, transforms=tuple(replace(transform, name=name) for transform in config.transforms))


class Disk:
    """A state file whose disk is full while ``full`` is True."""

    def __init__(self, path: Path, now: float) -> None:
        self.full = False
        self.state: StateFile = traced(open_state(path, now)[0], self._on_statement)

    def _on_statement(self, statement: str, done: bool) -> None:
        if self.full and not done and statement.startswith(("INSERT", "UPDATE", "DELETE")):
            raise sqlite3.OperationalError("database or disk is full")


def scraped_without_publishing(exporter: Exporter) -> Samples:
    """Return the samples of a complete scrape that no publication follows."""
    samples, scrape = exporter.begin_scrape()
    scrape.sent()
    exporter.let_holds_end()
    return samples


def test_a_quiet_transform_that_leaves_is_stored_for_the_whole_lookback(world: World, tmp_path: Path) -> None:
    """A transform that is removed stays stored for the lookback, counted from its removal and not from its last run."""
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


def test_the_reason_of_the_last_failure_survives_a_restart(world: World, tmp_path: Path) -> None:
    """With a state file, a scrape before the first poll after a restart shows the reason again."""
    path, config, name = tmp_path / "state.db", configuration("tfm-a"), "glue_ml_task_run_last_failure_info"
    world.add(Run("tsk-0", world.now, world.now, status="FAILED", error="No space left on device"))
    exporter = Exporter(world, config, path)
    exporter.poll()
    shown = exporter.scrape().of(name)
    assert shown == {("out_of_disk", "FAILED", "FIND_MATCHES"): 1}
    exporter.kill()
    world.fails_after = 0
    again = Exporter(world, config, path)
    assert again.scrape().of(name) == shown
    again.close()


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("scraped", [False, True])
def test_counters_of_a_transform_that_is_removed_and_added_at_once_do_not_fall(
    world: World, tmp_path: Path, stored: bool, scraped: bool
) -> None:
    """After two reloads before the next publication, counters are not lower than a scrape has shown or may show."""
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


def test_a_counter_that_was_just_scraped_does_not_fall_when_the_buckets_change(world: World) -> None:
    """New initial values start at the scraped value, even if no publication came after the scrape."""
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


def test_a_restart_keeps_the_creation_time_of_series(world: World, tmp_path: Path) -> None:
    """After a restart a series keeps its creation time, which is when the transform was first monitored."""
    path, created = tmp_path / "state.db", []
    for _ in range(2):
        exporter = Exporter(world, configuration("tfm-a"), path)
        world.now += HOUR
        exporter.poll()
        created.append(exporter.monitored_transform("tfm-a").initial_values.created_at)
        exporter.close()
    assert created[0] == created[1]


def test_a_finish_scraped_under_the_old_name_is_not_counted_under_the_new_one(world: World) -> None:
    """A finish counts once if a scrape shows it between the rename by a reload and the next poll."""
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


def test_a_scrape_before_the_first_good_poll_shows_no_base_value(world: World) -> None:
    """A scrape without counters does not count as a scrape of their base values."""
    exporter, prometheus = Exporter(world, configuration("tfm-a")), Prometheus()
    world.fails_after = 0
    exporter.poll()
    world.fails_after = None
    prometheus.take("one", exporter.scrape())
    exporter.poll()
    fail(world, "tsk-0")
    exporter.poll()
    for _ in range(2):
        prometheus.take("one", exporter.scrape())
    assert by_kind(prometheus.increase(FINISHED)) == ONE_FAILURE


@pytest.mark.parametrize("label", ["first", "second"])
def test_a_kill_after_a_rename_in_glue_does_not_bring_the_old_name_back(
    world: World, tmp_path: Path, label: str
) -> None:
    """A new name is stored before a scrape shows it, so the next process starts with it."""
    names = {"tfm-a": "orders"}
    config = replace(configuration("tfm-a"), transform_details=True)
    world.details = lambda transform_id: Details(name=names[transform_id])
    prometheus = Prometheus()
    first = Exporter(world, config, tmp_path / "state.db")
    first.poll()
    prometheus.take("first", first.scrape())
    names["tfm-a"] = "customers"
    fail(world, "tsk-0")
    first.poll()
    for _ in range(3):
        prometheus.take("first", first.scrape())
    first.kill()
    second = Exporter(world, config, tmp_path / "state.db")
    for _ in range(3):
        prometheus.take(label, second.scrape())
        second.poll()
    second.close()
    assert sum(prometheus.increase(FINISHED).values()) == 1


def test_a_quiet_transform_that_discovery_finds_late_keeps_its_state(world: World, tmp_path: Path) -> None:
    """A process keeps the state of a quiet transform, even if it has not yet discovered the transform."""
    both, other = configuration("tfm-a", "tfm-b", lookback=7 * DAY), configuration("tfm-b", lookback=7 * DAY)
    path, prometheus = tmp_path / "state.db", Prometheus()
    first = Exporter(world, both, path)
    first.poll()
    first.scrape()
    for _ in range(15):
        world.now += DAY
        first.poll()
        first.poller._end_cycle(0.0, overrun=False)
    prometheus.take("one", first.scrape())
    first.kill()
    fail(world, "tsk-0")
    second = Exporter(world, other, path)
    second.reload(both)
    for _ in range(3):
        second.poll()
        prometheus.take("one", second.scrape())
    second.close()
    assert by_kind(prometheus.increase(FINISHED)) == ONE_FAILURE


def test_a_reload_on_a_full_disk_keeps_the_state_of_a_removed_transform(world: World, tmp_path: Path) -> None:
    """If a removal cannot be stored, the transform counts as configured until the removal is stored."""
    both, other = configuration("tfm-a", "tfm-b", lookback=7 * DAY), configuration("tfm-b", lookback=7 * DAY)
    disk, prometheus = Disk(tmp_path / "state.db", world.now), Prometheus()
    first = Exporter(world, both, disk.state)
    first.poll()
    first.scrape()
    fail(world, "tsk-0")
    first.poll()
    prometheus.take("one", first.scrape())
    world.now += 16 * DAY
    disk.full = True
    first.reload(other)
    disk.full = False
    for config in (other, both):
        world.now += MINUTE
        first.reload(config)
    fail(world, "tsk-1", "TIMEOUT")
    for _ in range(3):
        first.poll()
        prometheus.take("one", first.scrape())
    first.kill()
    second = Exporter(world, both, tmp_path / "state.db")
    for _ in range(3):
        second.poll()
        prometheus.take("one", second.scrape())
    second.close()
    assert not prometheus.falls()
