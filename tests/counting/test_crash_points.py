"""After a kill before or after any statement to the state file, each finish still counts exactly once."""

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
    traced,
)
from tests.support import ROOT

CONFIG = configuration("tfm-a")


@dataclass
class Kill:
    """The state file, the world and the scrapes at the instant of a kill."""

    instant: str
    state: Path
    world: World
    prometheus: Prometheus
    scraping: bool
    """Whether a scrape had begun and its answer was not yet sent."""


def open_unsynced_state(path: Path) -> StateFile:
    """Open a state file without syncs, because the kernel keeps the writes of a killed process anyway."""
    state, _ = open_state(path, 0)
    state._connection.execute("PRAGMA synchronous = OFF")
    return state


class Recorder:
    """An exporter that records a `Kill` before and after each statement to its state file."""

    def __init__(self, folder: Path) -> None:
        self.kills: list[Kill] = []
        self.folder = folder
        self.world = World()
        self.prometheus = Prometheus()
        self.scraping = False
        self.path = folder / "state.db"
        state = traced(open_unsynced_state(self.path), self.record_kill)
        self.exporter = Exporter(self.world, CONFIG, state)

    def record_kill(self, statement: str, done: bool) -> None:
        """Record the files and scrapes that a kill at this instant would leave."""
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
        """Scrape once, and let Prometheus store the complete answer."""
        self.scraping = True
        samples = self.exporter.scrape()
        self.scraping = False
        self.prometheus.take("first", samples)

    def add_run(self, name: str, status: str, *, lasts: float = 1.0) -> None:
        """Add a run that starts now and ends with this status after ``lasts`` seconds."""
        self.world.add(Run(name, self.world.now, self.world.now + lasts, status=status, execution=lasts))

    def poll(self) -> None:
        """Poll a minute later."""
        self.world.now += 60
        self.exporter.poll()


@pytest.fixture(scope="module")
def kills(tmp_path_factory: pytest.TempPathFactory) -> list[Kill]:
    """The kills at all instants of a process that sees a baseline run, a first failure, a long run and scrapes."""
    recorder = Recorder(tmp_path_factory.mktemp("life"))
    recorder.add_run("old", "FAILED")
    recorder.poll()
    recorder.scrape()
    recorder.add_run("first", "FAILED")
    recorder.add_run("long", "TIMEOUT", lasts=2 * HOUR)
    recorder.poll()
    recorder.scrape()
    recorder.poll()
    recorder.scrape()
    recorder.add_run("second", "FAILED")
    recorder.add_run("fine", "SUCCEEDED")
    recorder.poll()
    recorder.world.now += 2 * HOUR
    recorder.poll()
    recorder.scrape()
    recorder.scrape()
    recorder.exporter.close()
    return recorder.kills


def restart_after(kill: Kill, instance: str, folder: Path) -> tuple[Counter[tuple[str, str]], Prometheus]:
    """Start a new process after a kill; return the increases and all samples that Prometheus has in the end."""
    exporter = Exporter(kill.world, CONFIG, open_unsynced_state(copy_state(kill.state, folder / "state.db")))
    prometheus = copy.deepcopy(kill.prometheus)
    prometheus.take(instance, exporter.scrape())
    exporter.poll()
    prometheus.take(instance, exporter.scrape())
    prometheus.take(instance, exporter.scrape())
    exporter.close()
    return Counter(by_kind(prometheus.increase(FINISHED))), prometheus


def finished_since_first_poll(kill: Kill) -> Counter[tuple[str, str]]:
    """Return the number of runs that finished after the first poll, by kind."""
    return Counter(run_kinds([run for run in kill.world.ended("tfm-a") if run.id != "old"]))


def test_kills_are_recorded_at_all_statements_and_during_scrapes(kills: list[Kill]) -> None:
    """The recording has more than a hundred instants, some of them during a scrape, when served values are recorded."""
    assert len(kills) > 100
    assert any(kill.scraping for kill in kills)


@pytest.mark.slow
def test_under_the_same_label_no_kill_loses_or_doubles_a_finish(kills: list[Kill], tmp_path: Path) -> None:
    """After a kill at any instant, the next process with the same instance label serves each finish exactly once."""
    for number, kill in enumerate(kills):
        counted, prometheus = restart_after(copy.deepcopy(kill), "first", tmp_path / str(number))
        if kill.prometheus.samples:
            assert counted == finished_since_first_poll(kill), kill.instant
        else:
            assert not counted, kill.instant
        assert not prometheus.falls(), kill.instant


@pytest.mark.slow
def test_under_a_new_label_only_a_kill_during_a_scrape_may_lose_an_increment(kills: list[Kill], tmp_path: Path) -> None:
    """With a new instance label no finish counts twice, and a finish can be lost only by a kill during a scrape."""
    lost = 0
    for number, kill in enumerate(kills):
        counted, _ = restart_after(copy.deepcopy(kill), "second", tmp_path / str(number))
        if not kill.prometheus.samples:
            assert not counted, kill.instant
        elif kill.scraping:
            assert counted <= finished_since_first_poll(kill), kill.instant
            lost += counted != finished_since_first_poll(kill)
        else:
            assert counted == finished_since_first_poll(kill), kill.instant
    assert lost, "no kill lies between the record of the values and the answer, so the other assertions show nothing"


@pytest.mark.slow
def test_a_real_kill_loses_and_doubles_no_finish(tmp_path: Path) -> None:
    """After SIGKILL before any write, the next process serves each finish once, as after a recorded kill."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.counting.killed_process", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kills = [kill_left_by(folder) for folder in sorted(tmp_path.iterdir())]
    assert len(kills) > 50
    test_under_the_same_label_no_kill_loses_or_doubles_a_finish(kills, tmp_path / "same")
    test_under_a_new_label_only_a_kill_during_a_scrape_may_lose_an_increment(kills, tmp_path / "new")


def kill_left_by(folder: Path) -> Kill:
    """Return the kill that a folder of `killed_process` describes."""
    world, prometheus, scraping = World(), Prometheus(), False
    for run in RUNS:
        world.add(run)
    for line in (folder / "log.jsonl").read_text().splitlines():
        entry = json.loads(line)
        world.now, scraping = entry["now"], entry["scraping"]
        if "samples" in entry:
            prometheus.take("first", Samples(entry["samples"]))
    return Kill(folder.name, folder / "state.db", world, prometheus, scraping)


# -- a history that is too long for one transaction --------------------------------------------------------------------


def long_poll() -> tuple[Ledger, Changes]:
    """Return a ledger after the first poll of a long history, and the changes of that poll."""
    ledger = Ledger(BOUNDS)
    reading = Reading(ledger, now=NOW, since=0.0, cutoff=0.0)
    for number in range(2 * STAGE_SIZE + 1):
        started = NOW - HOUR + number / 100
        reading.add(TaskRun(f"tsk-{number}", "FIND_MATCHES", "FAILED", started, started + 1.0, 1.0))
    reading.add(TaskRun("tsk-open", "EVALUATION", "RUNNING", NOW - 1.0))
    return ledger, ledger.commit(reading)


@pytest.mark.slow
def test_the_first_save_of_a_long_history_is_atomic(tmp_path: Path) -> None:
    """After a kill during the first save the file has the whole history or nothing, and a later save works."""
    ledger, changes = long_poll()
    path, kills = tmp_path / "state.db", []

    def record_kill(statement: str, done: bool) -> None:
        if done and statement == "COMMIT":
            kills.append(copy_state(path, tmp_path / str(len(kills)) / "state.db"))

    state = traced(open_unsynced_state(path), record_kill)
    state.save("tfm-a", "customers", ledger, changes, NOW, created_at=NOW)
    state.close()
    assert len(kills) == 5, "one commit for the transform, three for its runs, and one that ends the staging"
    for kill in kills:
        after = open_unsynced_state(kill)
        restored = after.load("tfm-a", BOUNDS)
        assert (restored is not None) == (kill is kills[-1])
        if restored is None:
            after.save("tfm-a", "customers", *long_poll(), NOW, created_at=NOW)
            restored = after.load("tfm-a", BOUNDS)
        after.close()
        assert restored is not None
        assert restored.ledger.finished.entries == ledger.finished.entries
        assert restored.ledger.open == ledger.open


def test_other_transforms_are_stored_during_a_long_first_save(tmp_path: Path) -> None:
    """Between the transactions of a long first save the polls of other transforms are stored."""
    ledger, changes = long_poll()
    path, saves = tmp_path / "state.db", []
    state = open_unsynced_state(path)

    def save_another(statement: str, done: bool) -> None:
        if done and statement == "COMMIT" and state.load("tfm-a", BOUNDS) is None:
            saves.append(
                state.save(
                    f"tfm-{len(saves)}", "", Ledger(BOUNDS), Changes((), (), (), (), {}, (), True), NOW, created_at=NOW
                )
            )

    traced(state, save_another).save("tfm-a", "customers", ledger, changes, NOW, created_at=NOW)
    restored = state.load("tfm-a", BOUNDS)
    state.close()
    assert saves == [True] * 4
    assert restored is not None
    assert restored.ledger.finished.entries == ledger.finished.entries
