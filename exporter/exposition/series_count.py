"""How many series a scrape has: what is left out, how many each metric brings, and a warning if all are too many.

What is left out is only not shown: it is counted, held back at its birth and stored like everything else.
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from exporter.config.schema import Metrics
from exporter.exposition.metrics import Metric
from exporter.exposition.snapshot import TransformSnapshot
from exporter.exposition.text_format import Line
from exporter.logs import get_logger
from exporter.telemetry import Telemetry

OWN = "exporter"
"""Stands for all metrics of the exporter and its process where series are told by their metric."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Selection:
    """What is left out of the exposition."""

    metrics: frozenset[str] = frozenset()
    statuses: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: Metrics) -> "Selection":
        """Return the selection that the configuration makes."""
        return cls(frozenset(config.drop), frozenset(config.drop_statuses))

    def left_out(self, metric: Metric) -> frozenset[str] | None:
        """Return the values of ``status`` that this metric is shown without, None if it is not shown at all."""
        if metric.name in self.metrics:
            return None
        return self.statuses if "status" in metric.labels else frozenset()

    def lines(self, metric: Metric, snapshot: TransformSnapshot) -> Iterable[Line]:
        """Return what is shown of a transform under this metric."""
        left_out = self.left_out(metric)
        if left_out is None:
            return ()
        lines = metric.lines(snapshot)
        if not left_out:
            return lines
        return (line for line in lines if dict(line.labels).get("status") not in left_out)

    def shows_more_than(self, before: "Selection") -> bool:
        """Whether anything is shown that was left out before."""
        return bool(before.metrics - self.metrics or before.statuses - self.statuses)


class Cardinality:
    """The number of series in a scrape, by metric."""

    def __init__(self, telemetry: Telemetry) -> None:
        """Take where to tell it."""
        self._telemetry = telemetry
        self._series: dict[str, int] = {}
        self._own = 0
        self._limit: int | None = None
        self._exceeded = False
        self._judging = threading.Lock()

    def limit(self, most: int | None) -> None:
        """Warn from now on when there are more series than this; None: never."""
        self._limit = most
        self._telemetry.series_limit.set(float("inf") if most is None else most)
        self._judge()

    def note(self, series: Mapping[str, int]) -> None:
        """Take how many series about Glue the next scrape has, by metric."""
        gauge = self._telemetry.series
        for gone in self._series.keys() - series.keys():
            gauge.remove(gone)
        for metric, count in series.items():
            if self._series.get(metric) != count:
                gauge.labels(metric).set(count)
        self._series = dict(series)
        self._judge()

    def note_own(self, text: bytes) -> None:
        """Take the metrics of the exporter itself, as they are scraped."""
        self._own = sum(not line.startswith(b"#") for line in text.splitlines())
        self._telemetry.series.labels(OWN).set(self._own)
        self._judge()

    def _judge(self) -> None:
        with self._judging:
            self._tell_a_change()

    def _tell_a_change(self) -> None:
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
            log.info("a scrape has no more than metrics.max_series again", series=total)
        self._exceeded = exceeded
