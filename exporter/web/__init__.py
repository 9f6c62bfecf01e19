"""Answers HTTP requests with the metrics, pages, health and reload of a backend.

`WebServer` takes a `Backend` (see `exporter.web.routes`), the listen addresses and the web configuration. It accepts
connections, offers TLS, limits its clients, checks passwords and answers requests. The backend makes the contents of
the answers.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.web.server import WebServer

__all__ = ["WebServer"]


def __getattr__(name: str) -> object:
    """Import `WebServer` on first use (PEP 562).

    Code that needs only `exporter.web.config` then does not load uvicorn.
    """
    if name == "WebServer":
        from exporter.web.server import WebServer  # noqa: PLC0415

        return WebServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
