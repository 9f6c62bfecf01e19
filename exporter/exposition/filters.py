"""Which series are left out of the exposition, as the configuration says.

A series that is left out is counted, held at its base value and stored like every other. Only its lines are missing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from exporter.config.schema import Metrics
from exporter.exposition.metrics import Metric
from exporter.exposition.snapshot import TransformSnapshot
from exporter.exposition.text_format import Sample


@dataclass(frozen=True, slots=True)
class SeriesFilter:
    """Names of metrics, and values of the label ``status``, that are left out."""

    metrics: frozenset[str] = frozenset()
    statuses: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: Metrics) -> "SeriesFilter":
        """Return the filter for ``metrics.drop`` and ``metrics.drop_statuses``."""
        return cls(frozenset(config.drop), frozenset(config.drop_statuses))

    def dropped_statuses(self, metric: Metric) -> frozenset[str] | None:
        """Return the values of ``status`` that this metric is shown without; None if the whole metric is left out."""
        if metric.name in self.metrics:
            return None
        return self.statuses if "status" in metric.labels else frozenset()

    def samples(self, metric: Metric, snapshot: TransformSnapshot) -> Iterable[Sample]:
        """Return the samples of a transform that this metric is shown with."""
        dropped = self.dropped_statuses(metric)
        if dropped is None:
            return ()
        samples = metric.samples(snapshot)
        if not dropped:
            return samples
        return (sample for sample in samples if dict(sample.labels).get("status") not in dropped)

    def shows_more_than(self, before: "SeriesFilter") -> bool:
        """Whether any series passes this filter that did not pass the one ``before``."""
        return bool(before.metrics - self.metrics or before.statuses - self.statuses)
