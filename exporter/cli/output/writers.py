"""Writers of runs for programs and pipes. Each page is written at once, so that a long history needs little memory."""

import csv
from collections.abc import Sequence
from typing import Protocol, TextIO

from exporter.cli.output import fields
from exporter.glue.decode import Record


class RunWriter(Protocol):
    """Writes runs page by page."""

    def write(self, label: str, page: Sequence[Record], now: float) -> None:
        """Write the runs of one transform.

        Args:
            label: the name of the transform for people.
            page: the runs, as Glue lists them.
            now: UTC seconds to which relative times refer.
        """


class JsonWriter:
    """Writes one JSON object for each line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, label: str, page: Sequence[Record], now: float) -> None:  # noqa: ARG002 - the protocol's signature
        """Write the runs. Label and time are not used: an object holds the id and absolute times."""
        self._stream.writelines(f"{fields.json_line(record)}\n" for record in page)
        self._stream.flush()


class CsvWriter:
    """Writes a header and one row for each run (RFC 4180, but with a line feed alone at the end of a line)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._writer = csv.writer(stream, lineterminator="\n")
        self._writer.writerow(fields.CSV_COLUMNS)

    def write(self, label: str, page: Sequence[Record], now: float) -> None:  # noqa: ARG002 - the protocol's signature
        """Write the runs. Label and time are not used: a row holds the id and absolute times."""
        self._writer.writerows(map(fields.csv_row, page))
        self._stream.flush()


class LineWriter:
    """Writes a header and one line of any length for each run, for grep and other programs in a pipe."""

    def __init__(self, stream: TextIO, *, label_width: int) -> None:
        """Take the width of the column of transforms; 0 means no such column."""
        self._stream = stream
        self._label_width = label_width
        self._header_written = False

    def write(self, label: str, page: Sequence[Record], now: float) -> None:
        """Write the runs, with a header before the first run."""
        if page and not self._header_written:
            self._write_line(("STATUS", "TYPE", "STARTED", "TOOK", "TRANSFORM", "RUN", "DETAILS"))
            self._header_written = True
        for record in page:
            details = "  ".join(f"{name}: {text}" for name, text in fields.details(record, now))
            columns = (fields.status(record), fields.task_type(record), fields.started(record, now))
            self._write_line((*columns, fields.execution_time(record), label, fields.run_id(record), details))
        self._stream.flush()

    def _write_line(self, cells: tuple[str, str, str, str, str, str, str]) -> None:
        status, task_type, started, took, label, run_id, details = cells
        transform = f"{label:<{self._label_width}}  " if self._label_width else ""
        line = f"{status:<9}  {task_type:<23}  {started:<33}  {took:<9}  {transform}{run_id:<44}  {details}"
        self._stream.write(f"{line.rstrip()}\n")
