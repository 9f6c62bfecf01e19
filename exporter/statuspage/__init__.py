"""The status pages: from published snapshots and the exporter's own metrics to HTML.

In go one `TransformReport` per transform, the health of the exporter (`read_health`) and the time (`PageTime`). Out
come the bytes of a page (`HtmlPage`). Nothing here calls AWS or waits for a poll.
"""

from typing import TYPE_CHECKING

from exporter.statuspage.exporter_health import read_health
from exporter.statuspage.summary import TransformReport
from exporter.statuspage.times import PageTime

if TYPE_CHECKING:
    from exporter.statuspage.pages import HtmlPage, StatusPages

__all__ = ["HtmlPage", "PageTime", "StatusPages", "TransformReport", "read_health"]


def __getattr__(name: str) -> object:
    """Import the pages on first use (PEP 562).

    jinja2 takes 50 ms to load, and an exporter that is only scraped never renders a page.
    """
    if name in {"HtmlPage", "StatusPages"}:
        from exporter.statuspage import pages  # noqa: PLC0415

        return getattr(pages, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
