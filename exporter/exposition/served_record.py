"""Records each counter value before a scrape sends it for the first time.

With a state file the record is on disk (`docs/design/0004-state.md`). After a crash, the next process therefore
never serves a lower value than Prometheus has seen. While the file cannot be written, counters stay at their recorded
values.
"""

from collections.abc import Mapping

from exporter.counting.counters import Series, Total
from exporter.exposition.initial_values import InitialValues
from exporter.model.errors import StateError
from exporter.state.store import StateFile
from exporter.telemetry import Telemetry

Unrecorded = Mapping[str, tuple[InitialValues, Mapping[Series, Total]]]
"""By transform id: its initial values, and the served values that are not recorded yet."""


class ServedRecord:
    """The record of all transforms. Not thread-safe: the publisher holds its lock around every call."""

    def __init__(self, telemetry: Telemetry, state: StateFile | None) -> None:
        """Take the counter of failed writes, and the state file if there is one."""
        self._telemetry = telemetry
        self._state = state
        self._changed: dict[str, InitialValues] = {}

    def is_frozen(self, transform_id: str) -> bool:
        """Whether the transform's counters must keep their values, because its last poll could not be stored."""
        return self._state is not None and self._state.is_unsaved(transform_id)

    def add(self, transform_id: str, initial_values: InitialValues) -> None:
        """Check this transform for unrecorded values at the next publication."""
        self._changed[transform_id] = initial_values

    def discard(self, transform_id: str) -> None:
        """Stop checking this transform for unrecorded values; it need not be known."""
        self._changed.pop(transform_id, None)

    def unrecorded(self) -> Unrecorded:
        """Return all served values that are not recorded yet."""
        found = {}
        for transform_id, initial_values in list(self._changed.items()):
            served = initial_values.unrecorded()
            if served:
                found[transform_id] = (initial_values, served)
            else:
                del self._changed[transform_id]
        return found

    def write(self, values: Unrecorded) -> bool:
        """Record the values. If the state file cannot be written, record nothing and return False."""
        try:
            if self._state is not None:
                self._state.record_served(
                    {name: (served, initial.series_created_at) for name, (initial, served) in values.items()}
                )
        except StateError:
            self._telemetry.state_write_errors.inc()
            return False
        for initial_values, served in values.values():
            initial_values.record(served)
        return True

    def fall_back(self) -> list[str]:
        """Let each transform serve its recorded values again; return the ids of the changed transforms."""
        for initial_values in self._changed.values():
            initial_values.fall_back_to_recorded()
        return list(self._changed)
