"""`runs`: read the runs of transforms from Glue, and print each page at once."""

import heapq
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TextIO

from exporter import logs
from exporter.cli.chosen_config import chosen_config
from exporter.cli.flags import TABLE_LIMIT
from exporter.cli.lookup import TransformLookup, labels_of
from exporter.cli.options import RunsOptions
from exporter.cli.output import fields
from exporter.cli.output.progress import Progress, affects_lane, error_text
from exporter.cli.output.table import RunTable
from exporter.cli.output.writers import CsvWriter, JsonWriter, LineWriter, ListedRun, RunWriter
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

MAX_BUFFERED = 20_000
"""Runs of all transforms together that are read in advance. To merge runs, a page of each transform is in memory."""

MIN_PAGE = 20
"""Smallest page that many transforms get, because smaller pages would need too many requests."""

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
        found = lookup.all() if options.all else lookup.named(options.transforms)
        # The user has just typed the name or the id of a single transform, so its name in Glue is not needed.
        targets = lookup.with_names(found, read=options.all or (options.output == "table" and len(found) > 1))
        labels = labels_of(targets)
        page_size = min(config.polling.page_size, max(MIN_PAGE, MAX_BUFFERED // max(1, len(targets))))
        query = RunQuery(options, clients, page_size=page_size, now=now)
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
    """Reads and prints the runs of transforms, in one order for all transforms."""

    def __init__(
        self, options: RunsOptions, query: RunQuery, labels: dict[str, str], writer: RunWriter, progress: Progress
    ) -> None:
        self._options = options
        self._query = query
        self._labels = labels
        self._writer = writer
        self._progress = progress
        self._limit = options.limit if options.limit is not None else TABLE_LIMIT if options.output == "table" else 0
        self._failed_lanes: set[Lane] = set()
        self._skipped = 0
        self._truncated: list[str] = []
        """The labels of the transforms that have more runs than were asked for."""
        self._counts: dict[str, int] = {}
        """The number of runs by transform id, for each transform that was read."""
        self._pending: list[ListedRun] = []
        self._failed_run_printed = False

    def run(self, targets: Sequence[Target]) -> int:
        """Print the runs of the transforms, with `--follow` also their changes; return the exit code."""
        followers = []
        if self._options.follow:
            followers = self._print_and_follow(targets)
        else:
            self._print_all(targets)
        self._print_notes(targets)
        while followers:
            for follower in followers:
                self._print_changes(follower)
            time.sleep(FOLLOW_INTERVAL)
        if self._failed_run_printed and self._options.exit_code:
            return EXIT_FAILED_RUN
        return 1 if self._progress.errors else 0

    def _print_all(self, targets: Sequence[Target]) -> None:
        """Print the runs of all transforms. At most a page of each transform is in memory."""
        sources = [self._runs_of(target, number, len(targets)) for number, target in enumerate(targets, start=1)]
        for run in heapq.merge(*sources, key=self._sort_key, reverse=self._options.descending):
            self._pending.append(run)
        self._print_pending()

    def _runs_of(self, target: Target, number: int, total: int) -> Iterator[ListedRun]:
        """Yield the runs of a transform. What was yielded before is printed before the next page is requested."""
        label, position = self._labels[target.id], f" ({number} of {total})" if total > 1 else ""
        if self._is_skipped(target):
            return
        self._progress.show(f"{label}{position}")
        self._counts[target.id] = 0
        try:
            for page in self._query.pages(target, self._limit):
                self._counts[target.id] += len(page.runs)
                if page.truncated and self._options.limit is None:
                    self._truncated.append(label)
                yield from self._listed(target, page.runs)
                self._print_pending()
                self._progress.show(f"{label}{position}: {self._counts[target.id]:,} runs so far")
        except GlueError as error:
            self._report(target, error)

    def _print_and_follow(self, targets: Sequence[Target]) -> list[Follower]:
        """Print the runs of the transforms, the latest at the end, where changes are going to appear."""
        followers = []
        for target in targets:
            if self._is_skipped(target):
                continue
            self._progress.show(self._labels[target.id])
            try:
                follower = Follower(self._query, target, time.time())
                runs = [run for page in self._query.pages(target, self._limit) for run in page.runs]
            except GlueError as error:
                self._report(target, error)
                continue
            self._counts[target.id] = len(runs)
            self._pending += self._listed(target, runs)
            follower.mark_seen(runs)
            followers.append(follower)
        self._pending.sort(key=self._sort_key)
        self._print_pending()
        return followers

    def _print_changes(self, follower: Follower) -> None:
        """Print new and changed runs. If a failure has the same reason as the last failure, it is not printed again."""
        try:
            runs = follower.changes()
        except GlueError as error:
            if follower.last_error != error.reason:
                self._progress.error(f"{self._labels[follower.target.id]}: {error_text(error)}")
            follower.last_error = error.reason
        else:
            follower.last_error = None
            self._pending += self._listed(follower.target, runs)
            self._print_pending()

    def _is_skipped(self, target: Target) -> bool:
        """Return whether an earlier failure concerns the account and region of the transform, and count it then."""
        skipped = target.lane in self._failed_lanes
        self._skipped += skipped
        return skipped

    def _report(self, target: Target, error: GlueError) -> None:
        """Report a failed call. Transforms without runs are noted only if they were read completely."""
        self._counts.pop(target.id, None)
        self._progress.error(f"{self._labels[target.id]}: {error_text(error)}")
        if affects_lane(error):
            self._failed_lanes.add(target.lane)

    def _print_notes(self, targets: Sequence[Target]) -> None:
        """Print what the runs themselves do not show."""
        if len(self._truncated) == 1:
            self._progress.note(f"{self._truncated[0]} has more runs; --limit=0 shows all")
        elif self._truncated:
            self._progress.note(f"{len(self._truncated)} transforms have more runs; --limit=0 shows all")
        if self._skipped:
            self._progress.note(f"skipped {self._skipped} more transforms of the same account and region")
        options = self._options
        filters = (options.type, options.status, options.started_after, options.started_before)
        runs = "matching runs" if any(filters) else "runs"
        if not self._options.all:
            for transform_id in (transform_id for transform_id, count in self._counts.items() if not count):
                self._progress.note(f"{self._labels[transform_id]} has no {runs}")
        elif not any(self._counts.values()) and not self._progress.errors:
            self._progress.note(f"no {runs}" if targets else "no transforms")

    def _listed(self, target: Target, runs: Sequence[Record]) -> list[ListedRun]:
        return [ListedRun(run, target, self._labels[target.id]) for run in runs]

    def _print_pending(self) -> None:
        if not self._pending:
            return
        self._progress.clear()
        self._writer.write(self._pending, time.time())
        self._failed_run_printed |= any(run.record.get("Status") in FAILURES for run in self._pending)
        self._pending = []

    def _sort_key(self, run: ListedRun) -> float | str:
        """Return the value by which Glue has sorted the runs of each transform."""
        if self._options.sort == "STARTED":
            started = run.record.get("StartedOn")
            return float(started) if isinstance(started, int | float) else -math.inf
        return fields.status(run.record) if self._options.sort == "STATUS" else fields.task_type(run.record)
