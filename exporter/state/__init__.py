"""Ledgers and served values go into one SQLite file and come back after a restart.

`open_state` opens the file as a `StateFile`; `exporter.model.errors.StateError` is raised for each failure.
"""

from exporter.state.store import StateFile, open_state

__all__ = ["StateFile", "open_state"]
