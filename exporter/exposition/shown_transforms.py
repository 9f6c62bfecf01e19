"""Renders each transform for the next publication: its snapshot, with the counter values that may be served."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from exporter.counting.counters import Series, Total
from exporter.exposition.filters import SeriesFilter
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

    def __init__(self, rendered: RenderedTransforms, record: ServedRecord) -> None:
        """Take the store of rendered samples, and the record of served values."""
        self._rendered = rendered
        self._record = record
        self._shown: dict[str, _Shown] = {}
        self._waiting: set[str] = set()
        """Ids of the transforms with a series that waits for a complete scrape."""

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
            self._record.discard(transform_id)
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
            self._record.discard(transform_id)
            self._waiting.discard(transform_id)

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
        """Whether any series waits for a complete scrape."""
        return bool(self._waiting)

    def scraped(self, number: int, *, publication: int) -> None:
        """Count a complete scrape of publication ``number``, and render the series whose hold it ends."""
        for transform_id in list(self._waiting):
            shown = self._shown[transform_id]
            initial_values = shown.snapshot.initial_values
            if initial_values.scraped(number) and self._choose_values(shown, publication):
                self._render(shown, {"counters"})
            if not initial_values.waiting:
                self._waiting.discard(transform_id)

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
            tick=time.monotonic(),
            publication=publication,
            frozen=self._record.is_frozen(transform_id),
        )
        if moved:
            self._record.add(transform_id, initial_values)
        if initial_values.waiting:
            self._waiting.add(transform_id)
        return moved

    def _render(self, shown: _Shown, parts: set[Part]) -> None:
        if parts:
            metrics = [metric for metric in METRICS if metric.part in parts]
            self._rendered.render(shown.snapshot, shown.offset, metrics)
