"""When each transform is polled, the poll of one transform, and discovery, which finds the transforms.

In go a `Config`, a `GlueClients` to ask AWS with, and the state file. Out come snapshots of transforms, which `Poller`
gives to the exposition after each poll, and the log lines of polls. `Discovery` finds more transforms to poll.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.polling.discovery import Discovery
    from exporter.polling.poller import Poller

__all__ = ["Discovery", "Poller"]


def __getattr__(name: str) -> object:
    """Import on first use (PEP 562): some commands need a name of one module, and the poller loads botocore."""
    if name == "Discovery":
        from exporter.polling.discovery import Discovery  # noqa: PLC0415

        return Discovery
    if name == "Poller":
        from exporter.polling.poller import Poller  # noqa: PLC0415

        return Poller
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
