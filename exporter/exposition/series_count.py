"""Counts the series of a scrape for `glue_ml_exporter_series`, and logs a warning above `metrics.max_series`."""

import threading
from collections.abc import Mapping

from exporter.logs import get_logger
from exporter.telemetry import Telemetry

OWN = "exporter"
"""The value of the label `metric` for all metrics about the exporter itself and its process."""

log = get_logger(__name__)


class SeriesCount:
    """The number of series in a scrape, by metric."""

    def __init__(self, telemetry: Telemetry) -> None:
        """Take the metrics that show the number."""
        self._telemetry = telemetry
        self._series: dict[str, int] = {}
        self._own = 0
        self._limit: int | None = None
        self._exceeded = False
        self._lock = threading.Lock()
        """Publications and scrapes may check the limit at the same time, but the warning must be logged only once."""

    def set_limit(self, most: int | None) -> None:
        """Log a warning when there are more series than ``most``; None means no limit."""
        self._limit = most
        self._telemetry.series_limit.set(float("inf") if most is None else most)
        self._check_limit()

    def set_series(self, series: Mapping[str, int]) -> None:
        """Take the number of series about Glue in the next scrape, by metric."""
        gauge = self._telemetry.series
        for gone in self._series.keys() - series.keys():
            gauge.remove(gone)
        for metric, count in series.items():
            if self._series.get(metric) != count:
                gauge.labels(metric).set(count)
        self._series = dict(series)
        self._check_limit()

    def count_own(self, text: bytes) -> None:
        """Count the series of the exporter itself; ``text`` has all their lines in an exposition format."""
        self._own = sum(not line.startswith(b"#") for line in text.splitlines())
        self._telemetry.series.labels(OWN).set(self._own)
        self._check_limit()

    def _check_limit(self) -> None:
        """Log when the number of series crosses the limit, in either direction."""
        with self._lock:
            total = sum(self._series.values()) + self._own
            exceeded = self._limit is not None and total > self._limit
            if exceeded and not self._exceeded:
                largest = max(self._series, key=self._series.__getitem__, default=OWN)
                log.warning(
                    "a scrape has more series than metrics.max_series; all are served",
                    series=total,
                    max_series=self._limit,
                    largest=largest,
                    its_series=self._series.get(largest, self._own),
                )
            elif self._exceeded and not exceeded:
                log.info("a scrape has no more series than metrics.max_series again", series=total)
            self._exceeded = exceeded
