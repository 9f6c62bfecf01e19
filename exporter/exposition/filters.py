"""Leaves series out of the exposition, as the configuration demands.

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
    """The names of metrics and the values of the label ``status`` that are left out."""

    metrics: frozenset[str] = frozenset()
    statuses: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: Metrics) -> "SeriesFilter":
        """Return the filter for ``metrics.drop`` and ``metrics.drop_statuses``."""
        return cls(frozenset(config.drop), frozenset(config.drop_statuses))

    def dropped_statuses(self, metric: Metric) -> frozenset[str] | None:
        """Return the values of ``status`` that are left out of this metric; None if the whole metric is left out."""
        if metric.name in self.metrics:
            return None
        return self.statuses if "status" in metric.labels else frozenset()

    def samples(self, metric: Metric, snapshot: TransformSnapshot) -> Iterable[Sample]:
        """Return the samples of this metric for a transform, without the samples that are left out."""
        dropped = self.dropped_statuses(metric)
        if dropped is None:
            return ()
        samples = metric.samples(snapshot)
        if not dropped:
            return samples
        return (sample for sample in samples if dict(sample.labels).get("status") not in dropped)

    def shows_more_than(self, before: "SeriesFilter") -> bool:
        """Whether this filter shows any series that the filter ``before`` did not show."""
        return bool(before.metrics - self.metrics or before.statuses - self.statuses)
