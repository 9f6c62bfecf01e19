"""Turns snapshots into bodies. Only the samples of changed parts of a snapshot are rendered again."""

from collections.abc import Iterable, Sequence

from exporter.exposition.chunk_index import ChunkIndex, RenderedMetric
from exporter.exposition.compression import Body, Chunk, join_bodies, join_chunks
from exporter.exposition.filters import SeriesFilter
from exporter.exposition.formats import Encoding, TextFormat, Variant
from exporter.exposition.metrics import METRICS, Metric
from exporter.exposition.snapshot import TransformSnapshot
from exporter.exposition.text_format import HEADER_LINES, render_header, render_samples


class RenderedTransforms:
    """The rendered samples of all transforms. Not thread-safe: the publisher holds its lock around every call."""

    def __init__(self) -> None:
        self.series_filter = SeriesFilter()
        self.changed = False
        """Whether anything was rendered or removed since `bodies` was last called."""
        self._index = ChunkIndex()
        self._families: dict[str, dict[Variant, Body]] = {}
        """All samples of each metric. A poll without a new run changes four metrics; all other bodies are reused."""
        self._headers = {
            (metric.name, text_format): Chunk.of(render_header(metric.family, metric.kind, metric.help, text_format))
            for metric in METRICS
            for text_format in TextFormat
        }

    def render(self, snapshot: TransformSnapshot, offset: float, metrics: Iterable[Metric]) -> None:
        """Render these metrics of a transform; ``offset`` is its offset in the polling interval, in [0, 1)."""
        identity, samples = snapshot.identity, self.series_filter.samples
        rendered = {
            metric.name: RenderedMetric(*render_samples(metric.family, samples(metric, snapshot), identity))
            for metric in metrics
        }
        for metric in self._index.put(snapshot.target.id, offset, rendered):
            self._families.pop(metric, None)
        self.changed = True

    def remove(self, transform_id: str) -> None:
        """Remove all samples of a transform."""
        self._index.remove(transform_id)
        self._families.clear()
        self.changed = True

    def bodies(self, variants: Sequence[Variant]) -> tuple[dict[Variant, Body], dict[str, int]]:
        """Return a body for each of the variants, and the number of samples of each metric.

        Without variants, all numbers are 0.
        """
        self.changed = False
        families = {
            metric.name: self._family(metric.name, variants)
            for metric in METRICS
            if self.series_filter.dropped_statuses(metric) is not None
        }
        bodies = {
            variant: join_bodies((each[variant] for each in families.values()), variant[1]) for variant in variants
        }
        return bodies, {name: _samples_in(family.values()) for name, family in families.items()}

    def _family(self, metric: str, variants: Sequence[Variant]) -> dict[Variant, Body]:
        """Return all samples of one metric in each of the variants; other variants are dropped."""
        known = self._families.get(metric, {})
        family = {variant: known.get(variant) or self._join(metric, *variant) for variant in variants}
        self._families[metric] = family
        return family

    def _join(self, metric: str, text_format: TextFormat, encoding: Encoding) -> Body:
        chunks = (group.chunk(metric, text_format) for group in self._index.groups)
        return join_chunks((self._headers[metric, text_format], *chunks), encoding)


def _samples_in(family: Iterable[Body]) -> int:
    """Return the number of samples of a metric in its largest body, because only OpenMetrics has `_created` lines."""
    return max((body.lines for body in family), default=HEADER_LINES) - HEADER_LINES
