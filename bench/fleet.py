"""CPU time of a polling cycle without changes, in whole exporters with 100, 1,000 and 10,000 transforms."""

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from bench.exporters import RUNS, Company, Exporter, exporting, scraped, serve_simulator
from bench.glue import stock_client
from bench.measure import cpu_seconds
from bench.servers import served
from bench.tables import Row, at_most, megabytes, seconds

TITLE = "Fleet: a cycle of idle transforms against bare signed boto3 calls"
NOTE = (
    "CPU time per poll of whole exporters, which run at the same time, over cycles of 60 s without changes.\n"
    "Discovery finds 50 transforms in each account and region. Each account has a role. Each exporter has a state\n"
    "file, and is scraped every 15 s (OpenMetrics, gzip). A bare call is GetMLTaskRuns with the request of a poll.\n"
    "A client of stock boto3 in its own process sends bare calls at the pace of the largest cycle. Calls without\n"
    "pauses are measured too, because a call after a pause costs more. The exporters read details of transforms every\n"
    "10 minutes, and these calls are not part of the cycles."
)
COMPANIES = (Company(1, 2, 50), Company(5, 4, 50), Company(50, 4, 50))
QUICK = (Company(1, 1, 5), Company(2, 2, 5))


def run(*, quick: bool) -> Iterator[Row]:
    """Yield the rows of each size, and rows that compare each size with the next smaller size."""
    companies, interval, cycles, count = (QUICK, 2.0, 1, 30) if quick else (COMPANIES, 60.0, 3, 300)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        glue = stack.enter_context(served(serve_simulator, companies[-1]))
        exporters = [stack.enter_context(exporting(company, glue.port, interval, folder)) for company in companies]
        stack.enter_context(scraped(exporters, interval / 4))
        bare = stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
        starts = []
        for exporter in exporters:
            exporter.wait_for_polls(1, interval / 12)
            starts.append(exporter.cpu_seconds() / exporter.company.transforms)
        for exporter in exporters:
            # All first polls are at the start. From the second poll on, each transform has its own offset in the cycle.
            exporter.wait_for_polls(2, interval / 12)
        pace = interval / companies[-1].transforms
        calls, polls = [], []
        for _ in range(cycles):
            before = [(exporter.cpu_seconds(), exporter.polls()) for exporter in exporters]
            began = time.monotonic()
            calls.append(bare.submit(bare_calls, glue.port, pace, count).result())
            time.sleep(max(0.0, began + interval - time.monotonic()))
            after = [(exporter.cpu_seconds(), exporter.polls()) for exporter in exporters]
            polls.append([(c2 - c1) / (p2 - p1) for (c1, p1), (c2, p2) in zip(before, after, strict=True)])
        call, in_a_row = (median(column) for column in zip(*calls, strict=True))
        costs = [median(column) for column in zip(*polls, strict=True)]
        for exporter, start, cost in zip(exporters, starts, costs, strict=True):
            count, largest = exporter.company.transforms, exporter is exporters[-1]
            yield Row(
                f"{count:,}: a poll against a bare call",
                cost / call,
                f"{seconds(cost)} : {seconds(call)}",
                at_most(1.5) if largest else None,
            )
            absolute = f"{seconds(cost)} : {seconds(in_a_row)}"
            yield Row(f"{count:,}: a poll against calls without pauses", cost / in_a_row, absolute)
            yield from _rows(exporter, start, call)
    cycle = [(company.transforms, cost * company.transforms) for company, cost in zip(companies, costs, strict=True)]
    for (smaller, less), (larger, more) in pairwise(cycle):
        target = at_most(11) if larger == companies[-1].transforms else None
        yield Row(
            f"a cycle of {larger:,} against {smaller:,}", more / less, f"{seconds(more)} : {seconds(less)}", target
        )


def _rows(exporter: Exporter, start: float, call: float) -> Iterator[Row]:
    count = exporter.company.transforms
    absolute = f"{seconds(start)}, {seconds(start * count)} for all"
    yield Row(f"{count:,}: start, discovery and first poll", start / call, absolute, None, "x a call")
    yield Row(
        f"{count:,}: memory", exporter.peak() / count / 1e3, f"{megabytes(exporter.peak())} peak", None, "kB each"
    )
    size, scrape = len(exporter.text), median(exporter.scrape_seconds)
    absolute = f"{megabytes(size)}, {megabytes(exporter.sent)} sent, {seconds(scrape)} per scrape"
    yield Row(f"{count:,}: exposition", size / count / 1e3, absolute, None, "kB each")


def bare_calls(port: int, pace: float, count: int) -> tuple[float, float]:
    """Return the CPU seconds per call of stock boto3 with the same request as an idle poll, over ``count`` calls.

    The first value is for calls with ``pace`` seconds between them, the second value for calls without pauses.
    """
    client = stock_client(port)
    ids = client.list_ml_transforms(MaxResults=100)["TransformIds"]
    newest = {}
    for transform_id in ids:
        runs = client.get_ml_task_runs(TransformId=transform_id, MaxResults=RUNS)["TaskRuns"]
        newest[transform_id] = max(run["StartedOn"] for run in runs)

    def ask(rest: float) -> None:
        for number in range(count):
            began = time.monotonic()
            transform_id = ids[number % len(ids)]
            since = datetime.fromtimestamp(int(newest[transform_id].timestamp() - 901), UTC)
            client.get_ml_task_runs(
                TransformId=transform_id,
                MaxResults=1000,
                Sort={"Column": "STARTED", "SortDirection": "ASCENDING"},
                Filter={"StartedAfter": since},
            )
            time.sleep(max(0.0, began + rest - time.monotonic()))

    paced, in_a_row = (cpu_seconds(partial(ask, rest)) / count for rest in (pace, 0.0))
    return paced, in_a_row
