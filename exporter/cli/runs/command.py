"""`runs`: read the runs of transforms from Glue, and print each page at once."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TextIO

from exporter import logs
from exporter.cli.chosen_config import chosen_config
from exporter.cli.flags import TABLE_LIMIT
from exporter.cli.lookup import TransformLookup
from exporter.cli.options import RunsOptions
from exporter.cli.output.progress import Progress, affects_lane, error_text
from exporter.cli.output.table import RunTable
from exporter.cli.output.writers import CsvWriter, JsonWriter, LineWriter, RunWriter
from exporter.cli.parser import UsageError
from exporter.cli.runs.follow import Follower
from exporter.cli.runs.query import RunQuery
from exporter.glue.client import GlueClients
from exporter.glue.decode import Record
from exporter.model.errors import GlueError
from exporter.model.task_run import FAILURES
from exporter.model.transform import Lane, Target
from exporter.telemetry import Telemetry

EXIT_FAILED_RUN = 3

FOLLOW_INTERVAL = 5.0
"""Seconds between the end of a search for changes and the start of the next one."""


def show_runs(options: RunsOptions, output: TextIO, errors: TextIO) -> int:
    """Print the requested runs on `output`, and progress, notes and errors on `errors`; return the exit code.

    With `--follow` it runs until an exception ends it: KeyboardInterrupt, or BrokenPipeError when the reader of
    `output` has closed it.

    Raises:
        UsageError: two options contradict each other, or the region is unknown.
        ConfigError: the configuration cannot be used.
        GlueError: the AWS settings of this machine cannot be read.
    """
    now = time.time()
    _reject_contradictions(options, now)
    logs.configure("error", "logfmt", logs.STDERR)
    config = chosen_config(options)
    clients = GlueClients(config, telemetry=Telemetry(process=False), stop=threading.Event())
    with closing(clients), Progress(errors, output) as progress:
        lookup = TransformLookup(config, clients, progress, region=options.region)
        targets = lookup.all() if options.all else lookup.named(options.transforms)
        labels = lookup.labels(targets) if options.output == "table" else {target.id: target.id for target in targets}
        query = RunQuery(options, clients, page_size=config.polling.page_size, now=now)
        return _RunPrinter(options, query, labels, _writer(options, output, labels), progress).run(targets)


def _reject_contradictions(options: RunsOptions, now: float) -> None:
    if options.all == bool(options.transforms):
        raise UsageError("runs: expected ids or names of transforms, or --all")
    if options.follow and options.exit_code:
        raise UsageError("--exit-code: cannot be combined with --follow, which does not end")
    after, before = options.started_after, options.started_before
    if after and before and after.at(now) >= before.at(now):
        raise UsageError("--started-after: is not before --started-before")


def _writer(options: RunsOptions, output: TextIO, labels: dict[str, str]) -> RunWriter:
    """Return the writer of the requested format. A table of several transforms has a column with their names."""
    width = max(map(len, labels.values())) if len(labels) > 1 else 0
    if options.output == "json":
        return JsonWriter(output)
    if options.output == "csv":
        return CsvWriter(output)
    return RunTable(output, label_width=width) if output.isatty() else LineWriter(output, label_width=width)


class _RunPrinter:
    """Reads and prints the runs of transforms, one transform after the other."""

    def __init__(
        self, options: RunsOptions, query: RunQuery, labels: dict[str, str], writer: RunWriter, progress: Progress
    ) -> None:
        self._options = options
        self._query = query
        self._labels = labels
        self._writer = writer
        self._progress = progress
        self._limit = options.limit if options.limit is not None else TABLE_LIMIT if options.output == "table" else 0
        self._printed = 0
        self._failed_run_printed = False

    def run(self, targets: Sequence[Target]) -> int:
        """Print the runs of the transforms, with `--follow` also their changes; return the exit code."""
        followers = list(self._print_all(targets))
        if not self._printed and not self._progress.errors:
            self._progress.note("no matching runs" if targets else "no transforms")
        while followers:
            for follower in followers:
                self._print_changes(follower)
            time.sleep(FOLLOW_INTERVAL)
        if self._failed_run_printed and self._options.exit_code:
            return EXIT_FAILED_RUN
        return 1 if self._progress.errors else 0

    def _print_all(self, targets: Sequence[Target]) -> Iterator[Follower]:
        """Print the runs of the transforms; with `--follow` yield a follower of each transform."""
        failed_lanes: set[Lane] = set()
        skipped = 0
        for number, target in enumerate(targets, start=1):
            if target.lane in failed_lanes:
                skipped += 1
                continue
            position = f" ({number} of {len(targets)})" if len(targets) > 1 else ""
            try:
                self._progress.show(f"{self._labels[target.id]}{position}")
                if self._options.follow:
                    yield self._print_and_follow(target)
                else:
                    self._print_pages(target, position)
            except GlueError as error:
                self._progress.error(f"{self._labels[target.id]}: {error_text(error)}")
                if affects_lane(error):
                    failed_lanes.add(target.lane)
        if skipped:
            self._progress.note(f"skipped {skipped} more transforms of the same account and region")

    def _print_pages(self, target: Target, position: str) -> None:
        label = self._labels[target.id]
        count = 0
        for page in self._query.pages(target, self._limit):
            self._print(label, page.runs)
            count += len(page.runs)
            if page.truncated and self._options.limit is None:
                self._progress.note(f"{label} has more runs; --limit=0 shows all")
            elif not page.truncated:
                self._progress.show(f"{label}{position}: {count:,} runs so far")

    def _print_and_follow(self, target: Target) -> Follower:
        """Print the runs of a transform, the latest at the end, where changes are going to appear."""
        follower = Follower(self._query, target, time.time())
        runs = [run for page in self._query.pages(target, self._limit) for run in page.runs]
        self._print(self._labels[target.id], runs[::-1] if self._options.descending else runs)
        follower.mark_seen(runs)
        return follower

    def _print_changes(self, follower: Follower) -> None:
        """Print new and changed runs. If a failure has the same reason as the last failure, it is not printed again."""
        label = self._labels[follower.target.id]
        try:
            runs = follower.changes()
        except GlueError as error:
            if follower.last_error != error.reason:
                self._progress.error(f"{label}: {error_text(error)}")
            follower.last_error = error.reason
        else:
            follower.last_error = None
            self._print(label, runs)

    def _print(self, label: str, runs: Sequence[Record]) -> None:
        self._progress.clear()
        self._writer.write(label, runs, time.time())
        self._printed += len(runs)
        self._failed_run_printed = self._failed_run_printed or any(run.get("Status") in FAILURES for run in runs)
