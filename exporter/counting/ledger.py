"""What is known of the runs of one transform, and what they come to; each finish is counted exactly once.

The ledger knows every run that started at or after its ``floor``. A run that it has not met is news when it started
there, and history when it started before: nobody looked there yet, or the run was known once and is forgotten. At the
first poll the floor is infinite, so everything that is already final is history: it shows in gauges and times and
moves no counter. A run that this poll should have shown and did not, since pages shifted under it, is history as well:
it had completed before the newest thing that the poll saw (``began``).

Pure: no clock, no network, no lock. A poll is a `Reading`, filled run by run and compared with the ledger as it
grows; nothing changes until `Ledger.commit`, so a poll that fails half-way leaves no trace.
"""

import heapq
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice

from exporter.counting.changes import Changes
from exporter.counting.counters import Count, Exemplar, Family, Histogram, Series, Total
from exporter.counting.fingerprint import CODE_BITS, CODE_MASK, GONE, TICK, fingerprint_of, pack, started_of
from exporter.counting.latest import GaugeValues, LatestRun
from exporter.counting.run_kinds import CODES, FINAL_CODES, KNOWN_KINDS, RunKind, RunKinds
from exporter.model.task_run import RunPage, TaskRun, sanitized


class Reading:
    """The runs of one poll, as its pages come in, compared with a ledger that they do not change yet."""

    def __init__(self, ledger: "Ledger", *, now: float, since: float, cutoff: float) -> None:
        """Begin a poll at ``now`` that lists the runs started at or after ``since``; all UTC seconds.

        ``cutoff`` is where the lookback begins: finished runs that started before it are not remembered.
        """
        self.now = now
        self.since = since
        self.cutoff = cutoff
        self._ledger = ledger
        self._counting = ledger.counting
        """Before it counts, a ledger knows no run, and none is news."""
        self.settled: dict[int, int] = {}
        self.open: dict[str, TaskRun] = {}
        self.finished: dict[int, TaskRun] = {}
        self.started: list[TaskRun] = []
        self.recanted: list[tuple[TaskRun, str]] = []
        self.gone: dict[str, TaskRun] = {}
        self.missed: list[str] = []
        self.latest: dict[str, LatestRun] = {}
        self.watermark = ledger.watermark

    def add_page(self, page: RunPage) -> None:
        """Take the runs of a page."""
        if self._counting or not page or not self._add_history(page):
            for run in page:
                self.add(run)

    def _add_history(self, page: RunPage) -> bool:
        """Take a page as the first scan of a long history has them by the thousand; whether it was such a page.

        All its runs have ended, no time of theirs is in doubt, none was seen before, and as nothing is counted yet
        none is news. Then `add` comes down to this, in little more than half of its time.
        """
        codes = [FINAL_CODES.get(kind, 0) for kind in page.kinds]
        starts, ends = [*filter(None, page.starts)], [*filter(None, page.ends)]
        if not (all(codes) and len(starts) == len(ends) == len(page)):
            return False
        newest = max(starts)
        if min(starts) < max(self.cutoff, 0) or newest >= self.now or min(ends) < 0 or max(ends) > self.now:
            return False
        fingerprints = [*map(fingerprint_of, page.ids)]
        if len(set(fingerprints)) < len(page) or not self.settled.keys().isdisjoint(fingerprints):
            return False
        if not self.open.keys().isdisjoint(page.ids):
            return False
        self.settled.update(zip(fingerprints, map(pack, starts, codes), strict=True))
        self.watermark = max(self.watermark or 0.0, newest)
        # The newest facts are those of the last to start and of the last to end, of each type and status.
        telling: set[int] = set()
        for times in (starts, ends):
            oldest_first = sorted(range(len(page)), key=times.__getitem__)
            telling.update({codes[position]: position for position in oldest_first}.values())
        for position in sorted(telling):
            run = sanitized(page.run_at(position), self.now)
            self._latest_of(run.task_type).note(run, fingerprints[position], final=True)
        return True

    def add(self, told: TaskRun) -> None:
        """Take one run; the same run may come again, from an overlapping page or a look-up of its own."""
        code = CODES.get((told.task_type, told.status))
        if code is None:
            told, code = self._ledger.run_kinds.named(told)
        now = self.now
        run = sanitized(told, now)
        fingerprint = fingerprint_of(told.run_id)
        final = told.final
        if final:
            self._add_final(told, run, fingerprint, code)
        elif fingerprint in self.settled:
            return  # a page that was read out of order: what has ended does not run again
        else:
            self._add_open(told, run, fingerprint, code)
        self._latest_of(run.task_type).note(run, fingerprint, final=final)
        started = run.started
        if started is not None and (self.watermark is None or started > self.watermark):
            # A start ahead of our own clock must not carry the watermark past runs that are yet to come.
            self.watermark = started if started < now else max(self.watermark or 0.0, now)

    def _latest_of(self, task_type: str) -> LatestRun:
        latest = self.latest.get(task_type)
        if latest is None:
            known = self._ledger.latest.get(task_type)
            latest = self.latest[task_type] = LatestRun() if known is None else replace(known)
        return latest

    def _add_final(self, told: TaskRun, run: TaskRun, fingerprint: int, code: int) -> None:
        ledger = self._ledger
        seen_open = self.open.pop(run.run_id, None) if self.open else None
        before = ledger.finished.get(fingerprint)
        packed = self.settled.get(fingerprint, before)
        if packed is not None and packed & CODE_MASK != GONE:
            self._add_known(told, fingerprint, code, packed)
            return
        news = False
        if self._counting:
            was_open = before is not None or run.run_id in ledger.open or run.run_id in ledger.gone
            news = was_open or ledger.is_news(told)
            if news:
                if not was_open and seen_open is None:
                    self.started.append(run)
                self.finished[fingerprint] = run
        effective_time = told.effective_time
        if effective_time is None:
            effective_time = self.now
        if news or effective_time >= self.cutoff:
            self.settled[fingerprint] = pack(effective_time, code)

    def _add_known(self, told: TaskRun, fingerprint: int, code: int, packed: int) -> None:
        if packed & CODE_MASK != code and fingerprint not in self.settled:
            self.recanted.append((told, self._ledger.run_kinds.run_kind(packed & CODE_MASK)[1]))
        # Without a date its age is counted from the last sighting: it can come back as long as it is seen.
        effective_time = told.effective_time
        if effective_time is None:
            effective_time = max(self.now, started_of(packed))
        repacked = pack(effective_time, code)
        if repacked != packed:
            self.settled[fingerprint] = repacked

    def _add_open(self, told: TaskRun, run: TaskRun, fingerprint: int, code: int) -> None:
        ledger = self._ledger
        before = ledger.finished.get(fingerprint)
        if before is not None and before & CODE_MASK != GONE:
            self._add_known(told, fingerprint, code, before)
            return
        known = before is not None or any(run.run_id in runs for runs in (ledger.open, self.open, ledger.gone))
        if not known and ledger.is_news(told):
            self.started.append(run)
        self.open[run.run_id] = run

    @property
    def whole(self) -> bool:
        """Whether all of the lookback is read."""
        return self.since <= self.cutoff

    def unseen(self) -> list[str]:
        """Return the ids of the open runs that the listing did not show; each is to be looked up by itself."""
        return [
            run_id
            for run_id in (*self._ledger.open, *self._ledger.gone)
            if run_id not in self.open and fingerprint_of(run_id) not in self.settled
        ]

    def lost(self, run_id: str) -> None:
        """Take note that Glue does not know an open run: it leaves the gauges, and counts if it comes back."""
        if run_id in self._ledger.open:
            self.gone[run_id] = self._ledger.open[run_id]
        else:
            self.missed.append(run_id)


class Ledger:
    """The runs of one transform: which are open, which have finished, and what all of them come to."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Take the upper bounds of both histograms, in ascending seconds, without +Inf."""
        self.bounds = bounds
        self.totals: dict[Series, Total] = {}
        self.open: dict[str, TaskRun] = {}
        self.gone: dict[str, TaskRun] = {}
        """Open runs that Glue denied; asked for until a reading of the whole lookback misses them as well."""
        self.finished: dict[int, int] = {}
        self.latest: dict[str, LatestRun] = {}
        self.floor = math.inf
        self.began = -math.inf
        self.watermark: float | None = None
        self.run_kinds = RunKinds()
        self._counts: dict[int, int] = {}
        self._late: list[tuple[int, int]] = []
        self._newest = 0
        self._holes = 0

    @classmethod
    def restore(
        cls,
        bounds: tuple[float, ...],
        *,
        floor: float,
        began: float,
        watermark: float | None,
        foreign: list[RunKind],
        latest: dict[str, LatestRun],
        open_runs: Iterable[TaskRun],
        gone: Iterable[TaskRun],
        finished: Iterable[tuple[int, int]],
    ) -> "Ledger":
        """Return a ledger as it was; ``finished`` comes in the order of its packed values."""
        ledger = cls(bounds)
        ledger.floor, ledger.began, ledger.watermark = floor, began, watermark
        ledger.run_kinds, ledger.latest = RunKinds(foreign), latest
        ledger.open = {run.run_id: run for run in open_runs}
        ledger.gone = {run.run_id: run for run in gone}
        ledger._settle(dict(finished))
        return ledger

    def rebucket(self, bounds: tuple[float, ...]) -> None:
        """Begin the histograms anew over other bounds; what was observed cannot be told apart again."""
        self.bounds = bounds
        self.totals = {series: total for series, total in self.totals.items() if isinstance(total, Count)}

    # -- what to ask for --------------------------------------------------------------------------------------------

    def since(self, cutoff: float, overlap: float, page_size: int) -> float:
        """Return the StartedAfter (UTC seconds) of the cheapest poll that misses nothing.

        Reading from the oldest open run shows all open runs, but a run that hangs for weeks would make every poll
        re-read weeks. So each open run may also be looked up by itself, for one call: take the split that costs the
        fewest calls. Never before ``cutoff``.
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
        """Return where the ``count`` newest finished runs begin (UTC seconds), infinity if there is none."""
        newest_first = map(started_of, reversed(self.finished.values()))
        return min(islice(newest_first, count), default=math.inf)

    def _pages_since(self, starts: list[float], page_size: int) -> Iterator[tuple[float, int]]:
        """Yield each of the descending ``starts`` with the pages that a listing from there takes."""
        newest_first = (started_of(packed) for packed in reversed(self.finished.values()))
        seen = len(self.open)
        upcoming = next(newest_first, -math.inf)
        for start in starts:
            while upcoming >= start:
                seen += 1
                upcoming = next(newest_first, -math.inf)
            yield start, seen // page_size + 1

    # -- what a poll brings -----------------------------------------------------------------------------------------

    def is_news(self, run: TaskRun) -> bool:
        """Whether a run never met before is news, not history."""
        if not self.counting:
            return False
        if run.final and run.completed is not None and run.completed < self.began:
            return False
        effective_time = run.effective_time
        return effective_time is None or effective_time >= self.floor

    @property
    def counting(self) -> bool:
        """Whether there was a first complete poll: from then on there are counters."""
        return self.floor != math.inf

    def commit(self, reading: Reading) -> Changes:
        """Believe a complete reading: count what is new, forget what is too old, and tell what has changed."""
        for run in reading.started:
            self._count(Series("started", run.task_type, ""), None)
        for run in reading.finished.values():
            self._count_finish(run)
        opened = self._replace_open(reading)
        reopened = self._reopen(reading.open)
        self._settle(reading.settled)
        remembered = self._remember(reading)
        forgotten = self._forget(reading.cutoff)
        return Changes(
            started=tuple(reading.started),
            finished=tuple(reading.finished.values()),
            recanted=tuple(reading.recanted),
            gone=tuple(reading.gone.values()),
            settled=reading.settled,
            dropped=(*reopened, *forgotten),
            remembered=opened or remembered,
        )

    def _remember(self, reading: Reading) -> bool:
        """Take over how far the reading has looked and the newest facts; whether any of it is new."""
        before = (self.watermark, self.floor, self.latest)
        if not self.counting:
            times = [time for facts in reading.latest.values() for time in (facts.start, facts.finish)]
            self.began = max((time for time in times if time is not None), default=self.began)
        self.watermark = reading.watermark
        self.floor = min(self.floor, reading.since)
        self.latest = self.latest | reading.latest
        return before != (self.watermark, self.floor, self.latest)

    def _replace_open(self, reading: Reading) -> bool:
        before = (dict(self.open), dict(self.gone))
        for run_id, run in reading.gone.items():
            del self.open[run_id]
            reading.settled[fingerprint_of(run_id)] = pack(reading.now if run.started is None else run.started, GONE)
        self.gone |= reading.gone
        for run in reading.finished.values():
            self.open.pop(run.run_id, None)
            self.gone.pop(run.run_id, None)
        for run_id in (*reading.open, *(reading.missed if reading.whole else ())):
            self.gone.pop(run_id, None)
        self.open.update(reading.open)
        return before != (self.open, self.gone)

    def _reopen(self, run_ids: Iterable[str]) -> list[int]:
        """Take the runs that were gone and have come back out of the finished ones."""
        back = [fingerprint for run_id in run_ids if (fingerprint := fingerprint_of(run_id)) in self.finished]
        for fingerprint in back:
            del self.finished[fingerprint]
        return back

    def _settle(self, settled: dict[int, int]) -> None:
        """Remember finished runs, in a dict whose order is that of the starts but for the ``_late`` ones."""
        if self.finished:
            for fingerprint, packed in settled.items():
                before = self.finished.pop(fingerprint, None)
                if before is not None:
                    self._uncount(before)
                self.finished[fingerprint] = packed
        else:
            # The first scan of a long history: take its dict over, two of them would double the peak of memory.
            self.finished = settled
        for fingerprint, packed in settled.items():
            self._place(fingerprint, packed)

    def _place(self, fingerprint: int, packed: int) -> None:
        if packed >= self._newest:
            self._newest = packed
        else:
            heapq.heappush(self._late, (packed, fingerprint))
        code = packed & CODE_MASK
        if code != GONE:
            self._counts[code] = self._counts.get(code, 0) + 1

    def _uncount(self, packed: int) -> None:
        code = packed & CODE_MASK
        if code != GONE:
            self._counts[code] -= 1

    def _forget(self, cutoff: float) -> list[int]:
        """Forget the finished runs that started before ``cutoff`` and raise the floor above them.

        The floor follows what was forgotten and not the cutoff: a host clock that jumps ahead for one poll would
        otherwise turn weeks of news into history.
        """
        limit = int(cutoff * 1000) << CODE_BITS
        forgotten = self._older_than(limit)
        for fingerprint in forgotten:
            packed = self.finished.pop(fingerprint)
            self._uncount(packed)
            # Two ticks: a start that lies on a tick may have been packed as the one before, floats being what they are.
            self.floor = max(self.floor, started_of(packed) + 2 * TICK)
        self._holes += len(forgotten)
        if self._holes > 1000 + len(self.finished):
            # A dict walks over its deleted entries at every look at the oldest one, until it is built anew.
            self.finished, self._holes = dict(self.finished), 0
        return forgotten

    def _older_than(self, limit: int) -> list[int]:
        older: dict[int, None] = {}
        for fingerprint, packed in self.finished.items():
            if packed >= limit:
                break
            older[fingerprint] = None
        while self._late and self._late[0][0] < limit:
            fingerprint = heapq.heappop(self._late)[1]
            if self.finished.get(fingerprint, limit) < limit:
                older[fingerprint] = None
        return list(older)

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

    # -- pictures ---------------------------------------------------------------------------------------------------

    @property
    def tracked(self) -> int:
        """How many runs are held in memory, open and finished."""
        return len(self.open) + len(self.finished)

    def view(self, cutoff: float) -> GaugeValues:
        """Return the picture for the gauges, with the runs started at or after ``cutoff`` (UTC seconds)."""
        runs = dict.fromkeys(KNOWN_KINDS, 0)
        for code, count in self._counts.items():
            runs[self.run_kinds.run_kind(code)] = count
        oldest: dict[str, float] = {}
        for run in self.open.values():
            if run.started is None or run.started >= cutoff:
                run_kind = (run.task_type, run.status)
                runs[run_kind] = runs.get(run_kind, 0) + 1
            if run.started is not None:
                oldest[run.task_type] = min(run.started, oldest.get(run.task_type, math.inf))
        return GaugeValues(runs, self.latest, oldest)
