"""The process is killed at every statement boundary of what it writes; the promise holds at each."""

import copy
import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from exporter.counting.ledger import Changes, Ledger
from exporter.counting.reading import Reading
from exporter.model.task_run import TaskRun
from exporter.state.store import STAGE_SIZE, StateFile, open_state
from tests.counting.killed_process import RUNS
from tests.counting.world import (
    BOUNDS,
    FINISHED,
    HOUR,
    NOW,
    Exporter,
    Prometheus,
    Run,
    Samples,
    World,
    by_kind,
    configuration,
    copy_state,
    run_kinds,
    through,
)
from tests.support import ROOT

CONFIG = configuration("tfm-a")


@dataclass
class Kill:
    """What a kill at one instant leaves behind."""

    at: str
    state: Path
    world: World
    prometheus: Prometheus
    scraping: bool
    """Whether a scrape had begun and its answer was still to come."""


def unsynced(path: Path) -> StateFile:
    """Open a state file without waiting for the disk, which outlives a killed process anyway."""
    state, _ = open_state(path, 0)
    state._connection.execute("PRAGMA synchronous = OFF")
    return state


class Recorder:
    """An exporter whose every statement is an instant at which it may be killed."""

    def __init__(self, folder: Path) -> None:
        self.kills: list[Kill] = []
        self.folder = folder
        self.world = World()
        self.prometheus = Prometheus()
        self.scraping = False
        self.path = folder / "state.db"
        state = through(unsynced(self.path), self.remember)
        self.exporter = Exporter(self.world, CONFIG, state)

    def remember(self, statement: str, done: bool) -> None:
        """Keep what a kill at this instant would leave."""
        number = len(self.kills)
        self.kills.append(
            Kill(
                f"{number}: {'after' if done else 'before'} {statement[:60]}",
                copy_state(self.path, self.folder / str(number) / "state.db"),
                copy.deepcopy(self.world),
                copy.deepcopy(self.prometheus),
                self.scraping,
            )
        )

    def scrape(self) -> None:
        """Scrape once, to the end."""
        self.scraping = True
        samples = self.exporter.scrape()
        self.scraping = False
        self.prometheus.take("first", samples)

    def happen(self, name: str, status: str, *, lasts: float = 1.0) -> None:
        """Let a run start now."""
        self.world.add(Run(name, self.world.now, self.world.now + lasts, status=status, execution=lasts))

    def poll(self) -> None:
        """Poll after a while."""
        self.world.now += 60
        self.exporter.poll()


@pytest.fixture(scope="module")
def kills(tmp_path_factory: pytest.TempPathFactory) -> list[Kill]:
    """Every instant of a life with history, a first failure, a run that takes long, and several scrapes."""
    recorder = Recorder(tmp_path_factory.mktemp("life"))
    recorder.happen("old", "FAILED")
    recorder.poll()
    recorder.scrape()
    recorder.happen("first", "FAILED")
    recorder.happen("long", "TIMEOUT", lasts=2 * HOUR)
    recorder.poll()
    recorder.scrape()
    recorder.poll()
    recorder.scrape()
    recorder.happen("second", "FAILED")
    recorder.happen("fine", "SUCCEEDED")
    recorder.poll()
    recorder.world.now += 2 * HOUR
    recorder.poll()
    recorder.scrape()
    recorder.scrape()
    recorder.exporter.close()
    return recorder.kills


def live_on(kill: Kill, instance: str, folder: Path) -> tuple[Counter[tuple[str, str]], Prometheus]:
    """Start again after a kill, let another run fail, and give what Prometheus has counted in the end."""
    exporter = Exporter(kill.world, CONFIG, unsynced(copy_state(kill.state, folder / "state.db")))
    prometheus = copy.deepcopy(kill.prometheus)
    prometheus.take(instance, exporter.scrape())
    exporter.poll()
    prometheus.take(instance, exporter.scrape())
    prometheus.take(instance, exporter.scrape())
    exporter.close()
    return Counter(by_kind(prometheus.increase(FINISHED))), prometheus


def happened(kill: Kill) -> Counter[tuple[str, str]]:
    """Give what has finished since the first poll."""
    return Counter(run_kinds([run for run in kill.world.over("tfm-a") if run.id != "old"]))


def test_every_write_is_an_instant(kills: list[Kill]) -> None:
    """The life that is cut short has dozens of instants, with marks of served values among them."""
    assert len(kills) > 100
    assert any(kill.scraping for kill in kills)


def test_under_the_same_label_no_kill_loses_or_doubles(kills: list[Kill], tmp_path: Path) -> None:
    """Whenever it is killed, the next process under the same instance label makes the counts whole."""
    for number, kill in enumerate(kills):
        counted, prometheus = live_on(copy.deepcopy(kill), "first", tmp_path / str(number))
        if kill.prometheus.samples:
            assert counted == happened(kill), kill.at
        else:
            assert not counted, kill.at
        assert not prometheus.falls(), kill.at


def test_under_a_new_label_only_the_scrape_under_way_may_lose_its_step(kills: list[Kill], tmp_path: Path) -> None:
    """Under another instance label nothing is doubled, and nothing lost but by a kill in the middle of a scrape."""
    lost = 0
    for number, kill in enumerate(kills):
        counted, _ = live_on(copy.deepcopy(kill), "second", tmp_path / str(number))
        if not kill.prometheus.samples:
            assert not counted, kill.at
        elif kill.scraping:
            assert counted <= happened(kill), kill.at
            lost += counted != happened(kill)
        else:
            assert counted == happened(kill), kill.at
    assert lost, "no kill has hit the moment between the record and the bytes, so this has shown nothing"


@pytest.mark.slow
def test_a_process_that_is_killed_for_real_keeps_the_promise(tmp_path: Path) -> None:
    """After kill -9 before any of its writes, the files and what Prometheus has seen add up to what has finished."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.counting.killed_process", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kills = [killed(folder) for folder in sorted(tmp_path.iterdir())]
    assert len(kills) > 50
    test_under_the_same_label_no_kill_loses_or_doubles(kills, tmp_path / "same")
    test_under_a_new_label_only_the_scrape_under_way_may_lose_its_step(kills, tmp_path / "new")


def killed(folder: Path) -> Kill:
    """Read what a killed process has left."""
    world, prometheus, scraping = World(), Prometheus(), False
    for run in RUNS:
        world.add(run)
    for line in (folder / "log.jsonl").read_text().splitlines():
        told = json.loads(line)
        world.now, scraping = told["now"], told["scraping"]
        if "samples" in told:
            prometheus.take("first", Samples(told["samples"]))
    return Kill(folder.name, folder / "state.db", world, prometheus, scraping)


# -- a history that is too long for one transaction --------------------------------------------------------------------


def long_poll() -> tuple[Ledger, Changes]:
    """Give a ledger after its first poll, of a long history, and what that poll has brought."""
    ledger = Ledger(BOUNDS)
    reading = Reading(ledger, now=NOW, since=0.0, cutoff=0.0)
    for number in range(2 * STAGE_SIZE + 1):
        started = NOW - HOUR + number / 100
        reading.add(TaskRun(f"tsk-{number}", "FIND_MATCHES", "FAILED", started, started + 1.0, 1.0))
    reading.add(TaskRun("tsk-open", "EVALUATION", "RUNNING", NOW - 1.0))
    return ledger, ledger.commit(reading)


def test_a_long_history_is_stored_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """Killed at any statement of its first save, the file knows all of a long history or nothing, and can go on."""
    ledger, changes = long_poll()
    path, kills = tmp_path / "state.db", []

    def remember(statement: str, done: bool) -> None:
        if done and statement == "COMMIT":
            kills.append(copy_state(path, tmp_path / str(len(kills)) / "state.db"))

    state = through(unsynced(path), remember)
    state.save("tfm-a", "customers", ledger, changes, NOW, created_at=NOW)
    state.close()
    assert len(kills) == 5, "the row of the transform, three times its runs, and the name that makes it known"
    for kill in kills:
        after = unsynced(kill)
        restored = after.load("tfm-a", BOUNDS)
        assert (restored is not None) == (kill is kills[-1])
        if restored is None:
            after.save("tfm-a", "customers", *long_poll(), NOW, created_at=NOW)
            restored = after.load("tfm-a", BOUNDS)
        after.close()
        assert restored is not None
        assert restored.ledger.finished.entries == ledger.finished.entries
        assert restored.ledger.open == ledger.open


def test_other_transforms_are_stored_while_a_long_history_is(tmp_path: Path) -> None:
    """Between the transactions of a long first save another transform's poll and marks get into the file."""
    ledger, changes = long_poll()
    path, turns = tmp_path / "state.db", []
    state = unsynced(path)

    def in_between(statement: str, done: bool) -> None:
        if done and statement == "COMMIT" and state.load("tfm-a", BOUNDS) is None:
            turns.append(
                state.save(
                    f"tfm-{len(turns)}", "", Ledger(BOUNDS), Changes((), (), (), (), {}, (), True), NOW, created_at=NOW
                )
            )

    through(state, in_between).save("tfm-a", "customers", ledger, changes, NOW, created_at=NOW)
    restored = state.load("tfm-a", BOUNDS)
    state.close()
    assert turns == [True] * 4
    assert restored is not None
    assert restored.ledger.finished.entries == ledger.finished.entries
