"""Tables for a terminal: as wide as it is, in colours unless NO_COLOR says otherwise. The only module that draws.

Widths of characters, folding and colours are the business of rich; whatever comes from outside is given to it as a
`Text`, in which it sees no markup.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import TextIO

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from exporter.cli.output import fields as records
from exporter.glue.decode import Record

WIDE = 140
"""Columns from which on what is known of a run stands in columns; in a narrower terminal it stands below each other."""

_WIDEST_LABEL = 32
_PADDING = (0, 2, 0, 0)
_STYLES = {
    "SUCCEEDED": "green",
    "FAILED": "bold red",
    "TIMEOUT": "bold red",
    "RUNNING": "cyan",
    "STARTING": "cyan",
    "STOPPING": "yellow",
    "STOPPED": "yellow",
}
_RESULTS = {"ok": "green", "denied": "bold red", "not found": "bold red", "failed": "bold red", "not tried": "yellow"}


class RunTable:
    """Runs on a terminal. Column widths are fixed, so that what is printed later stands below what is there."""

    def __init__(self, stream: TextIO, *, label_width: int) -> None:
        """Take the terminal and the width of the column of transforms, 0 for none."""
        self._console = _console(stream)
        self._widths = {"STATUS": 9, "TYPE": 23, "STARTED": 33, "TOOK": 9}
        if label_width:
            self._widths["TRANSFORM"] = min(label_width, _WIDEST_LABEL)
        self._wide = self._console.width >= WIDE
        self._header_shown = False

    def show(self, label: str, page: Sequence[Record], now: float) -> None:
        """Print runs."""
        if page:
            _print(self._console, self._in_columns(label, page, now) if self._wide else self._stacked(label, page, now))

    def _in_columns(self, label: str, page: Sequence[Record], now: float) -> Table:
        table = Table(box=None, padding=_PADDING, show_header=not self._header_shown, expand=True)
        self._header_shown = True
        for name, width in self._widths.items():
            table.add_column(name, width=width, overflow="fold")
        table.add_column("RUN", ratio=1, overflow="fold")
        for record in page:
            texts = [records.task_type(record), records.started(record, now), records.took(record), label]
            cells = map(Text, texts[: len(self._widths) - 1])
            table.add_row(_status(record), *cells, self._details(record, now, self._widths.values()))
        return table

    def _stacked(self, label: str, page: Sequence[Record], now: float) -> Table:
        table = Table.grid(padding=_PADDING, expand=True)
        table.add_column(width=self._widths["STATUS"], overflow="fold")
        table.add_column(ratio=1, overflow="fold")
        for record in page:
            took = records.took(record)
            headline = [records.task_type(record), records.started(record, now)]
            headline += [f"took {took}"] if took != "-" else []
            lines = [Text(label, style="bold")] if "TRANSFORM" in self._widths else []
            lines.append(Text("  ".join(headline)))
            table.add_row(_status(record), Group(*lines, self._details(record, now, [self._widths["STATUS"]])))
        return table

    def _details(self, record: Record, now: float, columns: Collection[int]) -> Text:
        """Return the id of a run, its error, and whatever else there is to say, as much in a line as has room."""
        room = self._console.width - sum(columns) - _PADDING[1] * (len(columns) + 1)
        lines = [Text(records.run_id(record))]
        for label, value in records.details(record, now):
            text = Text.assemble((f"{label}: ", "dim"), (value, "red" if label == "Error" else ""))
            if len(lines) > 1 and not lines[-1].plain.startswith("Error") and lines[-1].cell_len + text.cell_len < room:
                lines[-1] = Text.assemble(lines[-1], "  ", text)
            else:
                lines.append(text)
        return Text("\n", overflow="fold").join(lines)


def print_table(stream: TextIO, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table whose last column takes what room there is; in a pipe each row is one line."""
    console = _console(stream)
    table = Table(box=None, padding=_PADDING)
    for name in header[:-1]:
        table.add_column(name, overflow="fold")
    table.add_column(header[-1], overflow="fold", ratio=1)
    for row in rows:
        table.add_row(*(Text(records.printable(cell), style=_RESULTS.get(cell, "")) for cell in row))
    _print(console, table)


def _console(stream: TextIO) -> Console:
    return Console(file=stream, highlight=False, width=None if stream.isatty() else 10_000)


def _print(console: Console, table: Table) -> None:
    """Print without the blanks that fill the last column: they would fold in a terminal that is made narrower."""
    with console.capture() as capture:
        console.print(table)
    console.file.writelines(f"{line.rstrip()}\n" for line in capture.get().splitlines())
    console.file.flush()


def _status(record: Record) -> Text:
    text = records.status(record)
    return Text(text, style=_STYLES.get(text, ""))
