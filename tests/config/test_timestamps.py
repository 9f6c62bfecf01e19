import re
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.timestamps import PointInTime, format_age, format_time, parse_time

NOW = 1_795_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2h ago", NOW - 7200),
        ("1d12h ago", NOW - 36 * 3600),
        ("0 ago", NOW),
        (" 30s  ago ", NOW - 30),
        ("2026-11-26", 1795651200),
        ("2026-11-26T09:00", 1795683600),
        ("2026-11-26 09:00:30", 1795683630),
        ("2026-11-26T09:00Z", 1795683600),
        ("2026-11-26T10:00+01:00", 1795683600),
        ("20261126T090000Z", 1795683600),
        ("1970-01-01", 0),
    ],
)
def test_relative_and_absolute_times(text: str, seconds: float) -> None:
    """A time is a duration before now, or a date or time in ISO 8601. Without a zone it is in UTC."""
    assert parse_time(text).at(NOW) == seconds


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2h", "ago", "2 hours ago", "2026-13-01", "12:00", "1969-12-31", "-2h ago"]
)
def test_a_text_that_is_not_a_time(text: str) -> None:
    """A text that is not a time is refused, and the error names the expected forms."""
    with pytest.raises(ValueError, match=r"^is (not a time|not a duration|before 1970); expected "):
        parse_time(text)


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9999, 1, 1)), st.integers(-14, 14))  # noqa: DTZ001 - another argument is the zone
def test_any_time_with_a_zone_is_that_instant(naive: datetime, hours: int) -> None:
    """A time in any zone gives the same instant."""
    instant = naive.replace(tzinfo=timezone(timedelta(hours=hours)))
    assert parse_time(instant.isoformat()) == PointInTime(instant.timestamp(), relative=False)


@given(st.integers(0, 250_000_000_000))
def test_a_formatted_time_can_be_parsed(seconds: int) -> None:
    """The command line accepts a formatted time, and reads the same instant."""
    assert parse_time(format_time(seconds)).at(NOW) == seconds


@given(st.floats(allow_nan=False))
def test_any_number_can_be_formatted(seconds: float) -> None:
    """A time outside the range of `datetime` is formatted as a number."""
    assert format_time(seconds).isprintable()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0s ago"),
        (59, "59s ago"),
        (723, "12m3s ago"),
        (3600 + 1800 + 59, "1h30m ago"),
        (86400 * 3 + 3600 * 4 + 1799, "3d4h ago"),
        (86400 * 400, "400d ago"),
        (-5, "in 5s"),
        (-0.5, "0s ago"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    """An age is formatted with at most two units. A time in the future also has a text."""
    assert format_age(NOW - seconds, NOW) == text


@given(st.floats(0, 1e10))
def test_the_text_of_an_age_is_short(seconds: float) -> None:
    """The text of every age is short."""
    assert re.fullmatch(r"(\d+[a-z]){1,2} ago|\d+[ywd](\d+[ywdh]){1,3} ago", format_age(NOW - seconds, NOW))
