"""Counts and logs the runs that are left out of a page because they do not have the documented shape."""

import threading

from cachetools import LRUCache

from exporter.logs import get_logger
from exporter.model.task_run import RunPage
from exporter.model.transform import Lane
from exporter.telemetry import Telemetry

MAX_REMEMBERED = 10_000
"""Number of skipped runs that are remembered as logged. A run beyond this may be logged again."""

MAX_LOGGED = 10
"""Maximum number of run ids in a log line."""

log = get_logger(__name__)


class SkippedRuns:
    """The skipped runs of one account and region. Each run is counted whenever it is left out, and logged once."""

    def __init__(self, lane: Lane, telemetry: Telemetry) -> None:
        """Take the account and region, and the metrics in which to count."""
        self._lane = lane
        self._counter = telemetry.skipped_runs.labels(*lane)
        self._lock = threading.Lock()
        self._logged: LRUCache[tuple[str, str], bool] = LRUCache(MAX_REMEMBERED)

    def record(self, transform_id: str, page: RunPage) -> None:
        """Count the skipped runs of a page, and log those that were not logged yet, in one line."""
        if not page.skipped:
            return
        self._counter.inc(len(page.skipped))
        with self._lock:
            new = [run for run in page.skipped if (transform_id, run.run_id) not in self._logged]
            self._logged.update({(transform_id, run.run_id): True for run in new})
        if new:
            log.warning(
                "runs are left out, because they do not have the documented shape",
                transform_id=transform_id,
                account=self._lane.account,
                region=self._lane.region,
                runs=len(new),
                run_ids=[run.run_id for run in new[:MAX_LOGGED]],
                error=new[0].error,
            )
