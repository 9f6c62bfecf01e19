"""Compresses each part of a body once, and joins compressed parts to bodies.

Each chunk is deflated by itself and ends on a byte boundary. So chunks in any order form the deflate stream (RFC 1951)
of a gzip body (RFC 1952). The checksum of a body is combined from the checksums of its chunks.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from isal import isal_zlib

from exporter.exposition.formats import Encoding

PIECE = 1 << 18
"""Bytes that are sent at a time. Smaller parts are joined up to this size when a body is built."""

_LEVEL = 1
_RAW_DEFLATE = -15
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a body, raw and deflated."""

    raw: bytes
    deflated: bytes
    crc: int
    lines: int

    @classmethod
    def of(cls, raw: bytes, *, last: bool = False) -> "Chunk":
        """Compress ``raw``; the ``last`` chunk ends the stream."""
        compressor = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _RAW_DEFLATE)
        end = isal_zlib.Z_FINISH if last else isal_zlib.Z_FULL_FLUSH
        return cls(raw, compressor.compress(raw) + compressor.flush(end), isal_zlib.crc32(raw), raw.count(b"\n"))


@dataclass(frozen=True, slots=True)
class Body:
    """Joined chunks in one encoding: all samples of one metric, or of all metrics about Glue."""

    encoding: Encoding
    pieces: tuple[bytes, ...]
    size: int
    """Bytes before compression."""
    crc: int
    lines: int

    def followed_by(self, tail: bytes) -> list[bytes]:
        """Return the complete body with ``tail`` at its end, in pieces as they are sent."""
        if self.encoding is Encoding.IDENTITY:
            return [*self.pieces, tail]
        last = Chunk.of(tail, last=True)
        crc = isal_zlib.crc32_combine(self.crc, last.crc, len(tail))
        trailer = struct.pack("<II", crc, (self.size + len(tail)) & 0xFFFFFFFF)
        return [_GZIP_HEADER, *self.pieces, last.deflated + trailer]


def join_chunks(chunks: Iterable[Chunk], encoding: Encoding) -> Body:
    """Join chunks to a body in this encoding."""
    crc, size, lines, parts = 0, 0, 0, []
    for chunk in chunks:
        crc = isal_zlib.crc32_combine(crc, chunk.crc, len(chunk.raw))
        size += len(chunk.raw)
        lines += chunk.lines
        parts.append(chunk.deflated if encoding is Encoding.GZIP else chunk.raw)
    return Body(encoding, tuple(_pieces(parts)), size, crc, lines)


def join_bodies(bodies: Iterable[Body], encoding: Encoding) -> Body:
    """Join bodies, all in this encoding, to one body."""
    crc, size, lines = 0, 0, 0
    parts: list[bytes] = []
    for body in bodies:
        crc = isal_zlib.crc32_combine(crc, body.crc, body.size)
        size += body.size
        lines += body.lines
        parts.extend(body.pieces)
    return Body(encoding, tuple(_pieces(parts)), size, crc, lines)


def _pieces(parts: Sequence[bytes]) -> Iterator[bytes]:
    batch: list[bytes] = []
    size = 0
    for part in parts:
        if len(part) >= PIECE and batch:
            # A large part is passed on as it is, because copying a whole exposition takes long.
            yield b"".join(batch)
            batch, size = [], 0
        batch.append(part)
        size += len(part)
        if size >= PIECE:
            yield b"".join(batch)
            batch, size = [], 0
    if batch:
        yield b"".join(batch)
