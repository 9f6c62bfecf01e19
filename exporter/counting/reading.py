"""Collects the runs of one poll, and compares them with the ledger.

A reading does not change the runs and counters of the ledger. It only selects the runs to count; `Ledger.is_new`
decides whether a run is new. After the last page, `Ledger.commit` counts the selected runs and updates the ledger.

This module does not read a clock, use the network or take a lock.
"""

from dataclasses import replace
from typing import Protocol

from exporter.counting.fingerprint import CODE_MASK, MISSING, fingerprint_of, pack, started_of
from exporter.counting.finished_runs import FinishedRuns
from exporter.counting.incomplete_runs import IncompleteRun
from exporter.counting.latest import LatestRun
from exporter.counting.run_kinds import CODES, FINAL_CODES, RunKinds
from exporter.model.task_run import RunPage, TaskRun, sanitized


class KnownRuns(Protocol):
    """The part of a `Ledger` that a `Reading` uses."""

    open: dict[str, TaskRun]
    incomplete: dict[str, IncompleteRun]
    missing: dict[str, TaskRun]
    finished: FinishedRuns
    latest: dict[str, LatestRun]
    watermark: float | None
    run_kinds: RunKinds

    @property
    def has_baseline(self) -> bool:
        """Whether there was a complete poll before this poll."""

    @property
    def watched_since(self) -> float:
        """When the exporter began to look at the transform, in UTC seconds."""

    def is_new(self, run: TaskRun, *, seen_open: bool) -> bool:
        """Return whether the end of a run is counted, as `Ledger.is_new` does."""

    def is_new_start(self, run: TaskRun) -> bool:
        """Return whether the start of an unknown run is counted, as `Ledger.is_new_start` does."""


class Reading:
    """The runs of one poll, and the changes that `Ledger.commit` will make for them."""

    def __init__(self, ledger: KnownRuns, *, now: float, since: float, cutoff: float) -> None:
        """Create an empty reading. All times are UTC seconds.

        Args:
            ledger: the runs that earlier polls found.
            now: the time of the poll by the host's clock.
            since: the poll lists the runs that started at or after this time.
            cutoff: the start of the lookback. A baseline run that started earlier is not stored.
        """
        self.now = now
        self.since = since
        self.cutoff = cutoff
        self._ledger = ledger
        self._finished = ledger.finished.entries
        self._has_baseline = ledger.has_baseline
        """False in the first complete poll: the ledger is still empty."""
        self.aws_now = now
        """The present time by the clock of AWS, in UTC seconds. Later times in an answer are impossible.

        The caller sets it before each page. The host's clock must not decide which runs are new.
        """
        self.incomplete = dict(ledger.incomplete)
        """The finished runs that lack a time, by id."""
        self.observed: list[tuple[TaskRun, TaskRun]] = []
        """Runs that were counted in an earlier poll and have got a time: before and after."""
        self._seen_incomplete: set[str] = set()
        """Ids of the incomplete runs that this poll has shown."""
        self.upserts: dict[int, int] = {}
        """Fingerprint -> packed entry of each finished run to insert or replace in the ledger."""
        self.open: dict[str, TaskRun] = {}
        """The open runs by id."""
        self.closed: list[str] = []
        """Ids of the runs that were open or missing and have ended, whether they are counted or history."""
        self.finished: dict[int, TaskRun] = {}
        """The runs whose finish will be counted, by fingerprint."""
        self.started: list[TaskRun] = []
        """The runs whose start will be counted."""
        self.status_changed: list[tuple[TaskRun, str]] = []
        """Finished runs with a changed status, and their previous status."""
        self.missing: dict[str, TaskRun] = {}
        """Open runs that Glue no longer knows."""
        self.still_missing: list[str] = []
        """Ids of the runs that were already missing in an earlier poll."""
        self.latest: dict[str, LatestRun] = {}
        self.watermark = ledger.watermark

    # -- adding runs ------------------------------------------------------------------------------------------------

    def add_page(self, page: RunPage) -> None:
        """Add the runs of a page, in the order of the page."""
        if self._has_baseline or not self._add_baseline_page(page):
            for run in page:
                self.add(run)

    def _add_baseline_page(self, page: RunPage) -> bool:
        """Add all runs of a page of the first poll at once; return False, and add nothing, if `add` is needed.

        This takes less than half of the time of `add` for each run, and a first poll may list a million runs. It is
        possible if every run of the page is history, has possible times within the lookback, and is listed for the
        first time. Of each kind, only the runs with the latest start and the latest end can change ``latest``.
        """
        if not page:
            return True
        codes = [FINAL_CODES.get(kind, 0) for kind in page.kinds]
        starts, ends = [*filter(None, page.starts)], [*filter(None, page.ends)]
        if not (all(codes) and len(starts) == len(ends) == len(page)):
            return False
        newest = max(starts)
        is_history = (last := max(ends)) <= self.aws_now and last < self._ledger.watched_since
        if not is_history or min(starts) < max(self.cutoff, 0) or newest >= self.aws_now or min(ends) < 0:
            return False
        fingerprints = [*map(fingerprint_of, page.ids)]
        if len(set(fingerprints)) < len(page) or not self.upserts.keys().isdisjoint(fingerprints):
            return False
        if not self.open.keys().isdisjoint(page.ids):
            return False
        self.upserts.update(zip(fingerprints, map(pack, starts, codes), strict=True))
        self.watermark = max(self.watermark or 0.0, newest)
        last_positions: set[int] = set()
        for times in (starts, ends):
            oldest_first = sorted(range(len(page)), key=times.__getitem__)
            last_positions.update({codes[position]: position for position in oldest_first}.values())
        for position in sorted(last_positions):
            run = sanitized(page.run_at(position), self.aws_now)
            self._latest_of(run.task_type).update(run, fingerprints[position], final=True)
        return True

    def add(self, raw: TaskRun) -> None:
        """Add one run from Glue. The same run may be added twice, because pages can overlap."""
        code = CODES.get((raw.task_type, raw.status))
        if code is None:
            raw, code = self._ledger.run_kinds.named(raw)
        now = self.aws_now
        run = sanitized(raw, now)
        fingerprint = fingerprint_of(raw.run_id)
        final = raw.final
        if final:
            self._add_final(raw, run, fingerprint, code)
        elif fingerprint in self.upserts or raw.run_id in self.incomplete:
            # This poll or an earlier one has shown the run as ended, so this answer shows an older state. If a run that
            # has left the lookback became open again, its end would be counted again.
            return
        else:
            self._add_open(raw, run, fingerprint, code)
        self._latest_of(run.task_type).update(run, fingerprint, final=final)
        started = run.started
        if started is not None and (self.watermark is None or started > self.watermark):
            # A start in the future is not used as watermark, because the next poll would miss runs with earlier starts.
            self.watermark = started if started < now else max(self.watermark or 0.0, now)

    def _latest_of(self, task_type: str) -> LatestRun:
        latest = self.latest.get(task_type)
        if latest is None:
            known = self._ledger.latest.get(task_type)
            latest = self.latest[task_type] = LatestRun() if known is None else replace(known)
        return latest

    def _add_final(self, raw: TaskRun, run: TaskRun, fingerprint: int, code: int) -> None:
        listed_open = self.open.pop(run.run_id, None) if self.open else None
        known = self._finished.get(fingerprint)
        packed = self.upserts.get(fingerprint, known)
        incomplete = self.incomplete.get(run.run_id) if self.incomplete else None
        if incomplete is not None:
            self._add_times(incomplete, run, fingerprint)
        if packed is not None and packed & CODE_MASK != MISSING:
            self._add_known(raw, fingerprint, code, packed)
            return
        # An incomplete run that had left the lookback is not among the finished runs, and is not counted again.
        is_new = incomplete is None and self._count_if_new(
            run, fingerprint, was_open=known is not None, listed_open=listed_open is not None
        )
        effective_time = raw.effective_time
        if effective_time is None:
            effective_time = self.now
        if is_new or effective_time >= self.cutoff:
            self.upserts[fingerprint] = pack(effective_time, code)

    def _count_if_new(self, run: TaskRun, fingerprint: int, *, was_open: bool, listed_open: bool) -> bool:
        """Select the finish and the start of a run that has ended, if they are new; return whether the finish is.

        ``was_open`` says whether an earlier poll has seen the run open. ``listed_open`` says whether this poll has
        already listed it as open, and so has judged its start. Such a copy may be old, and the end may be history.
        """
        ledger = self._ledger
        was_open = was_open or run.run_id in ledger.open or run.run_id in ledger.missing
        if was_open:
            self.closed.append(run.run_id)
        is_new = ledger.is_new(run, seen_open=was_open)
        if is_new:
            if not (was_open or listed_open) and ledger.is_new_start(run):
                self.started.append(run)
            self.finished[fingerprint] = run
        incomplete = IncompleteRun(run, self.aws_now, is_new)
        if incomplete.lacks_times:
            self.incomplete[run.run_id] = incomplete
            self._seen_incomplete.add(run.run_id)
        return is_new

    def _add_times(self, before: IncompleteRun, run: TaskRun, fingerprint: int) -> None:
        """Add the times of a run that lacked some. It is counted now if only CompletedOn shows that it is new.

        Example: the exporter looks since 10:00. A run started at 09:50. At 10:05 it is FAILED without CompletedOn, and
        looks like history. At 10:06 its CompletedOn is 10:04, so the finish is counted. While it has no CompletedOn, it
        stays history: `Ledger.is_new` must not judge it again, because a run without any time is new to a later poll.
        """
        after = before.plus(run)
        self._seen_incomplete.add(run.run_id)
        has_end = after.run.completed is not None
        if has_end and not before.counted and self._ledger.is_new(after.run, seen_open=False):
            after = after._replace(counted=True)
            if self._ledger.is_new_start(after.run):
                self.started.append(after.run)
        if after.counted and (fingerprint in self.finished or not before.counted):
            self.finished[fingerprint] = after.run
        elif after.counted and after.run != before.run:
            self.observed.append((before.run, after.run))
        self.incomplete[run.run_id] = after

    def _add_known(self, raw: TaskRun, fingerprint: int, code: int, packed: int) -> None:
        """Replace the entry of a finished run if its status or its time has changed. The run is not counted again."""
        if packed & CODE_MASK != code and fingerprint not in self.upserts:
            self.status_changed.append((raw, self._ledger.run_kinds.run_kind(packed & CODE_MASK)[1]))
        effective_time = raw.effective_time
        if effective_time is None:
            # A run without times gets the time of the poll. So the ledger does not forget it while Glue lists it.
            effective_time = max(self.now, started_of(packed))
        repacked = pack(effective_time, code)
        if repacked != packed:
            self.upserts[fingerprint] = repacked

    def _add_open(self, raw: TaskRun, run: TaskRun, fingerprint: int, code: int) -> None:
        ledger = self._ledger
        packed = self._finished.get(fingerprint)
        if packed is not None and packed & CODE_MASK != MISSING:
            self._add_known(raw, fingerprint, code, packed)
            return
        known = packed is not None or any(run.run_id in runs for runs in (ledger.open, self.open, ledger.missing))
        if not known and ledger.is_new_start(run):
            self.started.append(run)
        self.open[run.run_id] = run

    # -- open runs that were not listed -----------------------------------------------------------------------------

    def unlisted(self) -> list[str]:
        """Return the ids of the open, missing and incomplete runs that were not listed; the caller looks up each id."""
        not_ended = [
            run_id
            for run_id in (*self._ledger.open, *self._ledger.missing)
            if run_id not in self.open and fingerprint_of(run_id) not in self.upserts
        ]
        return not_ended + [run_id for run_id in self.incomplete if run_id not in self._seen_incomplete]

    def record_missing(self, run_id: str) -> None:
        """Record that Glue does not know an open or incomplete run.

        The gauges no longer include the run. If Glue lists the run again later, its finish is counted.
        """
        if self.incomplete.pop(run_id, None) is not None:
            return
        run = self._ledger.open.get(run_id)
        if run is None:
            self.still_missing.append(run_id)
        else:
            self.missing[run_id] = run
            started = self.now if run.started is None else run.started
            self.upserts[fingerprint_of(run_id)] = pack(started, MISSING)

    @property
    def covers_lookback(self) -> bool:
        """Whether the poll lists the whole lookback."""
        return self.since <= self.cutoff
