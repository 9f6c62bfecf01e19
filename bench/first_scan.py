"""The first scan of a long history: CPU per run and memory, against stock boto3 with a dict per run."""

import time
from collections.abc import Iterator
from functools import partial

from bench.glue import now_after, our_client, serve_glue, stock_client, stock_pages
from bench.measure import cpu_seconds, in_fresh_process, in_turns, peak_bytes, resident_bytes
from bench.servers import served
from bench.tables import Row, at_least, at_most, megabytes, seconds
from bench.transforms import CONFIG, new_transform

TITLE = "First scan: ours against stock boto3 with a dict per run"
NOTE = (
    "CPU time of the client per run, over HTTP from a server with canned pages. Each scan has a new process, and its\n"
    "client connects before the scan. Stock boto3 reads fewer runs, because it needs much memory for each run. This\n"
    "favours it, because its cost per run grows with the number of runs. Memory is the growth since the scan's start."
)


def run(*, quick: bool) -> Iterator[Row]:
    """Yield one row for the CPU time and one for the memory."""
    total, stock_total = (5000, 2000) if quick else (1_000_000, 200_000)
    peaks: list[tuple[int, int]] = []
    with served(serve_glue, total) as server, served(serve_glue, stock_total) as stock_server:

        def ours() -> float:
            cpu, idle, peak = in_fresh_process(scan, server.port, total)
            peaks.append((idle, peak))
            return cpu / total

        times = in_turns(
            1 if quick else 3,
            ours=ours,
            stock=lambda: in_fresh_process(stock_scan, stock_server.port) / stock_total,
        )
    yield Row(
        f"CPU, {total:,} runs",
        times["stock"] / times["ours"],
        f"{seconds(times['ours'])} : {seconds(times['stock'])} per run",
        at_least(10),
    )
    idle, peak = max(peaks, key=lambda pair: pair[1] - pair[0])
    absolute = f"{megabytes(peak)} at the peak, {megabytes(idle)} idle"
    yield Row(f"memory, {total:,} runs", (peak - idle) / 1e6, absolute, at_most(150), "MB more")


def scan(port: int, total: int) -> tuple[float, int, int]:
    """Scan all runs. Return the CPU seconds, the resident bytes before the scan, and the peak of the resident bytes."""
    glue, transform = our_client(port), new_transform()
    idle = resident_bytes()
    # The models are loaded before the measurement, as for stock boto3.
    next(glue.task_run_pages(transform.target.id, since=now_after(total) - 1, page_size=1))
    read = partial(transform.read, glue, CONFIG.polling, now_after(total), time.monotonic(), lambda: None)
    cpu = cpu_seconds(read)
    if transform.ledger.tracked != total:
        raise ValueError(f"{transform.ledger.tracked} runs instead of {total}")
    return cpu, idle, peak_bytes()


def stock_scan(port: int) -> float:
    """Read all pages and keep each run by its id; return the CPU seconds."""
    client = stock_client(port)
    return cpu_seconds(lambda: {run["TaskRunId"]: run for runs in stock_pages(client) for run in runs})
