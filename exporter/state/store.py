"""The state file: what has to outlive the process so that no run is counted twice or not at all.

SQLite in WAL mode. A poll of a transform is one transaction (a long history's first one ends with it), a mark of served
values another. Commits are synced to the disk (``synchronous=FULL``): a mark lost with the machine's power would let a
counter come back lower than Prometheus has seen it. They are rare, for a poll that brings nothing writes nothing.

This module knows how things are stored, not what they mean; `docs/design/0004-state.md` has the reasons.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from exporter.counting.changes import Changes
from exporter.counting.counters import Count, Exemplar, Histogram, Series, Total
from exporter.counting.latest import LatestRun
from exporter.counting.ledger import Ledger
from exporter.errors import StateError
from exporter.model.task_run import TaskRun
from exporter.state.database import open_database

BATCH = 1000
"""Rows per statement: the interpreter is held for a few milliseconds, not for a whole history."""

STAGED = 20_000
"""Runs of one poll above which a transform that is not stored yet comes in many transactions of as many rows each."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What the file knows of one transform."""

    name: str
    """The name that Glue knew; a series that comes back under another name would be another series."""
    ledger: Ledger
    created_at: float
    served: Mapping[Series, Total]
    born: Mapping[Series, float]
    rebucketed: bool
    """Whether the histograms were dropped because the configured buckets have changed."""


def _dump(total: Total) -> str:
    return json.dumps(["count", *total] if isinstance(total, Count) else ["histogram", *total])


def _exemplar(value: list[Any] | None) -> Exemplar | None:
    return None if value is None else Exemplar(*value)


def _load(text: str, bounds: tuple[float, ...]) -> Total:
    """Return what `_dump` wrote; raises ValueError for a histogram that is not over these bounds."""
    kind, *fields = json.loads(text)
    if kind == "count":
        return Count(fields[0], _exemplar(fields[1]))
    counts, exemplars = tuple(fields[0]), tuple(_exemplar(value) for value in fields[2])
    if not len(counts) == len(exemplars) == len(bounds) + 1:
        raise ValueError(f"a histogram of {len(counts)} buckets where {len(bounds) + 1} are")
    return Histogram(counts, fields[1], exemplars)


def _batches(rows: Iterable[tuple[Any, ...]], size: int = BATCH) -> Iterator[list[tuple[Any, ...]]]:
    rows = iter(rows)
    while batch := list(islice(rows, size)):
        yield batch


def _ascending(fingerprints: Collection[int]) -> Iterator[int]:
    """Yield fingerprints in their order, for a table that grows at its end is filled several times as fast.

    Many are dealt out by their first byte, since one sort of a million would hold the interpreter for a second.
    """
    if len(fingerprints) <= BATCH:
        yield from sorted(fingerprints)
        return
    dealt: list[list[int]] = [[] for _ in range(256)]
    for fingerprint in fingerprints:
        dealt[fingerprint >> 120].append(fingerprint)
    for part in dealt:
        yield from sorted(part)


def _finished_rows(key: int, ledger: Ledger, settled: Mapping[int, int]) -> Iterator[tuple[int, bytes, int]]:
    """Yield what is to be stored of the settled runs: one may be settled and forgotten in the same poll."""
    remembered = [run for run in settled if run in ledger.finished]
    return ((key, run.to_bytes(16, "big"), settled[run]) for run in _ascending(remembered))


def _staged_id(transform_id: str) -> str:
    """Return the id under which a long history is stored while it is not complete; no transform has it."""
    return f"{transform_id} (incomplete)"


class StateFile:
    """The open state file; every method may be called from any thread.

    The file is locked for other processes as long as it is open; the lock dies with the process.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Use `open_state` instead."""
        self.path = path
        self._connection = connection
        self._lock = threading.Lock()
        self._incomplete: set[str] = set()
        self._stored: dict[str, tuple[str, tuple[float, ...]]] = {}
        self._kept: frozenset[str] = frozenset()

    # -- reading ----------------------------------------------------------------------------------------------------

    def load(self, transform_id: str, bounds: tuple[float, ...]) -> Restored | None:
        """Return what is stored of a transform, None if nothing is; ``bounds`` are the configured buckets."""
        with self._lock, self._reported("read"):
            row = self._connection.execute(
                "SELECT key, name, born, floor, began, watermark, bounds, foreign_cells, latest"
                " FROM transform WHERE id = ?",
                (transform_id,),
            ).fetchone()
            if row is None:
                return None
            key, name, created_at, floor, began, watermark, stored_bounds, foreign, latest = row
            rebucketed = tuple(json.loads(stored_bounds)) != bounds
            ledger = Ledger.restore(
                bounds,
                floor=floor,
                began=began,
                watermark=watermark,
                foreign=[(task_type, status) for task_type, status in json.loads(foreign)],
                latest={task_type: LatestRun(**facts) for task_type, facts in json.loads(latest).items()},
                open_runs=self._open_runs(key, gone=False),
                gone=self._open_runs(key, gone=True),
                finished=self._finished(key),
            )
            served: dict[Series, Total] = {}
            born: dict[Series, float] = {}
            for family, task_type, status, total, shown, birth in self._connection.execute(
                "SELECT family, task_type, status, total, served, born FROM series WHERE transform = ?", (key,)
            ):
                series = Series(family, task_type, status)
                if rebucketed and family in ("execution", "duration"):
                    continue
                if total is not None:
                    ledger.totals[series] = _load(total, bounds)
                if shown is not None:
                    served[series] = _load(shown, bounds)
                if birth is not None:
                    born[series] = birth
            self._stored[transform_id] = (name, tuple(json.loads(stored_bounds)))
            return Restored(name, ledger, created_at, served, born, rebucketed)

    def _open_runs(self, key: int, *, gone: bool) -> list[TaskRun]:
        rows = self._connection.execute("SELECT run FROM open_run WHERE transform = ? AND gone = ?", (key, gone))
        return [TaskRun(*json.loads(run)) for (run,) in rows]

    def _finished(self, key: int) -> Iterator[tuple[int, int]]:
        rows = self._connection.execute(
            "SELECT fingerprint, packed FROM finished_run WHERE transform = ? ORDER BY packed", (key,)
        )
        return ((int.from_bytes(fingerprint, "big"), packed) for fingerprint, packed in rows)

    # -- writing ----------------------------------------------------------------------------------------------------

    def behind(self, transform_id: str) -> bool:
        """Whether the last poll of this transform could not be stored."""
        return transform_id in self._incomplete

    def save(
        self, transform_id: str, name: str, ledger: Ledger, changes: Changes, now: float, *, created_at: float
    ) -> bool:
        """Store one poll; whether anything had to be written. ``name`` is the one that Glue knows.

        It is one transaction, but for the first poll of a long history: its rows come beforehand, under an id that no
        transform has, so that the polls of others are stored meanwhile; killed then, it is as if it had not been.

        ``now`` and ``created_at``, the birth of the first series, are UTC seconds.

        After a failure (`StateError`) the transform is behind until a later poll of it is stored, whole.
        """
        whole = transform_id in self._incomplete
        if not (whole or changes or self._stored.get(transform_id) != (name, ledger.bounds)):
            return False
        self._incomplete.add(transform_id)
        settled = ledger.finished if whole else changes.settled
        staged = len(settled) > STAGED and self._stage(
            transform_id, name, ledger, settled, now=now, created_at=created_at
        )
        with self._transaction() as cursor:
            if staged:
                cursor.execute("UPDATE transform SET id = ? WHERE id = ?", (transform_id, _staged_id(transform_id)))
            key = self._save_transform(cursor, transform_id, name, ledger, now=now, created_at=created_at)
            if not staged:
                if whole:
                    cursor.execute("DELETE FROM finished_run WHERE transform = ?", (key,))
                self._drop_finished(cursor, key, () if whole else changes.dropped)
                self._save_finished(cursor, _finished_rows(key, ledger, settled))
            self._save_open(cursor, key, ledger)
            cursor.executemany(
                "INSERT INTO series (transform, family, task_type, status, total) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET total = excluded.total WHERE total IS NOT excluded.total",
                [(key, *series, _dump(total)) for series, total in ledger.totals.items()],
            )
        self._incomplete.discard(transform_id)
        self._stored[transform_id] = (name, ledger.bounds)
        return True

    def _save_transform(
        self, cursor: sqlite3.Cursor, transform_id: str, name: str, ledger: Ledger, *, now: float, created_at: float
    ) -> int:
        cursor.execute(
            "DELETE FROM series WHERE family IN ('execution', 'duration') AND transform ="
            " (SELECT key FROM transform WHERE id = ? AND bounds <> ?)",
            (transform_id, json.dumps(ledger.bounds)),
        )
        cursor.execute(
            "INSERT INTO transform (id, name, born, seen, floor, began, watermark, bounds, foreign_cells, latest)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET name = excluded.name, seen = excluded.seen,"
            " floor = excluded.floor, began = excluded.began, watermark = excluded.watermark, bounds = excluded.bounds,"
            " foreign_cells = excluded.foreign_cells, latest = excluded.latest",
            (
                transform_id,
                name,
                created_at,
                now,
                ledger.floor,
                ledger.began,
                ledger.watermark,
                json.dumps(ledger.bounds),
                json.dumps(ledger.run_kinds.foreign),
                json.dumps({task_type: asdict(facts) for task_type, facts in ledger.latest.items()}),
            ),
        )
        return self._key(cursor, transform_id)

    def _stage(
        self, transform_id: str, name: str, ledger: Ledger, settled: Mapping[int, int], *, now: float, created_at: float
    ) -> bool:
        """Store the finished runs of a transform under its staged id; False, and nothing, if it is stored already."""
        with self._transaction() as cursor:
            if cursor.execute("SELECT 1 FROM transform WHERE id = ?", (transform_id,)).fetchone() is not None:
                return False
            # What a process that was killed has left.
            cursor.execute("DELETE FROM transform WHERE id = ?", (_staged_id(transform_id),))
            key = self._save_transform(cursor, _staged_id(transform_id), name, ledger, now=now, created_at=created_at)
        for rows in _batches(_finished_rows(key, ledger, settled), STAGED):
            with self._transaction() as cursor:
                self._save_finished(cursor, rows)
        return True

    def _drop_finished(self, cursor: sqlite3.Cursor, key: int, dropped: Collection[int]) -> None:
        for batch in _batches((key, fingerprint.to_bytes(16, "big")) for fingerprint in dropped):
            cursor.executemany("DELETE FROM finished_run WHERE transform = ? AND fingerprint = ?", batch)

    def _save_finished(self, cursor: sqlite3.Cursor, rows: Iterable[tuple[Any, ...]]) -> None:
        for batch in _batches(rows):
            cursor.executemany("INSERT OR REPLACE INTO finished_run VALUES (?, ?, ?)", batch)

    def _save_open(self, cursor: sqlite3.Cursor, key: int, ledger: Ledger) -> None:
        cursor.execute("DELETE FROM open_run WHERE transform = ?", (key,))
        cursor.executemany(
            "INSERT INTO open_run VALUES (?, ?, ?, ?)",
            [
                (key, run.run_id, json.dumps(run), gone)
                for gone, runs in ((False, ledger.open), (True, ledger.gone))
                for run in runs.values()
            ],
        )

    def mark(self, marks: Mapping[str, tuple[Mapping[Series, Total], Mapping[Series, float]]]) -> None:
        """Store which values are about to be served, and when their series were born, by transform id."""
        with self._transaction() as cursor:
            for transform_id, (served, born) in marks.items():
                key = self._key(cursor, transform_id)
                cursor.executemany(
                    "INSERT INTO series (transform, family, task_type, status, served, born)"
                    " VALUES (?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT DO UPDATE SET served = excluded.served, born = excluded.born",
                    [(key, *series, _dump(total), born.get(series)) for series, total in served.items()],
                )

    def keep(self, transform_ids: Iterable[str], now: float, lookback: float) -> int:
        """Note which transforms are configured from now on and drop those that have not been for ``lookback`` seconds.

        Those of the last call were configured until now. Returns how many were dropped.
        """
        kept = frozenset(transform_ids)
        with self._transaction() as cursor:
            cursor.executemany(
                "UPDATE transform SET seen = ? WHERE id = ?", [(now, name) for name in self._kept | kept]
            )
            dropped = cursor.execute("DELETE FROM transform WHERE seen < ?", (now - lookback,)).rowcount
        self._kept = kept
        return dropped

    def keep_only(self, wanted: Callable[[str], bool]) -> int:
        """Drop the transforms whose ids are not ``wanted``; return how many were."""
        with self._lock, self._reported("read"):
            stored = [name for (name,) in self._connection.execute("SELECT id FROM transform")]
        unwanted = [(name,) for name in stored if not wanted(name)]
        if unwanted:
            with self._transaction() as cursor:
                cursor.executemany("DELETE FROM transform WHERE id = ?", unwanted)
        return len(unwanted)

    def close(self) -> None:
        """Write everything into the one file and release the lock."""
        with self._lock:
            self._connection.close()

    def _key(self, cursor: sqlite3.Cursor, transform_id: str) -> int:
        row = cursor.execute("SELECT key FROM transform WHERE id = ?", (transform_id,)).fetchone()
        if row is None:
            raise StateError(f"{self.path}: transform {transform_id} is not stored yet")
        return int(row[0])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        with self._lock, self._reported("write"):
            cursor = self._connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    cursor.execute("ROLLBACK")
                raise

    @contextmanager
    def _reported(self, act: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError, TypeError, LookupError) as error:
            raise StateError(f"{self.path}: cannot {act} the state: {error}") from error


def open_state(path: Path, now: float) -> tuple[StateFile, Path | None]:
    """Open the state file; see `database.open_database`, also for the second value that is returned."""
    connection, aside = open_database(path, now)
    return StateFile(path, connection), aside
