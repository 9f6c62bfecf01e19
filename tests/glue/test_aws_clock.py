"""The clock of AWS agrees with the Date of its answers, to the second if the host's clock is wrong."""

import time
from email.utils import formatdate

import pytest

from exporter.glue.aws_clock import AwsClock

TRUE = 1_790_000_000.7
"""The time by the clock of AWS when the answer arrives."""


class Host:
    """A host with a wrong clock; its monotonic clock counts from the boot."""

    def __init__(self, skew: float = 0.0) -> None:
        self.skew, self.uptime = skew, 5000.0
        self.clock = AwsClock(monotonic=lambda: self.uptime, host=lambda: TRUE + self.skew)

    def receive(self, date: str | None = formatdate(TRUE, usegmt=True), took: float = 0.1) -> None:
        self.clock.observe(date, took)


@pytest.mark.parametrize("date", [None, "", "yesterday", "Wed, 99 Sep 2026 00:00:00 GMT"])
def test_without_a_valid_date_the_time_is_unknown(date: str | None) -> None:
    """An answer without a valid Date does not set the clock."""
    host = Host()
    host.receive(date)
    assert (host.clock.now(), host.clock.time_at(0.0)) == (None, None)


@pytest.mark.parametrize("date", ["Mon Sep 21 14:13:20 2026", "Mon, 21 Sep 2026 14:13:20 -0000"])
def test_a_date_without_a_zone_is_utc(monkeypatch: pytest.MonkeyPatch, date: str) -> None:
    """The time zone of the host does not change the meaning of a Date, also in the obsolete forms."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        host = Host()
        host.receive(date)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert host.clock.now() == pytest.approx(TRUE, abs=1.1)


def test_a_host_clock_that_agrees_with_the_date_gives_the_fraction() -> None:
    """Date has whole seconds, so the fraction comes from the host's clock."""
    host = Host()
    host.receive()
    host.uptime += 60
    assert host.clock.now() == pytest.approx(TRUE + 60)
    assert host.clock.time_at(4990.0) == pytest.approx(TRUE - 10)


@pytest.mark.parametrize("skew", [-86400.0, -1.0, 2.0, 86400.0])
def test_a_wrong_host_clock_is_corrected_to_the_second(skew: float) -> None:
    """If the host's clock does not agree with Date, the time is right to the second and the time of the call."""
    host = Host(skew)
    host.receive()
    now = host.clock.now()
    assert now is not None
    assert abs(now - TRUE) <= 1.1


def test_a_slow_answer_does_not_move_a_right_clock() -> None:
    """If an answer takes 20 s to arrive after it was dated, a right clock of the host is kept."""
    host = Host()
    host.receive(formatdate(TRUE - 20, usegmt=True), took=20.5)
    assert host.clock.now() == pytest.approx(TRUE)


def test_the_last_date_counts() -> None:
    """If the clock of AWS and the host's monotonic clock drift apart, each answer sets the clock again."""
    host = Host(skew=-86400.0)
    host.receive(formatdate(TRUE - 3600, usegmt=True))
    host.receive()
    now = host.clock.now()
    assert now is not None
    assert abs(now - TRUE) <= 1.1
