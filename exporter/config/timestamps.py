"""Converts times as text (`2h ago`, `2026-11-26T09:00Z`) to UTC seconds, and back.

A time without a time zone is UTC, as in the log and in CloudWatch. It is not the local time of the user, because a copy
of the text must have the same meaning in every time zone.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from exporter.config.durations import DAY, HOUR, MINUTE, format_duration, parse_duration

_EXPECTED = "expected e.g. '2h ago', 2026-11-26 or 2026-11-26T09:00Z"


@dataclass(frozen=True, slots=True)
class PointInTime:
    """A point in time, either absolute or relative to the current time."""

    seconds: float
    """UTC seconds since 1970. If `relative` is True: seconds before the current time."""
    relative: bool

    def at(self, now: float) -> float:
        """Return the point in UTC seconds since 1970. `now` is the current time in UTC seconds since 1970."""
        return now - self.seconds if self.relative else self.seconds


def parse_time(text: str) -> PointInTime:
    """Return the point in time for an ISO 8601 date or time, or for a Prometheus duration followed by `ago`.

    Raises:
        ValueError: with a predicate (`is not a time; expected ...`), which the caller adds after the text.
    """
    if match := re.fullmatch(r"\s*(\S+)\s+ago\s*", text):
        return PointInTime(parse_duration(match[1]), relative=True)
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = moment.timestamp()
    except (ValueError, OverflowError) as error:
        raise ValueError(f"is not a time; {_EXPECTED}") from error
    if seconds < 0:
        raise ValueError(f"is before 1970; {_EXPECTED}")
    return PointInTime(seconds, relative=False)


def format_time(seconds: float, timespec: str = "seconds") -> str:
    """Return UTC seconds since 1970 as text in ISO 8601. Outside the years 1 to 9999, the text is the number.

    `timespec` is the precision, as for `datetime.isoformat`.
    """
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def format_age(seconds: float, now: float) -> str:
    """Return the time between two UTC times (seconds) as text with at most two units: `3d4h ago`, `in 5s`."""
    distance = abs(now - seconds)
    unit = HOUR if distance >= DAY else MINUTE if distance >= HOUR else 1.0
    text = format_duration(distance // unit * unit)
    return f"in {text}" if seconds > now and text != "0s" else f"{text} ago"
