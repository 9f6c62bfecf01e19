"""Reading a small YAML file by hand: values with the place where they stand, every mistake noted, none printed."""

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass

import yaml

from exporter.config.document import Problem

_TEXT_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "timestamp")}
_NULL_TAG = "tag:yaml.org,2002:null"
_HARMLESS = re.compile(r"[\w.@ -]{1,64}")


@dataclass(frozen=True, slots=True)
class Value:
    """A single value of the file, as text, and where it stands: dotted path, line and column counted from 1."""

    text: str
    place: str
    line: int
    column: int

    def problem(self, message: str) -> Problem:
        """Return what is wrong with this value; the message has to be fit for a log."""
        return Problem(self.place, self.line, self.column, message)


class Section:
    """A mapping of the file. What it is asked for and does not have, or has wrongly, it notes in `problems`."""

    def __init__(self, node: yaml.Node | None, place: str, problems: list[Problem], known: Set[str] | None) -> None:
        """Take the node (None: an empty section), its path and the keys that may stand in it (None: any)."""
        self._place = place
        self._problems = problems
        self._mark = node.start_mark if node is not None else None
        self._nodes: dict[str, yaml.Node] = {}
        if node is not None and node.tag != _NULL_TAG:
            self._read(node, known)

    def value(self, key: str) -> Value | None:
        """Return the single value under `key`; None if there is none, or null, or something else (noted)."""
        node = self._nodes.get(key)
        return None if node is None or node.tag == _NULL_TAG else self._scalar(node, self._path(key))

    def values(self, key: str) -> list[Value]:
        """Return the list of single values under `key`."""
        node = self._nodes.get(key)
        if node is None or node.tag == _NULL_TAG:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self._note(node, self._path(key), "expected a list")
            return []
        values = (self._scalar(item, f"{self._path(key)}[{number}]") for number, item in enumerate(node.value))
        return [value for value in values if value is not None]

    def switch(self, key: str) -> bool | None:
        """Return the boolean under `key`."""
        value = self.value(key)
        if value is None:
            return None
        if value.text.lower() not in {"true", "false"}:
            self.refuse(key, "expected true or false")
            return None
        return value.text.lower() == "true"

    def section(self, key: str, known: Set[str] | None) -> "Section":
        """Return the mapping under `key`; an empty one if there is none."""
        return Section(self._nodes.get(key), self._path(key), self._problems, known)

    def entries(self) -> Iterator[tuple[str, Value]]:
        """Return every key with its single value; null counts as the empty text."""
        for key, node in self._nodes.items():
            value = self._scalar(node, self._path(key))
            if value is not None:
                yield key, value

    def refuse(self, key: str, message: str) -> None:
        """Note that `key` should be there, or should not be as it is; the message has to be fit for a log."""
        mark = self._nodes[key].start_mark if key in self._nodes else self._mark
        self._problems.append(_problem(self._path(key), mark, message))

    def __contains__(self, key: str) -> bool:
        return key in self._nodes

    def _read(self, node: yaml.Node, known: Set[str] | None) -> None:
        if not isinstance(node, yaml.MappingNode):
            self._note(node, self._place, "expected a mapping (key: value)")
            return
        for key, value in node.value:
            place = self._path(key.value if isinstance(key, yaml.ScalarNode) else "")
            if not isinstance(key, yaml.ScalarNode):
                self._note(key, place, "expected a plain key")
            elif key.value in self._nodes:
                self._note(key, place, "stands here twice")
            elif known is not None and key.value not in known:
                self._note(key, place, f"unknown or unsupported key; expected {', '.join(sorted(known))}")
            else:
                self._nodes[key.value] = value

    def _scalar(self, node: yaml.Node, place: str) -> Value | None:
        if not isinstance(node, yaml.ScalarNode) or node.tag not in {*_TEXT_TAGS, _NULL_TAG}:
            self._note(node, place, "expected a single value")
            return None
        text = "" if node.tag == _NULL_TAG else node.value
        return Value(text, place, node.start_mark.line + 1, node.start_mark.column + 1)

    def _path(self, key: str) -> str:
        shown = key if _HARMLESS.fullmatch(key) else "(...)"  # a hash in the wrong place must not be printed
        return f"{self._place}.{shown}" if self._place else shown

    def _note(self, node: yaml.Node, place: str, message: str) -> None:
        self._problems.append(_problem(place, node.start_mark, message))


def read_sections(content: bytes, known: Set[str], problems: list[Problem]) -> Section:
    """Return the top mapping of a YAML document, with `known` as its keys; empty if it cannot be read (noted)."""
    node = None
    try:
        node = yaml.compose(content, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        problems.append(_problem("", error.problem_mark, f"is not YAML: {error.problem}"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problems.append(_problem("", None, f"is not YAML: {type(error).__name__}"))
    return Section(node, "", problems, known)


def _problem(place: str, mark: yaml.Mark | None, message: str) -> Problem:
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (None, None)
    return Problem(place, line, column, message)
