"""Which values the scrapes of an exposition see: base values first, recorded values only."""

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.counting.counters import Count, Series, Total
from exporter.counting.ledger import Ledger
from exporter.counting.reading import Reading
from exporter.exposition.formats import Encoding, TextFormat
from exporter.exposition.initial_values import InitialValues
from exporter.exposition.publisher import Exposition, Scrape
from exporter.model.task_run import TaskRun
from exporter.state.store import StateFile, open_state
from tests.exposition.snapshots import (
    BOUNDS,
    EXECUTION,
    FAILED,
    TransformSnapshot,
    body,
    exposition,
    free_births,
    held_births,
    observed,
    samples,
    silent_telemetry,
    snapshot,
    value,
)
from tests.support import wait_for

FINISHED = "glue_ml_task_runs_finished_total"
LATER = Series("finished", "NEW_TYPE", "FAILED")


def scrape(exposed: Exposition, *, sent: bool = True) -> str:
    """Scrape once, to the end or not, and give what was read."""
    exposed.publish()
    answer = ready(exposed)
    if sent:
        answer.sent()
    return b"".join(answer.chunks).decode()


def ready(exposed: Exposition) -> Scrape:
    variant = (TextFormat.TEXT, Encoding.IDENTITY)
    return exposed.scrape(*variant) or exposed.prepare_scrape(*variant)


def failures(text: str) -> float:
    return value(text, FINISHED, 'status="FAILED"', "FIND_MATCHES")


# -- without state ----------------------------------------------------------------------------------------------------


def test_a_counter_moves_after_the_scrape_that_has_seen_its_base() -> None:
    """The first scrape sees 0, and the next one sees what has happened meanwhile."""
    exposed = exposition()
    exposed.update(snapshot(initial_values=held_births()), {FAILED: Count(3)})
    assert [failures(scrape(exposed)) for _ in range(3)] == [0, 3, 3]


def test_a_scrape_that_was_not_sent_sets_nothing_free() -> None:
    """An answer that was only prepared, as for HEAD or for a client that went away, has shown nothing to anybody."""
    exposed = exposition()
    exposed.update(snapshot(initial_values=held_births()), {FAILED: Count(3)})
    assert [failures(scrape(exposed, sent=False)) for _ in range(3)] == [0, 0, 0]
    assert [failures(scrape(exposed)) for _ in range(2)] == [0, 3]


def test_each_of_two_servers_sees_the_base() -> None:
    """With as many birth scrapes as there are Prometheus servers, each of them sees the base value first."""
    exposed = exposition()
    exposed.update(snapshot(initial_values=held_births(scrapes=2)), {FAILED: Count(3)})
    assert [failures(scrape(exposed)) for _ in range(3)] == [0, 0, 3]


def test_a_scrape_from_before_the_birth_does_not_count() -> None:
    """A slow scrape that began before a transform was published says nothing about its series."""
    exposed = exposition()
    early = exposed.prepare_scrape(TextFormat.TEXT, Encoding.IDENTITY)
    exposed.update(snapshot(initial_values=held_births()), {FAILED: Count(3)})
    exposed.publish()
    early.sent()
    assert [failures(scrape(exposed)) for _ in range(2)] == [0, 3]


def test_nobody_scrapes_for_too_long() -> None:
    """After the birth timeout a counter moves though nobody has seen its base."""
    exposed = exposition()
    initial_values = held_births(timeout=0.05)
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(3)})
    assert failures(body(exposed)) == 0

    def moved() -> bool:
        exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(3)})
        return failures(body(exposed)) == 3

    wait_for(moved, timeout=5)


def test_a_later_series_is_born_by_itself() -> None:
    """A histogram or a new status that comes with its first run is served at 0 first, and holds nobody else back."""
    exposed = exposition()
    initial_values = held_births()
    exposed.update(snapshot(initial_values=initial_values), {})
    scrape(exposed)
    exposed.update(
        snapshot(initial_values=initial_values), {FAILED: Count(1), LATER: Count(1), EXECUTION: observed(31.0)}
    )
    first, second = scrape(exposed), scrape(exposed)
    assert [failures(first), failures(second)] == [1, 1]
    assert [value(text, FINISHED, "NEW_TYPE") for text in (first, second)] == [0, 1]
    sums = [value(text, "glue_ml_task_run_execution_seconds_sum") for text in (first, second)]
    assert sums == [0, 31]


def test_gauges_and_times_are_never_held_back() -> None:
    """Only counters and histograms wait to be seen."""
    exposed = exposition()
    each = snapshot(initial_values=held_births())
    assert each.gauge_values is not None
    runs = replace(each.gauge_values, runs={**each.gauge_values.runs, ("FIND_MATCHES", "FAILED"): 3})
    exposed.update(replace(each, gauge_values=runs), {FAILED: Count(3)})
    text = scrape(exposed)
    assert value(text, "glue_ml_task_runs", 'status="FAILED"', "FIND_MATCHES") == 3
    assert failures(text) == 0


def base_of_the_next(initial_values: InitialValues) -> Total:
    """Return what births that take over from these serve first."""
    following = initial_values.restarted(scrapes=1, timeout=300)
    following.publish({FAILED: Count(99)}, now=0, tick=0, publication=9)
    return following.served[FAILED]


def test_what_was_served_comes_first_when_a_transform_returns() -> None:
    """A transform that left and comes back begins with the values that were last scraped."""
    exposed = exposition()
    initial_values = free_births()
    for number in (5, 7):
        exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(number)})
        scrape(exposed)
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(9)})
    exposed.remove("tfm-1")
    exposed.publish()
    exposed.update(snapshot(initial_values=initial_values.restarted(scrapes=1, timeout=300)), {FAILED: Count(9)})
    assert [failures(scrape(exposed)) for _ in range(2)] == [7, 9]


def test_a_slow_reader_does_not_turn_back_what_a_quick_one_has_seen() -> None:
    """A scrape that ends late does not make the exporter forget that a later one has seen more."""
    exposed = exposition()
    initial_values = free_births()
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(5)})
    exposed.publish()
    slow = ready(exposed)
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(7)})
    exposed.publish()
    ready(exposed).sent()
    slow.sent()
    exposed.publish()
    assert base_of_the_next(initial_values) == Count(7)


def test_a_scrape_that_ends_after_its_transform_has_left_is_remembered() -> None:
    """What a scrape has shown of a transform counts also if the transform leaves before the scrape ends."""
    exposed = exposition()
    initial_values = free_births()
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(5)})
    exposed.publish()
    answer = ready(exposed)
    exposed.remove("tfm-1")
    answer.sent()
    exposed.publish()
    assert base_of_the_next(initial_values) == Count(5)


def test_the_publication_of_births_that_are_over_is_not_served() -> None:
    """As soon as a transform is born again, a scrape sees its new base and not what was published before."""
    exposed = exposition()
    initial_values = free_births()
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(5)})
    scrape(exposed)
    exposed.publish()
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(7)})
    exposed.publish()
    exposed.update(snapshot(initial_values=initial_values.restarted(scrapes=1, timeout=300)), {FAILED: Count(7)})
    assert failures(b"".join(ready(exposed).chunks).decode()) == 5


def test_the_publishing_thread_sets_free() -> None:
    """Without any further poll, a scrape alone makes the exporter publish what had waited for it."""
    exposed = exposition()
    exposed.update(snapshot(initial_values=held_births()), {FAILED: Count(3)})
    publishing = threading.Thread(target=exposed.run)
    publishing.start()
    ready(exposed).sent()
    try:
        wait_for(lambda: failures(b"".join(ready(exposed).chunks).decode()) == 3, timeout=5)
    finally:
        exposed.stop()
        publishing.join(5)
    assert not publishing.is_alive()


# -- with state -------------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def state(path: Path) -> Iterator[StateFile]:
    opened, _ = open_state(path, 1000.0)
    yield opened
    opened.close()


def polled(number: int, *, bounds: tuple[float, ...] = BOUNDS) -> tuple[Ledger, object]:
    """Give a ledger that has counted so many failed runs, and what its last poll has changed."""
    ledger = Ledger(bounds)
    ledger.commit(Reading(ledger, now=1000.0, since=0.0, cutoff=0.0))
    reading = Reading(ledger, now=2000.0, since=0.0, cutoff=0.0)
    for run in range(number):
        reading.add(TaskRun(f"tsk-{run}", "FIND_MATCHES", "FAILED", 1500.0, 1531.0, 31.0))
    return ledger, ledger.commit(reading)


def poll(
    exposed: Exposition, state: StateFile, initial_values: InitialValues, number: int, name: str = "tfm-1"
) -> TransformSnapshot:
    """Store a poll and show it."""
    ledger, changes = polled(number)
    state.save(name, name, ledger, changes, 2000.0, created_at=2000.0)  # type: ignore[arg-type] # opaque here
    each = snapshot(name, initial_values=initial_values)
    exposed.update(each, dict(ledger.totals))
    return each


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
    """Make SQLite refuse to write, as a full or a read-only disk does, or let it write again."""
    state._connection.execute(f"PRAGMA query_only = {int(deny)}")


def test_a_value_is_recorded_before_it_is_served(state: StateFile) -> None:
    """When a scrape gets its first byte, the values in it are in the state file."""
    exposed = exposition(state)
    poll(exposed, state, free_births(), 3)
    exposed.publish()
    assert recorded(state) == {}
    assert failures(b"".join(ready(exposed).chunks).decode()) == 3
    assert recorded(state)[FAILED].value == 3  # type: ignore[union-attr] # a counter


def test_a_recorded_publication_is_served_at_once(state: StateFile) -> None:
    """Only the first scrape of new values has to wait for the disk."""
    exposed = exposition(state)
    poll(exposed, state, free_births(), 3)
    variant = (TextFormat.TEXT, Encoding.IDENTITY)
    exposed.prepare_scrape(*variant)
    assert exposed.scrape(*variant) is not None
    exposed.publish()
    assert exposed.scrape(*variant) is not None


def test_after_a_kill_the_served_values_come_first(state: StateFile) -> None:
    """The next process serves what was last served, and what finished meanwhile only after that was seen."""
    first = exposition(state)
    initial_values = held_births()
    poll(first, state, initial_values, 2)
    assert [failures(scrape(first)) for _ in range(2)] == [0, 2]
    poll(first, state, initial_values, 5)
    first.publish()  # nobody has scraped this yet

    again = reopened(state)
    restored = again.load("tfm-1", BOUNDS)
    assert restored is not None
    second = exposition(again)
    next_births = held_births(
        recorded=restored.served, series_created_at=restored.created, created_at=restored.created_at
    )
    second.update(snapshot(initial_values=next_births), dict(restored.ledger.totals))
    assert [failures(scrape(second)) for _ in range(3)] == [2, 5, 5]
    again.close()


def test_counters_are_held_back_while_the_state_cannot_be_written(state: StateFile) -> None:
    """Scrapes go on while the disk refuses, and show what is recorded; the true values come when it can be written."""
    telemetry = silent_telemetry()
    exposed = Exposition(telemetry, state)
    initial_values = free_births()
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


def test_values_that_were_never_recorded_stay_at_their_base(state: StateFile) -> None:
    """A disk that refuses from the first scrape on leaves every counter at 0, and every scrape answered."""
    exposed = exposition(state)
    initial_values = free_births()
    poll(exposed, state, initial_values, 3)
    deny_writes(state, deny=True)
    texts = [scrape(exposed) for _ in range(3)]
    assert [failures(text) for text in texts] == [0, 0, 0]
    assert {value(text, "glue_ml_task_run_execution_seconds_count") for text in texts} == {0.0}
    assert recorded(state) == {}
    deny_writes(state, deny=False)
    poll(exposed, state, initial_values, 3)
    assert failures(scrape(exposed)) == 3


def test_one_transform_that_moves_does_not_take_another_along(state: StateFile) -> None:
    """What changed between a publication and the failure to record it is held back as well."""
    exposed = exposition(state)
    one, other = free_births(), free_births()
    poll(exposed, state, one, 1)
    poll(exposed, state, other, 1, "tfm-2")
    assert set(samples(scrape(exposed), FINISHED).values()) == {0.0, 1.0}
    poll(exposed, state, one, 2)
    exposed.publish()
    poll(exposed, state, other, 2, "tfm-2")
    deny_writes(state, deny=True)
    assert set(samples(b"".join(ready(exposed).chunks).decode(), FINISHED).values()) == {0.0, 1.0}
    assert {recorded(state, name)[FAILED].value for name in ("tfm-1", "tfm-2")} == {1}  # type: ignore[union-attr] # counters


def test_a_lasting_fault_is_logged_once(state: StateFile, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that refuses scrape after scrape makes one line in the log, and another when it is over."""
    caplog.set_level("INFO")
    exposed = exposition(state)
    initial_values = free_births()
    poll(exposed, state, initial_values, 1)
    deny_writes(state, deny=True)
    for number in range(5):
        exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(number)})
        scrape(exposed)
    deny_writes(state, deny=False)
    exposed.update(snapshot(initial_values=initial_values), {FAILED: Count(9)})
    scrape(exposed)
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_a_poll_that_could_not_be_stored_moves_nothing(state: StateFile) -> None:
    """As long as a transform's last poll is not stored, its counters stand still, so that no restart counts twice."""
    exposed = exposition(state)
    initial_values = free_births()
    poll(exposed, state, initial_values, 1)
    assert failures(scrape(exposed)) == 1
    ledger, changes = polled(4)
    deny_writes(state, deny=True)
    with pytest.raises(Exception, match="cannot write the state"):
        state.save("tfm-1", "tfm-1", ledger, changes, 3000.0, created_at=3000.0)  # type: ignore[arg-type] # opaque here
    deny_writes(state, deny=False)
    exposed.update(snapshot(initial_values=initial_values), dict(ledger.totals))
    assert failures(scrape(exposed)) == 1
    poll(exposed, state, initial_values, 4)
    assert failures(scrape(exposed)) == 4


def test_values_of_other_buckets_are_not_recorded(state: StateFile) -> None:
    """When the buckets change before a scrape has come, the file does not get histograms over the former ones."""
    exposed = exposition(state)
    initial_values = free_births()
    poll(exposed, state, initial_values, 2)
    exposed.publish()
    bounds = (60.0, 3600.0)
    ledger, changes = polled(2, bounds=bounds)
    state.save("tfm-1", "tfm-1", ledger, changes, 3000.0, created_at=3000.0)  # type: ignore[arg-type] # opaque here
    again = initial_values.restarted(scrapes=0, timeout=300, histograms=False)
    exposed.update(snapshot(initial_values=again, bounds=bounds), dict(ledger.totals))
    scrape(exposed)
    restored = state.load("tfm-1", bounds)
    assert restored is not None
    histograms = [total for series, total in restored.served.items() if series.family == "execution"]
    assert [len(total.counts) for total in histograms] == [3]  # type: ignore[union-attr] # histograms


def test_what_a_leaving_transform_shows_is_recorded(state: StateFile) -> None:
    """A publication that still shows a transform that has left is recorded too, before it is served."""
    exposed = exposition(state)
    initial_values = free_births()
    poll(exposed, state, initial_values, 3)
    exposed.publish()
    variant = (TextFormat.TEXT, Encoding.IDENTITY)
    exposed.prepare_scrape(TextFormat.OPENMETRICS, Encoding.IDENTITY)
    exposed.remove("tfm-1")
    answer = exposed.prepare_scrape(*variant)
    assert "tfm-1" not in b"".join(answer.chunks).decode() or recorded(state)[FAILED].value == 3  # type: ignore[union-attr] # a counter
    assert initial_values.recorded.get(FAILED) == recorded(state).get(FAILED)


def test_created_times_survive(state: StateFile, path: Path) -> None:
    """The birth of a series is recorded with its value, and the next process tells the same."""
    exposed = exposition(state)
    initial_values = free_births(created_at=1234.5)
    poll(exposed, state, initial_values, 1)
    scrape(exposed)
    state.close()
    with sqlite3.connect(path) as connection:
        ((born,),) = connection.execute("SELECT born FROM series WHERE family = 'execution'").fetchall()
    connection.close()
    assert born == initial_values.created(EXECUTION)
    assert initial_values.created(FAILED) == 1234.5
