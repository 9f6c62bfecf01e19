"""Turns a YAML file into a checked pydantic model, and reports every mistake with its line and column.

This module reads both configuration files. PyYAML returns nodes, which contain line and column. The nodes are converted
to texts, lists and mappings, and a pydantic model checks the result. A value that YAML would convert, for example
`0042`, `no` or `2026-11-23`, stays a text as in the file.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from exporter.config.problems import ConfigError, Loc, Problem, dotted, shown, shown_key
from exporter.config.sections import Section
from exporter.config.syntax import syntax_problem
from exporter.model.redaction import MASK, redact

M = TypeVar("M", bound=BaseModel)

Contradiction = tuple[Loc, str, tuple[Loc, ...]]
"""Two or more values that contradict each other: the place to report, the message, and the places of the others."""

_REFERENCE = re.compile(r"\$(?:\$|\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?)")
_SURROGATE = re.compile("[\ud800-\udfff]")  # YAML has an escape for it, but UTF-8 cannot encode it
_NO_CHARACTER = "contains an escape that is no character"
_EMPTY = ("", "~", "null", "Null", "NULL")
_IN_PROGRESS = object()  # marks a node during its conversion, to detect an alias inside its own anchor
_UNUSABLE = object()  # stands for a value whose problem is already noted, so that pydantic does not report it again
_MERGE = "tag:yaml.org,2002:merge"
_MAX_DEPTH = 8  # deeper than all keys of the schemas; unlimited nesting would exhaust Python's stack
_PREDICATES = {"model_type": "is not a mapping", "dict_type": "is not a mapping", "tuple_type": "is not a list"}


def read_text(path: Path) -> str:
    """Return the content of a configuration file; raise ConfigError if it cannot be read or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(str(path), (Problem("", None, None, f"cannot be read: {error.strerror}"),)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), (Problem("", None, None, f"is not UTF-8 at byte {error.start}"),)) from error


class Document:
    """One YAML file: its values as texts, their places, and the problems found so far.

    With `environ`, `${NAME}` and `${NAME:-default}` in a value are replaced by an environment variable. As in a shell,
    the default is used if the variable is unset or empty. `$$` is replaced by `$`. Without `environ`, values are not
    changed, because password hashes contain `$`.
    """

    def __init__(
        self, text: str, source: str, *, environ: Mapping[str, str] | None = None, secrets: Collection[str] = ()
    ) -> None:
        """Read the YAML `text`. Raise ConfigError if it is neither empty nor one mapping.

        `source` is the name of the file for messages. `secrets` are keys, and their values are masked in messages.
        """
        self._source = source
        self._environ = environ
        self._secrets = secrets
        self._problems: list[Problem] = []
        self._converted: dict[int, object] = {}
        self._quotations: dict[str, str] = {}
        """The values with variables as a message quotes them, and the text in the file. A variable may be a secret."""
        self._root = _composed(text, source)
        self.values: dict[str, Any] = self._mapping(self._root, ())
        """The content of the file. A caller may add values, for example from the environment, before `validated`."""

    def refuse(self, loc: Loc, message: str) -> None:
        """Note a problem with the value at `loc`. If the value is missing, the position is that of its mapping."""
        self._refuse(loc, self._nodes(loc)[1], message)

    def raise_problems(self) -> None:
        """Raise ConfigError with all noted problems, if there are any."""
        if self._problems:
            in_order = sorted(self._problems, key=lambda problem: (problem.line or 0, problem.column or 0))
            raise ConfigError(self._source, tuple(in_order))

    def validated(self, model: type[M], rules: Callable[[M], Iterator[Contradiction]]) -> M:
        """Return the content as `model`, without refused values, and note every problem.

        `rules` yields contradictions between values, because `model` checks each value alone. A contradiction that
        involves a refused value is not noted, because it may vanish when the user corrects the refused value.
        """
        refused: list[Loc] = []
        try:
            content = model.model_validate(self.values)
        except ValidationError as errors:
            for error in errors.errors(include_url=False):
                refused.append(error["loc"])
                is_noted = error["input"] is _UNUSABLE
                self._explain(model, error["loc"], error["type"], error["msg"], is_noted=is_noted)
            content = model.model_validate(self._without(refused, model))
        for loc, message, others in rules(content):
            if not any(_contains(place, other) for place in (loc, *others) for other in refused):
                self.refuse(loc, message)
        return content

    # -- YAML nodes to values ----------------------------------------------------------------------------------------

    def _value(self, node: yaml.Node, loc: Loc) -> object:
        """Return the value of `node`: a text, None, a list or a mapping. Each node is converted only once."""
        if id(node) not in self._converted:
            self._converted[id(node)] = _IN_PROGRESS
            self._converted[id(node)] = self._convert(node, loc)
        elif self._converted[id(node)] is _IN_PROGRESS:
            self._refuse(loc, node, "refers to itself")
            return _UNUSABLE
        return self._converted[id(node)]

    def _convert(self, node: yaml.Node, loc: Loc) -> object:
        if (message := _refusal(node, loc)) is not None:
            self._refuse(loc, node, message)
            return _UNUSABLE
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*loc, i)) for i, item in enumerate(node.value)]
        if _is_empty(node):
            return None
        return node.value if self._environ is None else self._expanded(node, loc, self._environ)

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        self._merge(node, loc)
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._refuse(loc, key, "a key is a list or a mapping; expected plain text")
            elif _SURROGATE.search(key.value):
                self._refuse(loc, key, _NO_CHARACTER)
            elif key.value in values:
                self._refuse((*loc, key.value), key, f"is given twice, first on line {lines[key.value]}")
            else:
                lines[key.value] = key.start_mark.line + 1
                values[key.value] = self._value(child, (*loc, key.value))
        return values

    def _merge(self, node: yaml.MappingNode, loc: Loc) -> None:
        """Replace each merge key (`<<`, https://yaml.org/type/merge.html) of a mapping by the keys that it merges.

        A key of the mapping itself has priority, then a key of the mapping that is merged first.
        """
        merged = [value for key, value in node.value if key.tag == _MERGE]
        if not merged:
            return
        node.value = [(key, value) for key, value in node.value if key.tag != _MERGE]
        for value in merged:
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(source, yaml.MappingNode):
                    self._refuse(loc, source, "the value of << is not a mapping; expected an alias, e.g. *defaults")
                    continue
                self._merge(source, loc)
                known = [key.value for key, _ in node.value]
                node.value += [pair for pair in source.value if pair[0].value not in known]

    def _expanded(self, node: yaml.Node, loc: Loc, environ: Mapping[str, str]) -> object:
        """Return the text of `node` with each `${NAME}` replaced. References in the replacement are not replaced."""
        missing = []

        def replacement(match: re.Match[str]) -> str:
            name, default = match.groups()
            if match[0] == "$$":
                return "$"
            value = environ.get(name) if name else None
            if default is not None:
                return value or default
            if value is None:
                missing.append(name)
            return value or ""

        text = _REFERENCE.sub(replacement, node.value)
        if text != node.value:
            self._quotations[shown(text)] = shown(node.value)
        for name in missing:
            message = f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}"
            self._refuse(loc, node, message if name else "${ begins no reference; expected ${NAME}, or $$ for a $")
        return _UNUSABLE if missing else text

    # -- problems ----------------------------------------------------------------------------------------------------

    def _explain(self, model: type[BaseModel], loc: Loc, kind: str, predicate: str, *, is_noted: bool) -> None:
        """Note the problem that pydantic found at `loc`. `is_noted`: the value already has a noted problem."""
        if loc[-1] == "[key]":
            key = MASK if self._is_secret(loc) else f'"{shown_key(str(loc[-2]))}"'
            self._refuse(loc[:-1], self._nodes(loc[:-1])[0], f"{key} {predicate}")
            return
        key_node, node = self._nodes(loc)
        if kind == "extra_forbidden":
            self._refuse(loc, key_node, _unknown_key(model, loc))
        elif kind == "missing":
            self._refuse(loc, node, "is required")
        elif not is_noted:
            self._refuse(loc, node, f"{self._described(node, loc)} {_PREDICATES.get(kind, predicate)}")

    def _described(self, node: yaml.Node, loc: Loc) -> str:
        """Return a refused value for a message, as in the file, because a variable may contain a secret."""
        if node is self._root:
            return "the region in the environment"
        if not isinstance(node, yaml.ScalarNode):
            return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
        if _is_empty(node):
            return "an empty value"
        if self._is_secret(loc):
            return MASK
        text = shown(redact(node.value))
        is_reference = self._environ is not None and _REFERENCE.search(node.value)
        return f"the value of {text}" if is_reference else text

    def _is_secret(self, loc: Loc) -> bool:
        return any(part in self._secrets for part in loc)

    def _nodes(self, loc: Loc) -> tuple[yaml.Node, yaml.Node]:
        """Return the key and the value at `loc`. If they do not exist, return those of the nearest mapping or list."""
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
        for value, in_file in self._quotations.items():
            message = message.replace(value, in_file)
        self._problems.append(_problem(loc, node.start_mark, message))

    def _without(self, refused: list[Loc], model: type[BaseModel]) -> dict[str, Any]:
        """Return the values without the refused values. Every item of a list keeps its index."""
        values = deepcopy(self.values)
        for loc in refused:
            section, place = str(loc[0]), loc[1:]
            inner = values.get(section)
            if isinstance(inner, list) and place and isinstance(place[0], int):
                inner[place[0]] = _usable_item(_item_model(model, section), inner[place[0]], place)
            elif isinstance(inner, dict) and place:
                inner.pop(place[0], None)
            else:
                values.pop(section, None)
        return values


def _composed(text: str, source: str) -> yaml.MappingNode:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(source, (syntax_problem(text, error),)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"is not YAML: the character U+{ord(text[error.position]):04X} is not allowed"
        raise ConfigError(source, (Problem("", line, None, message),)) from None
    except (RecursionError, ValueError, OverflowError):  # ValueError and OverflowError: an escape such as "\\UFFFFFFFF"
        message = "is not YAML: nested too deeply, or an escape that is no character"
        raise ConfigError(source, (Problem("", None, None, message),)) from None
    if root is None or _is_empty(root):
        start = yaml.Mark(source, 0, 0, 0, "", 0)
        return yaml.MappingNode("tag:yaml.org,2002:map", [], start_mark=start, end_mark=start)
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(source, (_problem((), root.start_mark, "is not a mapping; expected keys and values"),))
    return root


def _problem(loc: Loc, mark: yaml.Mark | None, message: str) -> Problem:
    line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
    return Problem(dotted(loc), line, column, message)


def _refusal(node: yaml.Node, loc: Loc) -> str | None:
    """Return why the node cannot be converted, or None."""
    if not node.tag.startswith("tag:yaml.org,2002:"):
        return f"the tag {shown(node.tag)} is not supported"
    if len(loc) > _MAX_DEPTH:
        return "is nested too deeply"
    if isinstance(node, yaml.ScalarNode) and _SURROGATE.search(node.value):
        return _NO_CHARACTER
    return None


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _EMPTY


def _item_model(model: type[BaseModel], section: str) -> type[BaseModel] | None:
    """Return the model of the items of the list `section`, or None if the items are plain values."""
    inner = _inner_model(model, section)
    return inner if inner is not model.model_fields[section].annotation else None


def _inner_model(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """Return the model of the value or of the list items at `key`, or None if they are plain values."""
    annotation = model.model_fields[key].annotation if key in model.model_fields else None
    candidates = (annotation, *get_args(annotation))
    return next((part for part in candidates if isinstance(part, type) and issubclass(part, BaseModel)), None)


def _usable_item(model: type[BaseModel] | None, item: object, place: Loc) -> dict[str, Any]:
    """Return a list item without its refused key. A missing required key gets an invented unique value."""
    usable = (
        {key: value for key, value in item.items() if key != place[1]} if isinstance(item, dict) and place[1:] else {}
    )
    for key, field in model.model_fields.items() if model is not None else ():
        if field.is_required():
            usable.setdefault(key, f"tfm-unusable-{place[0]}")
    return usable


def _unknown_key(model: type[BaseModel], loc: Loc) -> str:
    for part in loc[:-1]:
        if isinstance(part, str):
            model = _inner_model(model, part) or model
    if issubclass(model, Section) and loc[-1] in model.replaced_keys:
        return model.replaced_keys[str(loc[-1])]
    known = list(model.model_fields)
    near = get_close_matches(str(loc[-1]), known, n=1)
    return f"unknown key; did you mean {near[0]}?" if near else f"unknown key; expected one of {', '.join(known)}"


def _contains(place: Loc, other: Loc) -> bool:
    """Return whether one place is inside the other place, or both are equal."""
    shorter = min(len(place), len(other))
    return place[:shorter] == other[:shorter]
