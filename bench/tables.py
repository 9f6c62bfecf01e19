"""Tables of results: the ratio, the absolute figures behind it, the target, and whether it is reached."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Target:
    """The lower or upper limit of a figure."""

    bound: Literal["at least", "at most"]
    limit: float

    def reached(self, figure: float) -> bool:
        """Return whether `figure` is within the limit."""
        return figure >= self.limit if self.bound == "at least" else figure <= self.limit

    def __str__(self) -> str:
        return f"{self.bound} {_digits(self.limit)}"


def at_least(limit: float) -> Target:
    """Return the target of a figure that should be large."""
    return Target("at least", limit)


def at_most(limit: float) -> Target:
    """Return the target of a figure that should be small."""
    return Target("at most", limit)


@dataclass(frozen=True)
class Row:
    """One result. `figure` is a ratio or has a `unit`. If `figure` is None, `absolute` has the reason."""

    what: str
    figure: float | None
    absolute: str
    target: Target | None = None
    unit: str = "x"

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, one cell for each column of `COLUMNS`."""
        figure = "-" if self.figure is None else f"{_digits(self.figure)} {self.unit}"
        if self.target is None:
            return self.what, figure, self.absolute, "", ""
        reached = "skipped" if self.figure is None else "yes" if self.target.reached(self.figure) else "NO"
        return self.what, figure, self.absolute, str(self.target), reached

    @property
    def missed(self) -> bool:
        """Whether a figure was measured and does not reach its target."""
        return self.target is not None and self.figure is not None and not self.target.reached(self.figure)


COLUMNS = ("what", "ratio", "absolute", "target", "reached")


def table(title: str, rows: Iterable[Row]) -> str:
    """Return a title and the rows as a Markdown table with aligned columns."""
    lines = [COLUMNS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    head, *body = (_line(cells, widths) for cells in lines)
    return "\n".join([f"## {title}", "", head, _line(["-" * width for width in widths], widths), *body, ""])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))} |"


def _digits(figure: float) -> str:
    """Return the figure with three significant digits and without an exponent."""
    if figure == 0 or math.isinf(figure):
        return f"{figure:g}"
    places = max(0, 2 - math.floor(math.log10(abs(figure))))
    text = f"{figure:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def seconds(value: float) -> str:
    """Return a number of seconds as text in s, ms, µs or ns."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{_digits(value / size)} {unit}"
    return f"{_digits(value / 1e-9)} ns"


def megabytes(value: float) -> str:
    """Return a number of bytes as text in megabytes (10^6 bytes)."""
    return f"{_digits(value / 1e6)} MB"
