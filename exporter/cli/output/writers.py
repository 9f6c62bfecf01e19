"""The forms in which runs are printed, page by page: nothing is held back, so that a long history needs no memory."""

import csv
from collections.abc import Sequence
from typing import Protocol, TextIO

from exporter.cli.output import fields as records
from exporter.glue.decode import Record


class Printer(Protocol):
    """Prints runs as they come."""

    def show(self, label: str, page: Sequence[Record], now: float) -> None:
        """Print runs of the transform that people know by this label, as of ``now`` (UTC seconds)."""


class JsonLines:
    """One object a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, label: str, page: Sequence[Record], now: float) -> None:  # noqa: ARG002 - the objects say it all
        """Print runs; label and time are not needed."""
        self._stream.writelines(f"{records.json_line(record)}\n" for record in page)
        self._stream.flush()


class Csv:
    """A header and one row for each run (RFC 4180, but for the line feed alone as line end)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._writer = csv.writer(stream, lineterminator="\n")
        self._writer.writerow(records.CSV_COLUMNS)

    def show(self, label: str, page: Sequence[Record], now: float) -> None:  # noqa: ARG002 - the rows say it all
        """Print runs; label and time are not needed."""
        self._writer.writerows(map(records.csv_row, page))
        self._stream.flush()


class Lines:
    """A header and one line for each run, of whatever length, for grep and other programs in a pipe."""

    def __init__(self, stream: TextIO, *, label_width: int) -> None:
        """Take the width of the column of transforms, 0 for none."""
        self._stream = stream
        self._label_width = label_width
        self._begun = False

    def _begin(self) -> None:
        self._begun = True
        self._write(("STATUS", "TYPE", "STARTED", "TOOK", "TRANSFORM", "RUN", "DETAILS"))

    def show(self, label: str, page: Sequence[Record], now: float) -> None:
        """Print runs."""
        if page and not self._begun:
            self._begin()
        for record in page:
            rest = "  ".join(f"{name}: {text}" for name, text in records.details(record, now))
            self._write(
                (
                    records.status(record),
                    records.task_type(record),
                    records.started(record, now),
                    records.took(record),
                    label,
                    records.run_id(record),
                    rest,
                )
            )
        self._stream.flush()

    def _write(self, cells: tuple[str, ...]) -> None:
        status, task_type, started, took, label, run_id, rest = cells
        transform = f"{label:<{self._label_width}}  " if self._label_width else ""
        line = f"{status:<9}  {task_type:<23}  {started:<33}  {took:<9}  {transform}{run_id:<44}  {rest}"
        self._stream.write(f"{line.rstrip()}\n")
