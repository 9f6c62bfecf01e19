"""The ledger alone: memory and CPU per run."""

import time
from collections.abc import Iterator

from bench.glue import now_after, pages
from bench.measure import in_fresh_process, resident_bytes
from bench.tables import Row, at_most, seconds
from bench.transforms import CONFIG
from exporter.counting.ledger import Ledger
from exporter.counting.reading import Reading
from exporter.glue.decode import decode_page

TITLE = "Ledger: a million finished runs"
NOTE = "Resident memory after a garbage collection, in a fresh process; CPU time without decoding the pages."


def run(*, quick: bool) -> Iterator[Row]:
    """Yield rows for the memory, a first reading and a second reading of the same runs."""
    total = 10_000 if quick else 1_000_000
    size, first, again = in_fresh_process(fill, total)
    # The memory of a process varies by more than a few thousand runs need, so only the full size has a target.
    yield Row("memory", size / total, f"{size / 1e6:.1f} MB", None if quick else at_most(130), "bytes/run")
    yield Row("first reading: add and commit", first / total * 1e6, seconds(first), None, "µs/run")
    yield Row("re-reading: all known", again / total * 1e6, seconds(again), None, "µs/run")


def fill(total: int) -> tuple[int, float, float]:
    """Return the resident bytes of a ledger with ``total`` runs, and the CPU seconds of two readings of them."""
    before = resident_bytes()
    ledger = Ledger(CONFIG.metrics.execution_buckets)
    ledger.watched_since = now_after(total)
    first = read(ledger, total)
    size = resident_bytes() - before
    return size, first, read(ledger, total)


def read(ledger: Ledger, total: int) -> float:
    """Read and commit ``total`` runs. Return the CPU seconds without the time for decoding."""
    now = now_after(total)
    spent = 0.0
    reading = Reading(ledger, now=now, since=now - CONFIG.polling.lookback, cutoff=now - CONFIG.polling.lookback)
    for body in pages(total):
        runs, _ = decode_page(body)
        began = time.process_time()
        reading.add_page(runs)
        spent += time.process_time() - began
    began = time.process_time()
    ledger.commit(reading)
    return spent + time.process_time() - began
