"""Reads and writes the ledgers and the served values in the state file.

The file is a SQLite database in WAL mode. `StateFile.save` stores each poll of a transform in one transaction, except
for a very long first poll. `StateFile.record_served` stores the served values in one transaction.

Each commit is synced to the disk (``synchronous=FULL``). Without the sync, a power failure could lose a counter value
after a scrape has read it. After the restart the counter would then be lower than in this scrape. Commits are rare,
because only a poll with changes is stored.

`docs/design/0004-state.md` explains why these values are stored. Some columns and JSON keys have other names than in
the code; `exporter.state.database` lists these names.
"""

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from exporter.counting.counters import Count, Exemplar, Histogram, Series, Total
from exporter.counting.incomplete_runs import IncompleteRun
from exporter.counting.latest import LatestRun
from exporter.counting.ledger import Changes, Ledger
from exporter.logs import get_logger
from exporter.model.errors import StateError
from exporter.model.task_run import TaskRun
from exporter.state.checksum import (
    DamageError,
    StoredRows,
    check_finished,
    checksum_of_finished,
    seal,
    verified_rows,
)
from exporter.state.database import (
    NO_LOCKS,
    FullDiskError,
    connect,
    copy_in_memory,
    is_damage,
    is_full,
    open_database,
    set_aside,
)
from exporter.state.locks import lacks_locks

BATCH = 1000
"""Maximum number of rows for one call of SQLite. During a long call, other threads could not run."""

_INCOMPLETE = 2
"""The value of the column ``gone`` for an incomplete run."""

STAGE_SIZE = 20_000
"""Maximum number of rows of a transaction. A first poll with more runs is stored in several transactions."""

_SERVED = "served values"
_CONFIGURED = "configured transforms"
_POLLS = "last polls"
_OPENING = "the file at the start"

_TABLES = (
    ("transform", "key"),
    *((table, "transform") for table in ("open_run", "finished_run", "series", "last_poll")),
)
"""Each table with the column that has the key of the transform; the other tables refer to the first one."""

_DAMAGE = (DamageError, ValueError, TypeError, LookupError, sqlite3.Error)
"""The exceptions when stored data cannot be read."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Restored:
    """The stored state of one transform. Times are UTC seconds."""

    name: str
    """The last name from Glue. It is used after a restart, because a new name would create new series."""
    ledger: Ledger
    created_at: float
    """Creation time of the first series of the transform."""
    served: Mapping[Series, Total]
    """The last values from `StateFile.record_served`, which scrapes may have read."""
    created: Mapping[Series, float]
    """Creation times of later series; the creation time of all other series is ``created_at``."""
    buckets_changed: bool
    """Whether the configured buckets differ from the stored buckets. If so, the histograms are not loaded."""
    succeeded: float | None
    """The last successful poll, as `StateFile.record_polls` stored it."""


def _dump(total: Total) -> str:
    return json.dumps(["count", *total] if isinstance(total, Count) else ["histogram", *total])


def _exemplar(value: list[Any] | None) -> Exemplar | None:
    return None if value is None else Exemplar(*value)


def _load(text: str, bounds: tuple[float, ...]) -> Total:
    """Parse the output of `_dump`. Raises ValueError if a histogram has a wrong number of buckets."""
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
    """Yield fingerprints in ascending order, because SQLite inserts ascending keys several times faster than others.

    A long list is split by the first byte, and the parts are sorted. Other threads cannot run during a sort, and the
    sort of a million fingerprints would take a second.
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
    """Return the rows of the upserts that are still in the ledger; the same poll may have forgotten some of them."""
    entries = ledger.finished.entries
    remembered = [fingerprint for fingerprint in upserts if fingerprint in entries]
    return ((key, run.to_bytes(16, "big"), upserts[run]) for run in _ascending(remembered))


def _staged_id(transform_id: str) -> str:
    """Return the temporary id of a transform during `_stage`. Glue does not create ids of this form."""
    return f"{transform_id} (incomplete)"


def _open_runs(rows: StoredRows, *, missing: bool) -> list[TaskRun]:
    return [TaskRun(*json.loads(run)) for _, run, is_missing in rows.open_runs if is_missing == missing]


def _incomplete_runs(rows: StoredRows) -> list[IncompleteRun]:
    stored = [json.loads(run) for _, run, kind in rows.open_runs if kind == _INCOMPLETE]
    return [IncompleteRun(TaskRun(*run), since, counted) for run, since, counted in stored]


def _is_damage(error: BaseException | None) -> bool:
    """Return whether an exception means that stored data are damaged."""
    return isinstance(error, _DAMAGE) and (not isinstance(error, sqlite3.Error) or is_damage(error))


def _open_files(path: Path) -> tuple[int, ...]:
    """Return descriptors of the file and its WAL.

    A descriptor keeps the inode, so no other file can get the same number. The descriptor of the file must stay open
    until SQLite has closed the file, because closing it releases the locks of the whole process (POSIX, fcntl).
    """
    return tuple(os.open(name, os.O_RDONLY | os.O_CLOEXEC) for name in (path, _wal(path)) if name.exists())


def _have_names(descriptors: Collection[int], path: Path) -> bool:
    """Return whether the file and its WAL still have these names."""
    try:
        return all(
            os.path.samestat(os.fstat(descriptor), os.stat(name))  # noqa: PTH116 - beside os.fstat
            for descriptor, name in zip(descriptors, (path, _wal(path)), strict=False)
        )
    except FileNotFoundError:
        return False


def _wal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


class StateFile:
    """The open state file. Any thread may call its methods. Every failure raises `StateError`.

    No other process can open the file until this process closes it or ends.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, *, waits_for_disk: bool = False) -> None:
        """Use a connection from `open_database`. Other packages call `open_state` instead.

        If the object ``waits_for_disk``, the connection is a copy in memory, which is only read. Each write then tries
        to open the file on the disk.
        """
        self.path = path
        self._connection = connection
        self._waits_for_disk = waits_for_disk
        self._opened = () if waits_for_disk else _open_files(path)
        """Descriptors of the file and its WAL, to find out whether their names still belong to them."""
        self._lock = threading.Lock()
        self._unsaved: set[str] = set()
        """Ids of the transforms whose last poll could not be stored."""
        self._failed_writes = {_OPENING} if waits_for_disk else set()
        """What could not be written since it was last written: ids of transforms, and the names of other data.

        No counter waits for `_CONFIGURED` and `_OPENING`, so any successful write ends these.
        """
        self._closed = False
        self._stored_settings: dict[str, tuple[str, tuple[float, ...]]] = {}
        """Name and buckets in the file, by transform id. If one of them has changed, the next poll is stored."""
        self._configured: frozenset[str] = frozenset()
        """The ids from the last call of `drop_unconfigured`."""

    # -- reading ----------------------------------------------------------------------------------------------------

    def load(self, transform_id: str, bounds: tuple[float, ...]) -> Restored | None:
        """Return the stored state of a transform, or None if there is no state.

        ``bounds`` are the upper bounds of the configured buckets in seconds. Damaged data are no state: the file is set
        aside, and a new file continues with the other transforms.
        """
        with self._lock:
            try:
                with self._as_state_error("read"):
                    return self._load(transform_id, bounds)
            except StateError as error:
                if not _is_damage(error.__cause__):
                    raise
                self._set_damaged_aside(error)
                return None

    def _load(self, transform_id: str, bounds: tuple[float, ...]) -> Restored | None:
        found = self._connection.execute(
            "SELECT key, succeeded FROM transform LEFT JOIN last_poll ON last_poll.transform = key WHERE id = ?",
            (transform_id,),
        ).fetchone()
        if found is None:
            return None
        key, succeeded = found
        rows = verified_rows(self._connection, key)
        row = rows.transform
        stored_bounds = tuple(json.loads(row["bounds"]))
        buckets_changed = stored_bounds != bounds
        ledger = Ledger.restore(
            bounds,
            floor=row["floor"],
            watched_since=row["watched_since"],
            forgotten_until=row["forgotten_until"],
            watermark=row["watermark"],
            foreign=[(task_type, status) for task_type, status in json.loads(row["foreign_cells"])],
            latest={task_type: LatestRun(**fields) for task_type, fields in json.loads(row["latest"]).items()},
            open_runs=_open_runs(rows, missing=False),
            missing=_open_runs(rows, missing=True),
            incomplete=_incomplete_runs(rows),
            finished=self._finished(key),
        )
        check_finished(rows, ledger.finished.checksum)
        served: dict[Series, Total] = {}
        created: dict[Series, float] = {}
        for family, task_type, status, total, recorded, series_created_at in rows.series:
            series = Series(family, task_type, status)  # type: ignore[arg-type] # the checksum is right
            if buckets_changed and family in ("execution", "duration"):
                continue
            if total is not None:
                ledger.totals[series] = _load(total, bounds)
            if recorded is not None:
                served[series] = _load(recorded, bounds)
            if series_created_at is not None:
                created[series] = series_created_at
        self._stored_settings[transform_id] = (row["name"], stored_bounds)
        return Restored(row["name"], ledger, row["born"], served, created, buckets_changed, succeeded)

    def _finished(self, key: int) -> Iterator[tuple[int, int]]:
        query = "SELECT fingerprint, packed FROM finished_run WHERE transform = ? ORDER BY packed"
        with closing(self._connection.execute(query, (key,))) as rows:
            for fingerprint, packed in rows:
                yield int.from_bytes(fingerprint, "big"), packed | 0  # raises TypeError unless it is an integer

    # -- a file that is damaged, deleted or replaced -----------------------------------------------------------------

    def check(self) -> None:
        """Find out whether the file was deleted or replaced; if so, write it again. Raises `StateError` if it cannot.

        A write finds this out too, but an exporter whose transforms are idle does not write.
        """
        with self._lock:
            if not self._closed:
                self._ensure_file()

    def _ensure_file(self) -> None:
        """Make sure that the next write goes to the file that has the configured path."""
        with self._as_state_error("write"):
            if self._waits_for_disk:
                connection, _ = open_database(self.path, time.time())
                self._use(connection)
            elif not _have_names(self._opened, self.path):
                kept = self._write_anew("replaced", is_kept=lambda _key, _id: True)
                log.error(
                    "the state file was deleted or replaced while the exporter runs; it was written again",
                    path=str(self.path),
                    kept_as=str(kept) if kept else None,
                )

    def _set_damaged_aside(self, error: StateError) -> None:
        """Continue with a new file that has the transforms in use and those of the others that are not damaged.

        The transforms in use are not verified. They were right when they were loaded, and their polls store them.
        """
        begun_anew: list[str] = []

        def is_kept(key: int, transform_id: str) -> bool:
            kept = transform_id in self._stored_settings or self._is_undamaged(key)
            if not kept:
                begun_anew.append(transform_id)
            return kept

        try:
            with self._as_state_error("write"):
                kept_as = self._write_anew("damaged", is_kept=is_kept)
        except StateError as failure:
            if self._stored_settings or not _is_damage(failure.__cause__):
                raise
            # No table can be read, and nothing in the file is in use yet.
            self._connection.close()
            kept_as = set_aside(self.path, "damaged", time.time())
            self._use(open_database(self.path, time.time())[0])
        log.error(
            "a part of the state file is damaged; the file was renamed and written again without it;"
            " the counters of the damaged transforms start again at 0",
            error=str(error),
            transforms=len(begun_anew) or None,
            kept_as=str(kept_as),
        )

    def _is_undamaged(self, key: int) -> bool:
        try:
            rows = verified_rows(self._connection, key)
            check_finished(rows, checksum_of_finished(self._finished(key)))
        except _DAMAGE as error:
            if not _is_damage(error):
                raise
            return False
        return True

    def _write_anew(self, kind: str, *, is_kept: Callable[[int, str], bool]) -> Path | None:
        """Copy the kept transforms to a new file at the configured path, and continue with this file.

        A file that is at this path gets a new name with ``kind``. The new path is returned, None without such a file.
        If the copy fails, everything stays as it was.
        """
        new = self.path.with_name(f"{self.path.name}.new")
        for suffix in ("", "-wal"):
            new.with_name(new.name + suffix).unlink(missing_ok=True)
        connect(new).close()
        self._connection.execute("ATTACH DATABASE ? AS new", (str(new),))
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for key, transform_id in self._connection.execute("SELECT key, id FROM main.transform").fetchall():
                if is_kept(key, transform_id):
                    for table, column in _TABLES:
                        self._connection.execute(
                            f"INSERT INTO new.{table} SELECT * FROM main.{table} WHERE {column} = ?",  # noqa: S608 - own names
                            (key,),
                        )
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._connection.execute("DETACH DATABASE new")
        kept = set_aside(self.path, kind, time.time())
        self._connection.close()
        new.rename(self.path)
        self._use(connect(self.path))
        return kept

    def _use(self, connection: sqlite3.Connection) -> None:
        """Replace the connection."""
        self._connection.close()
        for descriptor in self._opened:
            os.close(descriptor)
        self._connection, self._waits_for_disk = connection, False
        self._opened = _open_files(self.path)

    # -- writing ----------------------------------------------------------------------------------------------------

    def is_unsaved(self, transform_id: str) -> bool:
        """Return whether the last poll of this transform could not be stored."""
        return transform_id in self._unsaved

    def save(
        self, transform_id: str, name: str, ledger: Ledger, changes: Changes, now: float, *, created_at: float
    ) -> bool:
        """Store one poll of a transform; return False if nothing has changed and nothing was written.

        Args:
            transform_id: the id of the transform.
            name: the name of the transform in Glue.
            ledger: the ledger after the poll.
            changes: the result of `Ledger.commit`.
            now: the time of the poll in UTC seconds.
            created_at: the creation time of the first series in UTC seconds.

        A poll is stored in one transaction. A first poll with more than `STAGE_SIZE` runs needs several transactions,
        so that polls of other transforms can be stored between them. These transactions store the runs under a
        temporary id, and the last transaction replaces the temporary id by the real id. If the process is killed before
        the last transaction, the next process does not find the transform and polls it for the first time.

        After a failure, the next call stores the complete ledger.
        """
        save_all = transform_id in self._unsaved
        if not (save_all or changes or self._stored_settings.get(transform_id) != (name, ledger.bounds)):
            return False
        self._unsaved.add(transform_id)
        upserts = ledger.finished.entries if save_all else changes.upserts
        staged = len(upserts) > STAGE_SIZE and self._stage(
            transform_id, name, ledger, upserts, now=now, created_at=created_at
        )
        with self._transaction(transform_id) as cursor:
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
            seal(self._connection, key)
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
            "INSERT INTO transform (id, name, born, seen, floor, watched_since, forgotten_until, watermark, bounds,"
            " foreign_cells, latest, finished_checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET name = excluded.name, seen = excluded.seen, floor = excluded.floor,"
            " watched_since = excluded.watched_since, forgotten_until = excluded.forgotten_until,"
            " watermark = excluded.watermark, bounds = excluded.bounds,"
            " foreign_cells = excluded.foreign_cells, latest = excluded.latest,"
            " finished_checksum = excluded.finished_checksum",
            (
                transform_id,
                name,
                created_at,
                now,
                ledger.floor,
                ledger.watched_since,
                ledger.forgotten_until,
                ledger.watermark,
                json.dumps(ledger.bounds),
                json.dumps(ledger.run_kinds.foreign),
                json.dumps({task_type: asdict(latest) for task_type, latest in ledger.latest.items()}),
                f"{ledger.finished.checksum:x}",
            ),
        )
        return self._key(cursor, transform_id)

    def _stage(
        self, transform_id: str, name: str, ledger: Ledger, upserts: Mapping[int, int], *, now: float, created_at: float
    ) -> bool:
        """Store the finished runs under the temporary id. Return False if the transform is already stored."""
        with self._transaction(transform_id) as cursor:
            if cursor.execute("SELECT 1 FROM transform WHERE id = ?", (transform_id,)).fetchone() is not None:
                return False
            # A killed process may have stored a part of the runs under the temporary id.
            cursor.execute("DELETE FROM transform WHERE id = ?", (_staged_id(transform_id),))
            key = self._save_transform(cursor, _staged_id(transform_id), name, ledger, now=now, created_at=created_at)
        for rows in _batches(_finished_rows(key, ledger, upserts), STAGE_SIZE):
            with self._transaction(transform_id) as cursor:
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
                (key, run_id, json.dumps(run), kind)
                for kind, runs in ((False, ledger.open), (True, ledger.missing), (_INCOMPLETE, ledger.incomplete))
                for run_id, run in runs.items()
            ],
        )

    def record_served(self, records: Mapping[str, tuple[Mapping[Series, Total], Mapping[Series, float]]]) -> None:
        """Store the values of the next scrapes and the creation times of their series, by transform id.

        The caller must call this before it serves the values. Otherwise a counter could be lower after a restart.
        """
        with self._transaction(_SERVED) as cursor:
            for transform_id, (served, created) in records.items():
                key = self._key(cursor, transform_id)
                cursor.executemany(
                    "INSERT INTO series (transform, family, task_type, status, served, born)"
                    " VALUES (?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT DO UPDATE SET served = excluded.served, born = excluded.born",
                    [(key, *series, _dump(total), created.get(series)) for series, total in served.items()],
                )
                seal(self._connection, key)

    def record_polls(self, succeeded: Mapping[str, float]) -> None:
        """Store the time of the last successful poll (UTC seconds) by transform id.

        These times change with every poll, so they are stored together and apart from the ledgers. Transforms that are
        not stored yet are skipped.
        """
        with self._transaction(_POLLS) as cursor:
            cursor.executemany(
                "INSERT OR REPLACE INTO last_poll SELECT key, ? FROM transform WHERE id = ?",
                [(time, transform_id) for transform_id, time in succeeded.items()],
            )
        # Damage in the WAL is not noticed, and some people copy the file without its WAL. So the WAL is kept short.
        with self._lock, self._as_state_error("write"):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def drop_unconfigured(self, configured: Iterable[str], now: float, lookback: float, *, is_complete: bool) -> int:
        """Delete the transforms that have not been configured for ``lookback`` seconds; return their number.

        ``configured`` contains the ids that are configured at ``now`` (UTC seconds). The ids from the previous call
        were configured until ``now``. Without ``is_complete`` more transforms may still be found, and none is deleted.
        """
        ids = frozenset(configured)
        with self._transaction(_CONFIGURED) as cursor:
            cursor.executemany(
                "UPDATE transform SET seen = ? WHERE id = ?",
                [(now, transform_id) for transform_id in self._configured | ids],
            )
            dropped = 0
            if is_complete:
                dropped = cursor.execute("DELETE FROM transform WHERE seen < ?", (now - lookback,)).rowcount
        self._configured = ids
        # No poll will store the transforms that are no longer configured.
        self._failed_writes &= ids | {_SERVED, _POLLS}
        return dropped

    def drop_others(self, is_wanted: Callable[[str], bool]) -> int:
        """Delete the transforms with an id for which ``is_wanted`` returns False; return their number."""
        with self._lock, self._as_state_error("read"):
            stored = [transform_id for (transform_id,) in self._connection.execute("SELECT id FROM transform")]
        unwanted = [(transform_id,) for transform_id in stored if not is_wanted(transform_id)]
        if unwanted:
            with self._transaction(_CONFIGURED) as cursor:
                cursor.executemany("DELETE FROM transform WHERE id = ?", unwanted)
        return len(unwanted)

    def close(self) -> None:
        """Write the WAL into the file, and release the lock of the file."""
        with self._lock:
            self._closed = True
            self._connection.close()
            for descriptor in self._opened:
                os.close(descriptor)
            self._opened = ()

    def _key(self, cursor: sqlite3.Cursor, transform_id: str) -> int:
        row = cursor.execute("SELECT key FROM transform WHERE id = ?", (transform_id,)).fetchone()
        if row is None:
            raise StateError(f"{self.path}: transform {transform_id} is not stored yet")
        return int(row[0])

    @contextmanager
    def _transaction(self, what: str) -> Iterator[sqlite3.Cursor]:
        """Commit after the block. If the block raises an exception, roll back instead.

        ``what`` names the data that the block writes. The first failed write is logged. When everything that could not
        be written has been written, this is logged too.
        """
        with self._lock:
            try:
                with self._as_state_error("write"):
                    if not self._closed:
                        self._ensure_file()
                    cursor = self._connection.cursor()
                    cursor.execute("BEGIN IMMEDIATE")
                    try:
                        yield cursor
                        cursor.execute("COMMIT")
                    except BaseException:
                        if self._connection.in_transaction:
                            cursor.execute("ROLLBACK")
                        raise
            except StateError as error:
                self._note_failure(what, error)
                raise
            if self._failed_writes:
                self._failed_writes -= {what, _CONFIGURED, _OPENING}
                if not self._failed_writes:
                    log.info("the state file is written again; counters catch up", path=str(self.path))

    def _note_failure(self, what: str, error: StateError) -> None:
        # After the file is closed, the last polls may still end. Their runs were never served, so nothing is lost.
        if not (self._failed_writes or self._closed):
            log.error("the state file cannot be written; counters wait until it can", error=str(error))
        self._failed_writes.add(what)

    @contextmanager
    def _as_state_error(self, action: str) -> Iterator[None]:
        """Raise `StateError` if SQLite fails or a stored value cannot be parsed."""
        try:
            yield
        except (*_DAMAGE, OSError) as error:
            reason = "the disk is full" if is_full(error) else str(error)
            raise StateError(f"{self.path}: cannot {action} the state: {reason}") from error


def open_state(path: Path, now: float) -> tuple[StateFile, Path | None]:
    """Open the state file, and create it if it does not exist; ``now`` is UTC seconds.

    Returns the state file, and the new path of a damaged file, or None. `database.open_database` describes damaged
    files and the failures that raise `StateError`. If the disk is full, the state file has the values of the present
    file, and the first write that succeeds continues on the disk.
    """
    if lacks_locks(path.parent):
        log.warning(
            f"{NO_LOCKS}; a second exporter could use the file too, and the counters would be wrong",
            folder=str(path.parent),
        )
    try:
        connection, damaged = open_database(path, now)
    except FullDiskError as error:
        log.error("the state file cannot be opened; gauges are served, counters wait until it can", error=str(error))
        return StateFile(path, copy_in_memory(path), waits_for_disk=True), None
    return StateFile(path, connection), damaged
