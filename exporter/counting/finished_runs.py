"""Stores the finished runs of one transform, in the order of their starts.

Glue may list a finished run again, and a stored run is not counted a second time. `Ledger.commit` decides which runs
are counted and stores them here.

This module does not read a clock, use the network or take a lock.
"""

import heapq
from collections.abc import Iterator

from exporter.counting.fingerprint import CODE_BITS, CODE_MASK, MISSING, started_of

_MIN_DELETED_SLOTS = 1000
"""The dict is copied when the number of its deleted slots is above the number of its entries plus this number."""


class FinishedRuns:
    """The fingerprint and the packed entry of each run, and the number of runs of each kind.

    A dict keeps the order of insertion. Nearly all runs are inserted in the order of their starts. A late run, which is
    inserted after a run with a later start, is also on a heap. So the oldest runs are found without reading the whole
    dict.
    """

    __slots__ = ("_deleted_slots", "_late", "_newest", "checksum", "counts", "entries")

    def __init__(self) -> None:
        self.entries: dict[int, int] = {}
        """Fingerprint -> packed start and code. Other modules may read this dict, but only the methods change it."""
        self.counts: dict[int, int] = {}
        """Number of runs by code. Missing runs are not included."""
        self.checksum = 0
        """The sum of the products of fingerprint and packed entry. The state file compares it to detect damage."""
        self._late: list[tuple[int, int]] = []
        """Heap of (packed entry, fingerprint) of the late runs."""
        self._newest = 0
        self._deleted_slots = 0

    def __len__(self) -> int:
        """Return the number of runs, including missing runs."""
        return len(self.entries)

    def __contains__(self, fingerprint: int) -> bool:
        """Return whether a run with this fingerprint is stored."""
        return fingerprint in self.entries

    def starts_newest_first(self) -> Iterator[float]:
        """Yield the starts (UTC seconds) in reverse order of insertion, so newest first except for the late runs."""
        return map(started_of, reversed(self.entries.values()))

    def update(self, upserts: dict[int, int]) -> None:
        """Insert or replace entries. The caller must not change ``upserts`` later, because it may be kept uncopied."""
        if self.entries:
            for fingerprint, packed in upserts.items():
                self.remove(fingerprint)
                self.entries[fingerprint] = packed
        else:
            # The first poll of a long history can insert a million runs. A copy would need their memory twice.
            self.entries = upserts
        counts, checksum = self.counts, self.checksum
        for fingerprint, packed in upserts.items():
            checksum += fingerprint * packed
            if packed >= self._newest:
                self._newest = packed
            else:
                heapq.heappush(self._late, (packed, fingerprint))
            code = packed & CODE_MASK
            if code != MISSING:
                counts[code] = counts.get(code, 0) + 1
        self.checksum = checksum

    def remove(self, fingerprint: int) -> int | None:
        """Remove one run. Return its packed entry, or None if the run was not stored."""
        packed = self.entries.pop(fingerprint, None)
        if packed is not None:
            self.checksum -= fingerprint * packed
        if packed is not None and packed & CODE_MASK != MISSING:
            self.counts[packed & CODE_MASK] -= 1
        return packed

    def remove_before(self, cutoff: float) -> dict[int, int]:
        """Remove the runs that started before ``cutoff`` (UTC seconds), and return their entries by fingerprint."""
        limit = int(cutoff * 1000) << CODE_BITS
        removed = {}
        for fingerprint in self._before(limit):
            packed = self.remove(fingerprint)
            if packed is not None:
                removed[fingerprint] = packed
        self._deleted_slots += len(removed)
        if self._deleted_slots > _MIN_DELETED_SLOTS + len(self.entries):
            # The deleted slots are at the front of the dict, so every search for the oldest run passes them.
            # A copy of the dict has no deleted slots.
            self.entries, self._deleted_slots = dict(self.entries), 0
        return removed

    def _before(self, limit: int) -> list[int]:
        """Return the fingerprints of the runs whose packed entries are below ``limit``."""
        older: dict[int, None] = {}
        for fingerprint, packed in self.entries.items():
            if packed >= limit:
                break
            older[fingerprint] = None
        while self._late and self._late[0][0] < limit:
            fingerprint = heapq.heappop(self._late)[1]
            # After the run was put on the heap, it may have been removed, or its start may have changed.
            if self.entries.get(fingerprint, limit) < limit:
                older[fingerprint] = None
        return list(older)
