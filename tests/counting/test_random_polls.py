"""Random worlds: whatever happens there, the ledger counts what the world counts, exactly."""

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
from exporter.counting.ledger import Ledger
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
OVERLAP, LOOKBACK, RESYNC = 10 * MINUTE, 3 * HOUR, 40 * MINUTE

seconds = st.floats(0, 300).map(lambda value: round(value, 3))
ends = st.sampled_from((*FINAL_STATUSES, "EXPLODED"))


class Polls(RuleBasedStateMachine):
    """One transform, polled; after each good poll the ledger is compared with the world, and the state with both."""

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
        initial_values = InitialValues(scrapes=1, timeout=1.0, created_at=self.world.now)
        self.watch = MonitoredTransform(Target(ID, Lane("default", "eu-west-1")), Ledger(BOUNDS), initial_values)
        self.first_shown: set[str] = set()
        self.history: set[str] = set()
        self.began = self.first_cutoff = 0.0
        self.last_poll = self.world.now
        self.clock_was_slow = False
        for age, lasts, status in history:
            self._happen(started=self.world.now - round(age, 3), lasts=lasts, status=status)

    def teardown(self) -> None:
        if hasattr(self, "state"):
            self.state.close()
            shutil.rmtree(self.folder)

    def _happen(self, *, started: float, lasts: float, status: str, task_type: str = TYPES[0], late: float = 0) -> None:
        number = len(self.world.runs[ID])
        self.world.add(
            # The hash-like prefix makes "by id" an order of its own.
            Run(
                f"tsk-{number * 7919 % 1000:03}-{number}",
                started,
                started + lasts,
                task_type,
                status,
                execution=None if number % 4 == 3 else round(lasts / 2, 3),
                visible=self.world.now + late,
                shows_start=self.shows_start or number % 2 == 0,
            )
        )

    # -- what happens in the world ----------------------------------------------------------------------------------

    @rule(lasts=seconds, status=ends, task_type=st.sampled_from(TYPES))
    def a_run_starts(self, lasts: float, status: str, task_type: str) -> None:
        self._happen(started=self.world.now, lasts=lasts, status=status, task_type=task_type)

    @rule(lasts=st.floats(HOUR, 6 * HOUR), status=ends)
    def a_long_run_starts(self, lasts: float, status: str) -> None:
        self._happen(started=self.world.now, lasts=round(lasts, 3), status=status)

    @rule(age=st.floats(0, OVERLAP - 30), late=st.floats(0, 30), lasts=seconds, status=ends)
    def a_run_appears_late(self, age: float, late: float, lasts: float, status: str) -> None:
        self._happen(started=self.world.now - round(age, 3), lasts=lasts, status=status, late=round(late, 3))

    @rule(passed=st.one_of(seconds, st.floats(0, HOUR).map(round)))
    def time_passes(self, passed: float) -> None:
        # Nothing can be known of a run that nobody asked for as long as it was within the lookback.
        if self.world.now + passed - self.last_poll > LOOKBACK / 2:
            self.poll()
        self.world.now += passed

    @precondition(lambda self: self.watch.ledger.has_baseline and self.world.visible(ID))
    @rule(pick=st.integers(0, 1000))
    def an_open_run_is_denied_once(self, pick: int) -> None:
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
        runs = [run for run in self.world.over(ID) if run.started > self.world.now - OVERLAP]
        if runs:
            run = runs[pick % len(runs)]
            run.first_final = run.first_final or run.status
            run.status = status
            self._poll()

    # -- what the exporter does -------------------------------------------------------------------------------------

    def _poll(self) -> bool:
        """Poll as `Poller` does it; whether that went well."""
        first = not self.watch.ledger.has_baseline
        if first:
            self.world.shown_final.clear()
            self.world.seen.clear()
            self.world.newest = 0.0
        self.world.calls.clear()
        now = self.world.host_time()
        up = True
        try:
            changes = self.watch.read(self.world, self.polling, now, lambda: None)  # type: ignore[arg-type] # see World
        except GlueError:
            up = False
        else:
            self.state.save(ID, "", self.watch.ledger, changes, now, created_at=now)
            self.last_poll = self.world.now
            if first:
                self.first_shown, self.began = set(self.world.seen), self.world.newest
                self.history = set(self.world.shown_final)
                self.first_cutoff = now - self.polling.lookback
        self.watch.poll = PollResult(up=up, tried=now, succeeded=now if up else None, duration=0.0)
        return up

    @rule()
    def poll(self) -> None:
        assert self._poll()
        self.compare()

    @rule(drift=st.floats(0.1, 20))
    def poll_while_the_world_goes_on(self, drift: float) -> None:
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
        # Times ahead of the clock are not believed, so a run that is counted now goes without its duration.
        self.clock_was_slow |= skew < 0
        for _ in range(polls):
            self.world.skew = skew
            self._poll()
        self.world.skew = 0.0

    @precondition(lambda self: self.watch.ledger.has_baseline)
    @rule(days=st.integers(1, 90))
    def the_host_clock_leaps_ahead_for_one_poll(self, days: int) -> None:
        self.poll()
        self.world.skew = days * DAY
        self._poll()
        self.world.skew = 0.0
        self.poll()
        # A run that shows up late just now counts as history: the exporter cannot tell it from what it has forgotten.
        self.world.now += OVERLAP

    @precondition(lambda self: self.watch.ledger.has_baseline)
    @rule()
    def restart(self) -> None:
        restored = self.state.load(ID, BOUNDS)
        assert restored is not None
        initial_values = InitialValues(scrapes=1, timeout=1.0, created_at=self.world.now)
        self.watch = MonitoredTransform(self.watch.target, restored.ledger, initial_values)

    @rule(hours=st.integers(2, 5))
    def the_lookback_is_configured_anew(self, hours: int) -> None:
        lookback = hours * HOUR
        self.polling = configuration(
            ID, lookback=lookback, overlap=OVERLAP, resync_interval=RESYNC, page_size=self.polling.page_size
        ).polling

    # -- what must hold ---------------------------------------------------------------------------------------------

    def is_history(self, run: Run) -> bool:
        unseen = run.id not in self.first_shown
        return run.id in self.history or (unseen and (run.ends < self.began or run.started < self.first_cutoff))

    def compare(self) -> None:
        ledger = self.watch.ledger
        news = [run for run in self.world.over(ID) if not self.is_history(run)]
        totals = ledger.totals
        assert of_family(totals, "finished") == run_kinds(news)
        seen_to_start = [r for r in self.world.visible(ID) if r.id not in self.first_shown and not self.is_history(r)]
        assert of_family(totals, "started") == Counter((run.task_type, "") for run in seen_to_start)
        compare_histograms("execution", totals, {r: r.execution for r in news})
        if not self.clock_was_slow:
            compare_histograms("duration", totals, {r: r.ends - r.started if r.shows_start else None for r in news})
        cutoff = self.world.now - self.polling.lookback
        view = ledger.gauge_values(cutoff)
        if self.shows_start:
            assert +Counter(view.runs) == self.true_gauge(cutoff)
        self.compare_state(view, cutoff)

    def true_gauge(self, cutoff: float) -> Counter[tuple[str, str]]:
        shown = (run.at(self.world.now) for run in self.world.visible(ID) if run.started >= cutoff)
        return Counter((run.task_type, run.status) for run in shown)

    def compare_state(self, view: GaugeValues, cutoff: float) -> None:
        ledger = self.watch.ledger
        restored = self.state.load(ID, BOUNDS)
        assert restored is not None
        names = ("open", "missing", "totals", "floor", "baseline_end", "watermark", "run_kinds", "latest")
        assert {n: getattr(restored.ledger, n) for n in names} == {n: getattr(ledger, n) for n in names}
        assert restored.ledger.finished.entries == ledger.finished.entries
        again = restored.ledger.gauge_values(cutoff)
        assert (+Counter(again.runs), again.oldest_active) == (+Counter(view.runs), view.oldest_active)


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
    """Some worlds."""

    settings = settings(max_examples=80, stateful_step_count=25)


@pytest.mark.slow
class TestManyPolls(Polls.TestCase):
    """More worlds, that last longer."""

    settings = settings(max_examples=120, stateful_step_count=50)
