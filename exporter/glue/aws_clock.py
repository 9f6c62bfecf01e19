"""The clock of AWS, read off the ``Date`` of its answers (RFC 9110, section 6.6.1).

Runs have times by the clock of AWS. The host's clock may be a day wrong, and must not decide which runs are history.
"""

import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime


class AwsClock:
    """The offset between the clock of AWS and the monotonic clock of this host. Any thread may use it."""

    def __init__(
        self, *, monotonic: Callable[[], float] = time.monotonic, host: Callable[[], float] = time.time
    ) -> None:
        """Take the clocks of this host: ``monotonic`` seconds, and ``host`` UTC seconds."""
        self._monotonic = monotonic
        self._host = host
        self._offset: float | None = None

    def observe(self, date: str | None, took: float) -> None:
        """Take the ``Date`` of an answer that has just arrived, ``took`` seconds after its request was sent.

        ``Date`` has whole seconds. If the host's clock agrees with it, the host's clock gives the fraction. A missing
        or invalid date is ignored.
        """
        try:
            parsed = parsedate_to_datetime(date or "")
            # A date without a zone is UTC (RFC 9110, section 5.6.7: asctime). Without a zone, `timestamp` takes it as
            # local time of the host.
            earliest = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return
        now = min(max(self._host(), earliest), earliest + 1 + took)
        self._offset = now - self._monotonic()

    def now(self) -> float | None:
        """Return the present time in UTC seconds; None if no answer has had a date yet."""
        return self.time_at(self._monotonic())

    def time_at(self, instant: float) -> float | None:
        """Return the UTC seconds of a monotonic ``instant``; None if no answer has had a date yet."""
        return None if self._offset is None else instant + self._offset
