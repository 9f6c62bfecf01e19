"""Makes all calls to AWS: takes a configuration, returns task runs, transforms and tags, raises `GlueError`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exporter.glue.client import GlueClient, GlueClients

__all__ = ["GlueClient", "GlueClients"]


def __getattr__(name: str) -> Any:
    """Import `client` at the first use of a public name (PEP 562), because botocore takes long to import."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from exporter.glue import client  # noqa: PLC0415 - botocore takes long to import

    return getattr(client, name)
