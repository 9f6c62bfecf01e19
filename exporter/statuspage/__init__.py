"""Pages for people: how every transform stands, the runs of each, and how the exporter itself does."""

from typing import NamedTuple


class Document(NamedTuple):
    """A page, and what the browser may do with it."""

    body: bytes
    policy: str
    """Its Content-Security-Policy."""
