"""`Exposition` holds the answers at `/metrics`. They are rendered after a poll, so a scrape only sends bytes.

Polls and scrapes share one attribute, `Exposition._publication`. A publication has a number, and its bodies never
change. `ServedRecord` records its counter values before a scrape sends them.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from exporter.config.schema import Metrics
from exporter.counting.counters import Series, Total
from exporter.exposition.compression import Body
from exporter.exposition.filters import SeriesFilter
from exporter.exposition.formats import Encoding, TextFormat, Variant
from exporter.exposition.own_metrics import OwnMetrics
from exporter.exposition.rendering import RenderedTransforms
from exporter.exposition.series_count import SeriesCount
from exporter.exposition.served_record import ServedRecord, Unrecorded
from exporter.exposition.shown_transforms import ShownTransforms
from exporter.exposition.snapshot import TransformSnapshot
from exporter.logs import get_logger
from exporter.state.store import StateFile
from exporter.telemetry import Telemetry

UNUSED_AFTER = 600.0
"""A variant is no longer rendered if no scrape has asked for it for this many seconds."""

_REST = 30.0
"""After a publication, the publisher rests for this many times the CPU time that the publication took.

All polls that end during the rest share the next publication. CPU time is used because wall time would include the time
for which the process was frozen.
"""

_SHORTEST_REST = 0.25
"""Shortest rest after a publication, in seconds."""

_LONGEST_REST = 5.0
"""Longest rest after a publication, in seconds."""

log = get_logger(__name__)


@dataclass(slots=True)
class Publication:
    """One state of the exposition. Only the field `recorded` ever changes."""

    number: int
    bodies: Mapping[Variant, Body]
    unrecorded: Unrecorded
    """The counter values of this publication that were not recorded when it was built."""
    recorded: bool
    """Whether a scrape may send it. False until the values in `unrecorded` are recorded."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """One answer at `/metrics`."""

    chunks: Sequence[bytes]
    length: int
    """Bytes of all chunks together."""
    sent: Callable[[], None]
    """The web server calls this after the last byte, so a scrape that breaks off does not count for initial values."""


class _VariantsInUse:
    """The variants that a scrape has asked for in the last `UNUSED_AFTER` seconds."""

    def __init__(self) -> None:
        self.used: dict[Variant, float] = {}

    def note(self, variant: Variant) -> None:
        self.used[variant] = time.monotonic()

    def current(self) -> list[Variant]:
        oldest = time.monotonic() - UNUSED_AFTER
        return [variant for variant, used in list(self.used.items()) if used >= oldest]


class Exposition:
    """The rendered metrics of all transforms. Its methods may be called from any thread."""

    def __init__(
        self, telemetry: Telemetry, state: StateFile | None, *, tick: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the exporter's own metrics, which every scrape carries, and the state file if there is one.

        ``tick`` gives monotonic seconds. `configure` sets how long a series is held at its base value; before that no
        series is held.
        """
        self._telemetry = telemetry
        self._tick = tick
        self._lock = threading.Lock()
        self._rendered = RenderedTransforms()
        self._record = ServedRecord(telemetry, state)
        self._transforms = ShownTransforms(self._rendered, self._record, tick)
        self._series_count = SeriesCount(telemetry)
        self._own_metrics = OwnMetrics(telemetry, self._series_count)
        self._in_use = _VariantsInUse()
        self._publication = Publication(0, {}, {}, recorded=True)
        self._sent: deque[tuple[int, float]] = deque()
        """For each complete scrape that `publish` has not seen yet: the number of its publication, and its end."""
        self._next_release: float | None = None
        """When the next hold ends (monotonic seconds)."""
        self._wake = threading.Event()
        self._stopping = threading.Event()

    # -- what polls do ----------------------------------------------------------------------------------------------

    def update(self, snapshot: TransformSnapshot, totals: Mapping[Series, Total], *, offset: float = 0.0) -> None:
        """Put the ``snapshot`` of a transform into the next publication.

        ``totals`` are its true counter values; `InitialValues` decides when they may be served. ``offset`` is its
        offset in the polling interval, in [0, 1). Transforms with neighbouring offsets are stored together, because
        the same publications change them.
        """
        with self._lock:
            if self._transforms.restarts(snapshot):
                self._withdraw()
            try:
                self._transforms.update(snapshot, totals, offset=offset, publication=self._publication.number + 1)
            finally:  # publishes the metrics that were rendered before an exception
                self._wake_publisher()

    def remove(self, transform_id: str) -> None:
        """Remove a transform and all its series; it need not be known."""
        with self._lock:
            if transform_id in self._publication.unrecorded:
                self._withdraw()
            self._transforms.remove(transform_id)
            self._wake_publisher()

    def configure(self, metrics: Metrics) -> bool:
        """Apply the section `metrics`: the series to leave out, the number to warn at, and the hold of new series.

        Return whether series are shown now that were left out before.
        """
        series_filter = SeriesFilter.of(metrics)
        with self._lock:
            before = self._rendered.series_filter
            self._transforms.filter_series(series_filter)
            self._series_count.set_limit(metrics.max_series)
            self._transforms.hold = metrics.initial_hold
            self._wake.set()  # another hold may end earlier
            return series_filter.shows_more_than(before)

    def _withdraw(self) -> None:
        """Withdraw the present publication, so that no further scrape begins with it.

        Its counter values come from initial values that were replaced. The new initial values begin at the recorded
        values. If a scrape now recorded and sent a higher value, a later scrape would show a lower one, and Prometheus
        would see a counter reset.
        """
        self._publication = Publication(self._publication.number, {}, {}, recorded=True)

    def _wake_publisher(self) -> None:
        if self._rendered.changed and not self._wake.is_set():
            self._wake.set()

    # -- publishing -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Publish after each change and at the end of each hold until `stop` is called; needs a thread of its own."""
        while not self._stopping.is_set():
            self._wake.wait(self._until_next_release())
            self._wake.clear()
            began = time.thread_time()
            try:
                self.publish()
            except Exception:  # a defect that concerns one transform must not end all publications
                log.exception("a publication failed because of a defect in this program; please report it")
                self._wake.set()
                self._stopping.wait(_LONGEST_REST)
            self._stopping.wait(max(_SHORTEST_REST, min(_REST * (time.thread_time() - began), _LONGEST_REST)))

    def _until_next_release(self) -> float | None:
        if self._next_release is None:
            return None
        return min(max(0.0, self._next_release - self._tick()), threading.TIMEOUT_MAX)

    def stop(self) -> None:
        """End `run`."""
        self._stopping.set()
        self._wake.set()

    def publish(self) -> None:
        """Publish now, if anything has changed or a hold is over. All holds that are over share one publication."""
        with self._lock:
            while self._sent:
                self._transforms.scraped(*self._sent.popleft())
            try:
                self._transforms.release(publication=self._publication.number + 1)
            finally:
                self._next_release = self._transforms.next_release
            if self._rendered.changed:
                self._build()

    def _build(self) -> None:
        """Build the next publication in the variants that are in use."""
        unrecorded = self._record.unrecorded()
        bodies, series = self._rendered.bodies(self._in_use.current())
        if bodies:
            self._series_count.set_series(series)
        self._publication = Publication(self._publication.number + 1, bodies, unrecorded, recorded=not unrecorded)
        for (text_format, encoding), body in bodies.items():
            size = self._telemetry.exposition_bytes.labels(text_format.name.lower(), encoding.name.lower())
            size.set(sum(map(len, body.pieces)))

    # -- what scrapes do --------------------------------------------------------------------------------------------

    def scrape(self, text_format: TextFormat, encoding: Encoding) -> Scrape | None:
        """Return an answer at once, or None if `prepare_scrape` must render or record something first."""
        variant = (text_format, encoding)
        self._in_use.note(variant)
        publication = self._publication
        if not publication.recorded or variant not in publication.bodies:
            return None
        return self._answer(publication, variant)

    def prepare_scrape(self, text_format: TextFormat, encoding: Encoding) -> Scrape:
        """Render and record the present publication as far as needed, and return the answer. This may block."""
        variant = (text_format, encoding)
        with self._lock:
            self._in_use.note(variant)
            if variant not in self._publication.bodies:
                self._build()
            if not self._publication.recorded:
                self._record_values()
            publication = self._publication
        return self._answer(publication, variant)

    def _record_values(self) -> None:
        """Record the counter values of the present publication. If this fails, publish the recorded values instead."""
        if not self._record.write(self._publication.unrecorded):
            self._transforms.fall_back_to_recorded()
            self._build()
        self._publication.recorded = True

    def _answer(self, publication: Publication, variant: Variant) -> Scrape:
        chunks = publication.bodies[variant].followed_by(self._own_metrics.text(variant[0]))
        return Scrape(chunks, sum(map(len, chunks)), partial(self._note_sent, publication.number))

    def _note_sent(self, number: int) -> None:
        if self._transforms.waiting:
            self._sent.append((number, self._tick()))
            self._wake.set()
