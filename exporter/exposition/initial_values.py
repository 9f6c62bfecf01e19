"""Chooses the value that a scrape shows for a counting series: first its base value, later its true value.

``increase()`` ignores the first sample of a series (`docs/design/0003-initial-values.md`). So each series is served at
its base value until enough scrapes have shown it. The base value of a new series is 0. The base value of a series that
comes back after a restart or a reload is the value that was served last.

Example, with one scrape to wait for: a run fails at 10:00, the scrape at 10:01 shows 0 failures, the scrape at 10:02
shows 1 failure, and ``increase()`` is 1.

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


@dataclass(slots=True)
class _Hold:
    """A period in which one or several series of a transform stay at their base value."""

    scrapes: int
    """Number of complete scrapes that must still show the base value."""
    until: float
    """When the hold ends even without these scrapes (monotonic seconds)."""
    publication: int
    """Number of the first publication that shows the base value."""

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

        A hold ends after ``timeout`` seconds in any case. ``recorded`` has the values that an earlier process served
        last; they become the base values. ``created_at`` is the time when the first series of the transform were
        created. ``series_created_at`` has this time for each later series. All times are in UTC seconds.
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
        """Return new initial values for the same series. Their base values are the recorded values of this object.

        They are needed for a transform that comes back, or gets another name or other buckets. They take the recorded
        values at their first publication and not now. Until then, scrapes still record present values, and no counter
        may fall below a value in a scrape. Without ``histograms``, the histograms start at 0 in their new buckets.
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
        """Choose the values that the given publication serves; return whether any served value has changed.

        ``totals`` are the true values. ``now`` is in UTC seconds, ``tick`` in monotonic seconds. If ``frozen``, the
        served values and the list of series stay as they are.
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

        The scrape does not count for a series that the publication did not show yet.
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
        """Remember that the values in ``served`` are recorded."""
        # A new dict, because another thread may be reading the old one.
        self.recorded = {**self.recorded, **served}

    def fall_back_to_recorded(self) -> None:
        """Serve the recorded values again, because newer values cannot be recorded.

        After a restart a counter begins at its recorded value. If Prometheus had seen a higher value, it would treat
        the restart as a counter reset.
        """
        self.served = {series: self.recorded.get(series, base_of(total)) for series, total in self.served.items()}
