"""Which value of a counting series a scrape shows: its base value first, its true value afterwards.

``increase()`` ignores the first sample of a series (`docs/design/0003-initial-values.md`). So each series is served at
its base value until enough scrapes have shown it. The base value of a new series is 0. The base value of a series that
comes back after a restart or a reload is the value that was served last.

Example, with one scrape to wait for: a run fails at 10:00, the scrape at 10:01 shows 0 failures, the scrape at 10:02
shows 1 failure, and ``increase()`` is 1.

Pure: publications are given as numbers, and times as arguments.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from exporter.counting.counters import FIRST_SERIES, Count, Histogram, Series, Total


def base_of(total: Total) -> Total:
    """Return the base value of a new series: a counter at 0, or a histogram over the same buckets with all at 0."""
    if isinstance(total, Count):
        return Count()
    return Histogram((0,) * len(total.counts), 0.0, (None,) * len(total.counts))


@dataclass(slots=True)
class _Hold:
    """How long one series, or all series that were added together, stay at their base value."""

    scrapes: int
    """Complete scrapes that must still show the base value."""
    until: float
    """When the hold ends without them (monotonic seconds)."""
    publication: int
    """The first publication that shows the base value."""

    def is_over(self, tick: float) -> bool:
        return self.scrapes <= 0 or tick >= self.until


class InitialValues:
    """The served values of one transform's counting series."""

    def __init__(
        self,
        *,
        scrapes: int,
        timeout: float,
        created_at: float,
        recorded: Mapping[Series, Total] = MappingProxyType({}),
        series_created_at: Mapping[Series, float] = MappingProxyType({}),
    ) -> None:
        """Hold each series at its base value until ``scrapes`` complete scrapes have shown it.

        A hold ends after ``timeout`` seconds in any case. ``recorded`` are the values that an earlier process recorded
        as served: they are the base values. ``created_at`` is when the transform's first series were created,
        ``series_created_at`` is when each later one was (UTC seconds).
        """
        self.served: dict[Series, Total] = dict(recorded)
        self.recorded: dict[Series, Total] = dict(recorded)
        self.created_at = created_at
        self.series_created_at: dict[Series, float] = dict(series_created_at)
        self._scrapes = scrapes
        self._timeout = timeout
        self._predecessor: InitialValues | None = None
        self._keeps_histograms = True
        self._first: _Hold | None = None
        self._later: dict[Series, _Hold] = {}

    def restarted(self, *, scrapes: int, timeout: float, histograms: bool = True) -> "InitialValues":
        """Return new initial values for the same series: their base values are the recorded values of these ones.

        For a transform that comes back, gets another name or gets other buckets. The recorded values are taken over at
        the first publication, not now: until then scrapes show the present values, and no counter may fall below what a
        scrape has shown. Without ``histograms`` the histograms start at 0, because their buckets have changed.
        """
        successor = InitialValues(scrapes=scrapes, timeout=timeout, created_at=self.created_at)
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
        self, totals: Mapping[Series, Total], *, now: float, tick: float, publication: int, frozen: bool = False
    ) -> bool:
        """Choose which values of ``totals`` the given publication serves; return whether any of them has changed.

        ``now`` is in UTC seconds, ``tick`` in monotonic seconds. A ``frozen`` publication changes no value and adds no
        series.
        """
        first = self._first
        if first is None:
            self._take_over()
            first = self._first = self._new_hold(tick, publication)
        if frozen:
            return False
        changed = False
        for series, total in totals.items():
            served = self.served.get(series)
            if served is None and series not in FIRST_SERIES:
                self._add_series(series, total, now=now, hold=self._new_hold(tick, publication))
                changed = True
            if served != total and self._later.get(series, first).is_over(tick):
                self.served[series] = total
                self._later.pop(series, None)
                changed = True
        return changed

    def _add_series(self, series: Series, total: Total, *, now: float, hold: _Hold) -> None:
        self.served[series] = base_of(total)
        self.series_created_at.setdefault(series, now)
        self._later[series] = hold

    def _new_hold(self, tick: float, publication: int) -> _Hold:
        return _Hold(self._scrapes, tick + self._timeout, publication)

    @property
    def waiting(self) -> bool:
        """Whether any series waits for a complete scrape."""
        return any(hold is not None and hold.scrapes > 0 for hold in (self._first, *self._later.values()))

    def scraped(self, publication: int) -> bool:
        """Count a complete scrape of the given publication; return whether it ends the hold of any series.

        A scrape of an earlier publication than the one that first showed a series does not count for that series.
        """
        ends_a_hold = False
        for hold in (self._first, *self._later.values()):
            if hold is not None and hold.scrapes > 0 and hold.publication <= publication:
                hold.scrapes -= 1
                ends_a_hold |= hold.scrapes == 0
        return ends_a_hold

    def created(self, series: Series) -> float:
        """Return when the series was created, in UTC seconds (OpenMetrics 1.0, "_created")."""
        return self.series_created_at.get(series, self.created_at)

    # -- the record of served values, which is on disk if there is a state file -------------------------------------

    def unrecorded(self) -> dict[Series, Total]:
        """Return the served values that are not recorded yet."""
        return {series: total for series, total in self.served.items() if self.recorded.get(series) != total}

    def record(self, served: Mapping[Series, Total]) -> None:
        """Take ``served`` as recorded."""
        # A new dict, because another thread may be reading the old one.
        self.recorded = {**self.recorded, **served}

    def fall_back_to_recorded(self) -> None:
        """Serve the recorded values again, because newer ones cannot be recorded.

        After a restart a counter begins at its recorded value. If Prometheus had seen a higher one, it would take the
        restart for a counter reset.
        """
        self.served = {series: self.recorded.get(series, base_of(total)) for series, total in self.served.items()}
