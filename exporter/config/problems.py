"""The mistakes in a configuration file: their places, their texts, and the exception that contains all of them.

A message must be safe to log. Therefore a value is quoted and shortened, and a secret is masked. A key with unusual
characters is replaced, because the user may have written a password hash as a key.
"""

import json
import re
from dataclasses import dataclass

from exporter.model.errors import ExporterError

Loc = tuple[str | int, ...]
"""The place of a value in the file: keys, and list indices that start at 0. `()` is the whole file."""

_PLAIN_KEY = re.compile(r"[\w .@:/+=-]{1,128}")  # without `$`, because password hashes contain it


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: its path, its line and column, and a message. Lines and columns start at 1; None is unknown."""

    path: str
    line: int | None
    column: int | None
    message: str


class ConfigError(ExporterError):
    """All mistakes in one file, in the order of the file. `str()` returns one line for each mistake."""

    needs_correction = True

    def __init__(self, source: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(source, problems)
        self.source = source
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(": ".join(filter(None, (self._where(p), p.path, p.message))) for p in self.problems)

    def _where(self, problem: Problem) -> str:
        return ":".join(str(part) for part in (self.source, problem.line, problem.column) if part is not None)


def shown(text: str) -> str:
    """Return `text` in quotes for a message. A text with more than 80 characters is cut."""
    text = text if len(text) <= 80 else f"{text[:77]}..."
    return json.dumps(text, ensure_ascii=not text.isprintable())


def shown_key(key: str) -> str:
    """Return a key for a message, or `(...)` if the key has unusual characters."""
    return key if _PLAIN_KEY.fullmatch(key) else "(...)"


def dotted(loc: Loc) -> str:
    """Return a place as text, for example `transforms[0].labels.team`."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{shown_key(part)}" for part in loc)
    return path.removeprefix(".")
