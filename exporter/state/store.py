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
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
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
from exporter.state.checksum import StoredRows, check_finished, finished_of, seal, verified_rows
from exporter.state.database import NO_LOCKS, FullDiskError, copy_in_memory, is_damage, open_database
from exporter.state.locks import lacks_locks
from exporter.state.open_file import NO_COUNTERS, OpenFile

BATCH = 1000
"""Maximum number of rows for one call of SQLite. During a long call, other threads could not run."""

_INCOMPLETE = 2
"""The value of the column ``gone`` for an incomplete run."""

STAGE_SIZE = 20_000
"""Maximum number of rows of a transaction. A first poll with more runs is stored in several transactions."""

_SERVED = "served values"
_POLLS = "last polls"

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


class StateFile:
    """The open state file. Any thread may call its methods. Every failure raises `StateError`.

    No other process can open the file until this process closes it or ends.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, *, waits_for_disk: bool = False) -> None:
        """Take the connection of an `OpenFile`. Other packages call `open_state` instead."""
        self.path = path
        self._file = OpenFile(path, connection, waits_for_disk=waits_for_disk)
        self._unsaved: set[str] = set()
        """Ids of the transforms whose last poll could not be stored."""
        self._stored_settings: dict[str, tuple[str, tuple[float, ...]]] = {}
        """Name and buckets in the file, by transform id. If one of them has changed, the next poll is stored."""
        self._configured: frozenset[str] = frozenset()
        """The ids from the last call of `drop_unconfigured`."""

    @property
    def failure(self) -> str:
        """Why counters wait for the file now; empty if the last writes have succeeded."""
        return self._file.failure

    # -- reading ----------------------------------------------------------------------------------------------------

    def load(self, transform_id: str, bounds: tuple[float, ...]) -> Restored | None:
        """Return the stored state of a transform, or None if there is no state.

        ``bounds`` are the upper bounds of the configured buckets in seconds. Damaged data are no state: the file is set
        aside, and a new file continues with the other transforms.
        """
        try:
            with self._file.reading():
                return self._load(transform_id, bounds)
        except StateError as error:
            if not is_damage(error.__cause__):
                raise
            self._file.set_damaged_aside(error, in_use=self._stored_settings)
            return None

    @property
    def _connection(self) -> sqlite3.Connection:
        return self._file.connection

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
            finished=finished_of(self._connection, key),
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
        with self._file.transaction(transform_id) as cursor:
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
        with self._file.transaction(transform_id) as cursor:
            if cursor.execute("SELECT 1 FROM transform WHERE id = ?", (transform_id,)).fetchone() is not None:
                return False
            # A killed process may have stored a part of the runs under the temporary id.
            cursor.execute("DELETE FROM transform WHERE id = ?", (_staged_id(transform_id),))
            key = self._save_transform(cursor, _staged_id(transform_id), name, ledger, now=now, created_at=created_at)
        for rows in _batches(_finished_rows(key, ledger, upserts), STAGE_SIZE):
            with self._file.transaction(transform_id) as cursor:
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
        with self._file.transaction(_SERVED) as cursor:
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
        with self._file.transaction(_POLLS) as cursor:
            cursor.executemany(
                "INSERT OR REPLACE INTO last_poll SELECT key, ? FROM transform WHERE id = ?",
                [(time, transform_id) for transform_id, time in succeeded.items()],
            )
        self._file.checkpoint()

    def drop_unconfigured(self, configured: Iterable[str], now: float, lookback: float, *, is_complete: bool) -> int:
        """Delete the transforms that have not been configured for ``lookback`` seconds; return their number.

        ``configured`` contains the ids that are configured at ``now`` (UTC seconds). The ids from the previous call
        were configured until ``now``. Without ``is_complete`` more transforms may still be found, and none is deleted.
        """
        ids = frozenset(configured)
        with self._file.transaction(NO_COUNTERS) as cursor:
            cursor.executemany(
                "UPDATE transform SET seen = ? WHERE id = ?",
                [(now, transform_id) for transform_id in self._configured | ids],
            )
            dropped = 0
            if is_complete:
                dropped = cursor.execute("DELETE FROM transform WHERE seen < ?", (now - lookback,)).rowcount
        self._configured = ids
        # No poll will store the transforms that are no longer configured.
        self._file.forget_failures_except(ids | {_SERVED, _POLLS})
        return dropped

    def drop_others(self, is_wanted: Callable[[str], bool]) -> int:
        """Delete the transforms with an id for which ``is_wanted`` returns False; return their number."""
        with self._file.reading():
            stored = [transform_id for (transform_id,) in self._connection.execute("SELECT id FROM transform")]
        unwanted = [(transform_id,) for transform_id in stored if not is_wanted(transform_id)]
        if unwanted:
            with self._file.transaction(NO_COUNTERS) as cursor:
                cursor.executemany("DELETE FROM transform WHERE id = ?", unwanted)
        return len(unwanted)

    def check(self) -> None:
        """Find out whether the file was deleted or replaced; if so, write it again. Raises `StateError` if it cannot.

        A write finds this out too, but an exporter whose transforms are idle does not write.
        """
        self._file.check()

    def close(self) -> None:
        """Write the WAL into the file, and release the lock of the file."""
        self._file.close()

    def _key(self, cursor: sqlite3.Cursor, transform_id: str) -> int:
        row = cursor.execute("SELECT key FROM transform WHERE id = ?", (transform_id,)).fetchone()
        if row is None:
            raise StateError(f"{self.path}: transform {transform_id} is not stored yet")
        return int(row[0])


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
