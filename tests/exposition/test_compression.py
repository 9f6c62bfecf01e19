"""The chunks of a scrape are joined to larger pieces before they are sent."""

from exporter.exposition.compression import Body, Chunk, join_chunks
from exporter.exposition.formats import Encoding


def test_a_large_body_is_sent_in_pieces() -> None:
    """Small chunks are joined until they reach the size of a piece, and the last piece has the remaining chunks."""
    made = join_chunks([Chunk.of(b"x" * 100_000) for _ in range(10)], Encoding.IDENTITY)
    assert isinstance(made, Body)
    assert [len(piece) for piece in made.pieces] == [300_000, 300_000, 300_000, 100_000]
    assert made.size == 1_000_000
