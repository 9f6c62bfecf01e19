"""The state file: wall time per run of saving and loading."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.glue import PAGE, now_after, page, pages
from bench.measure import in_turns, wall_seconds
from bench.tables import Row, seconds
from bench.transforms import CONFIG
from exporter.counting.ledger import Changes, Ledger
from exporter.counting.reading import Reading
from exporter.glue.decode import decode_page
from exporter.state.store import StateFile, open_state

TITLE = "State file: a million finished runs"
NOTE = "Wall time, with the sync to the disk of the temporary folder."
TRANSFORM = "tfm-1"


def run(*, quick: bool) -> Iterator[Row]:
    """Yield rows for the first save, steady saves, and loading."""
    total, steady = (5000, 1) if quick else (1_000_000, 20)
    ledger, bounds = Ledger(CONFIG.metrics.execution_buckets), CONFIG.metrics.execution_buckets
    now = ledger.watched_since = now_after(total)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "state.db")
        state, _ = open_state(path, now)
        first = _save(state, ledger, _read(ledger, pages(total), now))
        size = sum(part.stat().st_size for part in Path(folder).iterdir())
        yield Row("first save", first / total * 1e6, f"{seconds(first)}, {size / total:.0f} bytes/run", None, "µs/run")
        ends = iter(range(total + PAGE, total + (steady + 1) * PAGE, PAGE))

        def save_a_page() -> float:
            end = next(ends)
            return _save(state, ledger, _read(ledger, [page(end - PAGE, end)], now_after(end)))

        time = in_turns(steady, page=save_a_page)["page"]
        yield Row("a poll with 1,000 new runs", time / PAGE * 1e6, seconds(time), None, "µs/run")
        time = wall_seconds(lambda: state.load(TRANSFORM, bounds))
        yield Row("load", time / ledger.tracked * 1e6, seconds(time), None, "µs/run")
        state.close()


def _read(ledger: Ledger, bodies: Iterator[bytes] | list[bytes], now: float) -> Changes:
    reading = Reading(ledger, now=now, since=now - CONFIG.polling.lookback, cutoff=now - CONFIG.polling.lookback)
    for body in bodies:
        reading.add_page(decode_page(body)[0])
    return ledger.commit(reading)


def _save(state: StateFile, ledger: Ledger, changes: Changes) -> float:
    return wall_seconds(lambda: state.save(TRANSFORM, "customers", ledger, changes, 0.0, created_at=0.0))
