"""Turns the crank: each transform is polled once per interval, and shown as that poll has left it."""

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from exporter.births import Births
from exporter.cardinality import Selection
from exporter.changes import NO_CHANGES, Changes
from exporter.config import Config
from exporter.errors import GlueError, StateError
from exporter.exposition import Exposition
from exporter.journal import Journal
from exporter.ledger import Ledger
from exporter.metrics import Poll
from exporter.pacing import Stopped
from exporter.pages import Aws, Glue
from exporter.recent import LIMIT
from exporter.schedule import Job, Schedule
from exporter.standing import Standing
from exporter.state import StateFile
from exporter.targets import Details, Places, Target
from exporter.telemetry import Telemetry
from exporter.watch import Watch

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
        aws: Aws,
        exposition: Exposition,
        telemetry: Telemetry,
        state: StateFile | None,
        *,
        stop: threading.Event,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Take what to poll with; ``now`` gives UTC seconds, ``stop`` ends every poll between two of its calls."""
        self._config = config
        self._aws = aws
        self._exposition = exposition
        self._telemetry = telemetry
        self._state = state
        self._stop = stop
        self._now = now
        self._journal = Journal()
        self._lock = threading.Lock()
        self._watches: dict[str, Watch] = {}
        self._places = Places(random.random())  # noqa: S311 - no secret
        self.restored = False
        """Whether an earlier process has left something to serve."""
        self._tidied = now()
        self._schedule = Schedule(
            interval=config.polling.interval,
            idle_interval=config.polling.idle_interval,
            threads_per_lane=config.polling.concurrency,
            on_cycle=self._end_cycle,
        )

    # -- what is watched --------------------------------------------------------------------------------------------

    def watch(self, config: Config, aws: Aws, targets: Iterable[Target]) -> None:
        """Watch these targets from now on, under this configuration; the others leave.

        What is known of a transform that leaves is kept for the lookback, in case it comes back. Raises `StateError`
        when the state of a new one cannot be read.
        """
        wanted = {target.id: target for target in targets}
        with self._lock:
            new = [target for target in wanted.values() if target.id not in self._watches]
            opened = {target.id: self._open(target, config) for target in new}
            self._config, self._aws = config, aws
            if self._exposition.select(Selection.of(config.metrics), config.metrics.max_series):
                self._bear_again()
            self._watches |= opened
            for watch in [watch for watch in self._watches.values() if watch.watched]:
                if watch.target.id not in wanted:
                    self._leave(watch)
            self._telemetry.expect({target.lane for target in wanted.values()})
            for target in wanted.values():
                self._enter(self._watches[target.id], target)
            self._tidy()
        polling = config.polling
        self._schedule.retime(polling.interval, polling.idle_interval, polling.concurrency)

    def _enter(self, watch: Watch, target: Target) -> None:
        if not watch.watched and watch.job is not None:
            watch.births = self._reborn(watch)
        named = watch.name
        watch.target = target
        self._rename(watch, named)
        watch.account_id = self._aws.lane(target.lane).account_id
        if watch.job is None:
            watch.job = Job(partial(self._poll, watch), target.lane, self._places.next(target.lane))
        watch.job.lane = target.lane
        if not watch.watched:
            watch.watched = True
            if watch.ledger.counting and not watch.job.pending:
                # What an earlier process has left, or this one before a reload, is served at once: a scrape that
                # comes before the first poll brings the held-back series nearer to their release.
                self._put(watch)
            self._schedule.add(watch.job)

    def _open(self, target: Target, config: Config) -> Watch:
        bounds, metrics = config.metrics.execution_buckets, config.metrics
        restored = None if self._state is None else self._state.load(target.id, bounds)
        if restored is None:
            births = Births(scrapes=metrics.birth_scrapes, timeout=metrics.birth_timeout, born_at=self._now())
            return Watch(target, Ledger(bounds), births)
        if restored.rebucketed:
            self._journal.rebucketed(target)
        self.restored = True
        births = Births(
            scrapes=metrics.birth_scrapes,
            timeout=metrics.birth_timeout,
            born_at=restored.born_at,
            marked=restored.served,
            born=restored.born,
        )
        details = Details(name=restored.name) if config.transform_details else None
        return Watch(target, restored.ledger, births, details=details)

    def _reborn(self, watch: Watch, *, histograms: bool = True) -> Births:
        metrics = self._config.metrics
        return watch.births.again(scrapes=metrics.birth_scrapes, timeout=metrics.birth_timeout, histograms=histograms)

    def _bear_again(self) -> None:
        """Serve what is shown at its base value first: some of it was left out until now, and no scrape has seen it."""
        for watch in [watch for watch in self._watches.values() if watch.watched]:
            watch.births = self._reborn(watch)
            if watch.shown is not None:
                picture, totals = watch.shown
                watch.shown = replace(picture, births=watch.births), totals
                self._exposition.update(*watch.shown, place=watch.place)

    def _rename(self, watch: Watch, before: str) -> None:
        """See to the births of a transform that is shown under another name: its series are new ones."""
        if watch.name != before:
            watch.births = self._reborn(watch)

    def _rebucket(self, watch: Watch) -> None:
        watch.ledger.rebucket(self._config.metrics.execution_buckets)
        watch.births = self._reborn(watch, histograms=False)
        self._journal.rebucketed(watch.target)
        if watch.shown is not None:
            # At once, and not after this poll: what it stores knows the new buckets only.
            self._show(watch)

    def _leave(self, watch: Watch) -> None:
        watch.watched = False
        watch.left = self._now()
        if watch.job is not None:
            self._schedule.remove(watch.job)
        self._exposition.remove(watch.target.id)
        self._journal.forget(watch.target)
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
        self._schedule.run(self._stop)

    @property
    def alive(self) -> bool:
        """Whether the poll loop still comes round."""
        return self._schedule.alive

    @property
    def polled_all(self) -> bool:
        """Whether every transform has been tried once."""
        return self._schedule.first_turns_over

    @property
    def failing(self) -> list[str]:
        """The ids of the transforms whose last poll failed."""
        with self._lock:
            watches = [watch for watch in self._watches.values() if watch.watched]
        return [watch.target.id for watch in watches if watch.poll is None or not watch.poll.up]

    @property
    def standings(self) -> list[Standing]:
        """How the watched transforms stand; waits for no poll, and for no lock, as a reload may hold it long."""
        return [watch.standing for watch in list(self._watches.values()) if watch.watched]

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

    def _withdraw(self, watch: Watch) -> None:
        """Show what was last shown without its gauges, and as down; the ledger may be another thread's just now."""
        if watch.shown is not None and watch.shown[0].view is not None:
            picture, totals = watch.shown
            picture = replace(picture, view=None, poll=picture.poll and replace(picture.poll, up=False))
            watch.shown = picture, totals
            self._exposition.update(picture, totals, place=watch.place)

    # -- one poll ---------------------------------------------------------------------------------------------------

    def _poll(self, watch: Watch) -> bool:
        """Poll one transform and show it; whether its account and region work."""
        now, began = self._now(), time.monotonic()
        lane_works, up, trouble = True, True, ""
        if watch.ledger.bounds != self._config.metrics.execution_buckets:
            self._rebucket(watch)
        glue = self._aws.lane(watch.target.lane)
        if watch.job is not None:
            watch.job.idle = False  # whatever goes wrong now, it is tried again after the interval
        try:
            recent = LIMIT if self._config.web.status_page else 0
            changes = watch.read(glue, self._config.polling, now, self._check_stop, recent)
        except Stopped:
            return True
        except GlueError as error:
            up, trouble = False, error.told[:LONGEST_TROUBLE]
            lane_works = not self._journal.failed(watch.target, error)
            self._telemetry.poll_errors.labels(*watch.target.lane, error.reason).inc()
        else:
            try:
                if watch.poll is None:
                    # Once, the name comes before the runs: series born under the id would not be the same ones.
                    self._read_details(watch, glue)
                self._journal.polled(watch.target, watch.name, changes)
            finally:
                # Whatever went wrong: the ledger has moved on, and the file must not fall behind it unnoticed.
                self._store(watch, changes, now)
        watch.account_id = glue.account_id
        succeeded = now if up else (watch.poll.succeeded if watch.poll else None)
        if watch.job is not None:
            watch.job.idle = up and watch.idle(self._config.polling, now)
        watch.poll = Poll(up=up, tried=now, succeeded=succeeded, duration=time.monotonic() - began, trouble=trouble)
        self._show(watch)
        if up and self._read_details(watch, glue):
            # The new name before what is shown under it: a restart must go on under no older one.
            self._store(watch, NO_CHANGES, now)
            self._show(watch)
        return lane_works

    def _store(self, watch: Watch, changes: Changes, now: float) -> None:
        if self._state is None:
            return
        with self._storing():
            if self._state.save(
                watch.target.id, watch.known_name, watch.ledger, changes, now, born_at=watch.births.born_at
            ):
                self._telemetry.state_last_write.set(self._now())

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Stopped

    def _show(self, watch: Watch) -> None:
        with self._lock:
            if watch.watched:
                self._put(watch)

    def _put(self, watch: Watch) -> None:
        picture = watch.picture(self._config.polling, self._now(), created=self._config.metrics.created_timestamps)
        watch.shown = picture, dict(watch.ledger.totals)
        self._exposition.update(*watch.shown, place=watch.place)
        self._count_tracked(watch, watch.ledger.tracked)

    def _count_tracked(self, watch: Watch, tracked: int) -> None:
        self._telemetry.tracked_runs.inc(tracked - watch.tracked)
        watch.tracked = tracked

    def _read_details(self, watch: Watch, glue: Glue) -> bool:
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
                self._journal.details_failed(watch.target, error)
            else:
                self._journal.details_known(watch.target)
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
            self._journal.not_stored(error)
        else:
            self._journal.stored()
