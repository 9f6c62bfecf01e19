"""The checksum over everything that is stored about one transform, so that no damaged value is served or counted.

SQLite notices damage to the structure of its file, but not a changed value in a row. The checksum covers the row in
``transform`` and the rows in ``open_run`` and ``series``. It also covers the sum of the finished runs, so a poll need
not read them again. Two columns are left out: ``seen``, which changes for all transforms at once and is not counted,
and ``checksum`` itself.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from hashlib import blake2b
from typing import Any, NamedTuple

from exporter.state.database import READ_ERRORS, DamageError, is_damage

_LEFT_OUT = ("seen", "checksum")


class StoredRows(NamedTuple):
    """The rows of one transform, without its finished runs."""

    transform: dict[str, Any]
    """The row in ``transform`` by column."""
    open_runs: list[tuple[str, str, int]]
    """Id, JSON of the run, and whether the run is missing."""
    series: list[tuple[str, str, str, str | None, str | None, float | None]]
    """Family, task type, status, true value, served value and creation time."""

    @property
    def checksum(self) -> bytes:
        """The checksum of these rows. Raises TypeError if a column has a value of a wrong type."""
        columns = {name: value for name, value in self.transform.items() if name not in _LEFT_OUT}
        return blake2b(json.dumps([columns, self.open_runs, self.series]).encode(), digest_size=16).digest()


def read_rows(connection: sqlite3.Connection, key: int) -> StoredRows:
    """Return the rows of the transform with this key, which must exist."""
    names, (transform,) = _select(connection, "SELECT * FROM transform WHERE key = ?", key)
    _, open_runs = _select(
        connection, "SELECT run_id, run, gone FROM open_run WHERE transform = ? ORDER BY run_id", key
    )
    _, series = _select(
        connection,
        "SELECT family, task_type, status, total, served, born FROM series WHERE transform = ?"
        " ORDER BY family, task_type, status",
        key,
    )
    return StoredRows(dict(zip(names, transform, strict=True)), open_runs, series)


def _select(connection: sqlite3.Connection, query: str, key: int) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the names of the columns, and the rows."""
    # A text that is not UTF-8 raises an exception, and a cursor that is still open would lock the database.
    with closing(connection.execute(query, (key,))) as cursor:
        return [column[0] for column in cursor.description], cursor.fetchall()


def seal(connection: sqlite3.Connection, key: int) -> None:
    """Store the checksum of the rows of a transform. Every transaction that changes them ends with this call."""
    connection.execute("UPDATE transform SET checksum = ? WHERE key = ?", (read_rows(connection, key).checksum, key))


def verified_rows(connection: sqlite3.Connection, key: int) -> StoredRows:
    """Return the rows of a transform. Raises `DamageError` if they do not have the stored checksum.

    A transform without checksum was stored by an older version; its rows cannot be verified.
    """
    rows = read_rows(connection, key)
    stored = rows.transform["checksum"]
    if stored is not None and stored != rows.checksum:
        raise DamageError(f"the checksum of transform {rows.transform['id']} is wrong")
    return rows


def check_finished(rows: StoredRows, checksum: int) -> None:
    """Raise `DamageError` if the finished runs that were read have another checksum than the stored finished runs.

    ``checksum`` is `FinishedRuns.checksum` of the runs that were read.
    """
    stored = rows.transform["finished_checksum"]
    if stored is not None and stored != f"{checksum:x}":
        raise DamageError(f"the checksum of the finished runs of transform {rows.transform['id']} is wrong")


def finished_of(connection: sqlite3.Connection, key: int) -> Iterator[tuple[int, int]]:
    """Yield (fingerprint, packed entry) of the finished runs, in ascending order of the packed entries.

    Raises TypeError if a column has a value of a wrong type.
    """
    query = "SELECT fingerprint, packed FROM finished_run WHERE transform = ? ORDER BY packed"
    with closing(connection.execute(query, (key,))) as rows:
        for fingerprint, packed in rows:
            yield int.from_bytes(fingerprint, "big"), packed | 0  # raises TypeError unless it is an integer


def is_undamaged(connection: sqlite3.Connection, key: int) -> bool:
    """Return whether everything that is stored about the transform has the right checksums."""
    try:
        rows = verified_rows(connection, key)
        check_finished(rows, sum(fingerprint * packed for fingerprint, packed in finished_of(connection, key)))
    except READ_ERRORS as error:
        if not is_damage(error):
            raise
        return False
    return True
