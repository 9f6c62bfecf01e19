"""Formats the times on the pages: "5m ago" as text, and ISO 8601 (UTC) in the tooltip and the `datetime` attribute."""

from dataclasses import dataclass
from functools import lru_cache

from markupsafe import Markup

from exporter.config.durations import format_duration
from exporter.config.timestamps import format_age, format_time

NO_TIME = '<span class="muted">&ndash;</span>'
"""The HTML for a time that does not exist."""

_stamp = lru_cache(4096)(format_time)
"""The function is cached, because the times of hundreds of transforms stay the same until a run starts or ends."""


@lru_cache(8192)
def _ago(distance: float) -> str:
    return format_age(0.0, distance)


@dataclass(frozen=True, slots=True)
class PageTime:
    """The time at which a page is rendered: UTC seconds and monotonic seconds."""

    utc: float
    monotonic: float

    def element(self, seconds: float | None) -> Markup:
        """Return the `<time>` element for UTC seconds, for a template; a dash for None."""
        return Markup(self.html(seconds))  # noqa: S704 - digits

    def html(self, seconds: float | None) -> str:
        """Return the text of `element` as a plain string, because Markup is slower."""
        if seconds is None:
            return NO_TIME
        text = _stamp(seconds)
        return f'<time datetime="{text}" title="{text}">{self.ago(seconds)}</time>'

    def lasting(self, seconds: float, *, at_least: bool) -> str:
        """Return the `<time>` element of a problem that began at UTC seconds: "for 5m", or "for at least 5m"."""
        text = _stamp(seconds)
        return f'<time datetime="{text}" title="{text}">for {"at least " * at_least}{self.since(seconds)}</time>'

    @staticmethod
    def stamp(seconds: float) -> str:
        """Return UTC seconds in ISO 8601, to the second."""
        return _stamp(seconds)

    @staticmethod
    def minute(seconds: float) -> str:
        """Return UTC seconds to the minute, such as "2026-09-21 12:13"."""
        return _stamp(seconds)[:16].replace("T", " ")

    def ago(self, seconds: float) -> str:
        """Return the time since UTC seconds, such as "5m ago"."""
        distance = self.utc - seconds
        if abs(distance) >= 1e12:
            return _ago(distance)
        whole = int(distance)
        if whole >= 3600:
            # `format_age` leaves out the smaller units, so the ages of most runs share few entries of the cache.
            whole -= whole % (3600 if whole >= 86_400 else 60)
        return _ago(float(whole))

    def since(self, seconds: float) -> str:
        """Return the time since UTC seconds without the word "ago", such as "5m"."""
        return self.ago(seconds).removesuffix(" ago")

    def until(self, due: float | None) -> str:
        """Return the time until `due` (monotonic seconds), such as "in 12s". None means "now"."""
        seconds = 0 if due is None else round(due - self.monotonic)
        return f"in {format_duration(float(seconds))}" if seconds > 0 else "now"
