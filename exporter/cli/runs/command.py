"""`runs`: the runs of transforms, read from Glue page by page and printed as they come."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TextIO

from exporter import logs
from exporter.cli.flags import TABLE_LIMIT
from exporter.cli.options import RunsOptions
from exporter.cli.output.progress import Report, concerns_lane, told
from exporter.cli.output.table import RunTable
from exporter.cli.output.writers import Csv, JsonLines, Lines, Printer
from exporter.cli.parser import UsageError
from exporter.cli.runs.access import configuration
from exporter.cli.runs.follow import Follower
from exporter.cli.runs.lookup import Directory
from exporter.cli.runs.query import History
from exporter.errors import GlueError
from exporter.glue.client import GlueClients
from exporter.glue.decode import Record
from exporter.model.task_run import FAILURES
from exporter.model.transform import Lane, Target
from exporter.telemetry import Telemetry

EXIT_FAILED_RUN = 3

FOLLOW_INTERVAL = 5.0
"""Seconds from the end of one look for news to the next."""


def show_runs(options: RunsOptions, output: TextIO, errors: TextIO) -> int:
    """Print the runs that are asked for on ``output``, all else on ``errors``; return the exit code.

    With ``follow`` it ends only by an exception: KeyboardInterrupt, or BrokenPipeError of ``output``.

    Raises:
        UsageError: the options contradict each other, or no region is known.
        ConfigError: the configuration cannot be used.
        GlueError: the settings of AWS cannot be read.
    """
    now = time.time()
    _check(options, now)
    logs.configure("error", "logfmt", errors)
    config = configuration(options)
    clients = GlueClients.of(config, telemetry=Telemetry(process=False), stop=threading.Event())
    with closing(clients), Report(errors) as report:
        directory = Directory(config, clients, report, region=options.region)
        targets = directory.all() if options.all else directory.named(options.transforms)
        labels = directory.labels(targets) if options.output == "table" else {one.id: one.id for one in targets}
        history = History(options, clients, page_size=config.polling.page_size, now=now)
        return _Listing(options, history, labels, _printer(options, output, labels), report).run(targets)


def _check(options: RunsOptions, now: float) -> None:
    if options.all == bool(options.transforms):
        raise UsageError("runs: expected either transforms, by id or name, or --all")
    if options.follow and options.exit_code:
        raise UsageError("--exit-code: has no meaning with --follow, which has no end")
    after, before = options.started_after, options.started_before
    if after and before and after.at(now) >= before.at(now):
        raise UsageError("--started-after: is not before --started-before")


def _printer(options: RunsOptions, output: TextIO, labels: dict[str, str]) -> Printer:
    width = max(map(len, labels.values())) if len(labels) > 1 else 0
    if options.output == "json":
        return JsonLines(output)
    if options.output == "csv":
        return Csv(output)
    return RunTable(output, label_width=width) if output.isatty() else Lines(output, label_width=width)


class _Listing:
    """Reads and prints the runs of transforms, one transform after the other."""

    def __init__(
        self, options: RunsOptions, history: History, labels: dict[str, str], printer: Printer, report: Report
    ) -> None:
        self._options = options
        self._history = history
        self._labels = labels
        self._printer = printer
        self._report = report
        self._limit = options.limit if options.limit is not None else TABLE_LIMIT if options.output == "table" else 0
        self._printed = 0
        self._failed = False

    def run(self, targets: Sequence[Target]) -> int:
        """Print the runs of the transforms, and what becomes of them if it is to follow; return the exit code."""
        followers = list(self._list(targets))
        if not self._printed and not self._report.complaints:
            self._report.note("no such runs" if targets else "no transforms")
        while followers:
            for follower in followers:
                self._print_changes(follower)
            time.sleep(FOLLOW_INTERVAL)
        if self._failed and self._options.exit_code:
            return EXIT_FAILED_RUN
        return 1 if self._report.complaints else 0

    def _list(self, targets: Sequence[Target]) -> Iterator[Follower]:
        """Print the runs of the transforms; yield what follows each from then on, if that is wanted."""
        silent: set[Lane] = set()
        unasked = 0
        for number, target in enumerate(targets, start=1):
            if target.lane in silent:
                unasked += 1
                continue
            place = f" ({number} of {len(targets)})" if len(targets) > 1 else ""
            try:
                self._report.progress(f"{self._labels[target.id]}{place}")
                if self._options.follow:
                    yield self._list_and_follow(target)
                else:
                    self._list_all(target, place)
            except GlueError as error:
                self._report.complain(f"{self._labels[target.id]}: {told(error)}")
                if concerns_lane(error):
                    silent.add(target.lane)
        if unasked:
            self._report.note(f"{unasked} more of the same account and region not asked for")

    def _list_all(self, target: Target, place: str) -> None:
        label = self._labels[target.id]
        count = 0
        for page in self._history.first(target, self._limit):
            self._print(label, page.runs)
            count += len(page.runs)
            if page.cut and self._options.limit is None:
                self._report.note(f"{label} has more runs; --limit=0 shows all")
            elif not page.cut:
                self._report.progress(f"{label}{place}: {count:,} runs so far")

    def _list_and_follow(self, target: Target) -> Follower:
        """Print the runs of a transform so that the last one stands where news will appear."""
        follower = Follower(self._history, target, time.time())
        runs = [run for page in self._history.first(target, self._limit) for run in page.runs]
        self._print(self._labels[target.id], runs[::-1] if self._options.descending else runs)
        follower.shown(runs)
        return follower

    def _print_changes(self, follower: Follower) -> None:
        label = self._labels[follower.target.id]
        try:
            runs = follower.changes()
        except GlueError as error:
            if follower.trouble != error.reason:
                self._report.complain(f"{label}: {told(error)}")
            follower.trouble = error.reason
        else:
            follower.trouble = None
            self._print(label, runs)

    def _print(self, label: str, runs: Sequence[Record]) -> None:
        self._report.clear()
        self._printer.show(label, runs, time.time())
        self._printed += len(runs)
        self._failed = self._failed or any(run.get("Status") in FAILURES for run in runs)
