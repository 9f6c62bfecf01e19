"""The bytes of `/metrics`: a poll hands in a `TransformSnapshot`, a scrape gets a `Scrape` that was rendered before.

`Exposition` does both. It renders at the poll, so that a scrape only sends.
"""

from exporter.exposition.publisher import Exposition, Scrape
from exporter.exposition.snapshot import TransformSnapshot

__all__ = ["Exposition", "Scrape", "TransformSnapshot"]
