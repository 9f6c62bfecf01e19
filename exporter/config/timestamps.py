"""Points in time as text (`2h ago`, `2026-11-26T09:00Z`) to UTC seconds, and back.

A time without a zone is UTC, as in the log and in CloudWatch, and not the local time of the user: a colleague elsewhere
who copies the time must get the same result.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from exporter.config.durations import DAY, HOUR, MINUTE, format_duration, parse_duration

_EXPECTED = "expected e.g. '2h ago', 2026-11-26 or 2026-11-26T09:00Z"


@dataclass(frozen=True, slots=True)
class PointInTime:
    """A point in time, absolute or counted back from now."""

    seconds: float
    """UTC seconds since 1970; if `relative`, seconds before now."""
    relative: bool

    def at(self, now: float) -> float:
        """Return the point as UTC seconds since 1970; `now` is in the same unit."""
        return now - self.seconds if self.relative else self.seconds


def parse_time(text: str) -> PointInTime:
    """Return the meaning of an ISO 8601 date or time, or of a Prometheus duration followed by `ago`.

    Raises:
        ValueError: with a predicate (`is not a time; expected ...`), which the caller puts after the text.
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
    """Return UTC seconds since 1970 in ISO 8601, or the number itself if it is outside the years 1 to 9999.

    `timespec` is the precision, as for `datetime.isoformat`.
    """
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def format_age(seconds: float, now: float) -> str:
    """Return the distance between two times in UTC seconds, in at most two units: `3d4h ago`, `12m3s ago`, `in 5s`."""
    distance = abs(now - seconds)
    unit = HOUR if distance >= DAY else MINUTE if distance >= HOUR else 1.0
    text = format_duration(distance // unit * unit)
    return f"in {text}" if seconds > now and text != "0s" else f"{text} ago"
