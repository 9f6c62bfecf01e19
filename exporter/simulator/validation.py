"""Validate a request against the shape that the Glue API documents for it.

botocore's own `ParamValidator` cannot be used, because it does not check upper bounds, enumerations or patterns.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from exporter.simulator.protocol import AwsError

_SURROGATE_PAIRS = r"\uD800\uDC00-\uDBFF\uDFFF"
_ABOVE_16_BITS = r"\U00010000-\U0010FFFF"


def validate(shape: Shape, value: object) -> None:
    """Validate a decoded JSON value. Members that the shape does not have are ignored, as in Glue.

    Raises:
        AwsError: SerializationException if a value has the wrong JSON type, or InvalidInputException with a list of all
            broken constraints.
    """
    problems: list[str] = []
    _validate(shape, value, "", problems)
    if problems:
        count = len(problems)
        listed = "; ".join(problems)
        raise AwsError(
            "InvalidInputException",
            f"{count} validation error{'s' if count > 1 else ''} detected: {listed}",
        )


def _validate(shape: Shape, value: Any, path: str, problems: list[str]) -> None:
    if not _TYPE_TESTS[shape.type_name](value):
        raise AwsError("SerializationException", f"{path or 'Request body'} can not be converted to {shape.type_name}")
    if isinstance(shape, StructureShape):
        _validate_structure(shape, value, path, problems)
    elif isinstance(shape, MapShape):
        for key, element in value.items():
            _validate(shape.key, key, f"{path}.key", problems)
            _validate(shape.value, element, f"{path}.{key}", problems)
    elif isinstance(shape, ListShape):
        for number, element in enumerate(value, 1):
            _validate(shape.member, element, f"{path}.{number}.member", problems)
    problems.extend(
        f"Value at '{path}' failed to satisfy constraint: {constraint}"
        for constraint in _broken_constraints(shape, value)
    )


def _validate_structure(shape: StructureShape, value: Mapping[str, Any], path: str, problems: list[str]) -> None:
    prefix = f"{path}." if path else ""
    problems.extend(
        f"Value at '{prefix}{name}' failed to satisfy constraint: Member must not be null"
        for name in shape.required_members
        if value.get(name) is None
    )
    for name, member in shape.members.items():
        if value.get(name) is not None:
            _validate(member, value[name], f"{prefix}{name}", problems)


def _broken_constraints(shape: Shape, value: Any) -> list[str]:
    constraints = shape.metadata
    broken = []
    if "enum" in constraints and value not in constraints["enum"]:
        broken.append(f"Member must satisfy enum value set: [{', '.join(constraints['enum'])}]")
    size, measure = (value, "value") if isinstance(value, (int, float)) else (len(value), "length")
    if "min" in constraints and size < constraints["min"]:
        broken.append(f"Member must have {measure} greater than or equal to {constraints['min']}")
    if "max" in constraints and size > constraints["max"]:
        broken.append(f"Member must have {measure} less than or equal to {constraints['max']}")
    if "pattern" in constraints and not _compiled(constraints["pattern"]).fullmatch(value):
        broken.append(f"Member must satisfy regular expression pattern: {constraints['pattern']}")
    return broken


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    # AWS writes characters above U+FFFF in a pattern as UTF-16 surrogate pairs. Python strings have no such pairs.
    return re.compile(pattern.replace(_SURROGATE_PAIRS, _ABOVE_16_BITS))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_TYPE_TESTS: Mapping[str, Callable[[object], bool]] = {
    "structure": lambda value: isinstance(value, Mapping),
    "map": lambda value: isinstance(value, Mapping),
    "list": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_integer,
    "long": _is_integer,
    "double": _is_number,
    "timestamp": _is_number,
}
