"""The record of served counter values: each value is recorded before a scrape sends its first byte.

With a state file the record is on disk (`docs/design/0004-state.md`). So a process that starts after a kill never
serves a lower value than Prometheus has seen. While the file cannot be written, counters stay at their recorded values.
"""

from collections.abc import Mapping

from exporter.counting.counters import Series, Total
from exporter.exposition.initial_values import InitialValues
from exporter.logs import get_logger
from exporter.model.errors import StateError
from exporter.state.store import StateFile
from exporter.telemetry import Telemetry

Unrecorded = Mapping[str, tuple[InitialValues, Mapping[Series, Total]]]
"""By transform id: the values that a publication shows and the record lacks, with their initial values."""

log = get_logger(__name__)


class ServedRecord:
    """The record of all transforms. Not thread-safe: the publisher holds its lock around every call."""

    def __init__(self, telemetry: Telemetry, state: StateFile | None) -> None:
        """Take the counter of failed writes, and the state file if there is one."""
        self._telemetry = telemetry
        self._state = state
        self._changed: dict[str, InitialValues] = {}
        self._write_fails = False

    def is_frozen(self, transform_id: str) -> bool:
        """Whether the transform's counters must not move, because its last poll could not be stored."""
        return self._state is not None and self._state.is_unsaved(transform_id)

    def add(self, transform_id: str, initial_values: InitialValues) -> None:
        """Look for unrecorded values of this transform in the next publication."""
        self._changed[transform_id] = initial_values

    def discard(self, transform_id: str) -> None:
        """Record no more values of this transform; it need not be known."""
        self._changed.pop(transform_id, None)

    def unrecorded(self) -> Unrecorded:
        """Return the values that transforms serve now and that are not recorded."""
        found = {}
        for transform_id, initial_values in list(self._changed.items()):
            served = initial_values.unrecorded()
            if served:
                found[transform_id] = (initial_values, served)
            else:
                del self._changed[transform_id]
        return found

    def write(self, values: Unrecorded) -> bool:
        """Record the values; return False, with nothing recorded, if the state file cannot be written."""
        try:
            if self._state is not None:
                self._state.record_served(
                    {name: (served, initial.series_created_at) for name, (initial, served) in values.items()}
                )
        except StateError as error:
            self._telemetry.state_write_errors.inc()
            if not self._write_fails:
                log.error(
                    "the state file cannot be written; counters stay at their recorded values until it can",
                    error=str(error),
                )
            self._write_fails = True
            return False
        for initial_values, served in values.values():
            initial_values.record(served)
        if self._write_fails:
            log.info("the state file can be written again; counters catch up")
        self._write_fails = False
        return True

    def fall_back(self) -> list[str]:
        """Let each transform serve its recorded values again; return the ids of the transforms that change by it."""
        for initial_values in self._changed.values():
            initial_values.fall_back_to_recorded()
        return list(self._changed)
