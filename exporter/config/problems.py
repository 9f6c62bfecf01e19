"""Mistakes in a configuration file: where they are, how they are printed, and the error that carries all of them.

A message must be safe to log: a value is quoted and shortened, a secret is masked, and a key that has characters of a
password hash is left out.
"""

import json
import re
from dataclasses import dataclass

from exporter.model.errors import ExporterError

MASK = "<secret>"
"""Replaces a secret in messages and on the page that shows the configuration."""

Loc = tuple[str | int, ...]
"""Where a value is in the file: keys and, counted from 0, list indices. `()` is the whole file."""

_PLAIN_KEY = re.compile(r"[\w .@:/+=-]{1,128}")  # excludes `$`, so that a password hash used as a key is not printed


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: its dotted path, its line and column (counted from 1, None if unknown), and a message."""

    path: str
    line: int | None
    column: int | None
    message: str


class ConfigError(ExporterError):
    """All mistakes found in one file, in the order of the file. `str()` gives one line for each."""

    def __init__(self, source: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(source, problems)
        self.source = source
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(": ".join(filter(None, (self._where(p), p.path, p.message))) for p in self.problems)

    def _where(self, problem: Problem) -> str:
        return ":".join(str(part) for part in (self.source, problem.line, problem.column) if part is not None)


def shown(text: str) -> str:
    """Return `text` in quotes for a message: one line of printable characters, at most 80 of them."""
    text = text if len(text) <= 80 else f"{text[:77]}..."
    return json.dumps(text, ensure_ascii=not text.isprintable())


def shown_key(key: str) -> str:
    """Return a key for a message, or `(...)` if it has characters that no usual key has."""
    return key if _PLAIN_KEY.fullmatch(key) else "(...)"


def dotted(loc: Loc) -> str:
    """Return a location in the form that users write: `transforms[0].labels.team`."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{shown_key(part)}" for part in loc)
    return path.removeprefix(".")
