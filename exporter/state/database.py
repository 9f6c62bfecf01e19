"""Opens, checks, locks and migrates the SQLite file of the state, and sets a damaged file aside.

`exporter.state.store` reads and writes the tables. `docs/design/0004-state.md` and `docs/design/0016-damaged-state.md`
explain the design.
"""

import os
import sqlite3
from contextlib import closing, suppress
from functools import cache
from pathlib import Path

from exporter.model.errors import StateError
from exporter.state.locks import lacks_locks

APPLICATION_ID = 0x676D6C65
"""The application id in the SQLite header of a state file ("gmle" in ASCII). Files with another id are refused."""

# The names of tables, columns and JSON keys are a file format and must not change. Some names in the code are newer:
# - ``born`` contains `created_at`.
# - ``gone`` is 0 for an open run, 1 for a missing run, and 2 for an incomplete run.
# - ``foreign_cells`` contains the undocumented run kinds.
# - ``served`` contains the recorded values.
# - ``latest`` contains JSON; its keys are the fields of `LatestRun`.
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
    # Version 1 did not store since when a transform is watched, but its series are born at that time.
    """
    ALTER TABLE transform RENAME COLUMN began TO watched_since;
    ALTER TABLE transform ADD COLUMN forgotten_until REAL NOT NULL DEFAULT 0;
    UPDATE transform SET watched_since = born, forgotten_until = floor;
    """,
    """
    ALTER TABLE transform ADD COLUMN finished_checksum TEXT;
    ALTER TABLE transform ADD COLUMN checksum BLOB;
    CREATE TABLE last_poll (
        transform INTEGER PRIMARY KEY REFERENCES transform ON DELETE CASCADE,
        succeeded REAL NOT NULL
    );
    """,
)
"""The script with index n migrates a file from version n to n + 1. A released script must not change.

Each script must change the tables, because `_refuse_foreign` and `_migrate` recognize a version by its tables.
"""


class DamageError(Exception):
    """The stored data of a transform differ from the data that were written."""


READ_ERRORS = (DamageError, sqlite3.Error, sqlite3.Warning, ValueError, TypeError, LookupError)
"""The exceptions when a file or the data in it cannot be read.

A ValueError is also raised if the message of SQLite quotes a damaged text that is not UTF-8.
"""

NO_LOCKS = "the file system of the state file has no byte-range locks"


class FullDiskError(StateError):
    """The file cannot be created, opened or migrated, because the disk accepts no writes at present."""


def open_database(path: Path, now: float) -> tuple[sqlite3.Connection, Path | None]:
    """Open and lock the file; create it if it does not exist.

    A damaged file is renamed, and a new file is created. A file that is no SQLite database counts as damaged, because
    the first bytes of a state file may be damaged too. The damaged file gets a name with ``now`` (UTC seconds).

    Returns:
        The connection, and the new path of the damaged file, or None if the file was not damaged.

    Raises:
        FullDiskError: if the disk accepts no writes. The file has its old name then, or the damaged file its new name.
        StateError: if the file belongs to another program, has a newer version, is in use, or cannot be written.
    """
    damaged = None
    try:
        try:
            return connect(path), None
        except READ_ERRORS as error:
            if not is_damage(error):
                raise
        damaged = set_aside(path, "damaged", now)
        return connect(path), damaged
    except (*READ_ERRORS, OSError) as error:
        kind = FullDiskError if is_unwritable(error, path) else StateError
        raise kind(f"{path}: cannot open the state file: {_explain(path, error)}") from error


def connect(path: Path) -> sqlite3.Connection:
    """Open, lock, check and migrate the file.

    Raises `StateError` if the file must not be used, and an error of sqlite3 if it cannot be used.
    """
    if path.exists() and path.stat().st_size:
        if not os.access(path, os.W_OK):
            raise StateError(f"{path}: the state file is read-only; expected a file that this user can write to")
        _refuse_foreign(path)
    connection = _open(path)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def copy_in_memory(path: Path) -> sqlite3.Connection:
    """Return a copy in memory, migrated to the present version; an empty one if there is no file.

    While the disk is full, an older file cannot be migrated on it, but the exporter needs its values.

    Raises an error of sqlite3 if the file cannot be read.
    """
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    if path.exists() and path.stat().st_size:
        with closing(_open(path)) as connection:
            connection.backup(memory)
    _migrate(memory)
    return memory


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    # The connection keeps the lock until it is closed. Without the lock, a second exporter could use the same file, and
    # would overwrite newer totals with older totals.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if version and application_id != APPLICATION_ID:
        raise sqlite3.DatabaseError(f"the application id is {application_id}")
    if not 0 <= version <= len(MIGRATIONS) or _tables(connection) != _tables_of(version):
        raise sqlite3.DatabaseError(f"the tables are not those of state version {version}")
    ((result,),) = connection.execute("PRAGMA integrity_check(1)").fetchall()
    if result != "ok":
        raise sqlite3.DatabaseError(f"malformed: {result}")
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        _run_migration(connection, number, script)


def _run_migration(connection: sqlite3.Connection, number: int, script: str) -> None:
    connection.executescript(
        f"BEGIN; {script} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number}; COMMIT;"
    )


_Columns = tuple[tuple[str, str, str], ...]
"""The columns of all tables: the name of the table, the name of the column and its type."""


@cache
def _tables_of(version: int) -> _Columns:
    with closing(sqlite3.connect(":memory:")) as memory:
        for number, script in enumerate(MIGRATIONS[:version], start=1):
            _run_migration(memory, number, script)
        return _tables(memory)


def _tables(connection: sqlite3.Connection) -> _Columns:
    # The SQL texts in sqlite_master are not compared, because another version of SQLite may write them differently.
    return tuple(
        connection.execute(
            "SELECT tables.name, columns.name, columns.type"
            " FROM sqlite_master AS tables JOIN pragma_table_info(tables.name) AS columns"
            " WHERE tables.type = 'table' ORDER BY tables.name, columns.cid"
        )
    )


def _refuse_foreign(path: Path) -> None:
    """Raise `StateError` if the file belongs to another program or to a newer version. The check does not change it.

    A damaged file of this exporter is not refused. Each version has other tables. So a file with known tables, but with
    a newer version or another application id in its header, is damaged.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=0)) as connection:
            (application_id,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            tables = _tables(connection)
    except READ_ERRORS:
        return  # in use or damaged; the caller notices which
    if tables in {_tables_of(known) for known in range(1, len(MIGRATIONS) + 1)}:
        return
    is_ours = application_id == APPLICATION_ID
    if (
        not is_ours
        and (tables or application_id)
        and not {"transform", "finished_run"} <= {table for table, _, _ in tables}
    ):
        raise StateError(f"{path}: the database of another program; expected a state file of glue-ml-exporter")
    if is_ours and version > len(MIGRATIONS):
        raise StateError(
            f"{path}: a newer glue-ml-exporter wrote this file (state version {version});"
            f" this version reads {len(MIGRATIONS)} and older; to go back to this version, delete the file"
        )


# -- kinds of errors --------------------------------------------------------------------------------------------------

_NO_DAMAGE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
}
"""Primary result codes that say nothing about the content of the file (https://www.sqlite.org/rescode.html)."""


def is_damage(error: BaseException | None) -> bool:
    """Return whether reading failed because of the content of the file."""
    if not isinstance(error, READ_ERRORS):
        return False
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return code == sqlite3.SQLITE_IOERR_SHORT_READ or code & 0xFF not in _NO_DAMAGE


def is_full(error: Exception) -> bool:
    """Return whether SQLite failed because the disk is full."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def is_unwritable(error: Exception, path: Path) -> bool:
    """Return whether the disk accepts no writes at present: it is full, has no inodes, or a quota is used up."""
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_CANTOPEN:
        with suppress(OSError):
            disk = os.statvfs(path.parent)
            return not disk.f_bavail or bool(disk.f_files and not disk.f_favail)
    return is_full(error) or code == sqlite3.SQLITE_IOERR_WRITE


def _explain(path: Path, error: Exception) -> str:
    if is_full(error) or (is_unwritable(error, path) and not path.exists()):
        return f"the disk of {path.parent} is full"
    if lacks_locks(path.parent):
        return f"{NO_LOCKS}: {path.parent}; expected a local file system"
    if "locked" in str(error):
        return "another process has it open; each exporter needs a state file of its own"
    if "unable to open" in str(error):
        return f"{error}; expected an existing folder that this user can write to: {path.parent}"
    return str(error)


def set_aside(path: Path, kind: str, now: float) -> Path | None:
    """Rename the file, its WAL and its index; return the new path of the file, or None if there is no file.

    The new name has the ``kind`` and ``now`` (UTC seconds). An existing file is not overwritten.
    """
    renamed = path.with_name(f"{path.name}.{kind}-{int(now)}")
    while renamed.exists():
        renamed = renamed.with_name(f"{renamed.name}-again")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(renamed.with_name(renamed.name + suffix))
    return renamed if renamed.exists() else None
