"""The base class and the common types of the pydantic models of both configuration files.

The models read every YAML scalar as text. Therefore `team: 0042` stays "0042", and `page_size: ${PAGE_SIZE}` becomes a
number after the variable is replaced. A type refuses a value with a predicate (`is not a duration; expected ...`).
`Document` adds the predicate after the value.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from exporter.config import parsing


def read_by(parse: Callable[[str], object]) -> BeforeValidator:
    """Return a validator that reads text with `parse`. `parse` raises ValueError with a predicate."""

    def validate(value: object) -> object:
        if not isinstance(value, str):
            raise PydanticCustomError("refused", "does not belong here; expected a single value")
        try:
            return parse(value)
        except ValueError as error:
            raise PydanticCustomError("refused", "{why}", {"why": str(error)}) from error

    return BeforeValidator(validate)


Duration = Annotated[float, read_by(parsing.Duration(at_least=0.0))]
PositiveDuration = Annotated[float, read_by(parsing.Duration(at_least=0.001))]
PositiveCount = Annotated[int, read_by(parsing.Integer(1))]
Boolean = Annotated[bool, read_by(parsing.parse_boolean)]


class Section(BaseModel):
    """A mapping of the file. An unknown key is an error. A key with an empty value gets its default."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    replaced_keys: ClassVar[Mapping[str, str]] = {}
    """Keys that an earlier version had: each with a message that names the key to use instead."""

    @model_validator(mode="before")
    @classmethod
    def _without_empty_values(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        fields = cls.model_fields
        return {key: value for key, value in data.items() if key not in fields or (value is not None and value != "")}
