import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds", "canonical"),
    [
        ("0", 0, "0s"),
        ("0s", 0, "0s"),
        ("90s", 90, "1m30s"),
        ("5m", 300, "5m"),
        ("1h30m", 5400, "1h30m"),
        ("7d", 604_800, "1w"),
        ("90d", 7_776_000, "90d"),
        ("24h", 86_400, "1d"),
        ("1y", 31_536_000, "1y"),
        ("50ms", 0.05, "50ms"),
        ("1s500ms", 1.5, "1s500ms"),
        ("1y2w3d4h5m6s7ms", 33_019_506.007, "382d4h5m6s7ms"),
    ],
)
def test_known_durations(text: str, seconds: float, canonical: str) -> None:
    """Durations are parsed and formatted as in Prometheus."""
    assert parse_duration(text) == seconds
    assert format_duration(seconds) == canonical


@pytest.mark.parametrize(
    "text",
    ["", "60", "5 m", "5M", "-5m", "1.5h", "30m1h", "1s1s", "1h ", "5m\n", "٣s", "s", "00", "1h30", "+1s", "9" * 5000],
)
def test_not_a_duration(text: str) -> None:
    """A text that Prometheus does not accept as a duration is refused with examples."""
    with pytest.raises(ValueError, match=r"is not a duration; expected e\.g\. 90s, 5m, 1h30m"):
        parse_duration(text)


def test_too_long() -> None:
    """A duration is refused if it exceeds the range of Prometheus, which counts nanoseconds in 64 bits."""
    assert parse_duration("292y") == 292 * 365 * 86_400
    with pytest.raises(ValueError, match="is too long for a duration; expected less than 292y"):
        parse_duration("293y")


@given(st.integers(min_value=0, max_value=292 * 365 * 86_400_000))
def test_round_trip(milliseconds: int) -> None:
    """A duration of whole milliseconds that is formatted and parsed has the same value."""
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == seconds
