"""Polls every monitored transform once per interval and publishes the result of each poll."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from exporter.config.settings import Config
from exporter.counting.ledger import NO_CHANGES, Changes, Ledger
from exporter.counting.recent_runs import LIMIT
from exporter.exposition.initial_values import InitialValues
from exporter.exposition.publisher import Exposition
from exporter.exposition.snapshot import PollResult
from exporter.glue.client import GlueClient, GlueClients
from exporter.glue.error_table import REASONS
from exporter.glue.rate_limit import Stopped
from exporter.model.errors import GlueError, StateError
from exporter.model.failure_reasons import FailureReasons
from exporter.model.transform import Details, Lane, Target
from exporter.polling.monitored_transform import MonitoredTransform
from exporter.polling.poll_log import DETAILS, PollLog, log_rebucketed
from exporter.polling.scheduler import Scheduler, threads_of_a_lane
from exporter.polling.timetable import Job
from exporter.state.store import StateFile
from exporter.telemetry import Telemetry

CLEAN_UP_INTERVAL = 3600.0
"""Time after which the list of monitored transforms is written to the state file again, in seconds.

A transform without new runs is not written otherwise. The next process deletes transforms that were not listed for the
lookback. At that time it does not know yet which transforms discovery will find.
"""

STATE_INTERVAL = 30.0
"""Time after which the state file is checked and the times of successful polls are stored again, in seconds."""

MAX_ERROR_LENGTH = 1000
"""Longest error text of a failed poll on the status page, in characters."""


class Poller:
    """All monitored transforms. `monitor` sets them; `run` polls them until the exporter stops."""

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
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the Glue clients to poll with, the exposition to publish to, and the state file if there is one.

        ``stop`` ends each poll before its next call to Glue; ``now`` gives UTC seconds, ``monotonic`` the seconds of a
        clock that never jumps.
        """
        self._config = config
        self._clients = clients
        self._exposition = exposition
        self._telemetry = telemetry
        self._state = state
        self._stop = stop
        self._now = now
        self._monotonic = monotonic
        self._poll_log = PollLog()
        self._lock = threading.Lock()
        self._transforms: dict[str, MonitoredTransform] = {}
        """By id: the monitored transforms, and the transforms that were removed less than the lookback ago."""
        self.restored = False
        """Whether the state file had a transform that is monitored."""
        self._recorded_polls: dict[str, float] = {}
        """By transform id: the time of the last successful poll that is in the state file."""
        self._cleaned_up = now()
        self._is_complete = False
        """Whether every discovery query has succeeded in this process, so that all targets are known."""
        self._scheduler = Scheduler(
            interval=config.polling.interval,
            idle_interval=config.polling.idle_interval,
            threads_per_lane=config.polling.concurrency,
            on_cycle=self._end_cycle,
        )

    # -- which transforms are monitored -----------------------------------------------------------------------------

    def monitor(
        self,
        config: Config,
        clients: GlueClients,
        targets: Iterable[Target],
        last_absent: Mapping[str, float],
        *,
        is_complete: bool = True,
    ) -> None:
        """Monitor these targets from now on, under this configuration, and remove all others.

        ``last_absent`` has, by transform id, the end of the last search that did not find the transform (monotonic
        seconds). What has completed since then is new.

        A removed transform keeps its counters for the lookback, in case it returns. Without ``is_complete`` discovery
        may still find more targets, and the state file keeps the transforms that are not among these targets. Raises
        `StateError` when the state of a new transform cannot be read; nothing has changed then.
        """
        wanted = {target.id: target for target in targets}
        with self._lock:
            new = [target for target in wanted.values() if target.id not in self._transforms]
            opened = {target.id: self._open(target, config) for target in new}
            for transform_id, transform in opened.items():
                transform.watched_from = last_absent.get(transform_id)
            self._config, self._clients, self._is_complete = config, clients, is_complete
            if self._exposition.configure(config.metrics):
                self._restart_initial_values()
            self._transforms |= opened
            for transform in self.monitored:
                if transform.target.id not in wanted:
                    self._remove(transform)
            lanes = {target.lane for target in wanted.values()}
            self._telemetry.create_series(lanes, REASONS)
            for target in wanted.values():
                self._add(self._transforms[target.id], target)
            self._clean_up()
        self._telemetry.poll_interval.set(config.polling.interval)
        polling = config.polling
        threads = threads_of_a_lane(polling.concurrency, len(lanes))
        # Between two calls to Glue a poll also writes the state file, which may take long on a busy disk.
        silence = clients.longest_call + 60.0
        self._scheduler.reconfigure(polling.interval, polling.idle_interval, threads, silence)

    def _add(self, transform: MonitoredTransform, target: Target) -> None:
        if not transform.active and transform.job is not None:
            # The transform returns, and Prometheus treats its series as new.
            transform.initial_values = transform.initial_values.restarted()
        old_name = transform.name
        transform.target = target
        self._follow_name(transform, old_name)
        transform.account_id = self._clients.client_for(target.lane).account_id
        if transform.job is None:
            transform.job = Job(partial(self._poll, transform), target.lane, transform.offset)
        transform.job.lane = target.lane
        if not transform.active:
            transform.active = True
            if transform.ledger.has_baseline and not transform.job.pending:
                # The transform was restored from the state file or returns after a reload. It is published before its
                # first poll, so that scrapes show its initial values sooner.
                self._publish(transform)
            self._scheduler.add(transform.job)

    def _open(self, target: Target, config: Config) -> MonitoredTransform:
        """Return a new transform, restored from the state file if the file has it."""
        bounds = config.metrics.execution_buckets
        restored = None if self._state is None else self._state.load(target.id, bounds)
        if restored is None:
            return MonitoredTransform(target, Ledger(bounds), InitialValues(created_at=self._now()))
        if restored.buckets_changed:
            log_rebucketed(target)
        self.restored |= restored.ledger.has_baseline
        initial_values = InitialValues(
            created_at=restored.created_at, recorded=restored.served, series_created_at=restored.created
        )
        details = Details(name=restored.name) if config.transform_details else None
        return MonitoredTransform(
            target, restored.ledger, initial_values, details=details, restored_success=restored.succeeded
        )

    def _restart_initial_values(self) -> None:
        """Serve the initial values of all series again, because no scrape has shown the series that were left out."""
        for transform in self.monitored:
            transform.initial_values = transform.initial_values.restarted()
            if transform.shown is not None:
                snapshot, totals = transform.shown
                transform.shown = replace(snapshot, initial_values=transform.initial_values), totals
                self._exposition.update(*transform.shown, offset=transform.offset)

    def _follow_name(self, transform: MonitoredTransform, old_name: str) -> None:
        """Restart the initial values if the name has changed, because a new label makes all series new."""
        if transform.name != old_name:
            transform.initial_values = transform.initial_values.restarted()

    def _rebucket(self, transform: MonitoredTransform) -> None:
        transform.ledger.change_buckets(self._config.metrics.execution_buckets)
        transform.initial_values = transform.initial_values.restarted(histograms=False)
        log_rebucketed(transform.target)
        if transform.shown is not None:
            # This comes before the poll, because the poll stores totals in the new buckets only.
            self._show(transform)

    def _remove(self, transform: MonitoredTransform) -> None:
        transform.active = False
        transform.removed_at = self._now()
        if transform.job is not None:
            self._scheduler.remove(transform.job)
        self._exposition.remove(transform.target.id)
        self._poll_log.forget_transform(transform.target)
        self._count_tracked_runs(transform, 0)

    def _clean_up(self) -> None:
        """Forget transforms that were removed more than the lookback ago, here and in the state file."""
        now, lookback = self._now(), self._config.polling.lookback
        self._cleaned_up = now
        for transform_id, transform in list(self._transforms.items()):
            if not transform.active and now - transform.removed_at > lookback:
                del self._transforms[transform_id]
        if self._state is not None:
            with self._storing():
                self._state.drop_unconfigured(
                    [transform.target.id for transform in self.monitored],
                    now,
                    lookback,
                    is_complete=self._is_complete,
                )

    def keep_state(self) -> None:
        """Look after the state file until the exporter stops; needs a thread of its own."""
        while not self._stop.wait(STATE_INTERVAL):
            self.record_polls()

    def record_polls(self) -> None:
        """Store when each transform was last polled with success, and check that the state file is in its place."""
        if self._state is None:
            return
        succeeded = {one.target.id: one.succeeded for one in self.monitored if one.succeeded is not None}
        changed = {name: time for name, time in succeeded.items() if self._recorded_polls.get(name) != time}
        with self._storing():
            if not changed:
                self._state.check()
                return
            self._state.record_polls(changed)
            self._recorded_polls = succeeded
            self._telemetry.state_last_write.set(self._now())

    # -- the poll loop ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Poll until the exporter stops; needs a thread of its own."""
        self._scheduler.run(self._stop)

    @property
    def alive(self) -> bool:
        """Whether the poll loop comes round and polls come to an end, as `Scheduler.alive` defines it."""
        return self._scheduler.alive

    @property
    def polled_all(self) -> bool:
        """Whether every transform was polled at least once, with or without success."""
        return self._scheduler.first_turns_over

    @property
    def failing(self) -> list[str]:
        """The ids of the transforms whose last poll failed, or that were not polled yet."""
        return [one.target.id for one in self.monitored if one.poll is None or not one.poll.up]

    @property
    def monitored(self) -> list[MonitoredTransform]:
        """The monitored transforms. Takes no lock, because a reload may hold the lock for long."""
        return [transform for transform in list(self._transforms.values()) if transform.active]

    def _count_monitored(self, lane: Lane) -> int:
        return sum(transform.target.lane == lane for transform in self.monitored)

    def _end_cycle(self, delay: float, overrun: bool) -> None:
        self._telemetry.poll_cycle_duration.set(delay)
        if overrun:
            self._telemetry.poll_cycle_overruns.inc()
        self._remove_stale_gauges()
        if not 0 <= self._now() - self._cleaned_up < CLEAN_UP_INTERVAL:
            with self._lock:
                self._clean_up()

    def _remove_stale_gauges(self) -> None:
        """Remove the gauges of each transform whose poll hangs and whose data is older than ``stale_after``.

        The thread of the scheduler does this, because the thread of a hanging poll cannot.
        """
        now, stale_after = self._now(), self._config.polling.stale_after
        with self._lock:
            for transform in self.monitored:
                hangs = transform.job is not None and transform.job.pending
                if hangs and transform.succeeded is not None and now - transform.succeeded > stale_after:
                    self._remove_gauges(transform)

    def _remove_gauges(self, transform: MonitoredTransform) -> None:
        """Publish the last snapshot again without gauges and as down. The hanging poll may use the ledger."""
        if transform.shown is not None and transform.shown[0].gauge_values is not None:
            snapshot, totals = transform.shown
            poll = snapshot.poll and replace(
                snapshot.poll, up=False, down_since=snapshot.poll.down_since or self._now()
            )
            snapshot = replace(snapshot, gauge_values=None, poll=poll)
            transform.shown = snapshot, totals
            self._exposition.update(snapshot, totals, offset=transform.offset)

    # -- one poll ---------------------------------------------------------------------------------------------------

    def _poll(self, transform: MonitoredTransform) -> bool:
        """Poll one transform and publish it; return whether its account and region work."""
        now, began = self._now(), self._monotonic()
        lane_works, up, error_text, reason, operation = True, True, "", "", ""
        if transform.ledger.bounds != self._config.metrics.execution_buckets:
            self._rebucket(transform)
        glue = self._clients.client_for(transform.target.lane)
        if transform.job is not None:
            # A failed poll of an idle transform must be repeated after the normal interval.
            transform.job.idle = False
        try:
            recent = LIMIT if self._config.web.status_page else 0
            changes = transform.read(glue, self._config.polling, now, began, self._keep_going, recent=recent)
        except Stopped:
            return True
        except GlueError as error:
            up, error_text = False, error.full_text[:MAX_ERROR_LENGTH]
            reason, operation = error.reason, error.operation
            lane_works = not self._poll_log.poll_failed(transform.target, error, self._count_monitored)
            self._telemetry.poll_errors.labels(*transform.target.lane, error.reason).inc()
            if not transform.ledger.has_baseline and transform.date(glue):
                # After a restart the transform must still be watched since its first attempted poll.
                self._store(transform, NO_CHANGES, now)
        else:
            try:
                if transform.poll is None:
                    # The name is a label. Without it, the first series would have the id as their name.
                    self._read_details(transform, glue)
                self._poll_log.poll_succeeded(transform.target, transform.name, changes)
                self._poll_log.look_ups_failed(transform.target, transform.failed_look_ups)
            finally:
                # The ledger already has these changes. If a defect above prevented this call, the state file would
                # never get them.
                self._store(transform, changes, now)
        transform.account_id = glue.account_id
        succeeded = now if up else transform.succeeded
        if transform.job is not None:
            transform.job.idle = up and transform.idle(self._config.polling, now)
        down_since = now if transform.poll is None or transform.poll.up else transform.poll.down_since
        transform.poll = PollResult(
            up=up,
            tried=now,
            succeeded=succeeded,
            duration=self._monotonic() - began,
            error=error_text,
            reason=reason,
            operation=operation,
            down_since=None if up else down_since,
        )
        self._show(transform)
        if up and self._read_details(transform, glue):
            # The new name is stored before it is shown, so that a restart does not show the old name again.
            self._store(transform, NO_CHANGES, now)
            self._show(transform)
        return lane_works

    def _store(self, transform: MonitoredTransform, changes: Changes, now: float) -> None:
        if self._state is None:
            return
        with self._storing():
            if self._state.save(
                transform.target.id,
                transform.known_name,
                transform.ledger,
                changes,
                now,
                created_at=transform.initial_values.created_at,
            ):
                self._telemetry.state_last_write.set(self._now())

    def _keep_going(self) -> None:
        self._scheduler.made_progress()
        if self._stop.is_set():
            raise Stopped

    def _show(self, transform: MonitoredTransform) -> None:
        """Publish a transform unless it was removed while it was polled."""
        with self._lock:
            if transform.active:
                self._publish(transform)

    def _publish(self, transform: MonitoredTransform) -> None:
        metrics = self._config.metrics
        snapshot = transform.snapshot(
            self._config.polling,
            self._now(),
            created=metrics.created_timestamps,
            failure_reasons=FailureReasons(tuple((one.name, one.pattern) for one in metrics.failure_reasons)),
        )
        transform.shown = snapshot, dict(transform.ledger.totals)
        self._exposition.update(*transform.shown, offset=transform.offset)
        self._count_tracked_runs(transform, transform.ledger.tracked)

    def _count_tracked_runs(self, transform: MonitoredTransform, tracked: int) -> None:
        self._telemetry.tracked_runs.inc(tracked - transform.tracked_runs)
        transform.tracked_runs = tracked

    def _read_details(self, transform: MonitoredTransform, glue: GlueClient) -> bool:
        """Read the details of a transform; return whether they have changed.

        If they cannot be read, the last known details stay and the poll still counts as successful.
        """
        before, old_name = transform.details, transform.name
        target = transform.target
        if not self._config.transform_details:
            transform.details = None
        else:
            self._scheduler.made_progress()
            try:
                transform.details = glue.details(target.id)
            except Stopped:
                return False
            except GlueError as error:
                self._poll_log.begin(DETAILS, target.lane, target.id, error, transform_id=target.id)
            else:
                self._poll_log.end(DETAILS, target.lane, target.id)
        is_ready = transform.details is None or transform.details.status in {"", "READY"}
        transform.not_ready_since = None if is_ready else transform.not_ready_since or self._now()
        self._follow_name(transform, old_name)
        return transform.details != before

    @contextmanager
    def _storing(self) -> Iterator[None]:
        """Count a failure to write the state file, which the file has logged, and continue without the write."""
        try:
            yield
        except StateError:
            # After a stop the file is closed. Runs that are missing in it were never served, so the next process counts
            # them.
            if not self._stop.is_set():
                self._telemetry.state_write_errors.inc()
