"""The web server: from a backend (metrics, pages, health, reload) and listen addresses to HTTP responses.

In go a `Backend` (see `exporter.web.routes`), the addresses and the web configuration. `WebServer` accepts connections,
speaks TLS, limits what clients may ask, checks passwords, and answers the paths. It does not know what the bytes say.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.web.server import WebServer

__all__ = ["WebServer"]


def __getattr__(name: str) -> object:
    """Import the server on first use (PEP 562): `check-config` reads `exporter.web.config` and needs no uvicorn."""
    if name == "WebServer":
        from exporter.web.server import WebServer  # noqa: PLC0415

        return WebServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
