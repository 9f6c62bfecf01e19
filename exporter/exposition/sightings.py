"""What scrapes have seen of the publications, and what is on record as seen though perhaps nobody has.

Values are put on record before the bytes leave. If all scrapes that show them break off, nobody has seen them, and the
record may go back to what it was (`docs/design/0004-state.md`).
"""

import threading
from collections import Counter
from collections.abc import Mapping

from exporter.counting.counters import Series, Total
from exporter.exposition.initial_values import InitialValues

Before = Mapping[str, tuple[InitialValues, Mapping[Series, Total]]]
"""By transform: the births whose values were put on record, and what was on record before."""


class Sightings:
    """Scrapes by the number of the publication that they show. One whose end nobody knows stays under way."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        """Held for a moment while a scrape takes a publication, so that none begins while one is taken away."""
        self._under_way: Counter[int] = Counter()
        self._seen = 0
        self._records: list[tuple[int, Before]] = []
        self._broken_off = False

    def begin(self, number: int) -> None:
        """Take note that a scrape shows this publication from now on; the lock is held."""
        if number > self._seen:
            self._under_way[number] += 1

    def end(self, number: int) -> None:
        """Take note that a scrape has taken this publication to its end, and with it all that came before."""
        with self.lock:
            self._seen = max(self._seen, number)
            self._under_way = Counter({other: count for other, count in self._under_way.items() if other > self._seen})
            self._records = self._unseen()

    def break_off(self, number: int) -> None:
        """Take note that a scrape of this publication can never arrive."""
        with self.lock:
            if number > self._seen:
                self._under_way[number] -= 1
            self._broken_off = True

    def record(self, number: int, before: Before) -> None:
        """Take note that this publication is on record, in the place of ``before``."""
        with self.lock:
            self._records = [*self._unseen(), (number, before)]

    @property
    def any_broken_off(self) -> bool:
        """Whether a scrape has broken off since the record was last put right."""
        return self._broken_off

    def to_take_back(self) -> list[Before]:
        """Return, oldest first, what was on record before what only broken-off scrapes have shown; the lock is held.

        Nothing while another scrape may be showing it: its end will tell.
        """
        if not self._broken_off or any(self._under_way.values()):
            return []
        return [before for _, before in self._unseen()]

    def taken_back(self) -> None:
        """Take note that the record is what it was before all that nobody has seen; the lock is held."""
        self._records, self._broken_off = [], False

    def _unseen(self) -> list[tuple[int, Before]]:
        return [record for record in self._records if record[0] > self._seen]
