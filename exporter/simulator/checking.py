"""Check a request against the documented shapes.

A value of the wrong JSON type is a SerializationException, as on the real wire; a value of the right type that breaks
a constraint is an InvalidInputException. Members that the shape does not name are ignored, as Glue does.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from exporter.simulator.protocol import AwsError
from exporter.simulator.shapes import SHAPES, Shape

_SURROGATE_PAIRS = r"\uD800\uDC00-\uDBFF\uDFFF"
_ABOVE_16_BITS = r"\U00010000-\U0010FFFF"


def check(shape_name: str, value: object) -> None:
    """Check `value` against the named shape.

    Raises:
        AwsError: SerializationException for a wrong type, InvalidInputException listing every broken constraint.
    """
    problems: list[str] = []
    _check(shape_name, value, "", problems)
    if problems:
        count = len(problems)
        listed = "; ".join(problems)
        raise AwsError(
            "InvalidInputException",
            f"{count} validation error{'s' if count > 1 else ''} detected: {listed}",
        )


def _check(shape_name: str, value: object, place: str, problems: list[str]) -> None:
    shape = SHAPES[shape_name]
    if not _TYPE_TESTS[shape.type](value):
        raise AwsError(
            "SerializationException",
            f"{place or 'Request body'} can not be converted to {shape.type}",
        )
    if isinstance(value, Mapping):
        _check_entries(shape, value, place, problems)
    elif isinstance(value, list):
        for index, element in enumerate(value, 1):
            _check(str(shape.element), element, f"{place}.{index}.member", problems)
    problems.extend(f"Value at '{place}' failed to satisfy constraint: {broken}" for broken in _broken(shape, value))


def _check_entries(shape: Shape, value: Mapping[str, Any], place: str, problems: list[str]) -> None:
    if shape.type == "map":
        for key, element in value.items():
            _check(str(shape.key), key, f"{place}.key", problems)
            _check(str(shape.element), element, f"{place}.{key}", problems)
        return
    problems.extend(
        f"Value at '{_join(place, name)}' failed to satisfy constraint: Member must not be null"
        for name in shape.required
        if value.get(name) is None
    )
    for name, member_shape in shape.members.items():
        if value.get(name) is not None:
            _check(member_shape, value[name], _join(place, name), problems)


def _broken(shape: Shape, value: Any) -> list[str]:
    broken = []
    if shape.enum and value not in shape.enum:
        broken.append(f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")
    size, measure = _size(value)
    if size is not None and shape.minimum is not None and size < shape.minimum:
        broken.append(f"Member must have {measure} greater than or equal to {shape.minimum}")
    if size is not None and shape.maximum is not None and size > shape.maximum:
        broken.append(f"Member must have {measure} less than or equal to {shape.maximum}")
    if shape.pattern and not _compiled(shape.pattern).fullmatch(value):
        broken.append(f"Member must satisfy regular expression pattern: {shape.pattern}")
    return broken


def _size(value: object) -> tuple[float | None, str]:
    if isinstance(value, (str, list, dict)):
        return len(value), "length"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value, "value"
    return None, ""


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace(_SURROGATE_PAIRS, _ABOVE_16_BITS))


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


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
