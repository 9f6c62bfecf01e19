"""Times as the pages show them: absolute for machines and tickets, in words for people."""

from dataclasses import dataclass
from functools import lru_cache

from markupsafe import Markup

from exporter.config.durations import format_duration
from exporter.config.timestamps import ago, stamp

NONE = '<span class="muted">&ndash;</span>'
"""Stands where there is no time."""

_stamp = lru_cache(4096)(stamp)
"""Hundreds of transforms show the same times again and again, until something happens."""


@lru_cache(8192)
def _words(distance: float) -> str:
    return ago(0.0, distance)


@dataclass(frozen=True, slots=True)
class Moment:
    """The time of a page by both clocks, in seconds."""

    utc: float
    monotonic: float

    def time(self, seconds: float | None) -> Markup:
        """Return the element for UTC seconds, with how long ago that was."""
        return Markup(self.html(seconds))  # noqa: S704 - digits

    def html(self, seconds: float | None) -> str:
        """Return the same as plain text."""
        if seconds is None:
            return NONE
        text = _stamp(seconds)
        return f'<time datetime="{text}" title="{text}">{self.ago(seconds)}</time>'

    @staticmethod
    def stamp(seconds: float) -> str:
        """Return UTC seconds in ISO 8601, to the second."""
        return _stamp(seconds)

    def ago(self, seconds: float) -> str:
        """Return how long ago UTC seconds were."""
        distance = self.utc - seconds
        return _words(float(int(distance)) if abs(distance) < 1e12 else distance)

    def since(self, seconds: float) -> str:
        """Return how long something has lasted that began at UTC seconds."""
        return self.ago(seconds).removesuffix(" ago")

    def until(self, due: float | None) -> str:
        """Return when something is due (monotonic seconds, None for at this moment)."""
        seconds = 0 if due is None else round(due - self.monotonic)
        return f"in {format_duration(float(seconds))}" if seconds > 0 else "now"
