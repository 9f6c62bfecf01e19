"""The state that survives a restart: ledgers and served values in one SQLite file.

`open_state` opens the file and returns a `StateFile`. Each failure raises `exporter.model.errors.StateError`.
"""

from exporter.state.store import StateFile, open_state

__all__ = ["StateFile", "open_state"]
