"""Stores the rendered samples of all transforms in groups, so that a change compresses the chunks of one group only.

A format requires all samples of a metric together, so the lines of one transform are spread over the whole body. A
chunk has the lines of one metric and one group. Transforms with neighbouring offsets in the polling interval are in the
same group. They are polled at about the same time, so few groups change between two publications.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

from exporter.exposition.compression import Chunk
from exporter.exposition.formats import TextFormat

GROUP_SIZE = 32
"""Most transforms in a group. In larger groups each change costs more; smaller groups compress less well."""


class RenderedMetric(NamedTuple):
    """The lines of one transform and metric in both formats. If the lines agree, both fields are the same object."""

    text: bytes
    openmetrics: bytes


@dataclass(slots=True, eq=False)
class ChunkGroup:
    """Up to `GROUP_SIZE` transforms, by id, with their rendered metrics by name."""

    first: float = 0.0
    """Lowest offset of the group. All its offsets are below the ``first`` of the next group."""
    offsets: dict[str, float] = field(default_factory=dict)
    rendered: dict[str, dict[str, RenderedMetric]] = field(default_factory=dict)
    _chunks: dict[str, dict[TextFormat, Chunk]] = field(default_factory=dict)

    def put(self, transform_id: str, offset: float, rendered: Mapping[str, RenderedMetric]) -> set[str]:
        """Replace these metrics of a transform; return the names of the metrics that have changed."""
        self.offsets[transform_id] = offset
        mine = self.rendered.setdefault(transform_id, {})
        changed = {metric for metric, lines in rendered.items() if mine.get(metric) != lines}
        mine.update(rendered)
        self._drop_chunks(changed)
        return changed

    def remove(self, transform_id: str) -> None:
        """Remove a transform of this group."""
        del self.offsets[transform_id]
        self._drop_chunks(self.rendered.pop(transform_id))

    def _drop_chunks(self, metrics: Iterable[str]) -> None:
        for metric in metrics:
            self._chunks.pop(metric, None)

    def chunk(self, metric: str, text_format: TextFormat) -> Chunk:
        """Return the lines of one metric for all transforms of the group. The chunk is kept until a line changes."""
        chunks = self._chunks.setdefault(metric, {})
        if text_format not in chunks:
            chunks[text_format] = self._make_chunk(metric, text_format, chunks)
        return chunks[text_format]

    def _make_chunk(self, metric: str, text_format: TextFormat, others: Mapping[TextFormat, Chunk]) -> Chunk:
        mine = [rendered[metric] for rendered in self.rendered.values() if metric in rendered]
        other = TextFormat.TEXT if text_format is TextFormat.OPENMETRICS else TextFormat.OPENMETRICS
        known = others.get(other)
        if known is not None and all(lines.text is lines.openmetrics for lines in mine):
            return known
        if text_format is TextFormat.OPENMETRICS:
            return Chunk.of(b"".join(lines.openmetrics for lines in mine))
        return Chunk.of(b"".join(lines.text for lines in mine))


class ChunkIndex:
    """All groups, in the order of the offsets of their transforms."""

    def __init__(self) -> None:
        self.groups = [ChunkGroup()]
        self._group_of: dict[str, ChunkGroup] = {}

    def put(self, transform_id: str, offset: float, rendered: Mapping[str, RenderedMetric]) -> set[str]:
        """Replace these metrics of a transform; return the names of the metrics that have changed.

        ``offset`` is the transform's offset in the polling interval, in [0, 1). It must not change.
        """
        group = self._group_of.get(transform_id)
        if group is None:
            group = self._group_of[transform_id] = self._group_at(offset)
        return group.put(transform_id, offset, rendered)

    def remove(self, transform_id: str) -> None:
        """Remove a transform; it need not be known."""
        group = self._group_of.pop(transform_id, None)
        if group is None:
            return
        group.remove(transform_id)
        if not group.offsets and len(self.groups) > 1:
            self.groups.remove(group)
            self.groups[0].first = 0.0

    def _group_at(self, offset: float) -> ChunkGroup:
        """Return the group for one more transform with this offset."""
        position = bisect_right(self.groups, offset, key=lambda group: group.first) - 1
        group = self.groups[position]
        if len(group.offsets) < GROUP_SIZE:
            return group
        later = self._split(group, offset)
        self.groups.insert(position + 1, later)
        return later if offset >= later.first else group

    def _split(self, group: ChunkGroup, offset: float) -> ChunkGroup:
        """Move the later half of a full group to a new group, and return the new group.

        If ``offset`` is higher than all others, the new group is empty. Otherwise transforms that are added in the
        order of their offsets would leave each group half full.
        """
        in_order = sorted(group.offsets.items(), key=itemgetter(1))
        moving = in_order[GROUP_SIZE // 2 :] if offset < in_order[-1][1] else []
        later = ChunkGroup(first=moving[0][1] if moving else offset)
        for transform_id, its_offset in moving:
            later.put(transform_id, its_offset, group.rendered[transform_id])
            group.remove(transform_id)
            self._group_of[transform_id] = later
        return later
