"""Makes the HTML of the status pages from published snapshots and the exporter's own metrics.

The input is a `TransformReport` for each transform, the health of the exporter (`read_health`) and the time
(`PageTime`). The output is the bytes of a page (`HtmlPage`). This package does not call AWS and does not wait for
polls.
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
