"""Whole exporters with histories of 10 to 100,000 runs: what depends on their length, and what does not."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from bench.exporters import Company, exporting, scraped, serve_simulator
from bench.servers import served
from bench.tables import Row, at_most, megabytes, seconds

TITLE = "Histories: a fleet with short ones against fleets with long ones"
NOTE = (
    "CPU time and peak memory of whole exporters, one after the other, with a state file and a scrape every second\n"
    "(OpenMetrics, gzip). A history lies within 25 days, so the overlap of 15 minutes has a run or two of 10,000 and\n"
    "about forty of 100,000. An idle poll is one of those that bring no news, every 2 s. The first scan takes\n"
    "discovery, details and the state file with it; the figures are what it takes beyond the process before."
)
COMPANIES = (Company(1, 1, 100), Company(1, 1, 100, 1000), Company(1, 1, 30, 10_000), Company(1, 1, 5, 100_000))
QUICK = (Company(1, 1, 5), Company(1, 1, 5, 100))
INTERVAL = 2.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What one exporter took."""

    scan: float
    """CPU seconds of the first scan."""
    memory: int
    """Bytes at the peak, beyond the process before."""
    poll: float
    """CPU seconds of an idle poll."""
    exposition: int
    """Bytes of the text of one transform."""


def run(*, quick: bool) -> Iterator[Row]:
    """Yield the rows of each length."""
    short: Figures | None = None
    for company in QUICK if quick else COMPANIES:
        figures = _measured(company, 3 if quick else 20)
        short = short or figures
        runs, what = company.transforms * company.runs, f"{company.transforms} x {company.runs:,} runs"
        longer = company.runs > RUNS_OF_SHORT
        yield Row(
            f"{what}: an idle poll against that of short ones",
            figures.poll / short.poll,
            f"{seconds(figures.poll)} : {seconds(short.poll)}",
        )
        yield Row(f"{what}: first scan", figures.scan / runs * 1e6, f"{seconds(figures.scan)}", None, "µs/run")
        yield Row(f"{what}: memory", figures.memory / runs, megabytes(figures.memory), None, "bytes/run")
        yield Row(
            f"{what}: exposition",
            figures.exposition / short.exposition,
            f"{figures.exposition / 1e3:.1f} kB a transform",
            at_most(1.1) if longer else None,
        )


RUNS_OF_SHORT = COMPANIES[0].runs


def _measured(company: Company, cycles: int) -> Figures:
    with (
        tempfile.TemporaryDirectory() as folder,
        served(serve_simulator, company) as glue,
        exporting(company, glue.port, INTERVAL, Path(folder)) as exporter,
    ):
        began, before = exporter.cpu_seconds(), exporter.peak()
        exporter.wait_for_polls(1, INTERVAL / 4)
        scan, memory = exporter.cpu_seconds() - began, exporter.peak() - before
        exporter.wait_for_polls(company.runs // 1000 + 3, INTERVAL / 4)
        with scraped([exporter], 1.0):
            began, polls = exporter.cpu_seconds(), exporter.polls()
            Event().wait(cycles * INTERVAL)
            poll = (exporter.cpu_seconds() - began) / (exporter.polls() - polls)
        return Figures(scan, memory, poll, len(exporter.text) // company.transforms)
