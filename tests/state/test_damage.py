"""Damaged state files: nothing damaged is served or counted, and the exporter always starts."""

import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.state.store import Restored, StateFile, open_state
from tests.counting.world import BOUNDS, Exporter, Run, World, configuration, copy_state

NOW = 1_790_000_000.0
IDS = ("tfm-a", "tfm-b", "tfm-c")


def content_of(restored: Restored | None) -> Any:
    """Return everything that the exporter uses of the stored state of a transform."""
    if restored is None:
        return None
    ledger = restored.ledger
    return (
        restored.name,
        restored.created_at,
        dict(restored.served),
        dict(restored.created),
        ledger.floor,
        ledger.watched_since,
        ledger.forgotten_until,
        ledger.watermark,
        ledger.run_kinds.foreign,
        ledger.latest,
        ledger.open,
        ledger.missing,
        ledger.incomplete,
        ledger.finished.entries,
        ledger.totals,
    )


def contents_of(state: StateFile) -> dict[str, Any]:
    """Return the content of each transform; None for a transform that begins anew."""
    return {transform_id: content_of(state.load(transform_id, BOUNDS)) for transform_id in IDS}


def poll_and_scrape(exporter: Exporter) -> None:
    """Poll all transforms and scrape twice."""
    for transform_id in IDS:
        exporter.poll(transform_id)
    exporter.scrape()
    exporter.scrape()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the file of a process that was stopped, and the file and WAL of a process that was killed."""
    folder = tmp_path_factory.mktemp("written")
    world = World()
    for number in range(200):
        for transform_id in IDS:
            status = "FAILED" if number % 3 else "PAUSED"
            world.add(Run(f"tsk-{number}", world.now - 9000 + number, world.now - 50, status=status), transform_id)
    exporter = Exporter(world, configuration(*IDS), folder / "stopped.db")
    poll_and_scrape(exporter)
    for number in range(200, 260):
        for transform_id in IDS:
            ends = world.now + 30 if number % 5 else world.now + 9000
            world.add(Run(f"tsk-{number}", world.now, ends, status="FAILED", execution=number), transform_id)
        if not number % 20:
            world.now += 60
            poll_and_scrape(exporter)
    copy_state(folder / "stopped.db", folder / "killed.db")
    exporter.close()
    return folder


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """The path of the file that the test damages; in memory if possible, because each of many files is synced."""
    shared_memory = Path("/dev/shm")  # noqa: S108 - the folder below it has a random name
    folder = shared_memory if os.access(shared_memory, os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(dir=folder) as name:
        yield Path(name, "state.db")


def flip(data: bytearray, chance: random.Random) -> None:
    """Flip one bit."""
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def overwrite(data: bytearray, chance: random.Random) -> None:
    """Overwrite a disk block with zeros or random bytes."""
    start = chance.randrange(len(data)) // 512 * 512
    data[start : start + 512] = bytes(512) if chance.random() < 0.5 else chance.randbytes(512)


def cut(data: bytearray, chance: random.Random) -> None:
    """Cut off the end."""
    del data[chance.randrange(1, len(data)) :]


def swap(data: bytearray, chance: random.Random) -> None:
    """Swap two pages."""
    one, other = (chance.randrange(len(data) // 4096) * 4096 for _ in range(2))
    data[one : one + 4096], data[other : other + 4096] = data[other : other + 4096], data[one : one + 4096]


DAMAGES: dict[str, tuple[Callable[[bytearray, random.Random], None], int]] = {
    "flip": (flip, 400),
    "overwrite": (overwrite, 100),
    "cut": (cut, 50),
    "swap": (swap, 50),
}
"""Each kind of damage, and the number of files that are damaged in this way."""


def damage(written: Path, path: Path, kind: str, number: int, part: str = "") -> None:
    """Copy a file, and damage it in a way that depends on the number only."""
    for leftover in path.parent.glob(f"{path.name}*"):
        leftover.unlink()
    copy_state(written, path)
    file = path.with_name(path.name + part)
    data = bytearray(file.read_bytes())
    DAMAGES[kind][0](data, random.Random(f"{kind} {part} {number}"))  # noqa: S311 - the same damage in each run
    file.write_bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGES)
def test_no_damaged_value_is_ever_loaded(written: Path, path: Path, kind: str) -> None:
    """After any damage each transform has exactly its old content or begins anew, and the damaged file is kept."""
    right, _ = open_state(copy_state(written / "stopped.db", path), NOW)
    truth = contents_of(right)
    right.close()
    results: Counter[str] = Counter()
    for number in range(DAMAGES[kind][1]):
        damage(written / "stopped.db", path, kind, number)
        state, damaged = open_state(path, NOW)
        contents = contents_of(state)
        for transform_id, content in contents.items():
            assert content in (None, truth[transform_id]), number
        if None in contents.values():
            assert list(path.parent.glob("state.db.damaged-*[0-9]")), number
        assert contents_of(state) == contents
        state.close()
        results["file" if damaged else "transform" if None in contents.values() else "nothing"] += 1
    assert results["file"]


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_wal_does_not_refuse_the_start(written: Path, path: Path, kind: str) -> None:
    """SQLite ends the WAL of a killed process before the damage, so each transform has an earlier content."""
    right, _ = open_state(copy_state(written / "stopped.db", path), NOW)
    truth = {transform_id: len(content[-2]) for transform_id, content in contents_of(right).items()}
    right.close()
    for number in range(DAMAGES[kind][1] // 10):
        damage(written / "killed.db", path, kind, number, "-wal")
        state, _ = open_state(path, NOW)
        for transform_id, content in contents_of(state).items():
            assert content is None or len(content[-2]) <= truth[transform_id], number
        state.close()


@pytest.mark.parametrize("text", [b"CREATE \xe4ABLE series (", b"CREATE TABLE series \xc5"])
def test_a_damaged_definition_of_a_table_does_not_refuse_the_start(written: Path, path: Path, text: bytes) -> None:
    """SQLite quotes the damaged text in its message, which is then no UTF-8; the file is renamed all the same."""
    content = (written / "stopped.db").read_bytes()
    assert content.count(b"CREATE TABLE series (") == 1
    path.write_bytes(content.replace(b"CREATE TABLE series (", text))
    state, damaged = open_state(path, NOW)
    state.close()
    assert damaged is not None
