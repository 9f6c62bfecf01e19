"""Reads and writes the state file: the ledgers and the served values that a restart needs.

It is a SQLite database in WAL mode. Each poll of a transform is one transaction (`StateFile.save` describes the
exception), and so is each record of served values. Each commit is synced to the disk (``synchronous=FULL``). Otherwise
a power failure could lose a value that a scrape has shown already, and the counter would be lower after the restart.
Commits are rare, because a poll without changes writes nothing.

`docs/design/0004-state.md` explains why these values are stored. The names of columns and JSON keys are a file format
and differ from the code in places; `exporter.state.database` lists the differences.
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

from exporter.counting.counters import Count, Exemplar, Histogram, Series, Total
from exporter.counting.latest import LatestRun
from exporter.counting.ledger import Changes, Ledger
from exporter.model.errors import StateError
from exporter.model.task_run import TaskRun
from exporter.state.database import open_database

BATCH = 1000
"""Rows per statement. SQLite holds the interpreter lock during a statement, so no statement may be long."""

STAGE_SIZE = 20_000
"""If a first poll has more runs than this, they are stored in several transactions with this many rows each."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The stored state of one transform. Times are UTC seconds."""

    name: str
    """The last name from Glue. The next process starts with it, because another name would create other series."""
    ledger: Ledger
    created_at: float
    """Time at which the first series of the transform were created."""
    served: Mapping[Series, Total]
    """The recorded values: scrapes have shown them, or may have shown them."""
    created: Mapping[Series, float]
    """Creation times of the series that were created later than the first ones."""
    buckets_changed: bool
    """Whether the stored histograms were not loaded, because the configured buckets are other ones."""


def _dump(total: Total) -> str:
    return json.dumps(["count", *total] if isinstance(total, Count) else ["histogram", *total])


def _exemplar(value: list[Any] | None) -> Exemplar | None:
    return None if value is None else Exemplar(*value)


def _load(text: str, bounds: tuple[float, ...]) -> Total:
    """Parse the output of `_dump`. Raises ValueError for a histogram with another number of buckets than ``bounds``."""
    kind, *fields = json.loads(text)
    if kind == "count":
        return Count(fields[0], _exemplar(fields[1]))
    counts, exemplars = tuple(fields[0]), tuple(_exemplar(value) for value in fields[2])
    if not len(counts) == len(exemplars) == len(bounds) + 1:
        raise ValueError(f"a histogram of {len(counts)} buckets, expected {len(bounds) + 1}")
    return Histogram(counts, fields[1], exemplars)


def _batches(rows: Iterable[tuple[Any, ...]], size: int = BATCH) -> Iterator[list[tuple[Any, ...]]]:
    rows = iter(rows)
    while batch := list(islice(rows, size)):
        yield batch


def _ascending(fingerprints: Collection[int]) -> Iterator[int]:
    """Yield fingerprints in ascending order, because SQLite appends to a table several times as fast as it inserts.

    A long list is split by the first byte before it is sorted. One sort of a million fingerprints would hold the
    interpreter lock for a second.
    """
    if len(fingerprints) <= BATCH:
        yield from sorted(fingerprints)
        return
    by_first_byte: list[list[int]] = [[] for _ in range(256)]
    for fingerprint in fingerprints:
        by_first_byte[fingerprint >> 120].append(fingerprint)
    for part in by_first_byte:
        yield from sorted(part)


def _finished_rows(key: int, ledger: Ledger, upserts: Mapping[int, int]) -> Iterator[tuple[int, bytes, int]]:
    """Return the rows of the upserts, without runs that the same poll inserted and then forgot."""
    entries = ledger.finished.entries
    remembered = [fingerprint for fingerprint in upserts if fingerprint in entries]
    return ((key, run.to_bytes(16, "big"), upserts[run]) for run in _ascending(remembered))


def _staged_id(transform_id: str) -> str:
    """Return the temporary id of a long history while it is written. No transform in Glue can have such an id."""
    return f"{transform_id} (incomplete)"


class StateFile:
    """The open state file. Its methods may be called from any thread, and raise `StateError` for each failure.

    The file is locked against other processes until it is closed or the process ends.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Take a connection of `open_database`; most callers use `open_state`."""
        self.path = path
        self._connection = connection
        self._lock = threading.Lock()
        self._unsaved: set[str] = set()
        """Transforms of which the last poll could not be stored."""
        self._stored_settings: dict[str, tuple[str, tuple[float, ...]]] = {}
        """Name and buckets in the file, by transform id. A poll that changes only these is stored too."""
        self._configured: frozenset[str] = frozenset()
        """The ids of the last call of `drop_unconfigured`."""

    # -- reading ----------------------------------------------------------------------------------------------------

    def load(self, transform_id: str, bounds: tuple[float, ...]) -> Restored | None:
        """Return the stored state of a transform, or None; ``bounds`` are the configured buckets in seconds."""
        with self._lock, self._as_state_error("read"):
            row = self._connection.execute(
                "SELECT key, name, born, floor, began, watermark, bounds, foreign_cells, latest"
                " FROM transform WHERE id = ?",
                (transform_id,),
            ).fetchone()
            if row is None:
                return None
            key, name, created_at, floor, baseline_end, watermark, stored_bounds, foreign, latest = row
            buckets_changed = tuple(json.loads(stored_bounds)) != bounds
            ledger = Ledger.restore(
                bounds,
                floor=floor,
                baseline_end=baseline_end,
                watermark=watermark,
                foreign=[(task_type, status) for task_type, status in json.loads(foreign)],
                latest={task_type: LatestRun(**fields) for task_type, fields in json.loads(latest).items()},
                open_runs=self._open_runs(key, missing=False),
                missing=self._open_runs(key, missing=True),
                finished=self._finished(key),
            )
            served: dict[Series, Total] = {}
            created: dict[Series, float] = {}
            for family, task_type, status, total, recorded, series_created_at in self._connection.execute(
                "SELECT family, task_type, status, total, served, born FROM series WHERE transform = ?", (key,)
            ):
                series = Series(family, task_type, status)
                if buckets_changed and family in ("execution", "duration"):
                    continue
                if total is not None:
                    ledger.totals[series] = _load(total, bounds)
                if recorded is not None:
                    served[series] = _load(recorded, bounds)
                if series_created_at is not None:
                    created[series] = series_created_at
            self._stored_settings[transform_id] = (name, tuple(json.loads(stored_bounds)))
            return Restored(name, ledger, created_at, served, created, buckets_changed)

    def _open_runs(self, key: int, *, missing: bool) -> list[TaskRun]:
        rows = self._connection.execute("SELECT run FROM open_run WHERE transform = ? AND gone = ?", (key, missing))
        return [TaskRun(*json.loads(run)) for (run,) in rows]

    def _finished(self, key: int) -> Iterator[tuple[int, int]]:
        rows = self._connection.execute(
            "SELECT fingerprint, packed FROM finished_run WHERE transform = ? ORDER BY packed", (key,)
        )
        return ((int.from_bytes(fingerprint, "big"), packed) for fingerprint, packed in rows)

    # -- writing ----------------------------------------------------------------------------------------------------

    def is_unsaved(self, transform_id: str) -> bool:
        """Return whether the last poll of this transform could not be stored."""
        return transform_id in self._unsaved

    def save(
        self, transform_id: str, name: str, ledger: Ledger, changes: Changes, now: float, *, created_at: float
    ) -> bool:
        """Store one poll of a transform; return whether there was anything to store.

        ``name`` is the name from Glue. ``now`` and ``created_at``, the time of creation of the first series, are UTC
        seconds.

        A poll is one transaction. The exception is a first poll with more than `STAGE_SIZE` runs. It takes several
        transactions, so that polls of other transforms can be stored in between. The first ones store the finished runs
        under a temporary id, and the last one changes it to the real id. If the process is killed before that, the next
        process finds nothing, as if there had been no poll.

        After a failure the transform is unsaved until a later call has stored its complete ledger.
        """
        save_all = transform_id in self._unsaved
        if not (save_all or changes or self._stored_settings.get(transform_id) != (name, ledger.bounds)):
            return False
        self._unsaved.add(transform_id)
        upserts = ledger.finished.entries if save_all else changes.upserts
        staged = len(upserts) > STAGE_SIZE and self._stage(
            transform_id, name, ledger, upserts, now=now, created_at=created_at
        )
        with self._transaction() as cursor:
            if staged:
                cursor.execute("UPDATE transform SET id = ? WHERE id = ?", (transform_id, _staged_id(transform_id)))
            key = self._save_transform(cursor, transform_id, name, ledger, now=now, created_at=created_at)
            if not staged:
                if save_all:
                    cursor.execute("DELETE FROM finished_run WHERE transform = ?", (key,))
                self._drop_finished(cursor, key, () if save_all else changes.dropped)
                self._save_finished(cursor, _finished_rows(key, ledger, upserts))
            self._save_open(cursor, key, ledger)
            cursor.executemany(
                "INSERT INTO series (transform, family, task_type, status, total) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET total = excluded.total WHERE total IS NOT excluded.total",
                [(key, *series, _dump(total)) for series, total in ledger.totals.items()],
            )
        self._unsaved.discard(transform_id)
        self._stored_settings[transform_id] = (name, ledger.bounds)
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
                ledger.baseline_end,
                ledger.watermark,
                json.dumps(ledger.bounds),
                json.dumps(ledger.run_kinds.foreign),
                json.dumps({task_type: asdict(latest) for task_type, latest in ledger.latest.items()}),
            ),
        )
        return self._key(cursor, transform_id)

    def _stage(
        self, transform_id: str, name: str, ledger: Ledger, upserts: Mapping[int, int], *, now: float, created_at: float
    ) -> bool:
        """Store the finished runs under the temporary id; return False if the transform is stored already."""
        with self._transaction() as cursor:
            if cursor.execute("SELECT 1 FROM transform WHERE id = ?", (transform_id,)).fetchone() is not None:
                return False
            # A process that was killed may have left a part of a history.
            cursor.execute("DELETE FROM transform WHERE id = ?", (_staged_id(transform_id),))
            key = self._save_transform(cursor, _staged_id(transform_id), name, ledger, now=now, created_at=created_at)
        for rows in _batches(_finished_rows(key, ledger, upserts), STAGE_SIZE):
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
                (key, run.run_id, json.dumps(run), missing)
                for missing, runs in ((False, ledger.open), (True, ledger.missing))
                for run in runs.values()
            ],
        )

    def record_served(self, records: Mapping[str, tuple[Mapping[Series, Total], Mapping[Series, float]]]) -> None:
        """Record the values that the next scrapes show, and the creation times of their series, by transform id.

        Call this before the values are served. Otherwise a restart could continue from lower values.
        """
        with self._transaction() as cursor:
            for transform_id, (served, created) in records.items():
                key = self._key(cursor, transform_id)
                cursor.executemany(
                    "INSERT INTO series (transform, family, task_type, status, served, born)"
                    " VALUES (?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT DO UPDATE SET served = excluded.served, born = excluded.born",
                    [(key, *series, _dump(total), created.get(series)) for series, total in served.items()],
                )

    def drop_unconfigured(self, configured: Iterable[str], now: float, lookback: float) -> int:
        """Drop the transforms that have not been configured for ``lookback`` seconds; return their number.

        ``configured`` has the ids that are configured from ``now`` (UTC seconds) on. The ids of the previous call were
        configured until ``now``.
        """
        ids = frozenset(configured)
        with self._transaction() as cursor:
            cursor.executemany(
                "UPDATE transform SET seen = ? WHERE id = ?",
                [(now, transform_id) for transform_id in self._configured | ids],
            )
            dropped = cursor.execute("DELETE FROM transform WHERE seen < ?", (now - lookback,)).rowcount
        self._configured = ids
        return dropped

    def drop_others(self, is_wanted: Callable[[str], bool]) -> int:
        """Drop the transforms for whose ids ``is_wanted`` returns False; return their number."""
        with self._lock, self._as_state_error("read"):
            stored = [transform_id for (transform_id,) in self._connection.execute("SELECT id FROM transform")]
        unwanted = [(transform_id,) for transform_id in stored if not is_wanted(transform_id)]
        if unwanted:
            with self._transaction() as cursor:
                cursor.executemany("DELETE FROM transform WHERE id = ?", unwanted)
        return len(unwanted)

    def close(self) -> None:
        """Write the content of the WAL into the file, and release the lock."""
        with self._lock:
            self._connection.close()

    def _key(self, cursor: sqlite3.Cursor, transform_id: str) -> int:
        row = cursor.execute("SELECT key FROM transform WHERE id = ?", (transform_id,)).fetchone()
        if row is None:
            raise StateError(f"{self.path}: transform {transform_id} is not stored yet")
        return int(row[0])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        """Commit at the end of the block; roll back if it raises."""
        with self._lock, self._as_state_error("write"):
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
    def _as_state_error(self, action: str) -> Iterator[None]:
        """Raise `StateError` for a failure of SQLite, or for a stored value that cannot be parsed."""
        try:
            yield
        except (sqlite3.Error, ValueError, TypeError, LookupError) as error:
            raise StateError(f"{self.path}: cannot {action} the state: {error}") from error


def open_state(path: Path, now: float) -> tuple[StateFile, Path | None]:
    """Open the state file, and create it if it does not exist; ``now`` is UTC seconds.

    Returns the state file, and the new path of a damaged file that was renamed, or None. Raises `StateError` as
    `database.open_database` does.
    """
    connection, damaged = open_database(path, now)
    return StateFile(path, connection), damaged
