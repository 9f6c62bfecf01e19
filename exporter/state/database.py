"""Creates, checks, locks and migrates the SQLite file of the state.

`exporter.state.store` reads and writes the tables. `docs/design/0004-state.md` explains the design.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from exporter.model.errors import StateError

APPLICATION_ID = 0x676D6C65
"""The application id in the SQLite header of a state file ("gmle" in ASCII). Files with another id are refused."""

# The names of tables, columns and JSON keys are a file format and must not change. Some names in the code are newer:
# - ``born`` contains `created_at`.
# - ``gone`` is 1 for a missing run.
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
)
"""The script with index n migrates a file from version n to n + 1. A released script must not change."""


def open_database(path: Path, now: float) -> tuple[sqlite3.Connection, Path | None]:
    """Open and lock the file; create it if it does not exist.

    A damaged file is renamed, and a new file is created. The damaged file gets a name with ``now`` (UTC seconds).

    Returns:
        The connection, and the new path of the damaged file, or None if the file was not damaged.

    Raises:
        StateError: if the file belongs to another program, has a newer version, is in use, or cannot be written.
    """
    try:
        return _connect(path), None
    except sqlite3.DatabaseError as error:
        if not _is_damage(error):
            raise StateError(f"{path}: cannot open the state file: {_explain(path, error)}") from error
    damaged = _rename_damaged(path, now)
    try:
        return _connect(path), damaged
    except sqlite3.DatabaseError as error:
        raise StateError(f"{path}: cannot create a new state file: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    if path.exists() and path.stat().st_size and not os.access(path, os.W_OK):
        raise StateError(f"{path}: the state file is read-only; expected a file that this user can write to")
    if path.exists() and path.stat().st_size:
        _check_application_id(path)
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        # The connection keeps the lock until it is closed. Without the lock, a second exporter could use the same file,
        # and would overwrite newer totals with older totals.
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
            f"{path}: a newer glue-ml-exporter wrote this file (state version {version});"
            f" this version reads {len(MIGRATIONS)} and older"
        )
    ((result,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
    if result != "ok":
        raise sqlite3.DatabaseError(f"malformed: {result}")
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(
            f"BEGIN; {script} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number}; COMMIT;"
        )


def _check_application_id(path: Path) -> None:
    """Raise `StateError` if the file belongs to another program. The check does not change the file."""
    with path.open("rb") as file:
        if file.read(16) != b"SQLite format 3\x00":
            raise StateError(
                f"{path}: not a state file of glue-ml-exporter; expected a state file, or a path where no file exists"
            )
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=0)) as connection:
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id != APPLICATION_ID and (tables or application_id):
        raise StateError(f"{path}: the database of another program; expected a state file of glue-ml-exporter")


def is_full(error: Exception) -> bool:
    """Return whether SQLite failed because the disk is full."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return any(word in str(error) for word in ("malformed", "not a database", "disk image"))


def _explain(path: Path, error: sqlite3.DatabaseError) -> str:
    if "locked" in str(error):
        return "another process has it open; each exporter needs a state file of its own"
    if "unable to open" in str(error):
        return f"{error}; expected an existing folder that this user can write to: {path.parent}"
    return str(error)


def _rename_damaged(path: Path, now: float) -> Path:
    """Rename the file and its WAL, and return the new path. An existing file is not overwritten."""
    renamed = path.with_name(f"{path.name}.damaged-{int(now)}")
    while renamed.exists():
        renamed = renamed.with_name(f"{renamed.name}-again")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(renamed.with_name(renamed.name + suffix))
    return renamed
