"""One watched transform: a poll of it, from pages to ledger, and what its polls have shown."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

from exporter.config.schema import Polling
from exporter.counting.changes import Changes
from exporter.counting.counters import Series, Total
from exporter.counting.ledger import Ledger, Reading
from exporter.counting.recent_runs import LIMIT, Recent, Sighting
from exporter.errors import GlueError
from exporter.exposition.initial_values import InitialValues
from exporter.exposition.snapshot import PollResult, TransformSnapshot, shown_name
from exporter.glue.client import GlueClient
from exporter.model.transform import Details, Target
from exporter.polling.timetable import Job

CLOCK_TOLERANCE = 1.0
"""Seconds by which the lookback may begin before what the ledger knows; clocks are adjusted by less all the time."""


def offset_of(transform_id: str) -> float:
    """Return a fraction in [0, 1) that is spread evenly over transform ids, to spread what all do in one interval.

    It stays the same over restarts, as the offset of a target in Prometheus does. Processes on different hosts poll a
    transform at different times all the same, since intervals are counted from the boot of the host.
    """
    digest = blake2b(transform_id.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest) / 2**32


@dataclass(slots=True)
class MonitoredTransform:
    """A transform with its ledger. Only one thread at a time polls it; `Poller` sees to that."""

    target: Target
    ledger: Ledger
    initial_values: InitialValues
    offset: float = field(init=False)
    """Where in an interval its turn comes, a fraction in [0, 1) that depends on its id only."""
    account_id: str = ""
    details: Details | None = None
    poll: PollResult | None = None
    whole: float | None = None
    """When the whole lookback was last read, or is taken to have been (UTC seconds)."""
    recent: Recent = field(default_factory=Recent)
    """The newest runs, for people."""
    job: Job | None = None
    shown: tuple[TransformSnapshot, dict[Series, Total]] | None = None
    """What was last given to the exposition."""
    watched: bool = False
    """False before the transform is scheduled, and once it has left the configuration; it may come back."""
    left: float = 0.0
    """When it left (UTC seconds)."""
    tracked: int = 0
    """How many of its runs the exporter's own metrics know of."""

    def __post_init__(self) -> None:
        self.offset = offset_of(self.target.id)

    @property
    def name(self) -> str:
        """The name by which the transform is shown."""
        return shown_name(self.target, self.details)

    @property
    def known_name(self) -> str:
        """The name that Glue knows, empty if it has not told."""
        return self.details.name if self.details else ""

    def read(
        self, glue: GlueClient, polling: Polling, now: float, keep_going: Callable[[], None], recent: int = LIMIT
    ) -> Changes:
        """Poll once at ``now`` (UTC seconds) and believe what came. Raises `GlueError`, the ledger then unchanged.

        ``keep_going`` is called between the calls, and may raise; so many ``recent`` runs are kept for people.
        """
        cutoff = now - polling.lookback
        whole = self._whole_is_due(now, cutoff, polling.resync_interval)
        since = cutoff if whole else self._since(cutoff, polling, recent)
        reading = Reading(self.ledger, now=now, since=since, cutoff=cutoff)
        sighting = Sighting(now, recent)
        for page in glue.task_run_pages(self.target.id, since=since, page_size=polling.page_size):
            reading.add_page(page)
            sighting.add(page)
            keep_going()
        for run_id in reading.unseen():
            self._look_up(glue, reading, sighting, run_id)
            keep_going()
        # What is for people first: if that goes wrong, the ledger is as it was, and so is what is stored of it.
        self.recent.commit(sighting, reading.gone.values())
        changes = self.ledger.commit(reading)
        if whole:
            # The first one comes early, by a share of its own, so that the transforms do not re-read all at once.
            early = self.offset / 2 * polling.resync_interval if self.whole is None else 0.0
            self.whole = now - early
        return changes

    def _since(self, cutoff: float, polling: Polling, recent: int) -> float:
        """Return the StartedAfter of a poll that does not read all; the first one after a restart reaches back further.

        So the newest runs are there again, for as many as come in the page that is asked for anyway.
        """
        since = self.ledger.since(cutoff, polling.overlap, polling.page_size)
        if self.recent.runs:
            return since
        return min(since, max(cutoff, self.ledger.start_of_newest(min(recent, polling.page_size // 2))))

    def _whole_is_due(self, now: float, cutoff: float, resync_interval: float) -> bool:
        """Whether to read all from ``cutoff`` on: when the ledger does not know it all yet, and in turn."""
        if cutoff < self.ledger.floor - CLOCK_TOLERANCE:
            return True
        if self.whole is None:
            self.whole = now - self.offset * resync_interval
        return not 0 <= now - self.whole < resync_interval

    def idle(self, polling: Polling, now: float) -> bool:
        """Whether the transform may be polled less often: no run is open, none started or ended lately.

        Lately is the idle interval itself: what has just run may run again.
        """
        if polling.idle_interval is None or self.ledger.open or self.ledger.gone:
            return False
        times = (time for facts in self.ledger.latest.values() for time in (facts.start, facts.finish))
        return now - max((time for time in times if time is not None), default=-math.inf) > polling.idle_interval

    def _look_up(self, glue: GlueClient, reading: Reading, sighting: Sighting, run_id: str) -> None:
        try:
            page = glue.task_run(self.target.id, run_id)
        except GlueError as error:
            if error.reason != "EntityNotFoundException":
                raise
            reading.lost(run_id)
        else:
            reading.add_page(page)
            sighting.add(page)

    @property
    def next_poll(self) -> float | None:
        """When it is polled next (monotonic seconds), None while it is being polled."""
        return None if self.job is None or self.job.pending else self.job.due

    def snapshot(self, polling: Polling, now: float, *, created: bool) -> TransformSnapshot:
        """Return what is to be shown at ``now`` (UTC seconds)."""
        succeeded = self.poll.succeeded if self.poll else None
        fresh = succeeded is not None and now - succeeded <= polling.stale_after
        return TransformSnapshot(
            target=self.target,
            account_id=self.account_id,
            poll=self.poll,
            view=self.ledger.view(now - polling.lookback) if fresh else None,
            latest=self.ledger.latest,
            counting=self.ledger.counting,
            initial_values=self.initial_values,
            bounds=self.ledger.bounds,
            created=created,
            details=self.details,
        )
