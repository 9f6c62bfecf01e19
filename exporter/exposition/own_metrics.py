"""Renders the exporter's own metrics at a scrape, and reuses the text for a short time."""

import time

from exporter.exposition.formats import TextFormat
from exporter.exposition.series_count import SeriesCount
from exporter.exposition.text_format import EOF, render_metrics
from exporter.telemetry import Telemetry

_REUSE = 30.0
"""A text is reused for this many times the CPU time that rendering took, so a flood of scrapes costs little."""

_LONGEST_REUSE = 1.0
"""Longest reuse of a text, in seconds, even if a garbage collection made the rendering slow."""


class OwnMetrics:
    """The last part of every body: the exporter's own metrics, and the end that the format demands."""

    def __init__(self, telemetry: Telemetry, series_count: SeriesCount) -> None:
        """Take the metrics, and the `SeriesCount` that counts their series."""
        self._telemetry = telemetry
        self._series_count = series_count
        self._texts: dict[TextFormat, tuple[float, bytes]] = {}
        """By format: the time until which the text is reused (monotonic seconds), and the text."""

    def text(self, text_format: TextFormat) -> bytes:
        """Return the metrics in the format, collected now or at most a second ago. Takes no lock."""
        until, text = self._texts.get(text_format, (0.0, b""))
        if time.monotonic() >= until:
            began = time.thread_time()
            text = render_metrics(self._telemetry.registry.collect(), text_format) + EOF[text_format]
            self._series_count.count_own(text)
            reuse = min(_REUSE * (time.thread_time() - began), _LONGEST_REUSE)
            self._texts[text_format] = (time.monotonic() + reuse, text)
        return text
