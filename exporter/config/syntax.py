"""Explains errors in the syntax of a YAML file in words of the file, where PyYAML names tokens of its parser.

PyYAML notices a mistake often lines after its place. For a quotation mark that is not closed, and for a bracket, the
place of the mistake is where the quotation or the bracket begins.
"""

import re
from collections.abc import Iterator

import yaml

from exporter.config.problems import Problem, shown

_FIXED = {
    "found character '\\t' that cannot start any token": "a tab cannot indent YAML; use spaces",
    "but found another document": "a second YAML document begins here; expected only one",
}
_OPEN_BRACKETS = {
    "while parsing a flow sequence": "the [ here is not closed; expected ] at the end of the list",
    "while parsing a flow mapping": "the { here is not closed; expected } at the end of the mapping",
}
_NO_COLON = 'has no ": "; expected "key: value"'
_STAR = "a text that begins with * needs quotes"


def syntax_problem(text: str, error: yaml.MarkedYAMLError) -> Problem:
    """Return the mistake in the YAML `text` that has raised `error`, with its line and column."""
    mark = error.problem_mark or error.context_mark
    problem = error.problem or error.context or ""
    lines = _Lines(text)
    if (start := _open_quotation(text, error)) is not None:
        return _at(start, f"the quotation mark {lines.at(start)} here is not closed on this line")
    if (bracket := _OPEN_BRACKETS.get(error.context or "")) is not None:
        return _at(error.context_mark, bracket)
    if problem in _FIXED:
        return _at(mark, _FIXED[problem])
    if mark is None:
        return Problem("", None, None, f"is not YAML: {problem}")
    return _explained(lines, error, problem, mark) or _at(mark, f"is not YAML: {problem}")


def _explained(  # noqa: PLR0911 - one return for each kind of mistake
    lines: "_Lines", error: yaml.MarkedYAMLError, problem: str, mark: yaml.Mark
) -> Problem | None:
    """Return the mistake if a key, a value or the indentation of a line is wrong. Otherwise return None."""
    if problem == "could not find expected ':'" and error.context_mark is not None:
        return _at(error.context_mark, _NO_COLON)
    if problem == "mapping values are not allowed here":
        return _misplaced_colon(lines, mark)
    if alias := re.fullmatch("found undefined alias '(.*)'", problem):
        name = shown(f"*{alias[1]}")
        return _at(
            mark, f"{name} refers to an anchor that is not defined above; a text that begins with * needs quotes"
        )
    if error.context == "while scanning an alias":
        return _at(error.context_mark, _STAR)
    if problem.endswith("that cannot start any token"):
        return _at(mark, f"a text that begins with {lines.at(mark)} needs quotes")
    found = problem.rpartition("but found ")[2].strip("'")
    if found == "<scalar>":
        return _at(mark, "text follows a value that is complete; expected the end of the line")
    if found == "?":
        column = lines.key_column(lines.above(mark.line))
        return _at(mark, f"a key stands beside list items; expected {_spaces(column)} before it, or a dash")
    if found == "-":
        return _at(mark, 'a list item stands beside keys; expected "key: value"')
    if found in ("<block mapping start>", "<block sequence start>"):
        return _wrong_indent(lines, mark)
    return None


def _misplaced_colon(lines: "_Lines", mark: yaml.Mark) -> Problem:
    """Return the mistake for `: ` in a place where it cannot follow a key."""
    column = lines.key_column(mark.line)
    if ": " in lines.text(mark.line)[column : mark.column]:
        return _at(mark, 'a second ": " in this line; put the value in quotes')
    above = lines.above(mark.line)
    if not lines.is_item(above) and not lines.has_colon(above):
        return Problem("", above + 1, lines.key_column(above) + 1, _NO_COLON)
    expected = _spaces(lines.key_column(above))
    message = f"is indented deeper than line {above + 1}, which has a value already; expected {expected}"
    return Problem("", mark.line + 1, column + 1, message)


def _wrong_indent(lines: "_Lines", mark: yaml.Mark) -> Problem | None:
    columns = list(lines.open_columns(mark.line))
    if not columns:
        return None
    expected = " or ".join(f"{column} as in line {line + 1}" for line, column in columns)
    return _at(mark, f"is indented by {_spaces(lines.indent(mark.line))}; expected {expected}")


def _open_quotation(text: str, error: yaml.MarkedYAMLError) -> yaml.Mark | None:
    """Return where the quotation begins that is not closed, None if the mistake is another one.

    A quotation without an end takes in all text up to the next quotation mark, which should begin another quotation.
    What follows in that line is then an error. If the next quotation takes in text as well, the error is still later.
    """
    unclosed = error.context == "while scanning a quoted scalar"
    place = error.context_mark if unclosed else error.problem_mark
    if place is None:
        return None
    quotations = [token for token in _tokens(text) if isinstance(token, yaml.ScalarToken) and not token.plain]
    for token in reversed(quotations):
        if token.start_mark.line < token.end_mark.line == place.line and token.end_mark.index <= place.index:
            place, unclosed = token.start_mark, True
    return place if unclosed else None


def _tokens(text: str) -> Iterator[yaml.Token]:
    """Yield the tokens before the first error of the scanner."""
    try:
        yield from yaml.scan(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return


def _at(mark: yaml.Mark | None, message: str) -> Problem:
    return Problem("", mark.line + 1, mark.column + 1, message) if mark else Problem("", None, None, message)


def _spaces(number: int) -> str:
    return f"{number} space{'' if number == 1 else 's'}"


class _Lines:
    """The lines of a file, with the columns at which their keys and list items begin. Both numbers start at 0."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()

    def text(self, line: int) -> str:
        """Return a line; a line behind the end of the file is empty."""
        return self._lines[line] if line < len(self._lines) else ""

    def at(self, mark: yaml.Mark) -> str:
        """Return the character at a mark."""
        return self.text(mark.line)[mark.column : mark.column + 1]

    def indent(self, line: int) -> int:
        """Return the number of spaces at the start of a line."""
        return len(self.text(line)) - len(self.text(line).lstrip(" "))

    def is_item(self, line: int) -> bool:
        """Return whether a line begins a list item."""
        return bool(re.match(" *-( |$)", self.text(line)))

    def has_colon(self, line: int) -> bool:
        """Return whether a line has a key."""
        return bool(re.search(":( |$)", self.text(line)))

    def key_column(self, line: int) -> int:
        """Return the column at which the key of a line begins, behind the dash of a list item."""
        return len(self.text(line)) - len(re.sub(" *(- +)?", "", self.text(line), count=1))

    def above(self, line: int) -> int:
        """Return the nearest line above that is neither empty nor a comment; 0 if there is none."""
        return next(iter(self._above(line)), 0)

    def open_columns(self, line: int) -> Iterator[tuple[int, int]]:
        """Yield line and column of the list items, or of the keys, beside which `line` may begin, the nearest first."""
        is_item = self.is_item(line)
        limit: int | None = None
        for above in self._above(line):
            indent = self.indent(above)
            column = indent if is_item else self.key_column(above)
            is_beside = self.is_item(above) == is_item or (not is_item and self.has_colon(above))
            if is_beside and (limit is None or column < limit):
                yield above, column
            limit = indent if limit is None else min(limit, indent)

    def _above(self, line: int) -> Iterator[int]:
        numbers = range(min(line, len(self._lines)) - 1, -1, -1)
        return (number for number in numbers if not re.fullmatch(r"\s*(#.*)?", self.text(number)))
