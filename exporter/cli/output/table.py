"""Tables for a terminal: as wide as the terminal, and in colours unless NO_COLOR is set.

rich measures characters, folds lines and colours them. rich is slow to load, so only this module imports it. Texts from
AWS are passed to rich as `Text`, because rich does not interpret markup in a `Text`.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import TextIO

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from exporter.cli.output import fields
from exporter.cli.output.writers import ListedRun
from exporter.glue.decode import Record

WIDE = 140
"""Minimum width of a terminal for a table with a column for each field. In a narrower terminal, each run has several
lines."""

_WIDEST_LABEL = 40
_PADDING = (0, 2, 0, 0)
_STATUS_STYLES = {
    "SUCCEEDED": "green",
    "FAILED": "bold red",
    "TIMEOUT": "bold red",
    "RUNNING": "cyan",
    "STARTING": "cyan",
    "STOPPING": "yellow",
    "STOPPED": "yellow",
}
_RESULT_STYLES = {
    "ok": "green",
    "denied": "bold red",
    "not found": "bold red",
    "failed": "bold red",
    "not tried": "yellow",
}


class RunTable:
    """Writes runs to a terminal. Column widths are fixed, so that the columns of all pages are aligned."""

    def __init__(self, stream: TextIO, *, label_width: int) -> None:
        """Take the terminal and the width of the column of transforms; 0 means no such column."""
        self._console = _console(stream)
        self._widths = {"STATUS": 9, "TYPE": 23, "STARTED": 33, "TOOK": 9, "EXECUTING": 9}
        if label_width:
            self._widths["TRANSFORM"] = min(label_width, _WIDEST_LABEL)
        self._wide = self._console.width >= WIDE
        self._header_shown = False

    def write(self, runs: Sequence[ListedRun], now: float) -> None:
        """Write the runs; see `RunWriter`."""
        if runs:
            arrange = self._side_by_side if self._wide else self._stacked
            _print(self._console, arrange(runs, now))

    def _side_by_side(self, runs: Sequence[ListedRun], now: float) -> Table:
        table = Table(box=None, padding=_PADDING, show_header=not self._header_shown, expand=True)
        self._header_shown = True
        for name, width in self._widths.items():
            table.add_column(name, width=width, overflow="fold")
        table.add_column("RUN", ratio=1, overflow="fold")
        for run in runs:
            record = run.record
            times = [fields.started(record, now), fields.duration(record), fields.execution_time(record)]
            cells = map(Text, [fields.task_type(record), *times, run.label][: len(self._widths) - 1])
            table.add_row(_status(record), *cells, self._details(record, now, self._widths.values()))
        return table

    def _stacked(self, runs: Sequence[ListedRun], now: float) -> Table:
        table = Table.grid(padding=_PADDING, expand=True)
        table.add_column(width=self._widths["STATUS"], overflow="fold")
        table.add_column(ratio=1, overflow="fold")
        for run in runs:
            record = run.record
            times = [f"took {fields.duration(record)}", f"{fields.execution_time(record)} executing"]
            known = ", ".join(text for text in times if "-" not in text)
            headline = [fields.task_type(record), fields.started(record, now), known]
            lines = [Text(run.label, style="bold")] if "TRANSFORM" in self._widths else []
            lines.append(Text("  ".join(filter(None, headline))))
            table.add_row(_status(record), Group(*lines, self._details(record, now, [self._widths["STATUS"]])))
        return table

    def _details(self, record: Record, now: float, columns: Collection[int]) -> Text:
        """Return the id of a run and its details. Short details share a line, but the error has its own line."""
        room = self._console.width - sum(columns) - _PADDING[1] * (len(columns) + 1)
        lines = [Text(fields.run_id(record))]
        for label, value in fields.details(record, now):
            text = Text.assemble((f"{label}: ", "dim"), (value, "red" if label == "Error" else ""))
            if len(lines) > 1 and not lines[-1].plain.startswith("Error") and lines[-1].cell_len + text.cell_len < room:
                lines[-1] = Text.assemble(lines[-1], "  ", text)
            else:
                lines.append(text)
        return Text("\n", overflow="fold").join(lines)


def print_table(stream: TextIO, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table whose last column takes the rest of the width; in a pipe each row is one line."""
    console = _console(stream)
    table = Table(box=None, padding=_PADDING)
    for name in header[:-1]:
        table.add_column(name, overflow="fold")
    table.add_column(header[-1], overflow="fold", ratio=1)
    for row in rows:
        table.add_row(*(Text(fields.printable(cell), style=_RESULT_STYLES.get(cell, "")) for cell in row))
    _print(console, table)


def _console(stream: TextIO) -> Console:
    return Console(file=stream, highlight=False, width=None if stream.isatty() else 10_000)


def _print(console: Console, table: Table) -> None:
    """Print the table without spaces at the end of lines, which would wrap in a terminal that is made narrower."""
    with console.capture() as capture:
        console.print(table)
    console.file.writelines(f"{line.rstrip()}\n" for line in capture.get().splitlines())
    console.file.flush()


def _status(record: Record) -> Text:
    text = fields.status(record)
    return Text(text, style=_STATUS_STYLES.get(text, ""))
