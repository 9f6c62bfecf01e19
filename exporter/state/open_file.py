"""The open state file: its transactions, and what happens if it is damaged, deleted, replaced or cannot be written.

`docs/design/0016-damaged-state.md` explains the design.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Set
from contextlib import contextmanager
from pathlib import Path

from exporter.logs import get_logger
from exporter.model.errors import StateError
from exporter.state.checksum import is_undamaged
from exporter.state.database import READ_ERRORS, connect, is_damage, is_full, open_database, set_aside
from exporter.state.locks import is_locked_by_sqlite

NO_COUNTERS = "data for which no counter waits"
"""Names the data of a transaction. If they could not be written, any later write ends this failure."""

_TABLES = (
    ("transform", "key"),
    *((table, "transform") for table in ("open_run", "finished_run", "series", "last_poll")),
)
"""Each table with the column that has the key of the transform; the other tables refer to the first one."""

log = get_logger(__name__)


class OpenFile:
    """The connection to the file, and the lock for its use. Every failure raises `StateError`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, *, waits_for_disk: bool) -> None:
        """Use a connection from `open_database`.

        If the object ``waits_for_disk``, the connection is a copy in memory, which is only read. Each write then tries
        to open the file on the disk.
        """
        self.path = path
        self.connection = connection
        self._waits_for_disk = waits_for_disk
        self._opened = () if waits_for_disk else _open_files(path)
        """Descriptors of the file and its WAL, to find out whether their names still belong to them."""
        self._lock = threading.Lock()
        self._failed_writes = {NO_COUNTERS} if waits_for_disk else set()
        """The data that could not be written and were not written since, by the names that `transaction` was given."""
        self._closed = False
        self._failure = "the file could not be opened at the start, because the disk is full"

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold the lock during the block, and raise `StateError` if it cannot read the file."""
        with self._lock, self._as_state_error("read"):
            yield

    @contextmanager
    def transaction(self, what: str) -> Iterator[sqlite3.Cursor]:
        """Commit after the block. If the block raises an exception, roll back instead.

        ``what`` names the data that the block writes. The first failed write is logged. When everything that could not
        be written has been written, this is logged too.
        """
        with self._lock:
            try:
                with self._as_state_error("write"):
                    if not self._closed:
                        self._ensure_file()
                    cursor = self.connection.cursor()
                    cursor.execute("BEGIN IMMEDIATE")
                    try:
                        yield cursor
                        cursor.execute("COMMIT")
                    except BaseException:
                        if self.connection.in_transaction:
                            cursor.execute("ROLLBACK")
                        raise
            except StateError as error:
                self._note_failure(what, error)
                raise
            self._note_success(what)

    def _note_failure(self, what: str, error: StateError) -> None:
        # After the file is closed, the last polls may still end. Their runs were never served, so nothing is lost.
        if not (self._failed_writes or self._closed):
            log.error("the state file cannot be written; counters wait until it can", error=str(error))
        self._failed_writes.add(what)
        self._failure = str(error)

    @property
    def failure(self) -> str:
        """The last reason why data are not in the file now; empty if all data could be written."""
        return self._failure if self._failed_writes else ""

    def _note_success(self, what: str) -> None:
        if self._failed_writes:
            self._failed_writes -= {what, NO_COUNTERS}
            if not self._failed_writes:
                log.info("the state file is written again; counters catch up", path=str(self.path))

    def forget_failures_except(self, names: Set[str]) -> None:
        """Wait only for the data with these names. No poll will store transforms that are no longer configured."""
        with self._lock:
            self._failed_writes &= names

    def checkpoint(self) -> None:
        """Write the WAL into the file, and empty it.

        Damage in the WAL is not noticed, and some people copy the file without its WAL. So the WAL is kept short.
        """
        with self._lock, self._as_state_error("write"):
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Write the WAL into the file, and release the lock of the file."""
        with self._lock:
            self._closed = True
            self.connection.close()
            for descriptor in self._opened:
                os.close(descriptor)
            self._opened = ()

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
                if _checksums(connection) == _checksums(self.connection):
                    self._use(connection)
                    return
                connection.close()
            elif _have_names(self._opened, self.path):
                return
            elif self._is_used_by_another_process():
                raise StateError(
                    f"{self.path}: the file was deleted, and another process has a new one open;"
                    " each exporter needs a state file of its own"
                )
            kept = self._write_anew("replaced", is_kept=lambda _key, _id: True)
            log.error(
                "the state file was deleted or replaced while the exporter runs; it was written again",
                path=str(self.path),
                kept_as=str(kept) if kept else None,
            )

    def _is_used_by_another_process(self) -> bool:
        # If the file at the path is the own one, only its WAL was deleted. It must not be opened and closed, because
        # this would release the locks of this process.
        is_own = _have_names(self._opened[:1], self.path)
        return not is_own and self.path.exists() and is_locked_by_sqlite(self.path)

    def set_damaged_aside(self, error: StateError, in_use: Collection[str]) -> None:
        """Continue with a new file that has the transforms in use and those of the others that are not damaged.

        ``error`` was raised when a transform was loaded. The transforms ``in_use`` are not verified. They were right
        when they were loaded, and their polls store them.
        """
        begun_anew: list[str] = []

        def is_kept(key: int, transform_id: str) -> bool:
            kept = transform_id in in_use or is_undamaged(self.connection, key)
            if not kept:
                begun_anew.append(transform_id)
            return kept

        with self._lock:
            try:
                with self._as_state_error("write"):
                    kept_as = self._write_anew("damaged", is_kept=is_kept)
            except StateError as failure:
                if in_use or not is_damage(failure.__cause__):
                    raise
                # No table can be read, and nothing in the file is in use yet.
                self.connection.close()
                kept_as = set_aside(self.path, "damaged", time.time())
                self._use(open_database(self.path, time.time())[0])
            log.error(
                "a part of the state file is damaged; the file was renamed and written again without it;"
                " the counters of the damaged transforms start again at 0",
                error=str(error),
                transforms=len(begun_anew) or None,
                kept_as=str(kept_as),
            )

    def _write_anew(self, kind: str, *, is_kept: Callable[[int, str], bool]) -> Path | None:
        """Copy the kept transforms to a new file at the configured path, and continue with this file.

        A file that is at this path gets a new name with ``kind``. The new path is returned, None without such a file.
        If the copy fails, everything stays as it was.
        """
        new = self.path.with_name(f"{self.path.name}.new")
        for suffix in ("", "-wal"):
            new.with_name(new.name + suffix).unlink(missing_ok=True)
        connect(new).close()
        self.connection.execute("ATTACH DATABASE ? AS new", (str(new),))
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            for key, transform_id in self.connection.execute("SELECT key, id FROM main.transform").fetchall():
                if is_kept(key, transform_id):
                    for table, column in _TABLES:
                        self.connection.execute(
                            f"INSERT INTO new.{table} SELECT * FROM main.{table} WHERE {column} = ?",  # noqa: S608 - own names
                            (key,),
                        )
            self.connection.execute("COMMIT")
        finally:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            self.connection.execute("DETACH DATABASE new")
        kept = set_aside(self.path, kind, time.time())
        self.connection.close()
        new.rename(self.path)
        self._use(connect(self.path))
        return kept

    def _use(self, connection: sqlite3.Connection) -> None:
        """Replace the connection."""
        self.connection.close()
        for descriptor in self._opened:
            os.close(descriptor)
        self.connection, self._waits_for_disk = connection, False
        self._opened = _open_files(self.path)

    @contextmanager
    def _as_state_error(self, action: str) -> Iterator[None]:
        """Raise `StateError` if SQLite fails or a stored value cannot be parsed."""
        try:
            yield
        except (*READ_ERRORS, OSError) as error:
            reason = "the disk is full" if is_full(error) else str(error)
            raise StateError(f"{self.path}: cannot {action} the state: {reason}") from error


def _checksums(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    """Return the id and the checksum of each transform, to find out whether two databases have the same content."""
    return connection.execute("SELECT id, checksum FROM transform ORDER BY id").fetchall()


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
