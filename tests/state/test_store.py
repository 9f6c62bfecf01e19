"""The state file: stored values are restored, unusable files are refused or renamed, and no file is overwritten."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from exporter.counting.counters import Count, Exemplar, Histogram, Series
from exporter.counting.latest import LatestRun
from exporter.counting.run_kinds import KNOWN_KINDS
from exporter.model.errors import StateError
from exporter.model.task_run import TaskRun
from exporter.state.checksum import seal
from exporter.state.database import APPLICATION_ID, MIGRATIONS
from exporter.state.store import open_state
from tests.counting.world import BOUNDS, DAY, Exporter, Prometheus, Run, World, configuration, copy_state

NOW = 1_790_000_000.0
FAILED = Series("finished", "FIND_MATCHES", "FAILED")
VERSION_1 = Path(__file__).parent / "data" / "state-v1.sql"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the state file."""
    return tmp_path / "state.db"


@pytest.fixture
def world() -> World:
    """A world in which one run has failed."""
    world = World()
    world.add(Run("tsk-old", world.now - 100, world.now - 50, status="FAILED"))
    return world


def fail_once(world: World, exporter: Exporter) -> None:
    """Let a run fail, and poll the transform one minute later."""
    world.add(Run(f"tsk-{len(world.runs['tfm-a'])}", world.now, world.now + 1, status="FAILED", execution=1.0))
    world.now += 60
    exporter.poll()


def write_state_file(path: Path, world: World, failures: int = 2) -> None:
    """Write a state file in which ``failures`` failed runs are counted and served."""
    exporter = Exporter(world, configuration("tfm-a"), path)
    exporter.poll()
    for _ in range(failures):
        fail_once(world, exporter)
        exporter.scrape()
    exporter.scrape()
    exporter.close()


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file of this process grow, so SQLite can neither create nor migrate a state file."""
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)


# -- versions ---------------------------------------------------------------------------------------------------------


def test_a_file_of_the_first_version_opens(path: Path) -> None:
    """This version of the exporter reads all data of a file of version 1."""
    old = sqlite3.connect(path)
    old.executescript(VERSION_1.read_text(encoding="utf-8"))
    old.close()
    state, damaged = open_state(path, NOW)
    restored = state.load("tfm-a", BOUNDS)
    state.close()
    assert damaged is None
    assert restored is not None
    assert (restored.name, restored.created_at, restored.buckets_changed) == ("customers", NOW, False)
    ledger = restored.ledger
    assert (ledger.floor, ledger.watched_since, ledger.watermark) == (1787408000.0, NOW, 1789999000.0)
    assert ledger.forgotten_until == ledger.floor
    assert ledger.run_kinds.foreign == [("FIND_MATCHES", "PAUSED")]
    assert ledger.open == {"tsk-open": TaskRun("tsk-open", "EVALUATION", "RUNNING", 1789998000.0)}
    assert list(ledger.missing) == ["tsk-gone"]
    assert ledger.gauge_values(0).runs["FIND_MATCHES", "FAILED"] == 1
    assert ledger.latest["FIND_MATCHES"] == LatestRun(
        1789999000.0, 5, "FAILED", failed=1789999100.0, finish=1789999100.0, execution=42.0
    )
    exemplar = Exemplar("tsk-5", 42.0, 1789999100.0)
    assert ledger.totals == {
        FAILED: Count(7, Exemplar("tsk-5", 1.0, 1789999100.0)),
        Series("execution", "FIND_MATCHES", "FAILED"): Histogram((1, 0, 0), 42.0, (exemplar, None, None)),
    }
    assert restored.served == {FAILED: Count(5)}
    assert restored.created == {Series("execution", "FIND_MATCHES", "FAILED"): 1789999200.0}


def test_the_codes_of_run_kinds_never_change() -> None:
    """Each code always means the same task type and status, because old files contain the codes."""
    assert KNOWN_KINDS[:8] == (
        *[("EVALUATION", s) for s in ("STARTING", "RUNNING", "STOPPING", "STOPPED", "SUCCEEDED", "FAILED", "TIMEOUT")],
        ("LABELING_SET_GENERATION", "STARTING"),
    )
    assert KNOWN_KINDS[33:] == (("FIND_MATCHES", "FAILED"), ("FIND_MATCHES", "TIMEOUT"))


def test_a_file_of_a_newer_version_is_refused(path: Path) -> None:
    """After a downgrade, the exporter refuses the file of the newer version and does not change it."""
    open_state(path, NOW)[0].close()
    newer = sqlite3.connect(path)
    newer.execute("ALTER TABLE transform ADD COLUMN later REAL")
    newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    newer.close()
    before = path.read_bytes()
    with pytest.raises(StateError, match=f"newer glue-ml-exporter.*reads {len(MIGRATIONS)} and older"):
        open_state(path, NOW)
    assert path.read_bytes() == before


# -- unusable files ---------------------------------------------------------------------------------------------------


def test_the_database_of_another_program_is_refused(path: Path) -> None:
    """A database of another program is refused and not changed."""
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE other (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StateError, match="database of another program"):
        open_state(path, NOW)
    assert path.read_bytes() == before


def test_a_file_that_is_not_a_database_is_renamed(path: Path) -> None:
    """A file of another format is kept under another name, because it may be a state file with a damaged beginning."""
    path.write_text("plain text")
    state, damaged = open_state(path, NOW)
    state.close()
    assert damaged == path.with_name(f"state.db.damaged-{int(NOW)}")
    assert damaged.read_text() == "plain text"


@pytest.mark.parametrize("pragma", ["application_id = 7", f"user_version = {len(MIGRATIONS) + 1}", "user_version = 0"])
def test_a_damaged_number_in_the_header_does_not_refuse_the_start(path: Path, pragma: str) -> None:
    """A file with the tables of a state file and a wrong number in its header is damaged, not newer or foreign."""
    open_state(path, NOW)[0].close()
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA {pragma}")
    state, damaged = open_state(path, NOW)
    state.close()
    assert damaged is not None


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_damaged_file_is_renamed(path: Path, world: World, damage: str) -> None:
    """A damaged file is renamed and not changed. The exporter then starts with an empty file and a new baseline."""
    write_state_file(path, world)
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[4096:8192] = b"\xa5" * 4096
    else:
        del content[len(content) // 2 :]
    path.write_bytes(content)
    state, damaged = open_state(path, NOW)
    assert damaged == path.with_name(f"state.db.damaged-{int(NOW)}")
    assert damaged.read_bytes() == bytes(content)
    exporter = Exporter(world, configuration("tfm-a"), state)
    exporter.poll()
    assert exporter.totals() == {}
    exporter.close()


def test_a_second_damaged_file_does_not_replace_the_first(path: Path, world: World) -> None:
    """If two files are found damaged in the same second, both are kept."""
    kept = set()
    for _ in range(2):
        write_state_file(path, world)
        path.write_bytes(path.read_bytes()[:5000])
        state, damaged = open_state(path, NOW)
        state.close()
        path.unlink()
        kept.add(damaged)
    assert len(kept) == 2
    assert all(file is not None and file.stat().st_size == 5000 for file in kept)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE series SET total = '[\"count\", 7' WHERE transform = 1",
        "UPDATE series SET total = '[\"count\", 7, null]' WHERE transform = 1",
        "UPDATE series SET served = NULL WHERE transform = 1",
        "UPDATE series SET served = X'ff' WHERE transform = 1 AND served IS NOT NULL",
        "DELETE FROM series WHERE transform = 1 AND family = 'finished'",
        'UPDATE transform SET latest = \'{"FIND_MATCHES": {"strat": 1}}\' WHERE key = 1',
        "UPDATE transform SET bounds = '[60.0' WHERE key = 1",
        "UPDATE transform SET foreign_cells = '[[]]' WHERE key = 1",
        "UPDATE transform SET watermark = watermark + 1 WHERE key = 1",
        "UPDATE transform SET name = CAST(X'ff' AS TEXT) WHERE key = 1",
        "INSERT INTO open_run (transform, run_id, run, gone) VALUES (1, 'tsk-x', 'damaged', 0)",
        "UPDATE finished_run SET packed = 'damaged' WHERE transform = 1",
        "UPDATE finished_run SET packed = packed + 1 WHERE transform = 1",
        "UPDATE OR IGNORE finished_run SET fingerprint = X'00112233445566778899aabbccddeeff' WHERE transform = 1",
        "DELETE FROM finished_run WHERE transform = 1",
    ],
)
def test_a_damaged_row_costs_only_its_transform(
    path: Path, world: World, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite does not notice a damaged value in a row. Its transform begins anew, and the damaged file is kept."""
    write_state_file(path, world)
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            "CREATE TEMP TABLE other AS SELECT * FROM transform; UPDATE other SET key = 2, id = 'tfm-b';"
            "INSERT INTO transform SELECT * FROM other;"
            "INSERT INTO finished_run SELECT 2, fingerprint, packed FROM finished_run;"
        )
        database.commit()
        seal(database, 2)
        database.execute(damage)
        database.commit()
    before = path.read_bytes()
    state, damaged = open_state(path, NOW)
    assert damaged is None
    assert state.load("tfm-a", BOUNDS) is None
    assert state.load("tfm-b", BOUNDS) is not None
    state.close()
    (kept,) = path.parent.glob("state.db.damaged-*[0-9]")
    assert kept.read_bytes() == before
    assert sum("state file is damaged" in message for message in caplog.messages) == 1


def test_a_second_process_is_refused(path: Path) -> None:
    """A second process cannot open the file until the first process has closed it."""
    state, _ = open_state(path, NOW)
    program = (
        "import sys, pathlib; from exporter.state.store import open_state; open_state(pathlib.Path(sys.argv[1]), 0)"
    )
    second = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert "another process has it open" in second.stderr
    state.close()
    third = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert third.returncode == 0, third.stderr


def test_the_error_names_a_missing_folder(tmp_path: Path) -> None:
    """If the folder of the file does not exist, the error has its path."""
    with pytest.raises(StateError, match=r"expected an existing folder.*missing"):
        open_state(tmp_path / "missing" / "state.db", NOW)


@pytest.mark.slow
def test_a_read_only_file_is_refused(path: Path) -> None:
    """If the user may not write to the file, the error says that the file is read-only."""
    open_state(path, NOW)[0].close()
    path.chmod(0o444)
    path.parent.chmod(0o755)
    for folder in (path.parent, *path.parents[1:4]):
        folder.chmod(folder.stat().st_mode | 0o055)
    program = (
        "import os, sys, pathlib\n"
        "from exporter.state.store import open_state\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "open_state(pathlib.Path(sys.argv[1]), 0)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert "the state file is read-only" in done.stderr, done.stderr


# -- a full disk ------------------------------------------------------------------------------------------------------


def test_on_a_full_disk_counters_stand_still_and_later_catch_up(path: Path, world: World) -> None:
    """While the file cannot grow, counters stay unchanged and timestamps increase. Later the counters catch up."""
    state, _ = open_state(path, NOW)
    exporter = Exporter(world, configuration("tfm-a"), state)
    prometheus = Prometheus()
    exporter.poll()
    prometheus.take("one", exporter.scrape())
    pages = state._connection.execute("PRAGMA page_count").fetchone()[0]
    state._connection.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(400):
        world.add(Run(f"tsk-full-{number}", world.now, world.now + 1, status="FAILED"))
    world.now += 60
    exporter.poll()
    held = exporter.scrape()
    prometheus.take("one", held)
    assert held.finished() == {}
    last_failure = held.of("glue_ml_task_run_last_failure_timestamp_seconds")
    assert max(last_failure.values()) == world.now - 59
    assert exporter.telemetry.registry.get_sample_value("glue_ml_exporter_state_write_errors_total")
    state._connection.execute("PRAGMA max_page_count = 1073741823")
    for _ in range(3):
        world.now += 60
        exporter.poll()
        prometheus.take("one", exporter.scrape())
    assert sum(prometheus.increase("glue_ml_task_runs_finished_total").values()) == 400
    exporter.close()


@pytest.mark.slow
def test_a_full_disk_is_logged_once_for_all_transforms(
    path: Path, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """If thirteen transforms cannot be stored, one line says so, and one line says when all of them are stored."""
    caplog.set_level("INFO")
    ids = [f"tfm-{number}" for number in range(13)]
    idle = "tfm-idle"
    state, _ = open_state(path, NOW)
    exporter = Exporter(world, configuration(*ids, idle), state)
    for transform_id in (*ids, idle):
        exporter.poll(transform_id)
    pages = state._connection.execute("PRAGMA page_count").fetchone()[0]
    state._connection.execute(f"PRAGMA max_page_count = {pages}")
    for number, transform_id in enumerate(ids):
        for run in range(400):
            world.add(Run(f"tsk-{number}-{run}", world.now, world.now + 1, status="FAILED"), transform_id)
    caplog.clear()
    for _ in range(5):
        world.now += 60
        for transform_id in (*ids, idle):
            exporter.poll(transform_id)
        exporter.scrape()
    assert len(caplog.messages) > 13 * 400  # the finished runs are logged
    about_the_file = [message for message in caplog.messages if "state file" in message]
    assert len(about_the_file) == 1
    assert "cannot be written" in about_the_file[0]
    assert "the disk is full" in about_the_file[0]
    assert "the disk is full" in state.failure
    state._connection.execute("PRAGMA max_page_count = 1073741823")
    for transform_id in (idle, *ids):
        assert not any("written again" in message for message in caplog.messages)
        exporter.poll(transform_id)
    assert sum("written again" in message for message in caplog.messages) == 1
    assert state.failure == ""
    exporter.close()


def test_the_failure_ends_without_a_transform_that_is_no_longer_configured(
    path: Path, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """If a transform leaves the configuration while it cannot be stored, the others end the failure."""
    caplog.set_level("INFO")
    state, _ = open_state(path, NOW)
    exporter = Exporter(world, configuration("tfm-a", "tfm-b"), state)
    state._connection.execute("PRAGMA query_only = 1")
    exporter.poll("tfm-a")
    exporter.poll("tfm-b")
    state._connection.execute("PRAGMA query_only = 0")
    exporter.reload(configuration("tfm-b"))
    exporter.poll("tfm-b")
    assert sum("written again" in message for message in caplog.messages) == 1
    exporter.close()


def test_a_write_after_the_file_is_closed_is_not_logged_as_an_error(
    path: Path, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """If a thread writes after the exporter has closed the file, the failed write is not logged as an error."""
    state, _ = open_state(path, NOW)
    exporter = Exporter(world, configuration("tfm-a"), state)
    exporter.poll()
    exporter.poller._stop.set()
    state.close()
    exporter.poller._clean_up()
    assert "cannot be written" not in caplog.text


def test_a_full_disk_at_the_start_lets_counters_wait(
    path: Path, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """If there is no space for a new file, gauges are served and counters stay at 0 until the file can be created."""
    caplog.set_level("INFO")
    with full_disk():
        exporter = Exporter(world, configuration("tfm-a"), path)
        exporter.poll()
        fail_once(world, exporter)
        exporter.scrape()
        samples = exporter.scrape()
        assert samples.finished() == {}
        assert samples.of("glue_ml_task_runs")["FAILED", "FIND_MATCHES"] == 2
    assert sum("counters wait until it can" in message for message in caplog.messages) == 1
    exporter.poll()
    exporter.scrape()
    assert exporter.scrape().finished() == {("FIND_MATCHES", "FAILED"): 1}
    assert sum("written again" in message for message in caplog.messages) == 1
    exporter.close()
    assert Exporter(world, configuration("tfm-a"), path).totals() == {("FIND_MATCHES", "FAILED"): 1}


def test_a_full_disk_at_an_upgrade_lets_counters_wait(path: Path) -> None:
    """If a file of the first version cannot be migrated, its values are served and stay unchanged until it can."""
    with closing(sqlite3.connect(path)) as old:
        old.executescript(VERSION_1.read_text(encoding="utf-8"))
    before = path.read_bytes()
    with full_disk():
        state, _ = open_state(path, NOW)
        restored = state.load("tfm-a", BOUNDS)
        assert restored is not None
        assert restored.served == {FAILED: Count(5)}
        with pytest.raises(StateError, match="cannot open the state file"):
            state.record_served({"tfm-a": ({FAILED: Count(6)}, {})})
        assert path.read_bytes() == before
    state.record_served({"tfm-a": ({FAILED: Count(6)}, {})})
    state.close()
    again, _ = open_state(path, NOW)
    restored = again.load("tfm-a", BOUNDS)
    again.close()
    assert restored is not None
    assert restored.served == {FAILED: Count(6)}


def test_a_file_that_is_deleted_to_make_space_is_written_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If the disk is full at the start, and the file is then deleted, the new file has all the values in use."""
    with closing(sqlite3.connect(path)) as old:
        old.executescript(VERSION_1.read_text(encoding="utf-8"))
    with full_disk():
        state, _ = open_state(path, NOW)
        before = state.load("tfm-a", BOUNDS)
    path.unlink()
    state.record_served({"tfm-a": ({FAILED: Count(6)}, {})})
    state.close()
    assert sum("deleted or replaced" in message for message in caplog.messages) == 1
    again, _ = open_state(path, NOW)
    after = again.load("tfm-a", BOUNDS)
    again.close()
    assert before is not None
    assert after is not None
    assert after.served == {FAILED: Count(6)}
    assert after.ledger.totals == before.ledger.totals
    assert after.ledger.finished.entries == before.ledger.finished.entries


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")
def test_the_message_names_a_full_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """On a file system without free space, the message at the start says that the disk is full."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", tmp_path], check=False)
    if mounted.returncode:
        pytest.skip("this container may not mount file systems")
    try:
        with suppress(OSError):
            (tmp_path / "ballast").write_bytes(bytes(1 << 20))
        state, _ = open_state(tmp_path / "state.db", NOW)
        state.close()
        assert f"the disk of {tmp_path} is full" in caplog.text
    finally:
        subprocess.run(["umount", tmp_path], check=True)


# -- a file that is deleted or replaced -------------------------------------------------------------------------------


@pytest.mark.parametrize("suffixes", [("", "-wal"), ("",), ("-wal",)])
def test_a_deleted_file_is_written_again(
    path: Path, world: World, suffixes: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """If the file or its WAL is deleted while the exporter runs, the next check writes the whole file again."""
    exporter = Exporter(world, configuration("tfm-a"), path)
    exporter.poll()
    fail_once(world, exporter)
    exporter.scrape()
    for suffix in suffixes:
        path.with_name(path.name + suffix).unlink()
    exporter.poller.record_polls()
    assert sum("deleted or replaced" in message for message in caplog.messages) == 1
    exporter.kill()
    restarted = Exporter(world, configuration("tfm-a"), path)
    assert restarted.totals() == {("FIND_MATCHES", "FAILED"): 1}
    fail_once(world, restarted)
    restarted.scrape()
    assert restarted.scrape().finished() == {("FIND_MATCHES", "FAILED"): 2}
    restarted.close()


def test_an_older_copy_that_is_put_in_place_while_the_exporter_runs_is_set_aside(path: Path, world: World) -> None:
    """A file that replaces the state file of a running exporter is kept under another name and never used."""
    exporter = Exporter(world, configuration("tfm-a"), path)
    exporter.poll()
    older = copy_state(path, path.with_name("older")).read_bytes()
    fail_once(world, exporter)
    exporter.scrape()
    path.unlink()
    path.write_bytes(older)
    fail_once(world, exporter)
    exporter.scrape()
    exporter.scrape()
    exporter.kill()
    (replaced,) = path.parent.glob("state.db.replaced-*[0-9]")
    assert replaced.read_bytes() == older
    restarted = Exporter(world, configuration("tfm-a"), path)
    assert restarted.totals() == {("FIND_MATCHES", "FAILED"): 2}
    restarted.close()


def test_a_new_file_of_another_process_is_left_alone(path: Path, world: World) -> None:
    """If the file is deleted and another exporter creates a new one, the first exporter's counters wait."""
    exporter = Exporter(world, configuration("tfm-a"), path)
    exporter.poll()
    fail_once(world, exporter)
    exporter.scrape()
    for part in path.parent.iterdir():
        part.unlink()
    program = (
        "import sys, pathlib; from exporter.state.store import open_state\n"
        "state, _ = open_state(pathlib.Path(sys.argv[1]), 0); print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(StateError, match="another process has a new one open"):
            exporter.state.check()  # type: ignore[union-attr] # it has a state file
        assert not list(path.parent.glob("*.replaced-*"))
        other.communicate("")
    exporter.state.check()  # type: ignore[union-attr] # as above
    assert list(path.parent.glob("*.replaced-*[0-9]"))
    exporter.close()


# -- the last successful poll -----------------------------------------------------------------------------------------


def test_the_last_successful_poll_survives_a_restart(path: Path, world: World) -> None:
    """A transform whose polls fail after a restart shows when it was last polled with success, from the start on."""
    succeeded = "glue_ml_transform_last_successful_poll_timestamp_seconds"
    exporter = Exporter(world, configuration("tfm-a"), path)
    exporter.poll()
    at = world.now
    exporter.poller.record_polls()
    exporter.kill()
    world.now += 3600
    world.fails_after = 0
    restarted = Exporter(world, configuration("tfm-a"), path)
    assert list(restarted.scrape().of(succeeded).values()) == [at]
    restarted.poll()
    samples = restarted.scrape()
    assert list(samples.of(succeeded).values()) == [at]
    assert samples.of("glue_ml_task_runs") == {}
    restarted.close()


# -- transforms that change -------------------------------------------------------------------------------------------


def test_a_removed_transform_is_dropped_after_the_lookback(path: Path, world: World) -> None:
    """A transform that is no longer configured stays in the file for the lookback, and is then deleted."""
    write_state_file(path, world)
    state, _ = open_state(path, world.now)
    assert state.drop_unconfigured(["tfm-b"], world.now + 29 * DAY, 30 * DAY, is_complete=True) == 0
    assert state.load("tfm-a", BOUNDS) is not None
    assert state.drop_unconfigured(["tfm-b"], world.now + 31 * DAY, 30 * DAY, is_complete=True) == 1
    assert state.load("tfm-a", BOUNDS) is None
    assert state._connection.execute("SELECT count(*) FROM finished_run").fetchone() == (0,)
    state.close()


def test_no_transform_is_dropped_while_discovery_may_find_more(path: Path, world: World) -> None:
    """A transform that was not configured for the lookback stays until every discovery query has succeeded once."""
    write_state_file(path, world)
    state, _ = open_state(path, world.now)
    assert state.drop_unconfigured([], world.now + 40 * DAY, 30 * DAY, is_complete=False) == 0
    assert state.load("tfm-a", BOUNDS) is not None
    assert state.drop_unconfigured(["tfm-a"], world.now + 40 * DAY, 30 * DAY, is_complete=True) == 0
    assert state.load("tfm-a", BOUNDS) is not None
    state.close()


def test_with_other_buckets_only_the_histograms_start_again(path: Path, world: World) -> None:
    """After a restart with other buckets the counters continue and the histograms start at 0."""
    write_state_file(path, world)
    exporter = Exporter(world, configuration("tfm-a", buckets=(5.0, 50.0)), path)
    exporter.poll()
    exporter.scrape()
    fail_once(world, exporter)
    exporter.scrape()
    samples = exporter.scrape()
    assert samples.finished() == {("FIND_MATCHES", "FAILED"): 3}
    counts = samples.of("glue_ml_task_run_execution_seconds_count")
    assert list(counts.values()) == [1]
    exporter.close()
    restarted = Exporter(world, configuration("tfm-a", buckets=(5.0, 50.0)), path)
    restarted.poll()
    assert restarted.scrape().finished() == {("FIND_MATCHES", "FAILED"): 3}
    restarted.close()


def test_an_idle_poll_writes_nothing(path: Path, world: World) -> None:
    """A poll without changes does not change the file."""
    exporter = Exporter(world, configuration("tfm-a"), path)
    exporter.poll()
    exporter.scrape()
    wal = path.with_name("state.db-wal")
    before = (wal.read_bytes(), path.read_bytes())
    world.now += 60
    exporter.poll()
    exporter.scrape()
    assert (wal.read_bytes(), path.read_bytes()) == before
    exporter.close()


def test_the_file_has_the_application_id(path: Path) -> None:
    """The SQLite header has the application id at byte 68 (SQLite file format), so that tools can identify the file."""
    open_state(path, NOW)[0].close()
    assert int.from_bytes(path.read_bytes()[68:72], "big") == APPLICATION_ID
