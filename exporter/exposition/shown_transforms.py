"""Renders each transform for the next publication: its snapshot, with the counter values that may be served."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from exporter.counting.counters import Series, Total
from exporter.exposition.filters import SeriesFilter
from exporter.exposition.initial_values import InitialValues
from exporter.exposition.metrics import METRICS
from exporter.exposition.rendering import RenderedTransforms
from exporter.exposition.served_record import ServedRecord
from exporter.exposition.snapshot import Part, TransformSnapshot


@dataclass(slots=True)
class _Shown:
    """A transform in the exposition."""

    offset: float
    snapshot: TransformSnapshot
    totals: Mapping[Series, Total]
    """The true values of its counters."""
    rendered: bool = False
    """Whether the whole snapshot is rendered. After an exception, the next snapshot is rendered whole."""


class ShownTransforms:
    """All transforms of the exposition. Not thread-safe: the publisher holds its lock around every call.

    ``publication`` is always the number of the next publication.
    """

    def __init__(self, rendered: RenderedTransforms, record: ServedRecord, tick: Callable[[], float]) -> None:
        """Take the store of rendered samples, the record of served values, and a clock of monotonic seconds."""
        self.hold = 0.0
        """Seconds for which a series stays at its base value after its first complete scrape."""
        self._rendered = rendered
        self._record = record
        self._tick = tick
        self._shown: dict[str, _Shown] = {}
        self._waiting: set[str] = set()
        """Ids of the transforms with a series that waits for its first complete scrape."""
        self._held_since: dict[str, float] = {}
        """By id, for each transform with a hold that is not over: the beginning of its earliest hold."""

    def restarts(self, snapshot: TransformSnapshot) -> bool:
        """Whether the transform is shown already, but with other initial values than ``snapshot`` has."""
        shown = self._shown.get(snapshot.target.id)
        return shown is not None and shown.snapshot.initial_values is not snapshot.initial_values

    def update(
        self, snapshot: TransformSnapshot, totals: Mapping[Series, Total], *, offset: float, publication: int
    ) -> None:
        """Render the ``snapshot`` of a transform, with the counter values that may be served instead of ``totals``."""
        transform_id = snapshot.target.id
        if self.restarts(snapshot):
            self._forget_initial_values(transform_id)
        shown = self._shown.get(transform_id)
        if shown is None:
            shown = self._shown[transform_id] = _Shown(offset, snapshot, totals)
        before = shown.snapshot if shown.rendered else None
        shown.snapshot, shown.totals, shown.rendered = snapshot, totals, False
        parts = snapshot.parts_other_than(before)
        # This may raise, so it comes before the choice of counter values. In the other order, the next scrape would
        # count for base values that were never rendered.
        self._render(shown, parts - {"counters"})
        moved = self._choose_values(shown, publication)
        self._render(shown, {"counters"} if moved else parts & {"counters"})
        shown.rendered = True

    def remove(self, transform_id: str) -> None:
        """Remove a transform and all its series; it need not be known."""
        if self._shown.pop(transform_id, None) is not None:
            self._rendered.remove(transform_id)
            self._forget_initial_values(transform_id)

    def _forget_initial_values(self, transform_id: str) -> None:
        self._record.discard(transform_id)
        self._waiting.discard(transform_id)
        self._held_since.pop(transform_id, None)

    def filter_series(self, series_filter: SeriesFilter) -> None:
        """Leave out the series that do not pass the filter."""
        before, self._rendered.series_filter = self._rendered.series_filter, series_filter
        dropped, dropped_before = series_filter.dropped_statuses, before.dropped_statuses
        changed = [metric for metric in METRICS if dropped(metric) != dropped_before(metric)]
        if changed:
            for shown in self._shown.values():
                self._rendered.render(shown.snapshot, shown.offset, changed)

    @property
    def waiting(self) -> bool:
        """Whether any series waits for its first complete scrape."""
        return bool(self._waiting)

    @property
    def next_release(self) -> float | None:
        """When the next hold ends (monotonic seconds); None if no hold has begun."""
        return min(self._held_since.values()) + self.hold if self._held_since else None

    def scraped(self, number: int, tick: float) -> None:
        """Begin the holds of the series that a complete scrape of publication ``number`` showed first."""
        for transform_id in list(self._waiting):
            initial_values = self._shown[transform_id].snapshot.initial_values
            initial_values.scraped(number, tick)
            self._follow_holds(transform_id, initial_values)

    def release(self, *, publication: int) -> None:
        """Render the series whose hold is over."""
        tick = self._tick()
        for transform_id in [each for each, since in self._held_since.items() if since + self.hold <= tick]:
            # An exception below must not delay the other transforms again, so this one waits for its next poll.
            del self._held_since[transform_id]
            shown = self._shown[transform_id]
            shown.rendered, was_rendered = False, shown.rendered
            if self._choose_values(shown, publication):
                self._render(shown, {"counters"})
            shown.rendered = was_rendered

    def fall_back_to_recorded(self) -> None:
        """Show the recorded counter values again. A series without a recorded value shows its base value."""
        for transform_id in self._record.fall_back():
            self._render(self._shown[transform_id], {"counters"})

    def _choose_values(self, shown: _Shown, publication: int) -> bool:
        """Choose the counter values of the next publication; return whether any value has changed."""
        initial_values, transform_id = shown.snapshot.initial_values, shown.snapshot.target.id
        if not shown.snapshot.has_baseline:
            return False  # no counters exist yet, so the next scrape cannot show base values
        moved = initial_values.publish(
            shown.totals,
            now=time.time(),
            tick=self._tick(),
            hold=self.hold,
            publication=publication,
            frozen=self._record.is_frozen(transform_id),
        )
        if moved:
            self._record.add(transform_id, initial_values)
        self._follow_holds(transform_id, initial_values)
        return moved

    def _follow_holds(self, transform_id: str, initial_values: InitialValues) -> None:
        if initial_values.waiting:
            self._waiting.add(transform_id)
        else:
            self._waiting.discard(transform_id)
        if initial_values.held_since is None:
            self._held_since.pop(transform_id, None)
        else:
            self._held_since[transform_id] = initial_values.held_since

    def _render(self, shown: _Shown, parts: set[Part]) -> None:
        if parts:
            metrics = [metric for metric in METRICS if metric.part in parts]
            self._rendered.render(shown.snapshot, shown.offset, metrics)
