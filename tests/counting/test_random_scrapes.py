"""In random worlds `increase()` over all scrapes is equal to the number of finished runs."""

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from exporter.config.settings import Config
from exporter.counting.counters import Count
from exporter.model.task_run import FINAL_STATUSES
from exporter.state.store import open_state
from tests.counting.world import (
    BOUNDS,
    FINISHED,
    HOUR,
    MINUTE,
    Exporter,
    Prometheus,
    Run,
    RunKind,
    Samples,
    World,
    by_kind,
    configuration,
    run_kinds,
    traced,
)

IDS = ("tfm-a", "tfm-b")
SERVERS = {"fast": 20 * MINUTE, "slow": 40 * MINUTE}
"""The scrape intervals of two Prometheus servers."""
LONGEST_INTERVAL = max(SERVERS.values())
OTHER_BOUNDS = (5.0, 50.0, 500.0)


class Scrapes(RuleBasedStateMachine):
    """Polls, scrapes, reloads, kills and restarts; at the end each server has every finish in its `increase()`.

    Two servers scrape at different rates, and other clients scrape at any time. The hold is a second longer than the
    longest interval. The exporter does not know who has received a value. If the process restarts under another
    instance label, a server may lose the increments that only other clients have received, and no others.
    """

    @initialize(
        with_state=st.booleans(),
        renamed=st.booleans(),
        history=st.integers(0, 3),
    )
    def begin(self, with_state: bool, renamed: bool, history: int) -> None:
        self.world = World()
        self.folder = Path(tempfile.mkdtemp())
        self.with_state = with_state
        self.renamed = renamed
        self.disk_full = False
        self.bounds = BOUNDS
        self.configured: frozenset[str] = frozenset(IDS)
        self.servers = {server: Prometheus() for server in SERVERS}
        self.last_scrape = dict.fromkeys(SERVERS, self.world.now)
        self.starts = 0
        self.watched_since: dict[str, float] = {}
        """When the first poll of each transform was tried; a restart without a stored time removes it."""
        self.reached: dict[str, Counter[tuple[str, RunKind]]] = {server: Counter() for server in SERVERS}
        """The last values that each server has received."""
        self.lost: dict[str, Counter[tuple[str, RunKind]]] = {server: Counter() for server in SERVERS}
        self.ended: dict[str, Counter[tuple[str, RunKind]]] = {server: Counter() for server in SERVERS}
        """The last values that each server has received from processes without a state file that have ended."""
        self.others_read = dict.fromkeys(SERVERS, False)
        """Whether another client has begun a scrape since the last scrape of each server."""
        self.buckets_changed = False
        for _ in range(history):
            for name in IDS:
                self._add_run(name, lasts=0.0, status="FAILED")
        self._start()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            try:
                self._finish()
            finally:
                self.exporter.close()
                shutil.rmtree(self.folder)

    # -- what happens in the world ----------------------------------------------------------------------------------

    def _add_run(self, name: str, *, lasts: float, status: str) -> None:
        number = sum(map(len, self.world.runs.values()))
        run = Run(f"tsk-{number}", self.world.now, self.world.now + lasts, status=status, execution=lasts)
        self.world.add(run, name)

    @rule(
        name=st.sampled_from(IDS),
        lasts=st.sampled_from([0.0, 7.0, 70.0, 700.0]),
        status=st.sampled_from(FINAL_STATUSES[1:]),
    )
    def a_run_starts(self, name: str, lasts: float, status: str) -> None:
        self._add_run(name, lasts=lasts, status=status)

    @rule(seconds=st.sampled_from([1.0, 300.0, 20 * MINUTE, HOUR]), publish=st.booleans())
    def time_passes(self, seconds: float, publish: bool) -> None:
        """Each server scrapes whenever its interval has passed."""
        end = self.world.now + seconds
        while True:
            server = min(SERVERS, key=self._due)
            if self._due(server) > end:
                break
            self.world.now = max(self.world.now, self._due(server))
            self.scrape(server, publish)
        self.world.now = end

    def _due(self, server: str) -> float:
        return self.last_scrape[server] + SERVERS[server]

    @precondition(lambda self: self.with_state)
    @rule(full=st.booleans())
    def the_disk_is_full(self, full: bool) -> None:
        self.disk_full = full

    # -- what the exporter does -------------------------------------------------------------------------------------

    def _configuration(self) -> Config:
        return configuration(*sorted(self.configured), buckets=self.bounds, hold=LONGEST_INTERVAL + 1.0)

    def _start(self) -> None:
        state = None
        if self.with_state:
            path = self.folder / f"state-{self.starts}.db"
            state = traced(open_state(path, self.world.now)[0], self._on_statement)
            state._connection.execute("PRAGMA synchronous = OFF")
        self.starts += 1
        self.exporter = Exporter(self.world, self._configuration(), state)
        stored = {name for name in self.watched_since if state is not None and state.load(name, self.bounds)}
        self.watched_since = {name: since for name, since in self.watched_since.items() if name in stored}

    def _on_statement(self, statement: str, done: bool) -> None:
        if self.disk_full and not done and statement.startswith(("INSERT", "UPDATE", "DELETE")):
            raise sqlite3.OperationalError("database or disk is full")

    @property
    def instance(self) -> str:
        return str(self.starts) if self.renamed else "always the same"

    @rule(name=st.sampled_from(IDS), publish=st.booleans(), fails=st.sampled_from([False, False, False, True]))
    def poll(self, name: str, publish: bool, fails: bool) -> None:
        if name not in self.configured:
            return
        self.watched_since.setdefault(name, self.world.now)
        self.world.fails_after = 0 if fails else None
        assert self.exporter.poll_quietly(name) is not fails
        self.world.fails_after = None
        if publish:
            self.exporter.exposition.publish()
        if not fails:
            assert self.exporter.totals(name) == self.truth(name)

    @rule()
    def publish(self) -> None:
        self.exporter.exposition.publish()

    @rule(server=st.sampled_from(list(SERVERS)), publish=st.booleans())
    def scrape(self, server: str, publish: bool) -> None:
        samples, scrape = self.exporter.begin_scrape()
        self.check_recorded(samples)
        self.servers[server].take(self.instance, samples)
        self.last_scrape[server] = self.world.now
        scrape.sent()
        self.others_read |= dict.fromkeys(SERVERS, True) | {server: False}
        for name in self.configured:
            for run_kind, value in samples.finished(name).items():
                self.reached[server][name, run_kind] = value
        if publish:
            self.exporter.exposition.publish()
        if not self.buckets_changed and (self.with_state or self.starts == 1):
            assert not self.servers[server].falls()

    @rule(complete=st.booleans())
    def another_client_scrapes(self, complete: bool) -> None:
        """A person, an agent or a probe reads the metrics, or gives up before the end."""
        samples, scrape = self.exporter.begin_scrape()
        self.check_recorded(samples)
        if complete:
            scrape.sent()
        self.others_read = dict.fromkeys(SERVERS, True)

    @rule()
    def the_process_stops(self) -> None:
        self.exporter.exposition.stop()
        self._start_anew(self.exporter.close)

    @rule()
    def the_process_is_killed(self) -> None:
        self._start_anew(self.exporter.kill)

    def _start_anew(self, end: Callable[[], None]) -> None:
        before = self.starts - 1
        if not self.with_state:
            for server in SERVERS:
                self.ended[server] += self.reached[server]
                self.reached[server].clear()
        elif self.renamed:
            self._add_lost_steps()
        end()
        if self.with_state:
            for suffix in ("", "-wal"):
                left = self.folder / f"state-{before}.db{suffix}"
                if left.exists():
                    left.rename(self.folder / f"state-{before + 1}.db{suffix}")
        self.disk_full = False
        self._start()

    def _add_lost_steps(self) -> None:
        """Add the increments that are recorded as served and that a server has not received to its ``lost``.

        The new instance starts with the recorded values, so the server never sees these increments.
        """
        state = self.exporter.state
        assert state is not None
        for name in IDS:
            restored = state.load(name, self.bounds)
            for series, total in (restored.served if restored else {}).items():
                if series.family == "finished" and isinstance(total, Count):
                    key = (name, (series.task_type, series.status))
                    for server in SERVERS:
                        step = total.value - self.reached[server][key]
                        assert step == 0 or self.others_read[server]
                        self.lost[server][key] += step
                        self.reached[server][key] = total.value

    @rule(configured=st.frozensets(st.sampled_from(IDS), min_size=1))
    def the_configuration_is_reloaded(self, configured: frozenset[str]) -> None:
        self.configured = configured
        self.exporter.reload(self._configuration())

    @rule()
    def the_buckets_change(self) -> None:
        self.buckets_changed = True
        self.bounds = OTHER_BOUNDS if self.bounds == BOUNDS else BOUNDS
        self.exporter.reload(self._configuration())

    # -- what must hold ---------------------------------------------------------------------------------------------

    def truth(self, name: str) -> dict[RunKind, int]:
        return run_kinds([run for run in self.world.ended(name) if run.ends >= self.watched_since[name]])

    def check_recorded(self, samples: Samples) -> None:
        """Check that the state file has each served value, so that the next process does not serve a smaller one."""
        state = self.exporter.state
        if state is None:
            return
        for name in self.configured:
            restored = state.load(name, self.bounds)
            served = {} if restored is None else restored.served
            recorded = {
                (series.task_type, series.status): total.value
                for series, total in served.items()
                if series.family == "finished" and isinstance(total, Count)
            }
            for run_kind, value in samples.finished(name).items():
                assert recorded.get(run_kind, 0) >= value

    def _finish(self) -> None:
        """End all disturbances, poll and scrape until Prometheus must have every finish, and compare."""
        self.disk_full = False
        self.configured = frozenset(IDS)
        self.exporter.reload(self._configuration())
        for _ in range(3):
            self.time_passes(HOUR, publish=True)
            for name in IDS:
                self.poll(name, publish=True, fails=False)
        self.time_passes(HOUR, publish=True)
        last = self.exporter.scrape()
        for name in IDS:
            truth = self.truth(name)
            assert last.finished(name) == truth
            for server, prometheus in self.servers.items():
                increase = Counter(by_kind(prometheus.increase(FINISHED), name))
                expected = Counter(truth) + of_transform(self.ended[server], name)
                assert increase + of_transform(self.lost[server], name) == expected, server


def of_transform(counts: Counter[tuple[str, RunKind]], name: str) -> Counter[RunKind]:
    """Return the counts of one transform."""
    return Counter({run_kind: count for (of, run_kind), count in counts.items() if of == name})


class TestScrapes(Scrapes.TestCase):
    """Short sequences of polls, scrapes and restarts."""

    settings = settings(max_examples=20, stateful_step_count=30)


@pytest.mark.slow
@pytest.mark.timeout(400)
class TestManyScrapes(Scrapes.TestCase):
    """More and longer sequences of polls, scrapes and restarts."""

    settings = settings(max_examples=120, stateful_step_count=50)
