"""The state file: what has to outlive the process so that no run is counted twice or not at all.

SQLite in WAL mode. A poll of a transform is one transaction, a mark of served values another. Commits are synced to
the disk (``synchronous=FULL``): a mark lost with the machine's power would let a counter come back lower than
Prometheus has seen it. They are rare, for a poll that brings nothing writes nothing.

This module knows how things are stored, not what they mean; `docs/design/0004-state.md` has the reasons.
"""

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from exporter.errors import StateError
from exporter.facts import Latest
from exporter.ledger import Changes, Ledger
from exporter.runs import TaskRun
from exporter.totals import Count, Exemplar, Histogram, Series, Total

APPLICATION_ID = 0x676D6C65
"""Marks the file as ours in its header ("gmle"), so that another program's database is never written to."""

BATCH = 1000
"""Rows per statement: the interpreter is held for a few milliseconds, not for a whole history."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE transform (
        key INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        born REAL NOT NULL,
        seen REAL NOT NULL,
        floor REAL NOT NULL,
        began REAL NOT NULL,
        watermark REAL,
        bounds TEXT NOT NULL,
        foreign_cells TEXT NOT NULL,
        latest TEXT NOT NULL
    );
    CREATE TABLE open_run (
        transform INTEGER NOT NULL REFERENCES transform ON DELETE CASCADE,
        run_id TEXT NOT NULL,
        run TEXT NOT NULL,
        gone INTEGER NOT NULL,
        PRIMARY KEY (transform, run_id)
    ) WITHOUT ROWID;
    CREATE TABLE finished_run (
        transform INTEGER NOT NULL REFERENCES transform ON DELETE CASCADE,
        fingerprint BLOB NOT NULL,
        packed INTEGER NOT NULL,
        PRIMARY KEY (transform, fingerprint)
    ) WITHOUT ROWID;
    CREATE TABLE series (
        transform INTEGER NOT NULL REFERENCES transform ON DELETE CASCADE,
        family TEXT NOT NULL,
        task_type TEXT NOT NULL,
        status TEXT NOT NULL,
        total TEXT,
        served TEXT,
        born REAL,
        PRIMARY KEY (transform, family, task_type, status)
    ) WITHOUT ROWID;
    """,
)
"""The n-th script takes a file of version n to version n + 1; each is final once released."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What the file knows of one transform."""

    name: str
    """The name that Glue knew; a series that comes back under another name would be another series."""
    ledger: Ledger
    born_at: float
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


def _batches(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    rows = iter(rows)
    while batch := list(islice(rows, BATCH)):
        yield batch


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
            key, name, born_at, floor, began, watermark, stored_bounds, foreign, latest = row
            rebucketed = tuple(json.loads(stored_bounds)) != bounds
            ledger = Ledger.restore(
                bounds,
                floor=floor,
                began=began,
                watermark=watermark,
                foreign=[(task_type, status) for task_type, status in json.loads(foreign)],
                latest={task_type: Latest(**facts) for task_type, facts in json.loads(latest).items()},
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
            return Restored(name, ledger, born_at, served, born, rebucketed)

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
        self, transform_id: str, name: str, ledger: Ledger, changes: Changes, now: float, *, born_at: float
    ) -> bool:
        """Store one poll in one transaction; whether anything had to be written. ``name`` is the one that Glue knows.

        ``now`` and ``born_at``, the birth of the first series, are UTC seconds.

        After a failure (`StateError`) the transform is behind until a later poll of it is stored, whole.
        """
        whole = transform_id in self._incomplete
        if not (whole or changes or self._stored.get(transform_id) != (name, ledger.bounds)):
            return False
        self._incomplete.add(transform_id)
        with self._transaction() as cursor:
            key = self._save_transform(cursor, transform_id, name, ledger, now=now, born_at=born_at)
            if whole:
                cursor.execute("DELETE FROM finished_run WHERE transform = ?", (key,))
            settled = ledger.finished if whole else changes.settled
            self._save_runs(cursor, key, ledger, settled, () if whole else changes.dropped)
            cursor.executemany(
                "INSERT INTO series (transform, family, task_type, status, total) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET total = excluded.total WHERE total IS NOT excluded.total",
                [(key, *series, _dump(total)) for series, total in ledger.totals.items()],
            )
        self._incomplete.discard(transform_id)
        self._stored[transform_id] = (name, ledger.bounds)
        return True

    def _save_transform(
        self, cursor: sqlite3.Cursor, transform_id: str, name: str, ledger: Ledger, *, now: float, born_at: float
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
                born_at,
                now,
                ledger.floor,
                ledger.began,
                ledger.watermark,
                json.dumps(ledger.bounds),
                json.dumps(ledger.foreign),
                json.dumps({task_type: asdict(facts) for task_type, facts in ledger.latest.items()}),
            ),
        )
        return self._key(cursor, transform_id)

    def _save_runs(
        self, cursor: sqlite3.Cursor, key: int, ledger: Ledger, settled: Mapping[int, int], dropped: Collection[int]
    ) -> None:
        for batch in _batches((key, fingerprint.to_bytes(16, "big")) for fingerprint in dropped):
            cursor.executemany("DELETE FROM finished_run WHERE transform = ? AND fingerprint = ?", batch)
        # A run may be settled and forgotten in one poll; only what is still remembered is stored.
        rows = ((key, run.to_bytes(16, "big"), packed) for run, packed in settled.items() if run in ledger.finished)
        for batch in _batches(rows):
            cursor.executemany("INSERT OR REPLACE INTO finished_run VALUES (?, ?, ?)", batch)
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
        before, self._kept = self._kept, frozenset(transform_ids)
        with self._transaction() as cursor:
            cursor.executemany(
                "UPDATE transform SET seen = ? WHERE id = ?", [(now, name) for name in before | self._kept]
            )
            return cursor.execute("DELETE FROM transform WHERE seen < ?", (now - lookback,)).rowcount

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
    """Open the state file, made if it is not there, and lock it.

    A damaged file is set aside under a name with ``now`` (UTC seconds) in it, and a new one begun: returns that name
    as well. Raises `StateError` for a file that is not ours, of a newer version, in use, or not to be written.
    """
    try:
        return StateFile(path, _connect(path)), None
    except sqlite3.DatabaseError as error:
        if not _damaged(error):
            raise StateError(f"{path}: cannot open the state file: {_explain(path, error)}") from error
    aside = _set_aside(path, now)
    try:
        return StateFile(path, _connect(path)), aside
    except sqlite3.DatabaseError as error:
        raise StateError(f"{path}: cannot begin a new state file: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    if path.exists() and path.stat().st_size and not os.access(path, os.W_OK):
        raise StateError(f"{path}: the state file is read-only; expected a file that this user may write")
    if path.exists() and path.stat().st_size:
        _check_ours(path)
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        # Exclusive from the first read to the last: a second exporter on this file would count on stale totals.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")
        _migrate(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(path: Path, connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise StateError(
            f"{path}: written by a newer glue-ml-exporter (state version {version}); this one reads {len(MIGRATIONS)}"
        )
    ((verdict,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
    if verdict != "ok":
        raise sqlite3.DatabaseError(f"malformed: {verdict}")
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(
            f"BEGIN; {script} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number}; COMMIT;"
        )


def _check_ours(path: Path) -> None:
    """Raise `StateError` if the file is somebody else's; to look at it changes nothing in it."""
    with path.open("rb") as file:
        if file.read(16) != b"SQLite format 3\x00":
            raise StateError(f"{path}: not a state file of glue-ml-exporter; expected one, or a path where none is yet")
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=0)) as connection:
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id != APPLICATION_ID and (tables or application_id):
        raise StateError(f"{path}: a database of another program; expected a state file of glue-ml-exporter")


def _damaged(error: sqlite3.DatabaseError) -> bool:
    return any(word in str(error) for word in ("malformed", "not a database", "disk image"))


def _explain(path: Path, error: sqlite3.DatabaseError) -> str:
    if "locked" in str(error):
        return "another process has it open; each exporter needs a state file of its own"
    if "unable to open" in str(error):
        return f"{error}; expected an existing folder that this user may write: {path.parent}"
    return str(error)


def _set_aside(path: Path, now: float) -> Path:
    aside = path.with_name(f"{path.name}.damaged-{int(now)}")
    while aside.exists():
        aside = aside.with_name(f"{aside.name}-again")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside
