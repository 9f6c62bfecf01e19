"""Rendered transforms, kept so that a change of one costs little: blocks of transforms, a chunk per metric and block.

A format wants all samples of a metric together, so one transform's lines are spread over the whole body. They are kept
per metric and per block of some transforms; a change renders its own lines again, and joins and compresses only the
chunks of its block. Each chunk is deflated by itself and ends on a byte, so chunks may be put one after the other into
a gzip stream (RFC 1951, RFC 1952).
"""

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from isal import isal_zlib

from exporter.exposition.formats import Encoding, TextFormat

BLOCK = 32
"""Transforms in a block: more make each change dearer, fewer make the compression worse."""

PIECE = 1 << 18
"""Bytes that are sent at a time: small chunks are joined up to this size when a body is put together."""

_LEVEL = 1
_RAW_DEFLATE = -15
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


class RenderedMetric(NamedTuple):
    """One transform's lines of one metric: the same object twice where the formats agree."""

    text: bytes
    openmetrics: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some part of a body, as it is and, where asked for, deflated."""

    raw: bytes
    deflated: bytes
    crc: int
    lines: int

    @classmethod
    def of(cls, raw: bytes, *, last: bool = False) -> "Chunk":
        """Compress; the ``last`` chunk ends the stream."""
        compressor = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _RAW_DEFLATE)
        end = isal_zlib.Z_FINISH if last else isal_zlib.Z_FULL_FLUSH
        return cls(raw, compressor.compress(raw) + compressor.flush(end), isal_zlib.crc32(raw), raw.count(b"\n"))


@dataclass(frozen=True, slots=True)
class Body:
    """All that is served about Glue in one format and encoding; the exporter's own metrics follow at each scrape."""

    encoding: Encoding
    pieces: tuple[bytes, ...]
    size: int
    """Bytes before compression."""
    crc: int
    lines: int

    def followed_by(self, tail: bytes) -> list[bytes]:
        """Return the complete body, in pieces, with ``tail`` at its end."""
        if self.encoding is Encoding.IDENTITY:
            return [*self.pieces, tail]
        last = Chunk.of(tail, last=True)
        crc = isal_zlib.crc32_combine(self.crc, last.crc, len(tail))
        trailer = struct.pack("<II", crc, (self.size + len(tail)) & 0xFFFFFFFF)
        return [_GZIP_HEADER, *self.pieces, last.deflated + trailer]


def body_of(chunks: Iterable[Chunk], encoding: Encoding) -> Body:
    """Put chunks together: a section, which is all of one metric, or a whole body."""
    crc, size, lines, parts = 0, 0, 0, []
    for chunk in chunks:
        crc = isal_zlib.crc32_combine(crc, chunk.crc, len(chunk.raw))
        size += len(chunk.raw)
        lines += chunk.lines
        parts.append(chunk.deflated if encoding is Encoding.GZIP else chunk.raw)
    return Body(encoding, tuple(_pieces(parts)), size, crc, lines)


def joined(sections: Iterable[Body], encoding: Encoding) -> Body:
    """Put sections together."""
    crc, size, lines = 0, 0, 0
    parts: list[bytes] = []
    for section in sections:
        crc = isal_zlib.crc32_combine(crc, section.crc, section.size)
        size += section.size
        lines += section.lines
        parts.extend(section.pieces)
    return Body(encoding, tuple(_pieces(parts)), size, crc, lines)


def _pieces(parts: Sequence[bytes]) -> Iterator[bytes]:
    batch: list[bytes] = []
    size = 0
    for part in parts:
        if len(part) >= PIECE and batch:
            # Large parts are passed on as they are: to copy a whole exposition takes long.
            yield b"".join(batch)
            batch, size = [], 0
        batch.append(part)
        size += len(part)
        if size >= PIECE:
            yield b"".join(batch)
            batch, size = [], 0
    if batch:
        yield b"".join(batch)


@dataclass(slots=True, eq=False)
class ChunkGroup:
    """Up to `BLOCK` transforms, by id, each with its fragments by metric."""

    first: float = 0.0
    """The place from which on transforms belong here, up to that of the next block."""
    fragments: dict[str, dict[str, RenderedMetric]] = field(default_factory=dict)
    places: dict[str, float] = field(default_factory=dict)
    _chunks: dict[str, dict[TextFormat, Chunk]] = field(default_factory=dict)

    def put(self, transform_id: str, place: float, fragments: Mapping[str, RenderedMetric]) -> set[str]:
        """Take fragments of a transform; return the metrics that they change."""
        self.places[transform_id] = place
        mine = self.fragments.setdefault(transform_id, {})
        changed = {metric for metric, fragment in fragments.items() if mine.get(metric) != fragment}
        mine.update(fragments)
        self._expire(changed)
        return changed

    def remove(self, transform_id: str) -> None:
        """Forget a transform."""
        del self.places[transform_id]
        self._expire(self.fragments.pop(transform_id))

    def split(self) -> "ChunkGroup":
        """Give up the half of the transforms with the later places, to a block that is returned."""
        in_order = sorted(self.places, key=self.places.__getitem__)
        later = in_order[len(in_order) // 2 :]
        block = ChunkGroup(first=self.places[later[0]])
        for transform_id in later:
            block.put(transform_id, self.places[transform_id], self.fragments[transform_id])
            self.remove(transform_id)
        return block

    def _expire(self, metrics: Iterable[str]) -> None:
        for metric in metrics:
            self._chunks.pop(metric, None)

    def chunk(self, metric: str, text_format: TextFormat) -> Chunk:
        """Return the lines of one metric, of all transforms of the block."""
        chunks = self._chunks.setdefault(metric, {})
        if text_format not in chunks:
            chunks[text_format] = self._join(metric, text_format, chunks)
        return chunks[text_format]

    def _join(self, metric: str, text_format: TextFormat, others: Mapping[TextFormat, Chunk]) -> Chunk:
        mine = [fragments[metric] for fragments in self.fragments.values() if metric in fragments]
        other = TextFormat.TEXT if text_format is TextFormat.OPENMETRICS else TextFormat.OPENMETRICS
        known = others.get(other)
        if known is not None and all(fragment.text is fragment.openmetrics for fragment in mine):
            return known
        if text_format is TextFormat.OPENMETRICS:
            return Chunk.of(b"".join(fragment.openmetrics for fragment in mine))
        return Chunk.of(b"".join(fragment.text for fragment in mine))


class ChunkIndex:
    """All blocks, in the order of the transforms' places in the polling interval.

    Those that are polled at about the same time lie together: a publication finds few blocks changed, and most as the
    last one has left them.
    """

    def __init__(self) -> None:
        self.blocks: list[ChunkGroup] = []
        self._block_of: dict[str, ChunkGroup] = {}

    def put(self, transform_id: str, place: float, fragments: Mapping[str, RenderedMetric]) -> set[str]:
        """Take fragments of a transform; return the metrics that they change."""
        block = self._block_of.get(transform_id)
        if block is None:
            block = self._block_of[transform_id] = self._block_at(place)
        return block.put(transform_id, place, fragments)

    def remove(self, transform_id: str) -> None:
        """Forget a transform; harmless if nothing of it has come."""
        block = self._block_of.pop(transform_id, None)
        if block is None:
            return
        block.remove(transform_id)
        if not block.places:
            self.blocks.remove(block)
            if self.blocks:
                self.blocks[0].first = 0.0

    def _block_at(self, place: float) -> ChunkGroup:
        """Return the block for one more transform with this place; one that is full is split."""
        position = bisect_right(self.blocks, place, key=lambda block: block.first)
        block = self.blocks[max(0, position - 1)] if self.blocks else self._inserted(0, ChunkGroup())
        if len(block.places) < BLOCK:
            return block
        if position == len(self.blocks) and place >= max(block.places.values()):
            # What comes in order fills block by block, where splitting would leave each half full.
            return self._inserted(position, ChunkGroup(first=place))
        later = self._inserted(max(1, position), block.split())
        self._block_of.update(dict.fromkeys(later.places, later))
        return later if place >= later.first else block

    def _inserted(self, position: int, block: ChunkGroup) -> ChunkGroup:
        self.blocks.insert(position, block)
        return block
