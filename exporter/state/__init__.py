"""Stores ledgers and served values in a SQLite file, so that counters continue after a restart.

`open_state` opens the file and returns a `StateFile`. Every failure raises `exporter.model.errors.StateError`.
"""

from exporter.state.store import StateFile, open_state

__all__ = ["StateFile", "open_state"]
