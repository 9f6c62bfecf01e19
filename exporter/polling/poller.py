"""Turns the crank: each transform is polled once per interval, and shown as that poll has left it."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from exporter.config.settings import Config
from exporter.counting.changes import NO_CHANGES, Changes
from exporter.counting.ledger import Ledger
from exporter.counting.recent_runs import LIMIT
from exporter.errors import GlueError, StateError
from exporter.exposition.initial_values import InitialValues
from exporter.exposition.publisher import Exposition
from exporter.exposition.series_count import Selection
from exporter.exposition.snapshot import PollResult
from exporter.glue.client import GlueClient, GlueClients
from exporter.glue.error_table import REASONS
from exporter.glue.rate_limit import Stopped
from exporter.model.transform import Details, Target
from exporter.polling.monitored_transform import MonitoredTransform
from exporter.polling.poll_log import PollLog
from exporter.polling.scheduler import Scheduler, threads_of_a_lane
from exporter.polling.timetable import Job
from exporter.state.store import StateFile
from exporter.telemetry import Telemetry

TIDY_INTERVAL = 3600.0
"""Seconds after which the file learns again which transforms are configured.

A quiet one writes nothing else, and a process that follows must not take it for one that left long ago: until its first
discovery has ended it knows of the others only.
"""

LONGEST_TROUBLE = 1000
"""Characters kept of what AWS says about a poll that failed."""


class Poller:
    """All watched transforms. `watch` says which; `run` polls them until the exporter stops."""

    def __init__(
        self,
        config: Config,
        clients: GlueClients,
        exposition: Exposition,
        telemetry: Telemetry,
        state: StateFile | None,
        *,
        stop: threading.Event,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Take what to poll with; ``now`` gives UTC seconds, ``stop`` ends every poll between two of its calls."""
        self._config = config
        self._clients = clients
        self._exposition = exposition
        self._telemetry = telemetry
        self._state = state
        self._stop = stop
        self._now = now
        self._poll_log = PollLog()
        self._lock = threading.Lock()
        self._watches: dict[str, MonitoredTransform] = {}
        self.restored = False
        """Whether an earlier process has left something to serve."""
        self._tidied = now()
        self._scheduler = Scheduler(
            interval=config.polling.interval,
            idle_interval=config.polling.idle_interval,
            threads_per_lane=config.polling.concurrency,
            on_cycle=self._end_cycle,
        )

    # -- what is watched --------------------------------------------------------------------------------------------

    def watch(self, config: Config, clients: GlueClients, targets: Iterable[Target]) -> None:
        """Watch these targets from now on, under this configuration; the others leave.

        What is known of a transform that leaves is kept for the lookback, in case it comes back. Raises `StateError`
        when the state of a new one cannot be read.
        """
        wanted = {target.id: target for target in targets}
        with self._lock:
            new = [target for target in wanted.values() if target.id not in self._watches]
            opened = {target.id: self._open(target, config) for target in new}
            self._config, self._clients = config, clients
            if self._exposition.select(Selection.of(config.metrics), config.metrics.max_series):
                self._bear_again()
            self._watches |= opened
            for watch in [watch for watch in self._watches.values() if watch.watched]:
                if watch.target.id not in wanted:
                    self._leave(watch)
            lanes = {target.lane for target in wanted.values()}
            self._telemetry.expect(lanes, REASONS)
            for target in wanted.values():
                self._enter(self._watches[target.id], target)
            self._tidy()
        polling = config.polling
        threads = threads_of_a_lane(polling.concurrency, len(lanes))
        self._scheduler.reconfigure(polling.interval, polling.idle_interval, threads)

    def _enter(self, watch: MonitoredTransform, target: Target) -> None:
        if not watch.watched and watch.job is not None:
            watch.initial_values = self._reborn(watch)
        named = watch.name
        watch.target = target
        self._rename(watch, named)
        watch.account_id = self._clients.client_for(target.lane).account_id
        if watch.job is None:
            watch.job = Job(partial(self._poll, watch), target.lane, watch.offset)
        watch.job.lane = target.lane
        if not watch.watched:
            watch.watched = True
            if watch.ledger.counting and not watch.job.pending:
                # What an earlier process has left, or this one before a reload, is served at once: a scrape that
                # comes before the first poll brings the held-back series nearer to their release.
                self._put(watch)
            self._scheduler.add(watch.job)

    def _open(self, target: Target, config: Config) -> MonitoredTransform:
        bounds, metrics = config.metrics.execution_buckets, config.metrics
        restored = None if self._state is None else self._state.load(target.id, bounds)
        if restored is None:
            initial_values = InitialValues(
                scrapes=metrics.birth_scrapes, timeout=metrics.birth_timeout, created_at=self._now()
            )
            return MonitoredTransform(target, Ledger(bounds), initial_values)
        if restored.rebucketed:
            self._poll_log.rebucketed(target)
        self.restored = True
        initial_values = InitialValues(
            scrapes=metrics.birth_scrapes,
            timeout=metrics.birth_timeout,
            created_at=restored.created_at,
            marked=restored.served,
            born=restored.born,
        )
        details = Details(name=restored.name) if config.transform_details else None
        return MonitoredTransform(target, restored.ledger, initial_values, details=details)

    def _reborn(self, watch: MonitoredTransform, *, histograms: bool = True) -> InitialValues:
        metrics = self._config.metrics
        return watch.initial_values.again(
            scrapes=metrics.birth_scrapes, timeout=metrics.birth_timeout, histograms=histograms
        )

    def _bear_again(self) -> None:
        """Serve what is shown at its base value first: some of it was left out until now, and no scrape has seen it."""
        for watch in [watch for watch in self._watches.values() if watch.watched]:
            watch.initial_values = self._reborn(watch)
            if watch.shown is not None:
                snapshot, totals = watch.shown
                watch.shown = replace(snapshot, initial_values=watch.initial_values), totals
                self._exposition.update(*watch.shown, offset=watch.offset)

    def _rename(self, watch: MonitoredTransform, before: str) -> None:
        """See to the births of a transform that is shown under another name: its series are new ones."""
        if watch.name != before:
            watch.initial_values = self._reborn(watch)

    def _rebucket(self, watch: MonitoredTransform) -> None:
        watch.ledger.rebucket(self._config.metrics.execution_buckets)
        watch.initial_values = self._reborn(watch, histograms=False)
        self._poll_log.rebucketed(watch.target)
        if watch.shown is not None:
            # At once, and not after this poll: what it stores knows the new buckets only.
            self._show(watch)

    def _leave(self, watch: MonitoredTransform) -> None:
        watch.watched = False
        watch.left = self._now()
        if watch.job is not None:
            self._scheduler.remove(watch.job)
        self._exposition.remove(watch.target.id)
        self._poll_log.forget(watch.target)
        self._count_tracked(watch, 0)

    def _tidy(self) -> None:
        """Forget what left the configuration too long ago; note in the file what has not left it."""
        now, lookback = self._now(), self._config.polling.lookback
        self._tidied = now
        for transform_id, watch in list(self._watches.items()):
            if not watch.watched and now - watch.left > lookback:
                del self._watches[transform_id]
        if self._state is not None:
            watched = [watch.target.id for watch in self._watches.values() if watch.watched]
            with self._storing():
                self._state.keep(watched, now, lookback)

    # -- the crank --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Poll until the exporter stops; a thread of its own."""
        self._scheduler.run(self._stop)

    @property
    def alive(self) -> bool:
        """Whether the poll loop still comes round."""
        return self._scheduler.alive

    @property
    def polled_all(self) -> bool:
        """Whether every transform has been tried once."""
        return self._scheduler.first_turns_over

    @property
    def failing(self) -> list[str]:
        """The ids of the transforms whose last poll failed."""
        with self._lock:
            watches = [watch for watch in self._watches.values() if watch.watched]
        return [watch.target.id for watch in watches if watch.poll is None or not watch.poll.up]

    @property
    def monitored(self) -> list[MonitoredTransform]:
        """The watched transforms. Takes no lock, because a reload may hold it for long."""
        return [watch for watch in list(self._watches.values()) if watch.watched]

    def _end_cycle(self, lag: float, overrun: bool) -> None:
        self._telemetry.poll_cycle_duration.set(lag)
        if overrun:
            self._telemetry.poll_cycle_overruns.inc()
        self._withdraw_stale()
        if not 0 <= self._now() - self._tidied < TIDY_INTERVAL:
            with self._lock:
                self._tidy()

    def _withdraw_stale(self) -> None:
        """Take out the gauges of transforms whose poll hangs when they are too old; who does not hang sees to it."""
        now, stale_after = self._now(), self._config.polling.stale_after
        with self._lock:
            for watch in self._watches.values():
                late = watch.watched and watch.job is not None and watch.job.pending
                succeeded = watch.poll.succeeded if watch.poll else None
                if late and succeeded is not None and now - succeeded > stale_after:
                    self._withdraw(watch)

    def _withdraw(self, watch: MonitoredTransform) -> None:
        """Show what was last shown without its gauges, and as down; the ledger may be another thread's just now."""
        if watch.shown is not None and watch.shown[0].view is not None:
            snapshot, totals = watch.shown
            snapshot = replace(snapshot, view=None, poll=snapshot.poll and replace(snapshot.poll, up=False))
            watch.shown = snapshot, totals
            self._exposition.update(snapshot, totals, offset=watch.offset)

    # -- one poll ---------------------------------------------------------------------------------------------------

    def _poll(self, watch: MonitoredTransform) -> bool:
        """Poll one transform and show it; whether its account and region work."""
        now, began = self._now(), time.monotonic()
        lane_works, up, trouble = True, True, ""
        if watch.ledger.bounds != self._config.metrics.execution_buckets:
            self._rebucket(watch)
        glue = self._clients.client_for(watch.target.lane)
        if watch.job is not None:
            watch.job.idle = False  # whatever goes wrong now, it is tried again after the interval
        try:
            recent = LIMIT if self._config.web.status_page else 0
            changes = watch.read(glue, self._config.polling, now, self._check_stop, recent)
        except Stopped:
            return True
        except GlueError as error:
            up, trouble = False, error.told[:LONGEST_TROUBLE]
            lane_works = not self._poll_log.failed(watch.target, error)
            self._telemetry.poll_errors.labels(*watch.target.lane, error.reason).inc()
        else:
            try:
                if watch.poll is None:
                    # Once, the name comes before the runs: series born under the id would not be the same ones.
                    self._read_details(watch, glue)
                self._poll_log.polled(watch.target, watch.name, changes)
            finally:
                # Whatever went wrong: the ledger has moved on, and the file must not fall behind it unnoticed.
                self._store(watch, changes, now)
        watch.account_id = glue.account_id
        succeeded = now if up else (watch.poll.succeeded if watch.poll else None)
        if watch.job is not None:
            watch.job.idle = up and watch.idle(self._config.polling, now)
        watch.poll = PollResult(up=up, tried=now, succeeded=succeeded, duration=time.monotonic() - began, error=trouble)
        self._show(watch)
        if up and self._read_details(watch, glue):
            # The new name before what is shown under it: a restart must go on under no older one.
            self._store(watch, NO_CHANGES, now)
            self._show(watch)
        return lane_works

    def _store(self, watch: MonitoredTransform, changes: Changes, now: float) -> None:
        if self._state is None:
            return
        with self._storing():
            if self._state.save(
                watch.target.id,
                watch.known_name,
                watch.ledger,
                changes,
                now,
                created_at=watch.initial_values.created_at,
            ):
                self._telemetry.state_last_write.set(self._now())

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Stopped

    def _show(self, watch: MonitoredTransform) -> None:
        with self._lock:
            if watch.watched:
                self._put(watch)

    def _put(self, watch: MonitoredTransform) -> None:
        snapshot = watch.snapshot(self._config.polling, self._now(), created=self._config.metrics.created_timestamps)
        watch.shown = snapshot, dict(watch.ledger.totals)
        self._exposition.update(*watch.shown, offset=watch.offset)
        self._count_tracked(watch, watch.ledger.tracked)

    def _count_tracked(self, watch: MonitoredTransform, tracked: int) -> None:
        self._telemetry.tracked_runs.inc(tracked - watch.tracked)
        watch.tracked = tracked

    def _read_details(self, watch: MonitoredTransform, glue: GlueClient) -> bool:
        """Take the transform's details; whether they are other than before.

        Without them those known before or the id serve, and nothing else suffers.
        """
        before, named = watch.details, watch.name
        if not self._config.transform_details:
            watch.details = None
        else:
            try:
                watch.details = glue.details(watch.target.id)
            except Stopped:
                return False
            except GlueError as error:
                self._poll_log.details_failed(watch.target, error)
            else:
                self._poll_log.details_known(watch.target)
        self._rename(watch, named)
        return watch.details != before

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            yield
        except StateError as error:
            if self._stop.is_set():
                return  # the file is closed; what it lacks no scrape has seen, as after a kill
            self._telemetry.state_write_errors.inc()
            self._poll_log.not_stored(error)
        else:
            self._poll_log.stored()
