"""Converts Prometheus durations (`90s`, `5m`, `1h30m`, `7d`) to float seconds, and back.

The syntax is the syntax of durations in Prometheus' configuration files (prometheus/common `model.ParseDuration`). A
duration is a list of whole numbers with the units y, w, d, h, m, s and ms. The units are in this order, and each unit
is used at most once. `0` is also a duration. A day has 24 hours, a week has 7 days, and a year has 365 days.
"""

import re

SECOND = 1.0
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_UNITS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_SYNTAX = re.compile("".join(f"(?:([0-9]{{1,19}}){unit})?" for unit in _UNITS))
_LONGEST = (2**63 - 1) // 1_000_000  # in milliseconds: Prometheus stores nanoseconds in an int64
_EXPECTED = "expected e.g. 90s, 5m, 1h30m"


def parse_duration(text: str) -> float:
    """Return a duration such as `1h30m` in seconds.

    Raises:
        ValueError: with a predicate (`is not a duration; expected ...`), which the caller adds after the text.
    """
    if text == "0":
        return 0.0
    match = _SYNTAX.fullmatch(text)
    if match is None or not text:
        raise ValueError(f"is not a duration; {_EXPECTED}")
    milliseconds = sum(
        int(count) * unit for count, unit in zip(match.groups(), _UNITS.values(), strict=True) if count is not None
    )
    if milliseconds > _LONGEST:
        raise ValueError("is too long for a duration; expected less than 292y")
    return milliseconds / 1000


def format_duration(seconds: float) -> str:
    """Return a duration in seconds, at least 0, as text; it is rounded to milliseconds.

    As in Prometheus, years and weeks are used only if no smaller unit follows: `2w`, but `90d` and not `12w6d`.
    """
    rest = round(seconds * 1000)
    parts = []
    for unit, length in _UNITS.items():
        if unit in ("y", "w") and rest % length:
            continue
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
