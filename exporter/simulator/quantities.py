"""The quantities of a scenario file: durations, offsets from the simulator's start, and distributions of durations."""

import math
import random
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_SPELLING = re.compile(rf"(?:{_DURATION.pattern})+")
_OFFSET_FORM = "an offset from the start (e.g. -2h, +30s) or a date and time with its zone"


class Strict(BaseModel):
    """Base of all parts of a scenario: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def parse_duration(value: object) -> float:
    """Parse a duration into seconds: a number of seconds, or text such as `90s`, `5m`, `1h30m`, `7d`.

    Raises:
        ValueError: the value is not a duration, or it is negative or not finite.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf:
        return float(value)
    if isinstance(value, str) and _SPELLING.fullmatch(value):
        return sum(float(amount) * _UNITS[unit] for amount, unit in _DURATION.findall(value))
    raise ValueError(f"{value!r} is not a duration; expected e.g. 90s, 5m, 1h30m, 7d")


def parse_offset(value: object) -> float | datetime:
    """Parse a time: seconds from the simulator's start (`-2h`, `+30s`, a number), or a date and time.

    Raises:
        ValueError: the value is not a time, or the date has no time zone.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if isinstance(value, str):
        sign, digits = (value[0], value[1:]) if value[:1] in ("+", "-") else ("+", value)
        if _SPELLING.fullmatch(digits):
            return parse_duration(digits) * (-1 if sign == "-" else 1)
        value = _parse_date(value)
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    raise ValueError(f"{value!r} is not a time; expected {_OFFSET_FORM}")


def _parse_date(text: str) -> datetime:
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time; expected {_OFFSET_FORM}") from None
    if date.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; expected {_OFFSET_FORM}")
    return date


Duration = Annotated[float, BeforeValidator(parse_duration)]
PositiveDuration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]
Offset = Annotated[float | datetime, BeforeValidator(parse_offset)]
Probability = Annotated[float, Field(ge=0, le=1)]


def instant(offset: float | datetime, start: float) -> float:
    """Convert an offset to epoch seconds. The simulator has started at `start` (epoch seconds)."""
    return offset.timestamp() if isinstance(offset, datetime) else start + offset


class Constant(Strict):
    """Always the same duration. A scenario can write a plain duration instead."""

    distribution: Literal["constant"]
    value: Duration

    def draw(self, _rng: random.Random) -> float:
        """Return the duration in seconds."""
        return self.value


class Uniform(Strict):
    """A duration from `low` to `high`. All durations in this range are equally likely."""

    distribution: Literal["uniform"]
    low: Duration
    high: Duration

    @model_validator(mode="after")
    def _low_is_not_above_high(self) -> "Uniform":
        if self.low > self.high:
            raise ValueError("low must not be greater than high")
        return self

    def draw(self, rng: random.Random) -> float:
        """Draw a duration in seconds."""
        return rng.uniform(self.low, self.high)


class Exponential(Strict):
    """An exponentially distributed duration. Most durations are short, a few are long, and the average is `mean`."""

    distribution: Literal["exponential"]
    mean: PositiveDuration

    def draw(self, rng: random.Random) -> float:
        """Draw a duration in seconds."""
        return rng.expovariate(1 / self.mean)


class Lognormal(Strict):
    """A log-normal duration. Half of the durations are below `median`. `spread` is the sigma of the logarithm."""

    distribution: Literal["lognormal"]
    median: PositiveDuration
    spread: Annotated[float, Field(ge=0, le=5)] = 0.5

    def draw(self, rng: random.Random) -> float:
        """Draw a duration in seconds."""
        return rng.lognormvariate(math.log(self.median), self.spread)


def _expand_constant(value: Any) -> Any:
    return value if isinstance(value, (dict, Strict)) else {"distribution": "constant", "value": value}


Distribution = Annotated[
    Annotated[Constant | Uniform | Exponential | Lognormal, Field(discriminator="distribution")],
    BeforeValidator(_expand_constant),
]
