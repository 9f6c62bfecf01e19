"""The runs of one transform and their counters; each finish is counted exactly once.

A ledger knows every run that started at or after its ``floor``. Of the runs that it does not know, only those that
started at or after the floor are new; the others belong to the baseline, change no counter, and show in gauges only.

Example with a lookback of 30 days:

- 10:00, first poll. The floor is still infinite, so every ended run is baseline. The newest time in this poll, 09:59,
  becomes ``baseline_end``, and the floor becomes 10:00 minus 30 days. A run that started at 09:50 is open, so the
  ledger knows it from now on.
- 10:05, second poll. The run of 09:50 has ended, and counts. Another run is listed for the first time, and ended at
  09:58. It is baseline, since it ended before ``baseline_end``: the first poll missed it because pages shifted.
- 30 days later the ledger forgets the run of 09:50, and the floor rises above that start. If Glue lists the run once
  more, it is baseline, and does not count again.

Pure: no clock, no network, no lock. A poll fills a `Reading`, and only `Ledger.commit` changes the ledger. So a poll
that fails before its end leaves no trace.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from exporter.counting.counters import Count, Exemplar, Family, Histogram, Series, Total
from exporter.counting.fingerprint import TICK, fingerprint_of, started_of
from exporter.counting.finished_runs import FinishedRuns
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
    """Finished runs whose status differs from before, each with its former status; they are not counted again."""
    missing: tuple[TaskRun, ...]
    """Open runs that Glue no longer knows."""
    upserts: Mapping[int, int]
    """Fingerprint -> packed entry of every finished run that is new or changed."""
    dropped: tuple[int, ...]
    """Fingerprints of the finished runs that the ledger no longer has: they are forgotten, or open again."""
    state_changed: bool
    """Whether the open runs, the latest runs, the watermark or the floor differ from before."""

    def __bool__(self) -> bool:
        """Return whether there is anything to store."""
        return bool(self.upserts or self.dropped or self.state_changed)


NO_CHANGES = Changes((), (), (), (), {}, (), state_changed=False)


class Ledger:
    """The runs of one transform: the open ones, the finished ones, and the counters of all."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Take the upper bounds of both histograms: ascending seconds, without +Inf."""
        self.bounds = bounds
        self.totals: dict[Series, Total] = {}
        self.open: dict[str, TaskRun] = {}
        self.missing: dict[str, TaskRun] = {}
        """Open runs that Glue no longer knows. They are looked up until a poll of the whole lookback misses them."""
        self.finished = FinishedRuns()
        self.latest: dict[str, LatestRun] = {}
        self.floor = math.inf
        """UTC seconds: the ledger knows every run that started then or later."""
        self.baseline_end = -math.inf
        """UTC seconds: the newest time in the first complete poll."""
        self.watermark: float | None = None
        """UTC seconds: the newest start seen, at most the host's time."""
        self.run_kinds = RunKinds()

    @classmethod
    def restore(
        cls,
        bounds: tuple[float, ...],
        *,
        floor: float,
        baseline_end: float,
        watermark: float | None,
        foreign: list[RunKind],
        latest: dict[str, LatestRun],
        open_runs: Iterable[TaskRun],
        missing: Iterable[TaskRun],
        finished: Iterable[tuple[int, int]],
    ) -> "Ledger":
        """Return a ledger as it was stored, without totals; ``finished`` is in ascending order of packed entries."""
        ledger = cls(bounds)
        ledger.floor, ledger.baseline_end, ledger.watermark = floor, baseline_end, watermark
        ledger.run_kinds, ledger.latest = RunKinds(foreign), latest
        ledger.open = {run.run_id: run for run in open_runs}
        ledger.missing = {run.run_id: run for run in missing}
        ledger.finished.update(dict(finished))
        return ledger

    def change_buckets(self, bounds: tuple[float, ...]) -> None:
        """Restart the histograms at 0 with other bounds; past observations cannot be sorted into other buckets."""
        self.bounds = bounds
        self.totals = {series: total for series, total in self.totals.items() if isinstance(total, Count)}

    # -- the request of the next poll -------------------------------------------------------------------------------

    def since(self, cutoff: float, overlap: float, page_size: int) -> float:
        """Return the StartedAfter of the poll with the fewest calls; never before ``cutoff``.

        ``cutoff`` and the result are UTC seconds, ``overlap`` is seconds. The listing must begin ``overlap`` before the
        watermark, since Glue may list runs late. The older open runs are either listed too, or looked up with one call
        each. Example: a run hangs for three weeks, and a listing from its start takes 50 pages. Then the poll lists
        only the overlap and looks up the run: 2 calls. Without a watermark the result is ``cutoff``.
        """
        if self.watermark is None:
            return cutoff
        recent = max(self.watermark - overlap, cutoff)
        starts = sorted((r.started for r in self.open.values() if r.started is not None), reverse=True)
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
        """Return the oldest start (UTC seconds) of the ``count`` newest finished runs, infinity if there is none."""
        return min(islice(self.finished.starts_newest_first(), count), default=math.inf)

    def _pages_since(self, starts: list[float], page_size: int) -> Iterator[tuple[float, int]]:
        """Yield each of the descending ``starts`` with the number of pages that a listing from there takes."""
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
        """Whether there was a complete poll; counters exist from then on."""
        return self.floor != math.inf

    def is_new(self, run: TaskRun) -> bool:
        """Return whether a run that the ledger does not know counts as new.

        Pass the raw run, since the times of a sanitized one depend on the host's clock.
        """
        if not self.has_baseline:
            return False
        if run.final and run.completed is not None and run.completed < self.baseline_end:
            return False
        effective_time = run.effective_time
        return effective_time is None or effective_time >= self.floor

    def commit(self, reading: Reading) -> Changes:
        """Apply the reading of a complete poll: count new starts and finishes, update the runs, forget the old ones."""
        for run in reading.started:
            self._count(Series("started", run.task_type, ""), None)
        for run in reading.finished.values():
            self._count_finish(run)
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
        """Move runs between open, missing and finished; return whether the open or the missing ones changed."""
        before = (dict(self.open), dict(self.missing))
        for run_id in reading.missing:
            del self.open[run_id]
        self.missing |= reading.missing
        for run in reading.finished.values():
            self.open.pop(run.run_id, None)
            self.missing.pop(run.run_id, None)
        for run_id in (*reading.open, *(reading.still_missing if reading.covers_lookback else ())):
            self.missing.pop(run_id, None)
        self.open.update(reading.open)
        return before != (self.open, self.missing)

    def _update_progress(self, reading: Reading) -> bool:
        """Update the watermark, the floor and the latest runs; return whether any of them changed."""
        before = (self.watermark, self.floor, self.latest)
        if not self.has_baseline:
            times = [time for latest in reading.latest.values() for time in (latest.start, latest.finish)]
            self.baseline_end = max((time for time in times if time is not None), default=self.baseline_end)
        self.watermark = reading.watermark
        self.floor = min(self.floor, reading.since)
        self.latest = self.latest | reading.latest
        return before != (self.watermark, self.floor, self.latest)

    def _forget(self, cutoff: float) -> Iterable[int]:
        """Forget the finished runs that started before ``cutoff``, raise the floor above them, return fingerprints.

        The floor follows the forgotten runs, not the cutoff. Otherwise one poll with a host clock that is weeks ahead
        would make the new runs of these weeks part of the baseline.
        """
        forgotten = self.finished.remove_before(cutoff)
        if forgotten:
            # Two ticks, since rounding can pack a start that lies on a tick as the tick before.
            self.floor = max(self.floor, started_of(max(forgotten.values())) + 2 * TICK)
        return forgotten

    # -- totals -----------------------------------------------------------------------------------------------------

    def _count(self, series: Series, exemplar: Exemplar | None) -> None:
        total = self.totals.get(series, Count())
        if isinstance(total, Count):
            self.totals[series] = total.plus_one(exemplar)

    def _count_finish(self, run: TaskRun) -> None:
        self._count(Series("finished", run.task_type, run.status), Exemplar(run.run_id, 1.0, run.completed))
        self._observe("execution", run, run.execution)
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
        """The number of runs in memory, open and finished."""
        return len(self.open) + len(self.finished)

    def gauge_values(self, cutoff: float) -> GaugeValues:
        """Return the gauges; open runs that started before ``cutoff`` (UTC seconds) are not in ``runs``."""
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
