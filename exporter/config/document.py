"""A YAML document: its nodes with their places, the text values in them, and every mistake found.

`${NAME}` and `${NAME:-default}` in a value stand for an environment variable (the default also counts when it is set
but empty, as in a shell); `$$` is a literal `$`. Inside `{...}` or `[...]` YAML wants such a value quoted.
"""

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from exporter.config import schema
from exporter.config.schema import MASK, File, Loc, dotted, shown
from exporter.errors import ExporterError


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: the dotted path, line and column (from 1; None: no place in the file), and what is wrong."""

    place: str
    line: int | None
    column: int | None
    message: str


class ConfigError(ExporterError):
    """Every mistake found in one configuration, in the order of the file; `str()` gives one line for each."""

    def __init__(self, source: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(source, problems)
        self.source = source
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(": ".join(filter(None, (self._where(p), p.place, p.message))) for p in self.problems)

    def _where(self, problem: Problem) -> str:
        return ":".join(str(part) for part in (self.source, problem.line, problem.column) if part is not None)


def composed(text: str, source: str) -> yaml.MappingNode:
    """Return the nodes of the YAML text; raise ConfigError unless it is one mapping."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = _SYNTAX.get(error.problem or "", f"is not YAML: {error.problem or error.context}")
        raise ConfigError(source, (_problem((), mark, message),)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"is not YAML: the character U+{ord(text[error.position]):04X} is not allowed"
        raise ConfigError(source, (Problem("", line, None, message),)) from None
    except (RecursionError, ValueError, OverflowError):  # the last two: an escape beyond Unicode, "\\UFFFFFFFF"
        message = "is not YAML: nested too deeply, or an escape that is no character"
        raise ConfigError(source, (Problem("", None, None, message),)) from None
    if root is None:
        raise ConfigError(source, (Problem("", None, None, "is empty; expected at least transforms or discovery"),))
    if not isinstance(root, yaml.MappingNode):
        message = "is not a mapping; expected keys such as region: and transforms:"
        raise ConfigError(source, (_problem((), root.start_mark, message),))
    return root


_SYNTAX = {
    "found character '\\t' that cannot start any token": "a tab cannot indent YAML; use spaces",
    "but found another document": "a second YAML document begins here; expected only one",
}


def _problem(loc: Loc, mark: yaml.Mark | None, message: str) -> Problem:
    line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
    return Problem(dotted(loc), line, column, message)


_REFERENCE = re.compile(r"\$(?:\$|\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?)")
_EMPTY = ("", "~", "null", "Null", "NULL")
_OPEN = object()  # in the place of a value that is still being read
_UNUSABLE = object()  # in the place of a value about which a problem is already known
_REQUIRED = {"accounts": "name", "transforms": "id"}
_PREDICATES = {"model_type": "is not a mapping", "dict_type": "is not a mapping", "tuple_type": "is not a list"}


class Document:
    """A YAML document: its nodes, the text values in them, and the problems found so far."""

    def __init__(self, root: yaml.MappingNode, environ: Mapping[str, str]) -> None:
        self.problems: list[Problem] = []
        self._root = root
        self._environ = environ
        self._read: dict[int, object] = {}
        self._values: dict[str, Any] = self._mapping(root, ())
        if not self._values.get("region"):
            self._values["region"] = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")

    def _value(self, node: yaml.Node, loc: Loc) -> object:
        """Return what `node` holds: text, None, or lists and mappings of them."""
        if id(node) not in self._read:
            self._read[id(node)] = _OPEN
            self._read[id(node)] = self._content(node, loc)
        elif self._read[id(node)] is _OPEN:
            self._refuse(loc, node, "refers to itself")
            return _UNUSABLE
        return self._read[id(node)]

    def _content(self, node: yaml.Node, loc: Loc) -> object:
        if not node.tag.startswith("tag:yaml.org,2002:"):
            self._refuse(loc, node, f"the tag {shown(node.tag)} is not supported")
            return _UNUSABLE
        if len(loc) > 8:  # nothing that the schema knows lies so deep; what does would exhaust Python's stack
            self._refuse(loc, node, "is nested too deeply")
            return _UNUSABLE
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*loc, i)) for i, item in enumerate(node.value)]
        return None if _is_empty(node) else self._expanded(node, loc)

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._refuse(loc, key, "a key is a list or a mapping; expected plain text")
            elif key.value in values:
                self._refuse((*loc, key.value), key, f"is given twice, first on line {lines[key.value]}")
            else:
                lines[key.value] = key.start_mark.line + 1
                values[key.value] = self._value(child, (*loc, key.value))
        return values

    def _expanded(self, node: yaml.Node, loc: Loc) -> object:
        """Return the text of `node` with its `${NAME}` replaced."""
        missing = []

        def replacement(match: re.Match[str]) -> str:
            name, default = match.groups()
            if match[0] == "$$":
                return "$"
            value = self._environ.get(name) if name else None
            if default is not None:
                return value or default
            if value is None:
                missing.append(name)
            return value or ""

        text = _REFERENCE.sub(replacement, node.value)
        for name in missing:
            message = f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}"
            self._refuse(loc, node, message if name else "${ begins no reference; expected ${NAME}, or $$ for a $")
        return _UNUSABLE if missing else text

    def checked(self) -> File:
        """Return the file as far as it is sound, with all problems noted."""
        bad: list[Loc] = []
        try:
            file = File.model_validate(self._values)
        except ValidationError as refused:
            for error in refused.errors(include_url=False):
                bad.append(error["loc"])
                self._explain(error["loc"], error["type"], error["msg"], known=error["input"] is _UNUSABLE)
            file = File.model_validate(self._without(bad))
        for loc, message, others in schema.contradictions(file):
            if not any(_related(place, other) for place in (loc, *others) for other in bad):
                self._refuse(loc, self._nodes(loc)[1], message)
        return file

    def _without(self, bad: list[Loc]) -> dict[str, Any]:
        """Return the values without those at `bad`; every item of a list keeps its index."""
        values = deepcopy(self._values)
        for loc in bad:
            section, place = str(loc[0]), loc[1:]
            inner = values.get(section)
            if isinstance(inner, list) and place and isinstance(place[0], int):
                inner[place[0]] = _sound_item(section, inner[place[0]], place)
            elif isinstance(inner, dict) and place:
                inner.pop(place[0], None)
            else:
                values.pop(section, None)
        return values

    def _explain(self, loc: Loc, kind: str, predicate: str, *, known: bool) -> None:
        """Note the problem that pydantic found at `loc`, unless it is `known`."""
        if loc[-1] == "[key]":
            key, _ = self._nodes(loc[:-1])
            self._refuse(loc[:-1], key, f"{shown(str(loc[-2]))} {predicate}")
            return
        key, node = self._nodes(loc)
        if kind == "extra_forbidden":
            self._refuse(loc, key, _unknown_key(loc))
        elif kind == "missing":
            self._refuse(loc, node, "is required")
        elif not known:
            self._refuse(loc, node, f"{self._described(node, loc)} {_PREDICATES.get(kind, predicate)}")

    def _described(self, node: yaml.Node, loc: Loc) -> str:
        """Return the words for a refused value: as it was written, never as it was expanded."""
        if node is self._root:
            return "the region in the environment"
        if "external_id" in loc:
            return MASK
        if not isinstance(node, yaml.ScalarNode):
            return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
        if _is_empty(node):
            return "an empty value"
        text = shown(re.sub(r"//[^/]*@", f"//{MASK}@", node.value))
        return f"the value of {text}" if _REFERENCE.search(node.value) else text

    def _nodes(self, loc: Loc) -> tuple[yaml.Node, yaml.Node]:
        """Return the deepest node there is on the way to `loc`, and the key that leads to it."""
        key: yaml.Node = self._root
        node: yaml.Node = self._root
        for part in loc:
            if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                key = node = node.value[part]
            elif isinstance(node, yaml.MappingNode):
                pair = next((pair for pair in node.value if pair[0].value == part), None)
                if pair is None:
                    break
                key, node = pair
        return key, node

    def _refuse(self, loc: Loc, node: yaml.Node, message: str) -> None:
        self.problems.append(_problem(loc, node.start_mark, message))


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _EMPTY


def _sound_item(section: str, item: object, place: Loc) -> dict[str, Any]:
    """Return the list item without the key that is refused; a required key gets a value that no user gives."""
    sound = (
        {key: value for key, value in item.items() if key != place[1]} if isinstance(item, dict) and place[1:] else {}
    )
    if section in _REQUIRED:
        sound.setdefault(_REQUIRED[section], f"unusable {place[0]}")
    return sound


def _unknown_key(loc: Loc) -> str:
    model: Any = File
    if len(loc) > 1:
        section = File.model_fields[str(loc[0])].annotation
        model = get_args(section)[0] if get_args(section) else section
    known = list(model.model_fields)
    near = get_close_matches(str(loc[-1]), known, n=1)
    return f"unknown key; did you mean {near[0]}?" if near else f"unknown key; expected one of {', '.join(known)}"


def _related(place: Loc, other: Loc) -> bool:
    """Tell whether one place contains the other."""
    shorter = min(len(place), len(other))
    return place[:shorter] == other[:shorter]
