"""Tables of results: the ratio first, the absolute figures behind it, then the target and whether it is reached."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Target:
    """What a figure must be at least, or at most."""

    bound: Literal["at least", "at most"]
    limit: float

    def reached(self, figure: float) -> bool:
        """Tell whether `figure` is on the right side of the limit."""
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
    """One result. `figure` is a ratio, or has a `unit`; None says that it was not measured and `absolute` why."""

    what: str
    figure: float | None
    absolute: str
    target: Target | None = None
    unit: str = "x"

    def run_kinds(self) -> tuple[str, ...]:
        """Return the row as text, a cell per column of `COLUMNS`."""
        figure = "-" if self.figure is None else f"{_digits(self.figure)} {self.unit}"
        if self.target is None:
            return self.what, figure, self.absolute, "", ""
        reached = "skipped" if self.figure is None else "yes" if self.target.reached(self.figure) else "NO"
        return self.what, figure, self.absolute, str(self.target), reached

    @property
    def missed(self) -> bool:
        """Whether there is a target, a figure, and a gap between them."""
        return self.target is not None and self.figure is not None and not self.target.reached(self.figure)


COLUMNS = ("what", "ratio", "absolute", "target", "reached")


def table(title: str, rows: Iterable[Row]) -> str:
    """Return a title and the rows as a Markdown table that is aligned for reading as it is."""
    lines = [COLUMNS, *(row.run_kinds() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    head, *body = (_line(run_kinds, widths) for run_kinds in lines)
    return "\n".join([f"## {title}", "", head, _line(["-" * width for width in widths], widths), *body, ""])


def _line(run_kinds: Sequence[str], widths: Sequence[int]) -> str:
    return f"| {' | '.join(run_kind.ljust(width) for run_kind, width in zip(run_kinds, widths, strict=True))} |"


def _digits(figure: float) -> str:
    """Return three significant digits, no exponent."""
    if figure == 0 or math.isinf(figure):
        return f"{figure:g}"
    places = max(0, 2 - math.floor(math.log10(abs(figure))))
    text = f"{figure:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def seconds(value: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{_digits(value / size)} {unit}"
    return f"{_digits(value / 1e-9)} ns"


def megabytes(value: float) -> str:
    """Return a number of bytes in megabytes (10^6)."""
    return f"{_digits(value / 1e6)} MB"
