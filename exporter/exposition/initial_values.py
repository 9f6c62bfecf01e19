"""Chooses the value that a scrape shows for a counting series: first its base value, later its true value.

``increase()`` ignores the first sample of a series (`docs/design/0003-initial-values.md`). So each series is served at
its base value from the end of the first complete scrape that shows it, for `metrics.initial_hold`. The base value of a
new series is 0. The base value of a series that comes back after a restart or a reload is the value that was served
last.

Example with a hold of 2 minutes: the poll at 10:00 finds the first failed run of a transform. The scrape at 10:01 shows
0 failures, and the hold begins. At 10:03 the hold ends. The scrape at 10:04 shows 1 failure, and ``increase()`` is 1.

Pure: the present time and the number of the publication are arguments.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from exporter.counting.counters import FIRST_SERIES, Count, Histogram, Series, Total


def base_of(total: Total) -> Total:
    """Return the base value of a new series: a counter at 0, or a histogram whose buckets are all at 0."""
    if isinstance(total, Count):
        return Count()
    return Histogram((0,) * len(total.counts), 0.0, (None,) * len(total.counts))


@dataclass(slots=True, eq=False)
class _Hold:
    """A period in which one or several series of a transform stay at their base value."""

    publication: int
    """Number of the first publication that shows the base value."""
    shown_at: float | None = None
    """When the first complete scrape of the base value ended (monotonic seconds); None before that."""

    def is_over(self, tick: float, hold: float) -> bool:
        return hold <= 0 or (self.shown_at is not None and tick >= self.shown_at + hold)


class InitialValues:
    """The served values of one transform's counting series."""

    def __init__(
        self,
        *,
        created_at: float,
        recorded: Mapping[Series, Total] = MappingProxyType({}),
        series_created_at: Mapping[Series, float] = MappingProxyType({}),
    ) -> None:
        """Begin with the base values.

        ``recorded`` has the values that an earlier process served last; they become the base values. ``created_at`` is
        the time when the first series of the transform were created. ``series_created_at`` has this time for each later
        series. All times are in UTC seconds.
        """
        self.served: dict[Series, Total] = dict(recorded)
        self.recorded: dict[Series, Total] = dict(recorded)
        self.created_at = created_at
        self.series_created_at: dict[Series, float] = dict(series_created_at)
        self._predecessor: InitialValues | None = None
        self._keeps_histograms = True
        self._first: _Hold | None = None
        self._later: dict[Series, _Hold] = {}
        """The holds of the series that were added after the first publication and are still at their base value."""
        self._holds: list[_Hold] = []
        """The holds that are not over."""

    def restarted(self, *, histograms: bool = True) -> "InitialValues":
        """Return new initial values for the same series. Their base values are the recorded values of this object.

        They are needed for a transform that comes back, or gets another name or other buckets. They take the recorded
        values at their first publication and not now. Until then, scrapes still record present values, and no counter
        may fall below a value in a scrape. Without ``histograms``, the histograms start at 0 in their new buckets.
        """
        successor = InitialValues(created_at=self.created_at)
        successor._predecessor, successor._keeps_histograms = self, histograms
        return successor

    def _take_over(self) -> None:
        predecessor, self._predecessor = self._predecessor, None
        if predecessor is not None:
            predecessor._take_over()  # noqa: SLF001 - another object of this class
            kept = {
                series: total
                for series, total in predecessor.recorded.items()
                if self._keeps_histograms or isinstance(total, Count)
            }
            self.served, self.recorded = dict(kept), dict(kept)
            created_at = predecessor.series_created_at
            self.series_created_at = {series: time for series, time in created_at.items() if series in kept}

    def publish(
        self,
        totals: Mapping[Series, Total],
        *,
        now: float,
        tick: float,
        hold: float,
        publication: int,
        frozen: bool = False,
    ) -> bool:
        """Choose the values that the given publication serves; return whether any served value has changed.

        ``totals`` are the true values. ``now`` is in UTC seconds, ``tick`` in monotonic seconds. ``hold`` is
        `metrics.initial_hold` in seconds; with 0 every series has its true value at once. If ``frozen``, the served
        values and the list of series stay as they are.
        """
        first = self._first
        if first is None:
            self._take_over()
            first = self._first = self._begin_hold(publication, hold)
        self._holds = [each for each in self._holds if not each.is_over(tick, hold)]
        if frozen:
            return False
        changed = False
        added: _Hold | None = None
        for series, total in totals.items():
            served = self.served.get(series)
            if served is None and series not in FIRST_SERIES:
                added = added or self._begin_hold(publication, hold)
                self._add_series(series, total, now=now, hold=added)
                changed = True
            if served != total and self._later.get(series, first) not in self._holds:
                self.served[series] = total
                self._later.pop(series, None)
                changed = True
        return changed

    def _begin_hold(self, publication: int, seconds: float) -> _Hold:
        hold = _Hold(publication)
        if seconds > 0:
            self._holds.append(hold)
        return hold

    def _add_series(self, series: Series, total: Total, *, now: float, hold: _Hold) -> None:
        self.served[series] = base_of(total)
        self.series_created_at.setdefault(series, now)
        self._later[series] = hold

    @property
    def waiting(self) -> bool:
        """Whether any series waits for the first complete scrape that shows it."""
        return any(hold.shown_at is None for hold in self._holds)

    @property
    def held_since(self) -> float | None:
        """The earliest beginning of a hold that is not over (monotonic seconds); None if there is none."""
        return min((hold.shown_at for hold in self._holds if hold.shown_at is not None), default=None)

    def scraped(self, publication: int, tick: float) -> None:
        """Begin the hold of each series that a complete scrape of the given publication showed first.

        ``tick`` is the end of the scrape in monotonic seconds. A scrape of an older publication, without the series,
        begins no hold of the series.
        """
        for hold in self._holds:
            if hold.shown_at is None and hold.publication <= publication:
                hold.shown_at = tick

    def created(self, series: Series) -> float:
        """Return when the series was created, in UTC seconds (OpenMetrics 1.0, "_created")."""
        return self.series_created_at.get(series, self.created_at)

    # -- the record of served values, which is on disk if there is a state file -------------------------------------

    def unrecorded(self) -> dict[Series, Total]:
        """Return the served values that are not recorded yet."""
        return {series: total for series, total in self.served.items() if self.recorded.get(series) != total}

    def record(self, served: Mapping[Series, Total]) -> None:
        """Remember that the values in ``served`` are recorded."""
        # A new dict, because another thread may be reading the old one.
        self.recorded = {**self.recorded, **served}

    def fall_back_to_recorded(self) -> None:
        """Serve the recorded values again, because newer values cannot be recorded.

        After a restart a counter begins at its recorded value. If Prometheus had seen a higher value, it would treat
        the restart as a counter reset.
        """
        self.served = {series: self.recorded.get(series, base_of(total)) for series, total in self.served.items()}
