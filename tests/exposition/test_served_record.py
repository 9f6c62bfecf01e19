"""A scrape serves a value only after the value is recorded in the state file."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.counting.counters import Count, Series, Total
from exporter.counting.ledger import Ledger
from exporter.counting.reading import Reading
from exporter.exposition.formats import Encoding, TextFormat
from exporter.exposition.initial_values import InitialValues
from exporter.exposition.publisher import Exposition
from exporter.model.errors import StateError
from exporter.model.task_run import TaskRun
from exporter.state.store import StateFile, open_state
from tests.exposition.snapshots import (
    BOUNDS,
    EXECUTION,
    FAILED,
    FINISHED,
    HOLD,
    Clock,
    TransformSnapshot,
    begin_scrape,
    exposition,
    failures,
    new_values,
    samples,
    scrape,
    silent_telemetry,
    snapshot,
    text_of,
    value,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def state(path: Path) -> Iterator[StateFile]:
    opened, _ = open_state(path, 1000.0)
    yield opened
    opened.close()


def polled(number: int, *, bounds: tuple[float, ...] = BOUNDS) -> tuple[Ledger, object]:
    """Give a ledger that has counted `number` failed runs, and the changes of its last poll."""
    ledger = Ledger(bounds)
    ledger.watched_since = 1000.0
    ledger.commit(Reading(ledger, now=1000.0, since=0.0, cutoff=0.0))
    reading = Reading(ledger, now=2000.0, since=0.0, cutoff=0.0)
    for run in range(number):
        reading.add(TaskRun(f"tsk-{run}", "FIND_MATCHES", "FAILED", 1500.0, 1531.0, 31.0))
    return ledger, ledger.commit(reading)


def poll(
    exposed: Exposition, state: StateFile, initial_values: InitialValues, number: int, name: str = "tfm-1"
) -> TransformSnapshot:
    """Store a poll that has found `number` failed runs, and add it to the exposition."""
    ledger, changes = polled(number)
    state.save(name, name, ledger, changes, 2000.0, created_at=2000.0)  # type: ignore[arg-type] # opaque here
    each = snapshot(name, initial_values=initial_values)
    exposed.update(each, dict(ledger.totals))
    return each


def poll_unstored(exposed: Exposition, state: StateFile, initial_values: InitialValues, number: int) -> None:
    """Fail to store a poll that has found `number` failed runs, and add it to the exposition."""
    ledger, changes = polled(number)
    deny_writes(state, deny=True)
    with pytest.raises(StateError, match="cannot write the state"):
        state.save("tfm-1", "tfm-1", ledger, changes, 3000.0, created_at=3000.0)  # type: ignore[arg-type] # opaque here
    deny_writes(state, deny=False)
    exposed.update(snapshot(initial_values=initial_values), dict(ledger.totals))


def recorded(state: StateFile, name: str = "tfm-1") -> dict[Series, Total]:
    restored = state.load(name, BOUNDS)
    assert restored is not None
    return dict(restored.served)


def reopened(state: StateFile) -> StateFile:
    state.close()
    opened, damaged = open_state(state.path, 1000.0)
    assert damaged is None
    return opened


def deny_writes(state: StateFile, *, deny: bool) -> None:
    """Make SQLite refuse to write, as on a full disk, or let it write again."""
    state._connection.execute(f"PRAGMA query_only = {int(deny)}")


def test_a_value_is_recorded_before_it_is_served(state: StateFile) -> None:
    """When the first byte of a scrape is sent, its values are already in the state file."""
    exposed = exposition(state)
    poll(exposed, state, new_values(), 3)
    exposed.publish()
    assert recorded(state) == {}
    assert failures(text_of(begin_scrape(exposed))) == 3
    assert recorded(state)[FAILED].value == 3  # type: ignore[union-attr] # a counter


def test_a_recorded_publication_is_served_at_once(state: StateFile) -> None:
    """Only the first scrape of new values waits for the disk."""
    exposed = exposition(state)
    poll(exposed, state, new_values(), 3)
    variant = (TextFormat.TEXT, Encoding.IDENTITY)
    exposed.prepare_scrape(*variant)
    assert exposed.scrape(*variant) is not None
    exposed.publish()
    assert exposed.scrape(*variant) is not None


def test_after_a_kill_the_values_that_were_served_come_first(state: StateFile) -> None:
    """The next process starts with the last served value, and adds the newly finished runs after one scrape."""
    clock = Clock()
    first = exposition(state, clock=clock)
    initial_values = new_values()
    poll(first, state, initial_values, 2)
    assert failures(scrape(first)) == 0
    clock.now += HOLD
    assert failures(scrape(first)) == 2
    poll(first, state, initial_values, 5)
    first.publish()  # no scrape has shown this yet

    again = reopened(state)
    restored = again.load("tfm-1", BOUNDS)
    assert restored is not None
    second = exposition(again, clock=clock)
    restarted = new_values(recorded=restored.served, series_created_at=restored.created, created_at=restored.created_at)
    second.update(snapshot(initial_values=restarted), dict(restored.ledger.totals))
    assert failures(scrape(second)) == 2
    clock.now += HOLD
    assert [failures(scrape(second)) for _ in range(2)] == [5, 5]
    again.close()


def test_counters_stay_at_recorded_values_while_the_state_cannot_be_written(state: StateFile) -> None:
    """Scrapes get the recorded values during the failure, and the true values when the disk works again."""
    telemetry = silent_telemetry()
    exposed = Exposition(telemetry, state)
    initial_values = new_values()
    poll(exposed, state, initial_values, 2)
    assert failures(scrape(exposed)) == 2
    poll(exposed, state, initial_values, 5)
    deny_writes(state, deny=True)
    assert [failures(scrape(exposed)) for _ in range(3)] == [2, 2, 2]
    assert telemetry.state_write_errors._value.get() >= 1
    deny_writes(state, deny=False)
    poll(exposed, state, initial_values, 5)
    assert failures(scrape(exposed)) == 5
    assert recorded(state)[FAILED].value == 5  # type: ignore[union-attr] # a counter


def test_values_that_were_never_recorded_stay_at_their_base_value(state: StateFile) -> None:
    """If the disk cannot be written from the start, every scrape is answered and shows every counter at 0."""
    exposed = exposition(state)
    initial_values = new_values()
    poll(exposed, state, initial_values, 3)
    deny_writes(state, deny=True)
    texts = [scrape(exposed) for _ in range(3)]
    assert [failures(text) for text in texts] == [0, 0, 0]
    assert {value(text, "glue_ml_task_run_execution_seconds_count") for text in texts} == {0.0}
    assert recorded(state) == {}
    deny_writes(state, deny=False)
    poll(exposed, state, initial_values, 3)
    assert failures(scrape(exposed)) == 3


def test_a_failed_write_holds_all_transforms_that_have_changed(state: StateFile) -> None:
    """If a publication cannot be recorded, a scrape also shows no later change of another transform."""
    exposed = exposition(state)
    one, other = new_values(), new_values()
    poll(exposed, state, one, 1)
    poll(exposed, state, other, 1, "tfm-2")
    assert set(samples(scrape(exposed), FINISHED).values()) == {0.0, 1.0}
    poll(exposed, state, one, 2)
    exposed.publish()
    poll(exposed, state, other, 2, "tfm-2")
    deny_writes(state, deny=True)
    assert set(samples(text_of(begin_scrape(exposed)), FINISHED).values()) == {0.0, 1.0}
    assert {recorded(state, name)[FAILED].value for name in ("tfm-1", "tfm-2")} == {1}  # type: ignore[union-attr] # counters


def test_a_lasting_write_error_is_logged_once(state: StateFile, caplog: pytest.LogCaptureFixture) -> None:
    """Five failed writes cause one line in the log, and the first successful write causes another line."""
    caplog.set_level("INFO")
    exposed = exposition(state)
    initial_values = new_values()
    poll(exposed, state, initial_values, 1)
    deny_writes(state, deny=True)
    for number in range(5):
        exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(number)})
        scrape(exposed)
    deny_writes(state, deny=False)
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(9)})
    scrape(exposed)
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_a_poll_that_could_not_be_stored_moves_no_counter(state: StateFile) -> None:
    """A scrape shows no run of a poll that is not stored, because the run would count again after a restart."""
    exposed = exposition(state)
    initial_values = new_values()
    poll(exposed, state, initial_values, 1)
    assert failures(scrape(exposed)) == 1
    poll_unstored(exposed, state, initial_values, 4)
    assert failures(scrape(exposed)) == 1
    poll(exposed, state, initial_values, 4)
    assert failures(scrape(exposed)) == 4


def test_a_hold_that_ends_while_the_state_cannot_be_stored_ends_with_the_next_stored_poll(state: StateFile) -> None:
    """The end of a hold does not show a run that the state file lacks, and the next stored poll shows it."""
    clock = Clock()
    exposed = exposition(state, clock=clock)
    initial_values = new_values()
    poll(exposed, state, initial_values, 1)
    assert failures(scrape(exposed)) == 0
    poll_unstored(exposed, state, initial_values, 4)
    clock.now += HOLD
    assert failures(scrape(exposed)) == 0
    poll(exposed, state, initial_values, 4)
    assert failures(scrape(exposed)) == 4


def test_values_of_other_buckets_are_not_recorded(state: StateFile) -> None:
    """If the buckets change before the first scrape, no histogram over the old buckets is recorded."""
    exposed = exposition(state)
    initial_values = new_values()
    poll(exposed, state, initial_values, 2)
    exposed.publish()
    bounds = (60.0, 3600.0)
    ledger, changes = polled(2, bounds=bounds)
    state.save("tfm-1", "tfm-1", ledger, changes, 3000.0, created_at=3000.0)  # type: ignore[arg-type] # opaque here
    again = initial_values.restarted(histograms=False)
    exposed.update(snapshot(initial_values=again, bounds=bounds), dict(ledger.totals))
    scrape(exposed)
    restored = state.load("tfm-1", bounds)
    assert restored is not None
    histograms = [total for series, total in restored.served.items() if series.family == "execution"]
    assert [len(total.counts) for total in histograms] == [3]  # type: ignore[union-attr] # histograms


def test_values_of_a_transform_that_leaves_are_neither_served_nor_recorded(state: StateFile) -> None:
    """If a transform is removed before the first scrape of its last poll, no scrape shows or records that poll."""
    exposed = exposition(state)
    initial_values = new_values()
    poll(exposed, state, initial_values, 2)
    assert failures(scrape(exposed)) == 2
    poll(exposed, state, initial_values, 3)
    exposed.publish()
    exposed.remove("tfm-1")
    assert "tfm-1" not in text_of(begin_scrape(exposed))
    assert recorded(state)[FAILED] == initial_values.recorded[FAILED]
    assert initial_values.recorded[FAILED].value == 2  # type: ignore[union-attr] # a counter


def test_created_times_survive(state: StateFile, path: Path) -> None:
    """The time at which a series was created is recorded with its value."""
    exposed = exposition(state)
    initial_values = new_values(created_at=1234.5)
    poll(exposed, state, initial_values, 1)
    scrape(exposed)
    state.close()
    with sqlite3.connect(path) as connection:
        ((born,),) = connection.execute("SELECT born FROM series WHERE family = 'execution'").fetchall()
    connection.close()
    assert born == initial_values.created(EXECUTION)
    assert initial_values.created(FAILED) == 1234.5
