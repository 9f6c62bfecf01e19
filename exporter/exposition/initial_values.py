"""Which value of a counting series a scrape may see: the base value first, the true one after it was seen.

``increase()`` is blind to what a series had when it was born (`docs/design/0003-births.md`). So each series is served
at its base value in a number of scrapes before it first moves: 0 for a new one, the value last served for one that
comes back after a restart or a reload. What happened meanwhile follows after that scrape.

Pure: publications are told by their number, time is passed in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from exporter.counting.counters import FIRST_SERIES, Count, Histogram, Series, Total


def base_of(total: Total) -> Total:
    """Return the value that a series of this kind is born with."""
    return (
        Count() if isinstance(total, Count) else Histogram((0,) * len(total.counts), 0.0, (None,) * len(total.counts))
    )


@dataclass(slots=True)
class _Hold:
    """A series, or all that were born together, waiting to be seen."""

    scrapes: int
    until: float
    publication: int

    def over(self, tick: float) -> bool:
        return self.scrapes <= 0 or tick >= self.until


class InitialValues:
    """The served values of one transform's counting series."""

    def __init__(
        self,
        *,
        scrapes: int,
        timeout: float,
        created_at: float,
        marked: Mapping[Series, Total] = MappingProxyType({}),
        born: Mapping[Series, float] = MappingProxyType({}),
    ) -> None:
        """Hold each series at its base for so many ``scrapes``, or for ``timeout`` seconds.

        ``created_at`` is when the first series were born, ``born`` when each later one was (UTC seconds); ``marked``
        are the values that an earlier process last served.
        """
        self.served: dict[Series, Total] = dict(marked)
        self.marked: dict[Series, Total] = dict(marked)
        self.created_at = created_at
        self.born: dict[Series, float] = dict(born)
        self._scrapes = scrapes
        self._timeout = timeout
        self._former: InitialValues | None = None
        self._keeps_histograms = True
        self._first: _Hold | None = None
        self._later: dict[Series, _Hold] = {}

    def again(self, *, scrapes: int, timeout: float, histograms: bool = True) -> "InitialValues":
        """Return births of the same series, for when their transform comes back: what was served comes first.

        They take over what these have served at their own first publication and not now: until then these are the ones
        that scrapes see, and whatever that is must not be gone back behind. Without ``histograms`` these begin anew,
        over other buckets.
        """
        initial_values = InitialValues(scrapes=scrapes, timeout=timeout, created_at=self.created_at)
        initial_values._former, initial_values._keeps_histograms = self, histograms
        return initial_values

    def _take_over(self) -> None:
        former, self._former = self._former, None
        if former is not None:
            former._take_over()  # noqa: SLF001 - another of this class
            kept = {
                s: total for s, total in former.marked.items() if self._keeps_histograms or isinstance(total, Count)
            }
            self.served, self.marked = dict(kept), dict(kept)
            self.born = {s: time for s, time in former.born.items() if s in kept}

    def publish(
        self, totals: Mapping[Series, Total], *, now: float, tick: float, publication: int, still: bool = False
    ) -> bool:
        """Choose what the publication of this number shows of ``totals``; whether any value differs from the last.

        ``now`` is UTC seconds, ``tick`` a monotonic clock's; a ``still`` publication shows no movement and no birth.
        """
        if self._first is None:
            self._take_over()
            self._first = self._hold(tick, publication)
        if still:
            return False
        before = len(self.served)
        moved = False
        for series, total in totals.items():
            shown = self.served.get(series)
            if shown is None and series not in FIRST_SERIES:
                self._bear(series, total, now=now, tick=tick, publication=publication)
            if shown == total or not self._hold_of(series).over(tick):
                continue
            self.served[series] = total
            self._later.pop(series, None)
            moved = True
        return moved or len(self.served) != before

    def _bear(self, series: Series, total: Total, *, now: float, tick: float, publication: int) -> None:
        self.served[series] = base_of(total)
        self.born.setdefault(series, now)
        self._later[series] = self._hold(tick, publication)

    def _hold(self, tick: float, publication: int) -> _Hold:
        return _Hold(self._scrapes, tick + self._timeout, publication)

    def _hold_of(self, series: Series) -> _Hold:
        hold = self._later.get(series) or self._first
        assert hold is not None, "publish() sets the first hold before it asks for one"  # noqa: S101 - narrows the type
        return hold

    @property
    def waiting(self) -> bool:
        """Whether a scrape would bring any series nearer to its release."""
        return any(hold is not None and hold.scrapes > 0 for hold in (self._first, *self._later.values()))

    def scraped(self, publication: int) -> bool:
        """Take note that a scrape has seen the publication of this number; whether any series is free to move now."""
        released = False
        for hold in (self._first, *self._later.values()):
            if hold is not None and hold.scrapes > 0 and hold.publication <= publication:
                hold.scrapes -= 1
                released |= hold.scrapes == 0
        return released

    # -- marks: the served values that are on disk ------------------------------------------------------------------

    def created(self, series: Series) -> float:
        """Return when the series was born, in UTC seconds (OpenMetrics 1.0, "_created")."""
        return self.born.get(series, self.created_at)

    def unmarked(self) -> dict[Series, Total]:
        """Return the served values that no mark has recorded yet."""
        return {series: total for series, total in self.served.items() if self.marked.get(series) != total}

    def mark(self, served: Mapping[Series, Total]) -> None:
        """Take note that ``served`` is recorded."""
        # A new dict, for another thread may be reading the old one.
        self.marked = {**self.marked, **served}

    def retract(self) -> None:
        """Show again what is marked: what cannot be recorded must not be seen, or a restart would look like a reset."""
        self.served = {series: self.marked.get(series, base_of(total)) for series, total in self.served.items()}
