"""The file that the state is in: made, found whole and ours, brought to the present version, and locked.

What its tables mean is for `state` to know. The design is in `docs/design/0004-state.md`.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from exporter.model.errors import StateError

APPLICATION_ID = 0x676D6C65
"""Marks the file as ours in its header ("gmle"), so that another program's database is never written to."""

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


def open_database(path: Path, now: float) -> tuple[sqlite3.Connection, Path | None]:
    """Open the file, made if it is not there, and lock it.

    A damaged file is set aside under a name with ``now`` (UTC seconds) in it, and a new one begun: returns that name
    as well. Raises `StateError` for a file that is not ours, of a newer version, in use, or not to be written.
    """
    try:
        return _connect(path), None
    except sqlite3.DatabaseError as error:
        if not _damaged(error):
            raise StateError(f"{path}: cannot open the state file: {_explain(path, error)}") from error
    aside = _set_aside(path, now)
    try:
        return _connect(path), aside
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
