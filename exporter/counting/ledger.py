"""Counts the runs of one transform; each finish is counted exactly once.

A run is history if it completed before ``watched_since`` (UTC seconds), the time at which the exporter began to look at
the transform: the gauges include it, but it is not counted. A run that completed at this time or later is counted once.
`Ledger.is_new` contains this rule.

Example with a lookback of 30 days:

- 10:00, first poll; it fails. ``watched_since`` becomes 10:00.
- 10:05, second poll, the first good one. A run that failed at 09:58 is history. A run that failed at 10:03 is counted.
  A run that started at 09:50 is still open, and the ledger remembers the open run.
- 10:10, third poll. The run of 09:50 has ended and is counted. The poll also lists a run that ended at 09:57. The
  second poll missed this run, because its answer was incomplete. The run is history, because it ended before 10:00.
- 30 days later, the ledger forgets the run of 09:50, and ``forgotten_until`` rises above its start. If Glue lists the
  run again, it is not counted again.

A poll fills a `Reading`. Only `Ledger.commit` changes runs and counters, and a failed poll does not reach `commit`.
Therefore a failed poll does not change what is counted. This module does not read a clock, use the network or take a
lock.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from exporter.counting.counters import Count, Exemplar, Family, Histogram, Series, Total
from exporter.counting.fingerprint import TICK, fingerprint_of, started_of
from exporter.counting.finished_runs import FinishedRuns
from exporter.counting.incomplete_runs import IncompleteRun, still_awaited
from exporter.counting.latest import GaugeValues, LatestRun
from exporter.counting.reading import Reading
from exporter.counting.run_kinds import KNOWN_KINDS, RunKind, RunKinds
from exporter.model.task_run import TaskRun


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes that one poll made to a ledger, for the log and the state file."""

    started: tuple[TaskRun, ...]
    finished: tuple[TaskRun, ...]
    status_changed: tuple[tuple[TaskRun, str], ...]
    """Finished runs with a changed status, and their previous status. They are not counted again."""
    missing: tuple[TaskRun, ...]
    """Open runs that Glue no longer knows."""
    upserts: Mapping[int, int]
    """Fingerprint -> packed entry of every finished run that was added or changed."""
    dropped: tuple[int, ...]
    """Fingerprints of the finished runs that the ledger removed, because they are too old or open again."""
    state_changed: bool
    """Whether the poll changed the open runs, the latest runs, the watermark or the floor."""

    def __bool__(self) -> bool:
        """Return whether there is anything to store."""
        return bool(self.upserts or self.dropped or self.state_changed)


NO_CHANGES = Changes((), (), (), (), {}, (), state_changed=False)


class Ledger:
    """The open runs and the finished runs of one transform, and its counters."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Create a ledger without runs. ``bounds`` are the ascending buckets of both histograms, without +Inf."""
        self.bounds = bounds
        self.totals: dict[Series, Total] = {}
        self.open: dict[str, TaskRun] = {}
        self.missing: dict[str, TaskRun] = {}
        """Open runs that Glue no longer knows.

        Each poll looks them up. A run is removed when a poll of the whole lookback does not find it either.
        """
        self.incomplete: dict[str, IncompleteRun] = {}
        """Finished runs that lack CompletedOn or ExecutionTime, by id; each poll looks them up for a while."""
        self.finished = FinishedRuns()
        self.latest: dict[str, LatestRun] = {}
        self.floor = math.inf
        """The ledger knows the runs that started at this time (UTC seconds) or later; infinite before a good poll."""
        self.watched_since = math.inf
        """When the exporter began to look at the transform, in UTC seconds; infinite until the caller sets it."""
        self.forgotten_until = -math.inf
        """An unknown run that started before this time (UTC seconds) may be a forgotten one. It never falls."""
        self.watermark: float | None = None
        """Latest start (UTC seconds) in all polls. A start after the host's time counts as the host's time."""
        self.run_kinds = RunKinds()

    @classmethod
    def restore(
        cls,
        bounds: tuple[float, ...],
        *,
        floor: float,
        watched_since: float,
        forgotten_until: float,
        watermark: float | None,
        foreign: list[RunKind],
        latest: dict[str, LatestRun],
        open_runs: Iterable[TaskRun],
        missing: Iterable[TaskRun],
        incomplete: Iterable[IncompleteRun],
        finished: Iterable[tuple[int, int]],
    ) -> "Ledger":
        """Return a ledger with the stored values; the caller adds the totals.

        ``finished`` yields (fingerprint, packed entry) in ascending order of the packed entries.
        """
        ledger = cls(bounds)
        ledger.floor, ledger.watermark = floor, watermark
        ledger.watched_since, ledger.forgotten_until = watched_since, forgotten_until
        ledger.run_kinds, ledger.latest = RunKinds(foreign), latest
        ledger.open = {run.run_id: run for run in open_runs}
        ledger.missing = {run.run_id: run for run in missing}
        ledger.incomplete = {one.run.run_id: one for one in incomplete}
        ledger.finished.update(dict(finished))
        return ledger

    def change_buckets(self, bounds: tuple[float, ...]) -> None:
        """Set new bounds and remove the histograms, because old observations do not fit into new buckets."""
        self.bounds = bounds
        self.totals = {series: total for series, total in self.totals.items() if isinstance(total, Count)}

    # -- the request of the next poll -------------------------------------------------------------------------------

    def since(self, cutoff: float, overlap: float, page_size: int) -> float:
        """Return the start of the next listing (``StartedAfter``) with which a poll needs the fewest calls.

        ``cutoff`` and the result are UTC seconds; ``overlap`` is seconds. The result is never before ``cutoff``, and it
        is ``cutoff`` if there is no watermark.

        The listing begins at least ``overlap`` before the watermark, because Glue may list a run late. An older open
        run can be included in a longer listing, or looked up with one call. Example: a run has been open for three
        weeks. A listing from its start needs 50 calls. A listing of the overlap and one lookup need 2 calls.
        """
        if self.watermark is None:
            return cutoff
        recent = max(self.watermark - overlap, cutoff)
        to_look_up = [*self.open.values(), *(one.run for one in self.incomplete.values())]
        starts = sorted((run.started for run in to_look_up if run.started is not None), reverse=True)
        older = [start for start in starts if cutoff <= start < recent]
        best, fewest = recent, math.inf
        pages = self._pages_since([recent, *older], page_size)
        for looked_up, (start, calls) in zip(range(len(older), -1, -1), pages, strict=False):
            if calls > fewest:
                break
            if calls + looked_up <= fewest:
                best, fewest = start, calls + looked_up
        return best

    def start_of_newest(self, count: int) -> float:
        """Return the oldest start (UTC seconds) among the ``count`` newest finished runs; infinity without runs."""
        return min(islice(self.finished.starts_newest_first(), count), default=math.inf)

    def _pages_since(self, starts: list[float], page_size: int) -> Iterator[tuple[float, int]]:
        """Yield each start with the number of pages of a listing from this start; ``starts`` are descending."""
        newest_first = self.finished.starts_newest_first()
        seen = len(self.open)
        upcoming = next(newest_first, -math.inf)
        for start in starts:
            while upcoming >= start:
                seen += 1
                upcoming = next(newest_first, -math.inf)
            yield start, seen // page_size + 1

    # -- the result of a poll ---------------------------------------------------------------------------------------

    @property
    def has_baseline(self) -> bool:
        """Whether there was a complete poll. The first complete poll creates the counters."""
        return self.floor != math.inf

    def is_new(self, run: TaskRun, *, seen_open: bool) -> bool:
        """Return whether the end of a run is counted. The caller must check that it was not counted before.

        ``seen_open`` says whether an earlier poll has shown the run before its end. The times of ``run`` must not be
        impossible by the clock of AWS. A run without CompletedOn is judged by its start, and a run without both is new,
        except in the first complete poll.
        """
        if run.completed is not None:
            if seen_open:
                # The clock of AWS is known to the second, and Glue may cut CompletedOn to whole seconds.
                return run.completed > self.watched_since - 1
            if run.completed < self.watched_since:
                return False
        return seen_open or self._is_later(run, -math.inf if run.completed is not None else self.watched_since)

    def is_new_start(self, run: TaskRun) -> bool:
        """Return whether the start of a run is counted. The caller must check that the ledger does not know the run."""
        return self._is_later(run, self.watched_since)

    def _is_later(self, run: TaskRun, time: float) -> bool:
        """Return whether a run started at ``time`` or later, and is not a forgotten one."""
        started = run.effective_time
        return self.has_baseline if started is None else started >= max(time, self.forgotten_until)

    def commit(self, reading: Reading) -> Changes:
        """Apply a complete poll: count the new starts and finishes, update the runs, and forget old runs."""
        for run in reading.started:
            self._count(Series("started", run.task_type, ""), None)
        for run in reading.finished.values():
            self._count_finish(run)
        for before, after in reading.observed:
            self._observe_times(after, before)
        open_changed = self._update_open(reading)
        reopened = [fp for fp in map(fingerprint_of, reading.open) if self.finished.remove(fp) is not None]
        self.finished.update(reading.upserts)
        progress_changed = self._update_progress(reading)
        forgotten = self._forget(reading.cutoff)
        return Changes(
            started=tuple(reading.started),
            finished=tuple(reading.finished.values()),
            status_changed=tuple(reading.status_changed),
            missing=tuple(reading.missing.values()),
            upserts=reading.upserts,
            dropped=(*reopened, *forgotten),
            state_changed=open_changed or progress_changed,
        )

    def _update_open(self, reading: Reading) -> bool:
        """Update the open, the missing and the incomplete runs; return whether any of them changed."""
        before = (dict(self.open), dict(self.missing), self.incomplete)
        self.incomplete = still_awaited(reading.incomplete, reading.aws_now)
        for run_id in reading.missing:
            del self.open[run_id]
        self.missing |= reading.missing
        for run_id in reading.closed:
            self.open.pop(run_id, None)
            self.missing.pop(run_id, None)
        for run_id in (*reading.open, *(reading.still_missing if reading.covers_lookback else ())):
            self.missing.pop(run_id, None)
        self.open.update(reading.open)
        return before != (self.open, self.missing, self.incomplete)

    def _update_progress(self, reading: Reading) -> bool:
        """Update the watermark, the floor and the latest runs; return whether any of them changed."""
        before = (self.watermark, self.floor, self.latest)
        self.watermark = reading.watermark
        self.floor = min(self.floor, reading.since)
        self.latest = self.latest | reading.latest
        return before != (self.watermark, self.floor, self.latest)

    def _forget(self, cutoff: float) -> Iterable[int]:
        """Forget the finished runs that started before ``cutoff``, and return their fingerprints.

        ``forgotten_until`` rises above the latest start of the forgotten runs. It does not rise to ``cutoff``, because
        the host's clock may be wrong. If the clock is weeks ahead in one poll, ``cutoff`` is weeks too late, and real
        new runs would not be counted.

        The floor rises too, but a later poll with a longer lookback lowers it again. Example: a run is counted and
        forgotten. The lookback is made longer, and the next listing omits the run. The listing after it shows the run.
        By the floor the run would be new, by ``forgotten_until`` it is not.
        """
        forgotten = self.finished.remove_before(cutoff)
        if forgotten:
            # The second tick is for a start that floating-point rounding has packed 1 ms too early.
            end = started_of(max(forgotten.values())) + 2 * TICK
            self.floor = max(self.floor, end)
            self.forgotten_until = max(self.forgotten_until, end)
        return forgotten

    # -- totals -----------------------------------------------------------------------------------------------------

    def _count(self, series: Series, exemplar: Exemplar | None) -> None:
        total = self.totals.get(series, Count())
        if isinstance(total, Count):
            self.totals[series] = total.plus_one(exemplar)

    def _count_finish(self, run: TaskRun) -> None:
        self._count(Series("finished", run.task_type, run.status), Exemplar(run.run_id, 1.0, run.completed))
        self._observe_times(run)

    def _observe_times(self, run: TaskRun, before: TaskRun | None = None) -> None:
        """Observe the times of a run in the histograms, without the times that were observed ``before``."""
        if before is None or before.execution is None:
            self._observe("execution", run, run.execution)
        if before is None or before.duration is None:
            self._observe("duration", run, run.duration)

    def _observe(self, family: Family, run: TaskRun, seconds: float | None) -> None:
        if seconds is None:
            return
        series = Series(family, run.task_type, run.status)
        total = self.totals.get(series, Histogram.empty(self.bounds))
        if isinstance(total, Histogram):
            self.totals[series] = total.plus(Exemplar(run.run_id, seconds, run.completed), self.bounds)

    # -- gauges -----------------------------------------------------------------------------------------------------

    @property
    def tracked(self) -> int:
        """The number of open and finished runs in memory."""
        return len(self.open) + len(self.finished)

    def gauge_values(self, cutoff: float) -> GaugeValues:
        """Return the values of the gauges; ``runs`` excludes open runs that started before ``cutoff`` (UTC seconds)."""
        runs = dict.fromkeys(KNOWN_KINDS, 0)
        for code, count in self.finished.counts.items():
            runs[self.run_kinds.run_kind(code)] = count
        oldest: dict[str, float] = {}
        for run in self.open.values():
            if run.started is None or run.started >= cutoff:
                run_kind = (run.task_type, run.status)
                runs[run_kind] = runs.get(run_kind, 0) + 1
            if run.started is not None:
                oldest[run.task_type] = min(run.started, oldest.get(run.task_type, math.inf))
        return GaugeValues(runs, self.latest, oldest)
