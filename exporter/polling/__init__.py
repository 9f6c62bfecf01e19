"""Polls each transform once per interval, and discovers transforms to poll.

`Poller` takes a `Config`, a `GlueClients` for calls to AWS, and the state file. After each poll it gives a snapshot of
the transform to the exposition and logs changes. `Discovery` finds the transforms that the configuration does not name.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.polling.discovery import Discovery
    from exporter.polling.poller import Poller

__all__ = ["Discovery", "Poller"]


def __getattr__(name: str) -> object:
    """Import on first use (PEP 562): the poller loads botocore, which some commands do not need."""
    if name == "Discovery":
        from exporter.polling.discovery import Discovery  # noqa: PLC0415

        return Discovery
    if name == "Poller":
        from exporter.polling.poller import Poller  # noqa: PLC0415

        return Poller
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
