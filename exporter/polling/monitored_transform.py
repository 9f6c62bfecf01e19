"""One monitored transform: it reads task runs from Glue into its ledger, and makes the snapshot for its metrics."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

from exporter.config.schema import Polling
from exporter.counting.counters import Series, Total
from exporter.counting.ledger import Changes, Ledger
from exporter.counting.reading import Reading
from exporter.counting.recent_runs import LIMIT, NewestRuns, RecentRuns
from exporter.exposition.initial_values import InitialValues
from exporter.exposition.snapshot import PollResult, TransformSnapshot, shown_name
from exporter.glue.client import GlueClient
from exporter.glue.rate_limit import Stopped
from exporter.model.errors import GlueError
from exporter.model.failure_reasons import FailureReasons
from exporter.model.transform import Details, Target
from exporter.polling.timetable import Job

MAX_POLLS_BEFORE_FULL_READ = 16
"""Most ordinary polls between two tries to read the whole lookback. Their number doubles with each failed try."""

CLOCK_TOLERANCE = 1.0
"""The whole lookback is read if it begins more than this many seconds before the floor of the ledger.

NTP often sets the clock back by less than this. Such a small change must not cause a read of the whole lookback.
"""


def offset_of(transform_id: str) -> float:
    """Return the time within an interval at which a transform is polled, as a fraction in [0, 1).

    The fraction is a hash of the id, so the polls of many transforms are spread evenly. It stays the same after a
    restart, as the offset of a target in Prometheus does. Processes on different hosts still poll a transform at
    different times, because intervals are counted from the boot of the host.
    """
    digest = blake2b(transform_id.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest) / 2**32


@dataclass(slots=True)
class MonitoredTransform:
    """A transform with its ledger and the results of its polls. Only one thread at a time polls it."""

    target: Target
    ledger: Ledger
    initial_values: InitialValues
    offset: float = field(init=False)
    """Time within an interval at which it is polled, as a fraction in [0, 1)."""
    account_id: str = ""
    """The twelve digits of the AWS account; empty until they are known."""
    details: Details | None = None
    """The last answer of GetMLTransform, or only the stored name after a restart; None if both are missing."""
    not_ready_since: float | None = None
    """When `details` first had another status than READY (UTC seconds); None if it is READY or unknown."""
    poll: PollResult | None = None
    """The result of the last poll; None before the first poll."""
    watched_from: float | None = None
    """When the exporter began to look at it (monotonic seconds): the first attempted poll, or the end of the last
    search that did not find it; None before both."""
    restored_success: float | None = None
    """The last successful poll of an earlier process (UTC seconds), from the state file."""
    last_full_read: float | None = None
    """When a poll last read the whole lookback (UTC seconds); after a restart, a time chosen by the offset."""
    failed_look_ups: dict[str, GlueError] = field(default_factory=dict)
    """The runs whose last look-up failed, by id; the run that was tried last comes last."""
    failed_full_reads: int = 0
    """Number of reads of the whole lookback that have failed since the last good one."""
    polls_before_full_read: int = 0
    """Number of ordinary polls before the next try to read the whole lookback."""
    recent: RecentRuns = field(default_factory=RecentRuns)
    """The newest runs, for the status page."""
    job: Job | None = None
    """Its job in the scheduler; None before it is scheduled for the first time."""
    shown: tuple[TransformSnapshot, dict[Series, Total]] | None = None
    """The snapshot and the totals that the exposition was given last."""
    active: bool = False
    """False before it is scheduled, and after it was removed from the targets. It may become a target again."""
    removed_at: float = 0.0
    """When it was removed from the targets (UTC seconds)."""
    tracked_runs: int = 0
    """Number of its runs that are included in the metric glue_ml_exporter_tracked_runs."""

    def __post_init__(self) -> None:
        self.offset = offset_of(self.target.id)

    @property
    def name(self) -> str:
        """The name in its labels: the configured name, else the name in Glue, else the id."""
        return shown_name(self.target, self.details)

    @property
    def known_name(self) -> str:
        """The name in Glue; empty if GetMLTransform has not succeeded yet."""
        return self.details.name if self.details else ""

    def read(
        self,
        glue: GlueClient,
        polling: Polling,
        now: float,
        instant: float,
        keep_going: Callable[[], None],
        *,
        recent: int = LIMIT,
    ) -> Changes:
        """Poll once, commit the runs to the ledger and return the changes.

        ``now`` is the present time by the host's clock (UTC seconds), ``instant`` by the monotonic clock (seconds).
        `Ledger.commit` decides which runs are counted. ``keep_going`` is called after each call to Glue; it may raise
        an exception to end the poll. The newest ``recent`` runs are kept for the status page. Raises `GlueError`; the
        runs in the ledger are unchanged then.
        """
        if self.watched_from is None:
            self.watched_from = instant
        cutoff = now - polling.lookback
        full_read = self._full_read_is_due(now, cutoff, polling.resync_interval)
        since = cutoff if full_read else self._since(cutoff, polling, recent)
        reading = Reading(self.ledger, now=now, since=since, cutoff=cutoff)
        sighting = NewestRuns(now, recent)
        try:
            for page in glue.task_run_pages(self.target.id, since=since, page_size=polling.page_size):
                if not self.date(glue):
                    self.ledger.watched_since = now - (instant - self.watched_from)
                # A Date that is a day too early must not make the times of history impossible: a run without times
                # looks new. By the clock of AWS the present cannot be before `watched_since`.
                reading.aws_now = max(glue.aws_clock.now() or now, self.ledger.watched_since)
                reading.add_page(page)
                sighting.add(page)
                keep_going()
            self._look_up(glue, reading, sighting, keep_going)
        except GlueError:
            if full_read and self.ledger.has_baseline:
                self.polls_before_full_read = min(2**self.failed_full_reads, MAX_POLLS_BEFORE_FULL_READ)
                self.failed_full_reads += 1
            raise
        # The ledger comes last: if the recent runs cannot be committed, ledger and state file still agree.
        self.recent.commit(sighting, reading.missing.values())
        changes = self.ledger.commit(reading)
        if full_read:
            # The second full read is early by up to half the resync interval, depending on the offset. Otherwise all
            # transforms of a process would read their lookback at the same time.
            early = self.offset / 2 * polling.resync_interval if self.last_full_read is None else 0.0
            self.last_full_read, self.failed_full_reads = now - early, 0
        return changes

    def date(self, glue: GlueClient) -> bool:
        """Set `Ledger.watched_since` by the clock of AWS if it is not set; return False if this clock is not known."""
        if self.ledger.watched_since == math.inf and self.watched_from is not None:
            since = glue.aws_clock.time_at(self.watched_from)
            if since is None:
                return False
            self.ledger.watched_since = since
        return True

    def _since(self, cutoff: float, polling: Polling, recent: int) -> float:
        """Return the start time from which an ordinary poll reads (UTC seconds).

        The first poll after a restart reads further back, so that the status page shows the newest runs again. It
        reads back by at most half a page of runs, because one page is read anyway.
        """
        since = self.ledger.since(cutoff, polling.overlap, polling.page_size)
        if self.recent.runs:
            return since
        return min(since, max(cutoff, self.ledger.start_of_newest(min(recent, polling.page_size // 2))))

    def _full_read_is_due(self, now: float, cutoff: float, resync_interval: float) -> bool:
        """Return whether to read all runs from ``cutoff`` on.

        A full read is due if the ledger does not know all of these runs yet, after each resync interval, and after the
        clock was set back. After a full read that failed, some ordinary polls come first. So new runs are counted even
        if the lookback cannot be read.
        """
        if self.polls_before_full_read:
            self.polls_before_full_read -= 1
            return False
        if cutoff < self.ledger.floor - CLOCK_TOLERANCE:
            return True
        if self.last_full_read is None:
            self.last_full_read = now - self.offset * resync_interval
        return not 0 <= now - self.last_full_read < resync_interval

    def idle(self, polling: Polling, now: float) -> bool:
        """Return whether the transform may be polled at the idle interval at ``now`` (UTC seconds).

        It may if no run is open or incomplete, and no run has started or finished within the last idle interval. After
        a recent run the normal interval is used, because another run is likely.
        """
        if polling.idle_interval is None or self.ledger.open or self.ledger.missing or self.ledger.incomplete:
            return False
        times = (time for facts in self.ledger.latest.values() for time in (facts.start, facts.finish))
        return now - max((time for time in times if time is not None), default=-math.inf) > polling.idle_interval

    def _look_up(
        self, glue: GlueClient, reading: Reading, sighting: NewestRuns, keep_going: Callable[[], None]
    ) -> None:
        """Look up the runs that were not listed. After a failure the run and all later ones stay as they are.

        The runs whose last look-up failed come last, so they do not keep the others from being looked up. Of these, the
        run that failed last comes last.
        """
        unlisted = reading.unlisted()
        self.failed_look_ups = {run_id: error for run_id, error in self.failed_look_ups.items() if run_id in unlisted}
        not_failed = [run_id for run_id in unlisted if run_id not in self.failed_look_ups]
        for run_id in [*not_failed, *self.failed_look_ups]:
            self.failed_look_ups.pop(run_id, None)
            try:
                page = glue.task_run(self.target.id, run_id)
            except Stopped:
                raise
            except GlueError as failure:
                if failure.reason != "EntityNotFoundException":
                    self.failed_look_ups[run_id] = failure.without_cause()
                    return
                reading.record_missing(run_id)
            else:
                reading.add_page(page)
                sighting.add(page)
            keep_going()

    @property
    def succeeded(self) -> float | None:
        """When a poll last succeeded, in this process or in an earlier one (UTC seconds); None if none did."""
        return self.poll.succeeded if self.poll else self.restored_success

    @property
    def next_poll(self) -> float | None:
        """When the next poll is due (monotonic seconds); None while a poll is running or waits for a thread."""
        return None if self.job is None or self.job.pending else self.job.due

    def snapshot(
        self, polling: Polling, now: float, *, created: bool, failure_reasons: FailureReasons
    ) -> TransformSnapshot:
        """Return the snapshot for the metrics at ``now`` (UTC seconds).

        The gauges are left out if the last successful poll is older than ``stale_after``. ``created`` adds the _created
        lines of OpenMetrics.
        """
        fresh = self.succeeded is not None and now - self.succeeded <= polling.stale_after
        return TransformSnapshot(
            target=self.target,
            account_id=self.account_id,
            poll=self.poll,
            gauge_values=self.ledger.gauge_values(now - polling.lookback) if fresh else None,
            latest=self.ledger.latest,
            watched_since=self.ledger.watched_since if self.ledger.watched_since != math.inf else None,
            has_baseline=self.ledger.has_baseline,
            initial_values=self.initial_values,
            bounds=self.ledger.bounds,
            created=created,
            details=self.details,
            failure_reasons=failure_reasons,
            restored_success=self.restored_success,
            not_ready_since=self.not_ready_since,
        )
