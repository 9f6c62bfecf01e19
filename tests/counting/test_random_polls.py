"""Random worlds: after each poll the ledger's counters and gauges are equal to those of the simulated Glue."""

import shutil
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from exporter.counting.counters import Count, Histogram, Series
from exporter.counting.latest import GaugeValues
from exporter.counting.ledger import NO_CHANGES, Ledger
from exporter.exposition.initial_values import InitialValues
from exporter.exposition.snapshot import PollResult
from exporter.model.errors import GlueError
from exporter.model.task_run import FINAL_STATUSES
from exporter.model.transform import Lane, Target
from exporter.polling.monitored_transform import MonitoredTransform
from exporter.state.store import open_state
from tests.counting.world import BOUNDS, DAY, HOUR, MINUTE, Run, World, configuration, run_kinds

ID = "tfm-a"
TYPES = ("FIND_MATCHES", "EVALUATION", "INVENTED")
LATEST = 30.0
"""Longest time in seconds until Glue lists a run that it lists late."""
OVERLAP, LOOKBACK, RESYNC = 10 * MINUTE, 3 * HOUR, 40 * MINUTE

seconds = st.floats(0, 300).map(lambda value: round(value, 3))
ends = st.sampled_from((*FINAL_STATUSES, "EXPLODED"))


class Polls(RuleBasedStateMachine):
    """One transform. Polls without disturbance are followed by a comparison of ledger, state file and world."""

    @initialize(
        order=st.sampled_from(["ascending", "descending", "by id"]),
        page_size=st.integers(1, 5),
        duplicates=st.integers(0, 2),
        shows_start=st.sampled_from([True, True, True, False]),
        history=st.lists(st.tuples(st.floats(0, 4 * HOUR), seconds, ends), max_size=6),
    )
    def begin(
        self, order: str, page_size: int, duplicates: int, shows_start: bool, history: list[tuple[float, float, str]]
    ) -> None:
        self.world = World(order=order, duplicates=min(duplicates, page_size - 1))
        self.shows_start = shows_start
        self.polling = configuration(
            ID, lookback=LOOKBACK, overlap=OVERLAP, resync_interval=RESYNC, page_size=page_size
        ).polling
        self.folder = Path(tempfile.mkdtemp())
        self.state = open_state(self.folder / "state.db", self.world.now)[0]
        self.state._connection.execute("PRAGMA synchronous = OFF")
        initial_values = InitialValues(created_at=self.world.now)
        self.transform = MonitoredTransform(Target(ID, Lane("default", "eu-west-1")), Ledger(BOUNDS), initial_values)
        self.open_in_first_poll: set[str] = set()
        self.seen_open: set[str] = set()
        self.watched_since: float | None = None
        self.last_poll = self.world.now
        self.clock_was_slow = False
        for age, lasts, status in history:
            self._add_run(started=self.world.now - round(age, 3), lasts=lasts, status=status)

    def teardown(self) -> None:
        if hasattr(self, "state"):
            self.state.close()
            shutil.rmtree(self.folder)

    def _add_run(
        self,
        *,
        started: float,
        lasts: float,
        status: str,
        task_type: str = TYPES[0],
        late: float = 0,
        times_after: float = 0.0,
    ) -> None:
        number = len(self.world.runs[ID])
        self.world.add(
            # The prefix mixes the ids, so that the order by id differs from the order by start.
            Run(
                f"tsk-{number * 7919 % 1000:03}-{number}",
                started,
                started + lasts,
                task_type,
                status,
                execution=None if number % 4 == 3 else round(lasts / 2, 3),
                times_after=times_after,
                visible=self.world.now + late,
                shows_start=self.shows_start or number % 2 == 0,
            )
        )

    # -- what happens in the world ----------------------------------------------------------------------------------

    @rule(lasts=seconds, status=ends, task_type=st.sampled_from(TYPES))
    def a_run_starts(self, lasts: float, status: str, task_type: str) -> None:
        self._add_run(started=self.world.now, lasts=lasts, status=status, task_type=task_type)

    @rule(lasts=seconds, times_after=seconds)
    def a_run_starts_whose_times_come_late(self, lasts: float, times_after: float) -> None:
        self._add_run(started=self.world.now, lasts=lasts, status="FAILED", times_after=times_after)

    @rule(lasts=st.floats(HOUR, 6 * HOUR), status=ends, times_after=seconds)
    def a_long_run_starts(self, lasts: float, status: str, times_after: float) -> None:
        if status not in FINAL_STATUSES:  # without its CompletedOn, Glue would show such a run as open
            times_after = 0.0
        self._add_run(started=self.world.now, lasts=round(lasts, 3), status=status, times_after=times_after)

    @rule(age=st.floats(0, OVERLAP - 30), late=st.floats(0, LATEST), lasts=seconds, status=ends)
    def a_run_appears_late(self, age: float, late: float, lasts: float, status: str) -> None:
        self._add_run(started=self.world.now - round(age, 3), lasts=lasts, status=status, late=round(late, 3))

    @rule(passed=st.one_of(seconds, st.floats(0, HOUR).map(round)))
    def time_passes(self, passed: float) -> None:
        # Without polls for a whole lookback, a run could start and leave the lookback before any poll lists it.
        if self.world.now + passed - self.last_poll > LOOKBACK / 2:
            self.poll()
        self.world.now += passed

    @precondition(lambda self: self.transform.ledger.has_baseline and self.world.visible(ID))
    @rule(pick=st.integers(0, 1000))
    def an_open_run_is_missing_once(self, pick: int) -> None:
        youngest = self.world.now - LOOKBACK / 2
        runs = [run for run in self.world.visible(ID) if run.ends > self.world.now and run.started > youngest]
        if not runs:
            return
        run = runs[pick % len(runs)]
        self.poll()
        run.hidden = True
        self._poll()
        run.hidden = False

    @rule(pick=st.integers(0, 1000), status=st.sampled_from(FINAL_STATUSES))
    def a_finished_run_changes_its_status(self, pick: int, status: str) -> None:
        self.poll()
        runs = [run for run in self.world.ended(ID) if run.started > self.world.now - OVERLAP]
        if runs:
            run = runs[pick % len(runs)]
            run.first_final = run.first_final or run.status
            run.status = status
            self._poll()

    # -- what the exporter does -------------------------------------------------------------------------------------

    def _poll(self) -> bool:
        """Poll as `Poller` does; return whether the poll succeeded."""
        first = not self.transform.ledger.has_baseline
        self.world.shown_open.clear()
        if self.watched_since is None:
            self.watched_since = self.world.now
        self.world.calls.clear()
        now = self.world.host_time()
        up = True
        try:
            changes = self.transform.read(self.world, self.polling, now, self.world.now, lambda: None)  # type: ignore[arg-type] # see World
        except GlueError:
            up = False
            if first and self.transform.date(self.world):  # type: ignore[arg-type] # see World
                self.state.save(ID, "", self.transform.ledger, NO_CHANGES, now, created_at=now)
        else:
            self.state.save(ID, "", self.transform.ledger, changes, now, created_at=now)
            if not self.world.skew:
                self.last_poll = self.world.now
            self.seen_open |= self.world.shown_open
            if first:
                self.open_in_first_poll = set(self.world.shown_open)
        self.transform.poll = PollResult(up=up, tried=now, succeeded=now if up else None, duration=0.0)
        return up

    @rule()
    def poll(self) -> None:
        assert self._poll()
        self.compare()

    @rule(drift=st.floats(0.1, 20))
    def poll_while_time_passes(self, drift: float) -> None:
        self.world.drift = round(drift, 3)
        self._poll()
        self.world.drift = 0.0

    @rule(calls=st.integers(0, 4))
    def a_poll_fails_half_way(self, calls: int) -> None:
        self.world.fails_after = calls
        self._poll()
        self.world.fails_after = None

    @rule(skew=st.sampled_from([-30 * DAY, -DAY, -HOUR, -800.0, -5.0, 5.0, 800.0, HOUR]), polls=st.integers(1, 2))
    def the_host_clock_is_wrong_for_a_while(self, skew: float, polls: int) -> None:
        # A slow clock rejects times ahead of it. A run that counts meanwhile has no duration, so durations can differ.
        self.clock_was_slow |= skew < 0
        for _ in range(polls):
            self.world.skew = skew
            self._poll()
        self.world.skew = 0.0

    @precondition(lambda self: not self.transform.ledger.has_baseline)
    @rule(days=st.sampled_from([-30, -1, 1, 30]))
    def the_host_clock_is_days_wrong_at_the_first_poll(self, days: int) -> None:
        self.clock_was_slow |= days < 0
        self.world.skew = days * DAY
        self._poll()
        self.world.skew = 0.0

    @precondition(lambda self: self.transform.ledger.has_baseline)
    @rule(days=st.integers(1, 90))
    def the_host_clock_leaps_ahead_for_one_poll(self, days: int) -> None:
        self.world.now += LATEST
        self.poll()
        self.world.skew = days * DAY
        self._poll()
        self.world.skew = 0.0
        self.poll()
        # All finished runs are forgotten now. A run that is listed late with an older start is not counted, since the
        # ledger cannot distinguish it from a forgotten one. So wait before and after until no such run can appear.
        self.world.now += OVERLAP

    @rule(listed=st.integers(0, 5))
    def a_listing_lacks_the_newest_runs(self, listed: int) -> None:
        before = self.transform.last_full_read
        self.world.now += 1  # so that a read of the lookback has another time than the one before
        self.world.listed = listed
        self._poll()
        self.world.listed = None
        if self.transform.last_full_read != before:
            # Runs that were forgotten, or that a longer lookback includes, return at the next read of the lookback.
            self.world.now += RESYNC
            self._poll()

    @rule(lag=seconds)
    def look_ups_show_an_older_state_for_one_poll(self, lag: float) -> None:
        self.world.look_ups_lag = lag
        assert self._poll()
        self.world.look_ups_lag = 0.0

    @rule()
    def look_ups_are_denied_for_one_poll(self) -> None:
        self.world.denied = set(self.world.runs[ID])
        assert self._poll()
        self.world.denied = set()

    @rule()
    def restart(self) -> None:
        self.world.dated = False
        restored = self.state.load(ID, BOUNDS)
        if restored is None:
            assert not self.transform.ledger.has_baseline
            ledger, self.watched_since = Ledger(BOUNDS), None
        else:
            ledger = restored.ledger
        initial_values = InitialValues(created_at=self.world.now)
        self.transform = MonitoredTransform(self.transform.target, ledger, initial_values)

    @precondition(lambda self: self.transform.ledger.has_baseline)
    @rule(hours=st.integers(2, 5))
    def the_lookback_changes(self, hours: int) -> None:
        lookback = hours * HOUR
        self.polling = configuration(
            ID, lookback=lookback, overlap=OVERLAP, resync_interval=RESYNC, page_size=self.polling.page_size
        ).polling

    # -- what must hold ---------------------------------------------------------------------------------------------

    def is_new(self, run: Run) -> bool:
        assert self.watched_since is not None
        if self.world.now < run.ends + run.times_after:  # such a run is judged by its start
            return run.started >= self.watched_since or run.id in self.seen_open
        return run.ends >= self.watched_since

    def is_new_start(self, run: Run) -> bool:
        assert self.watched_since is not None
        if run.shows_start:
            return run.started >= self.watched_since
        return run.id not in self.open_in_first_poll and run.ends >= self.watched_since

    def compare(self) -> None:
        ledger = self.transform.ledger
        assert ledger.watched_since == self.watched_since
        new_runs = [run for run in self.world.ended(ID) if self.is_new(run)]
        complete = [run for run in new_runs if self.world.now >= run.ends + run.times_after]
        totals = ledger.totals
        assert of_family(totals, "finished") == run_kinds(new_runs)
        started = filter(self.is_new_start, self.world.visible(ID))
        assert of_family(totals, "started") == Counter((run.task_type, "") for run in started)
        compare_histograms("execution", totals, {r: r.execution for r in complete})
        if not self.clock_was_slow:
            durations = {r: r.ends - r.started if r.shows_start else None for r in complete}
            compare_histograms("duration", totals, durations)
        cutoff = self.world.now - self.polling.lookback
        gauges = ledger.gauge_values(cutoff)
        if self.shows_start and not self.transform.failed_full_reads:
            assert +Counter(gauges.runs) == self.true_gauge(cutoff)
        self.compare_state(gauges, cutoff)

    def true_gauge(self, cutoff: float) -> Counter[tuple[str, str]]:
        shown = (run.at(self.world.now) for run in self.world.visible(ID) if run.started >= cutoff)
        return Counter((run.task_type, run.status) for run in shown)

    def compare_state(self, gauges: GaugeValues, cutoff: float) -> None:
        ledger = self.transform.ledger
        restored = self.state.load(ID, BOUNDS)
        assert restored is not None
        names = ["open", "missing", "incomplete", "totals", "floor", "watched_since", "forgotten_until"]
        names += ["watermark", "run_kinds", "latest"]
        assert {n: getattr(restored.ledger, n) for n in names} == {n: getattr(ledger, n) for n in names}
        assert restored.ledger.finished.entries == ledger.finished.entries
        stored = restored.ledger.gauge_values(cutoff)
        assert (+Counter(stored.runs), stored.oldest_active) == (+Counter(gauges.runs), gauges.oldest_active)


def of_family(totals: dict[Series, Count | Histogram], family: str) -> dict[tuple[str, str], int]:
    return {(s.task_type, s.status): t.value for s, t in totals.items() if s.family == family and isinstance(t, Count)}


def compare_histograms(family: str, totals: dict[Series, Count | Histogram], runs: dict[Run, float | None]) -> None:
    observed = defaultdict(list)
    for run, seconds in runs.items():
        if seconds is not None:
            observed[run.task_type, run.first_final or run.status].append(seconds)
    histograms = {(s.task_type, s.status): t for s, t in totals.items() if s.family == family}
    assert histograms.keys() == observed.keys()
    for run_kind, values in observed.items():
        histogram = histograms[run_kind]
        assert isinstance(histogram, Histogram)
        assert histogram.sum == pytest.approx(sum(values))
        counts = [sum(value <= bound for value in values) for bound in BOUNDS]
        assert histogram.counts == (counts[0], counts[1] - counts[0], len(values) - counts[1])


class TestPolls(Polls.TestCase):
    """Short sequences of polls."""

    settings = settings(max_examples=80, stateful_step_count=25)


@pytest.mark.slow
class TestManyPolls(Polls.TestCase):
    """More and longer sequences of polls."""

    settings = settings(max_examples=120, stateful_step_count=50)
