"""Writers of runs for programs and pipes. Each page is written at once, so that a long history needs little memory."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TextIO

from exporter.cli.output import fields
from exporter.glue.decode import Record
from exporter.model.transform import Target


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run as Glue lists it, its transform, and the label of the transform for people."""

    record: Record
    target: Target
    label: str

    @property
    def complete_record(self) -> Record:
        """The run with id, name, account and region of its transform. An unknown name is empty."""
        name, lane = self.target.name or "", self.target.lane
        place = {"TransformName": name, "Account": lane.account, "Region": lane.region}
        return {"TransformId": self.target.id, **self.record, **place}


class RunWriter(Protocol):
    """Writes runs in the order in which they come."""

    def write(self, runs: Sequence[ListedRun], now: float) -> None:
        """Write the runs. `now` is the time to which relative times refer, in UTC seconds."""


class JsonWriter:
    """Writes one JSON object for each line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, runs: Sequence[ListedRun], now: float) -> None:  # noqa: ARG002 - the protocol's signature
        """Write the runs with absolute times."""
        self._stream.writelines(f"{fields.json_line(run.complete_record)}\n" for run in runs)
        self._stream.flush()


class CsvWriter:
    """Writes a header and one row for each run (RFC 4180, but with a line feed alone at the end of a line)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._writer = csv.writer(stream, lineterminator="\n")
        self._writer.writerow(fields.CSV_COLUMNS)

    def write(self, runs: Sequence[ListedRun], now: float) -> None:  # noqa: ARG002 - the protocol's signature
        """Write the runs with absolute times."""
        self._writer.writerows(fields.csv_row(run.complete_record) for run in runs)
        self._stream.flush()


class LineWriter:
    """Writes a header and one line of any length for each run, for grep and other programs in a pipe."""

    def __init__(self, stream: TextIO, *, label_width: int) -> None:
        """Take the width of the column of transforms; 0 means no such column."""
        self._stream = stream
        self._label_width = label_width
        self._header_written = False

    def write(self, runs: Sequence[ListedRun], now: float) -> None:
        """Write the runs, with a header before the first run."""
        if runs and not self._header_written:
            self._write_line(("STATUS", "TYPE", "STARTED", "TOOK", "EXECUTING", "TRANSFORM", "RUN", "DETAILS"))
            self._header_written = True
        for run in runs:
            record = run.record
            details = "  ".join(f"{name}: {text}" for name, text in fields.details(record, now))
            columns = (fields.status(record), fields.task_type(record), fields.started(record, now))
            times = (fields.duration(record), fields.execution_time(record))
            self._write_line((*columns, *times, run.label, fields.run_id(record), details))
        self._stream.flush()

    def _write_line(self, cells: tuple[str, str, str, str, str, str, str, str]) -> None:
        status, task_type, started, took, executing, label, run_id, details = cells
        transform = f"{label:<{self._label_width}}  " if self._label_width else ""
        times = f"{started:<33}  {took:<9}  {executing:<9}"
        line = f"{status:<9}  {task_type:<23}  {times}  {transform}{run_id:<44}  {details}"
        self._stream.write(f"{line.rstrip()}\n")
