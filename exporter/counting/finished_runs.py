"""The finished runs of one transform that may be listed again, in the order of their starts.

Pure: no clock, no network, no lock.
"""

import heapq
from collections.abc import Iterator

from exporter.counting.fingerprint import CODE_BITS, CODE_MASK, MISSING, started_of

_MIN_DELETED_SLOTS = 1000
"""The dict is copied when its deleted entries outnumber the others by more than this."""


class FinishedRuns:
    """Fingerprints and packed entries, oldest first, with the number of runs of each kind.

    A dict keeps the order of insertion, and nearly all runs are inserted in the order of their starts. The few that
    are inserted late are on a heap as well, so that the oldest runs are found without a scan of the whole dict.
    """

    __slots__ = ("_deleted_slots", "_late", "_newest", "counts", "entries")

    def __init__(self) -> None:
        self.entries: dict[int, int] = {}
        """Fingerprint -> packed start and code. Read it directly; change it through the methods only."""
        self.counts: dict[int, int] = {}
        """Number of runs by code, without the missing ones."""
        self._late: list[tuple[int, int]] = []
        """Heap of (packed entry, fingerprint) of the runs that were inserted after a run that started later."""
        self._newest = 0
        self._deleted_slots = 0

    def __len__(self) -> int:
        """Return the number of runs, the missing ones included."""
        return len(self.entries)

    def __contains__(self, fingerprint: int) -> bool:
        """Return whether a run with this fingerprint is stored."""
        return fingerprint in self.entries

    def starts_newest_first(self) -> Iterator[float]:
        """Yield the starts (UTC seconds), newest first; only the runs that were inserted late are out of order."""
        return map(started_of, reversed(self.entries.values()))

    def update(self, upserts: dict[int, int]) -> None:
        """Insert or replace entries. ``upserts`` may be kept without a copy, so the caller must not change it later."""
        if self.entries:
            for fingerprint, packed in upserts.items():
                self.remove(fingerprint)
                self.entries[fingerprint] = packed
        else:
            # The first scan of a long history: a copy of its dict would double the peak of memory.
            self.entries = upserts
        counts = self.counts
        for fingerprint, packed in upserts.items():
            if packed >= self._newest:
                self._newest = packed
            else:
                heapq.heappush(self._late, (packed, fingerprint))
            code = packed & CODE_MASK
            if code != MISSING:
                counts[code] = counts.get(code, 0) + 1

    def remove(self, fingerprint: int) -> int | None:
        """Remove one run; return its packed entry, or None if it was not stored."""
        packed = self.entries.pop(fingerprint, None)
        if packed is not None and packed & CODE_MASK != MISSING:
            self.counts[packed & CODE_MASK] -= 1
        return packed

    def remove_before(self, cutoff: float) -> dict[int, int]:
        """Remove the runs that started before ``cutoff`` (UTC seconds); return their entries."""
        limit = int(cutoff * 1000) << CODE_BITS
        removed = {}
        for fingerprint in self._before(limit):
            packed = self.remove(fingerprint)
            if packed is not None:
                removed[fingerprint] = packed
        self._deleted_slots += len(removed)
        if self._deleted_slots > _MIN_DELETED_SLOTS + len(self.entries):
            # A dict steps over its deleted entries each time it looks for the oldest one, until it is copied.
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
            # The heap can be out of date: since then the run may have been removed, or have got a later start.
            if self.entries.get(fingerprint, limit) < limit:
                older[fingerprint] = None
        return list(older)
