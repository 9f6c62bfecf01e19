"""More mistakes that somebody has found who looked for them; each stays. Here scrapes, restarts and reloads meet."""

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
    World,
    by_cell,
    configuration,
    through,
)

ONE = {("FIND_MATCHES", "FAILED"): 1}


@pytest.fixture
def world() -> World:
    """A world in which nothing has happened yet."""
    return World()


def fail(world: World, run_id: str, status: str = "FAILED") -> Run:
    """Let a run begin and end now."""
    return world.add(Run(run_id, world.now, world.now, status=status))


def under_the_name(config: Config, name: str) -> Config:
    """Give the configuration with another name for its transforms."""
    return replace(config, transforms=tuple(replace(transform, name=name) for transform in config.transforms))


class Disk:
    """A disk that is full when the test says so."""

    def __init__(self, path: Path, now: float) -> None:
        self.full = False
        self.state: StateFile = through(open_state(path, now)[0], self._on_statement)

    def _on_statement(self, statement: str, done: bool) -> None:
        if self.full and not done and statement.startswith(("INSERT", "UPDATE", "DELETE")):
            raise sqlite3.OperationalError("database or disk is full")


def test_a_scrape_before_the_first_good_poll_has_seen_no_base(world: World) -> None:
    """A scrape that showed no counters yet does not count as one that has seen them at their base."""
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
    assert by_cell(prometheus.increase(FINISHED)) == ONE


@pytest.mark.parametrize("label", ["first", "second"])
def test_a_kill_after_glue_has_renamed_a_transform_does_not_bring_the_old_name_back(
    world: World, tmp_path: Path, label: str
) -> None:
    """A new name is stored before anything is shown under it, so the next process begins with it."""
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


def test_an_old_open_run_that_glue_denied_once_is_counted_when_it_ends(world: World) -> None:
    """A run that began before the lookback, was denied by one poll and has ended at the next is counted."""
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
    assert exporter.totals() == ONE


def test_a_quiet_transform_that_discovery_finds_late_keeps_its_state(world: World, tmp_path: Path) -> None:
    """A process that does not know yet that a transform is still there does not drop it for having been quiet."""
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
    assert by_cell(prometheus.increase(FINISHED)) == ONE


def test_a_reload_on_a_full_disk_drops_nothing_that_has_just_left(world: World, tmp_path: Path) -> None:
    """That a transform leaves is noted later if it cannot be at once; until then it counts as configured."""
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
