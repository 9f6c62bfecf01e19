"""Whole exporters with histories of 10 to 100,000 runs: CPU, memory and exposition by the length of the history."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.exporters import Company, exporting, serve_simulator
from bench.glue import PAGE
from bench.servers import served
from bench.tables import Row, megabytes, seconds

TITLE = "Histories: a fleet with short histories against fleets with long histories"
NOTE = (
    "CPU time and peak memory of a whole exporter with five transforms and a state file. Each length of the history\n"
    "has its own exporter. The runs are spread over 25 days (36,000 minutes). The overlap of 15 minutes therefore has\n"
    "about 4 runs of a history of 10,000 runs, and about 42 of 100,000. Some runs end during the measurement and add\n"
    "histograms. An idle poll takes place every 2 s, without scrapes. The first scan includes discovery, details and\n"
    "the state file. Its figures are the difference to the process before the scan."
)
TRANSFORMS = 5
LENGTHS = (10, 1000, 10_000, 100_000)
QUICK = (10,)
RATE = 200.0
INTERVAL = 2.0


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one exporter."""

    scan: float
    """CPU seconds of the first scan."""
    memory: int
    """Increase of the peak memory during the first scan, in bytes."""
    poll: float
    """CPU seconds of an idle poll."""
    exposition: int
    """Bytes of the text of one transform."""


def run(*, quick: bool) -> Iterator[Row]:
    """Yield the rows of each length."""
    short: Figures | None = None
    for length in QUICK if quick else LENGTHS:
        company = Company(1, 1, TRANSFORMS, length, RATE)
        figures = _measured(company, 1 if quick else 15)
        short = short or figures
        runs, label = TRANSFORMS * length, f"{length:,} runs"
        yield Row(
            f"{label}: an idle poll against short histories",
            figures.poll / short.poll,
            f"{seconds(figures.poll)} : {seconds(short.poll)}",
        )
        if runs >= PAGE:
            yield Row(f"{label}: first scan", figures.scan / runs * 1e6, f"{seconds(figures.scan)}", None, "µs/run")
            yield Row(f"{label}: memory", figures.memory / runs, megabytes(figures.memory), None, "bytes/run")
        absolute = f"{figures.exposition / 1e3:.1f} kB a transform"
        yield Row(f"{label}: exposition", figures.exposition / short.exposition, absolute)


def _measured(company: Company, cycles: int) -> Figures:
    with (
        tempfile.TemporaryDirectory() as folder,
        served(serve_simulator, company) as glue,
        exporting(company, glue.port, INTERVAL, Path(folder)) as exporter,
    ):
        began, before = exporter.cpu_seconds(), exporter.peak()
        exporter.wait_for_polls(company.runs // PAGE + 1, INTERVAL / 4)
        scan, memory = exporter.cpu_seconds() - began, exporter.peak() - before
        exporter.wait_for_polls(company.runs // PAGE + 3, INTERVAL / 4)
        began, polls = exporter.cpu_seconds(), exporter.polls()
        time.sleep(cycles * INTERVAL)  # The CPU time of the polls in this time is measured.
        poll = (exporter.cpu_seconds() - began) / (exporter.polls() - polls)
        sizes = (len(line) for line in exporter.text.splitlines() if "transform_id" in line)
        return Figures(scan, memory, poll, sum(sizes) // TRANSFORMS)
