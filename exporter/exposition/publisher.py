"""What is served at /metrics: rendered when a poll has changed it, so that a scrape only sends.

Poll and scrape meet at one assignment, that of `Exposition._publication`. A publication is numbered and never changes;
what it shows of the counters is chosen by `initial_values`. With a state file, the values of a publication are on disk
before the first byte of its first scrape leaves (`docs/design/0004-state.md`).
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from exporter.counting.counters import Series, Total
from exporter.errors import StateError
from exporter.exposition.compression import Body, Chunk, ChunkIndex, RenderedMetric, body_of, joined
from exporter.exposition.formats import Encoding, TextFormat
from exporter.exposition.initial_values import InitialValues
from exporter.exposition.metrics import METRICS, Metric, Part
from exporter.exposition.series_count import Cardinality, Selection
from exporter.exposition.snapshot import TransformSnapshot
from exporter.exposition.text_format import EOF, HEADER_LINES, header, render_metrics, sample_lines
from exporter.logs import get_logger
from exporter.state.store import StateFile
from exporter.telemetry import Telemetry

Variant = tuple[TextFormat, Encoding]

UNUSED_AFTER = 600.0
"""Seconds after which a format that nobody asks for is no longer prepared."""

_REST = 30.0
"""After a publication, rest for this many times the CPU time that it took: thousands of polls share a few of them.

The exporter's own metrics are used again for as long, so a flood of scrapes does not spend its time on them. Not wall
time: a process that was frozen while it published has not worked all that time.
"""

_OLDEST_OWN = 1.0
"""Seconds for which they are used again at most: what is collected of them may have met a garbage collection."""

_SHORTEST_REST = 0.25
_LONGEST_REST = 5.0
"""Seconds between publications: several polls share one even if it is cheap, and the dearest do not make it late."""

log = get_logger(__name__)


@dataclass(slots=True)
class Publication:
    """One state of the exposition."""

    number: int
    bodies: Mapping[Variant, Body]
    marks: Mapping[str, tuple[InitialValues, Mapping[Series, Total]]]
    """Values that this publication shows and no earlier scrape has: by transform, with the births that chose them."""
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Scrape:
    """One answer at /metrics."""

    chunks: Sequence[bytes]
    length: int
    sent: Callable[[], None]
    """To be called when the whole answer has left: a scrape that breaks off releases no initial value."""


@dataclass(slots=True)
class _Shown:
    """A transform in the exposition."""

    place: float
    snapshot: TransformSnapshot
    totals: Mapping[Series, Total]
    rendered: bool = False
    """Whether all of it is, as the picture has it; what raised half-way is rendered anew."""


@dataclass(slots=True)
class _Use:
    """When a variant was last asked for."""

    used: dict[Variant, float] = field(default_factory=dict)

    def note(self, variant: Variant) -> None:
        self.used[variant] = time.monotonic()

    def current(self) -> list[Variant]:
        oldest = time.monotonic() - UNUSED_AFTER
        return [variant for variant, used in list(self.used.items()) if used >= oldest]


class Exposition:
    """All transforms, rendered; `update` and `remove` are called by polls, `scrape` by the server."""

    def __init__(self, telemetry: Telemetry, state: StateFile | None) -> None:
        """Take the exporter's own metrics, which every scrape carries, and the state file if there is one."""
        self._telemetry = telemetry
        self._state = state
        self._lock = threading.Lock()
        self._shown: dict[str, _Shown] = {}
        self._selection = Selection()
        self._cardinality = Cardinality(telemetry)
        self._chunk_index = ChunkIndex()
        self._sections: dict[str, dict[Variant, Body]] = {}
        """By metric: an idle poll changes four of them, and the others need not be put together again."""
        self._unmarked: set[str] = set()
        self._waiting: set[str] = set()
        self._recording_fails = False
        self._scraped: deque[int] = deque()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._changed = False
        self._use = _Use()
        self._own: dict[TextFormat, tuple[float, bytes]] = {}
        self._publication = Publication(0, {}, {})
        self._headers = {
            (metric.name, text_format): Chunk.of(header(metric.family, metric.kind, metric.help, text_format))
            for metric in METRICS
            for text_format in TextFormat
        }

    # -- what polls do ----------------------------------------------------------------------------------------------

    def update(self, snapshot: TransformSnapshot, totals: Mapping[Series, Total], *, offset: float = 0.0) -> None:
        """Show a transform as ``snapshot`` has it, with as much of ``totals`` as may be shown yet.

        Transforms with neighbouring offsets in the polling interval are best kept together.
        """
        with self._lock:
            transform_id = snapshot.target.id
            shown = self._shown.get(transform_id)
            if shown is None:
                shown = self._shown[transform_id] = _Shown(offset, snapshot, totals)
            before = shown.snapshot if shown.rendered else None
            if self._chosen_by_others(snapshot) or shown.snapshot.initial_values is not snapshot.initial_values:
                # What is published is the choice of births that are over; no scrape may see it from now on.
                self._publication = Publication(self._publication.number, {}, {})
            shown.snapshot, shown.totals, shown.rendered = snapshot, totals, False
            parts = _changed_parts(before, snapshot)
            # Before the births choose: if it raises, they must not take for shown what no scrape has.
            self._render(shown, parts - {"counters"})
            moved = self._choose(shown)
            self._render(shown, {"counters"} if moved else parts & {"counters"})
            shown.rendered = True

    def _chosen_by_others(self, snapshot: TransformSnapshot) -> bool:
        """Whether what is published of a transform that has left and is back was chosen by its former births."""
        initial_values, _ = self._publication.marks.get(snapshot.target.id, (snapshot.initial_values, {}))
        return initial_values is not snapshot.initial_values

    def select(self, selection: Selection, max_series: int | None) -> bool:
        """Leave out what is selected, and warn above so many series; whether more is shown than before."""
        with self._lock:
            before, self._selection = self._selection, selection
            changed = [metric for metric in METRICS if selection.left_out(metric) != before.left_out(metric)]
            for shown in self._shown.values() if changed else ():
                self._render_metrics(shown, changed)
            self._cardinality.limit(max_series)
            return selection.shows_more_than(before)

    def remove(self, transform_id: str) -> None:
        """Take a transform and all its series out."""
        with self._lock:
            shown = self._shown.pop(transform_id, None)
            if shown is not None:
                self._chunk_index.remove(transform_id)
                self._sections.clear()
                self._unmarked.discard(transform_id)
                self._waiting.discard(transform_id)
                self._touch()

    def _choose(self, shown: _Shown) -> bool:
        """Let the births choose what the next publication shows; whether that differs from the present one."""
        initial_values, transform_id = shown.snapshot.initial_values, shown.snapshot.target.id
        if not shown.snapshot.counting:
            return False  # there are no counters yet: a scrape now is none that has seen them
        moved = initial_values.publish(
            shown.totals,
            now=time.time(),
            tick=time.monotonic(),
            publication=self._publication.number + 1,
            still=self._state is not None and self._state.behind(transform_id),
        )
        if moved:
            self._unmarked.add(transform_id)
        if initial_values.waiting:
            self._waiting.add(transform_id)
        return moved

    def _render(self, shown: _Shown, parts: set[Part]) -> None:
        if parts:
            self._render_metrics(shown, [metric for metric in METRICS if metric.part in parts])

    def _render_metrics(self, shown: _Shown, metrics: Iterable[Metric]) -> None:
        snapshot, identity = shown.snapshot, shown.snapshot.identity
        fragments = {
            metric.name: RenderedMetric(*sample_lines(metric.family, self._selection.lines(metric, snapshot), identity))
            for metric in metrics
        }
        for metric in self._chunk_index.put(snapshot.target.id, shown.place, fragments):
            self._sections.pop(metric, None)
        self._touch()

    def _touch(self) -> None:
        if not self._changed:
            self._changed = True
            self._wake.set()

    # -- publishing -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Publish what has changed, until `stop`; a thread of its own."""
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            began = time.thread_time()
            try:
                self.publish()
            except Exception:  # whatever it is, what the other transforms have must be published
                log.exception("a publication has met a mistake of this program; please report it")
                self._wake.set()
                self._stopping.wait(_LONGEST_REST)
            self._stopping.wait(max(_SHORTEST_REST, min(_REST * (time.thread_time() - began), _LONGEST_REST)))

    def stop(self) -> None:
        """End `run`; no scrape may begin after it."""
        self._stopping.set()
        self._wake.set()

    def publish(self) -> None:
        """Publish now, if anything has changed or a scrape has set a series free."""
        with self._lock:
            self._take_scrapes()
            if self._changed:
                self._build()

    def _take_scrapes(self) -> None:
        while self._scraped:
            number = self._scraped.popleft()
            for transform_id in list(self._waiting):
                self._release(transform_id, number)

    def _release(self, transform_id: str, number: int) -> None:
        shown = self._shown[transform_id]
        initial_values = shown.snapshot.initial_values
        if initial_values.scraped(number) and self._choose(shown):
            self._render(shown, {"counters"})
        if not initial_values.waiting:
            self._waiting.discard(transform_id)

    def _build(self) -> None:
        self._changed = False
        marks = {}
        for transform_id in list(self._unmarked):
            initial_values = self._shown[transform_id].snapshot.initial_values
            served = initial_values.unmarked()
            if served:
                marks[transform_id] = (initial_values, served)
            else:
                self._unmarked.discard(transform_id)
        variants = self._use.current()
        sections = {
            metric.name: self._sections_of(metric.name, variants)
            for metric in METRICS
            if self._selection.left_out(metric) is not None
        }
        bodies = {
            variant: joined((section[variant] for section in sections.values()), variant[1]) for variant in variants
        }
        if bodies:
            self._cardinality.note({metric: _series_in(section) for metric, section in sections.items()})
        self._publication = Publication(self._publication.number + 1, bodies, marks)
        for (text_format, encoding), body in bodies.items():
            size = self._telemetry.exposition_bytes.labels(text_format.name.lower(), encoding.name.lower())
            size.set(sum(map(len, body.pieces)))

    def _sections_of(self, metric: str, variants: Iterable[Variant]) -> dict[Variant, Body]:
        """Return all of one metric in each variant; those that are no longer in use are forgotten."""
        known = self._sections.get(metric, {})
        sections = {variant: known.get(variant) or self._section(metric, *variant) for variant in variants}
        self._sections[metric] = sections
        return sections

    def _section(self, metric: str, text_format: TextFormat, encoding: Encoding) -> Body:
        chunks = (block.chunk(metric, text_format) for block in self._chunk_index.blocks)
        return body_of((self._headers[metric, text_format], *chunks), encoding)

    # -- what scrapes do --------------------------------------------------------------------------------------------

    def scrape(self, text_format: TextFormat, encoding: Encoding) -> Scrape | None:
        """Return an answer at once, or None when something has to be rendered or written first."""
        variant = (text_format, encoding)
        self._use.note(variant)
        publication = self._publication
        body = publication.bodies.get(variant)
        if body is None or (publication.marks and not publication.marked):
            return None
        chunks = body.followed_by(self._own_metrics(text_format))
        return Scrape(chunks, sum(map(len, chunks)), partial(self._note_sent, publication.number))

    def _own_metrics(self, text_format: TextFormat) -> bytes:
        """Return the exporter's own metrics and the end of the body, collected now or a few milliseconds ago."""
        until, text = self._own.get(text_format, (0.0, b""))
        if time.monotonic() >= until:
            began = time.thread_time()
            text = render_metrics(self._telemetry.registry.collect(), text_format) + EOF[text_format]
            self._cardinality.note_own(text)
            rest = min(_REST * (time.thread_time() - began), _OLDEST_OWN)
            self._own[text_format] = (time.monotonic() + rest, text)
        return text

    def prepare_scrape(self, text_format: TextFormat, encoding: Encoding) -> Scrape:
        """Render what is missing and record what is about to be served, then return the answer."""
        with self._lock:
            if (text_format, encoding) not in self._publication.bodies:
                self._use.note((text_format, encoding))
                self._build()
            self._record()
            # Before the lock is free: of another publication in between other values would have to be recorded.
            scrape = self.scrape(text_format, encoding)
        assert scrape is not None, "it is rendered and recorded"  # noqa: S101 - narrows the type
        return scrape

    def _note_sent(self, number: int) -> None:
        if self._waiting:
            self._scraped.append(number)
            self._wake.set()

    # -- what is on record as seen ----------------------------------------------------------------------------------

    def _record(self) -> None:
        """Note the values of the present publication, on disk if there is state; if that fails, show the noted ones.

        Under the lock, and before a byte leaves: births that begin again take over what is noted, so no scrape may
        have seen more than that.
        """
        publication = self._publication
        if not publication.marks or publication.marked:
            return
        try:
            self._note(publication.marks)
        except StateError as error:
            self._hold_back(error)
        else:
            if self._recording_fails:
                log.info("the state file can be written again; counters move on")
            self._recording_fails = False
        self._publication.marked = True

    def _note(self, marks: Mapping[str, tuple[InitialValues, Mapping[Series, Total]]]) -> None:
        """Put values on record; raises `StateError`, nothing has changed then."""
        if self._state is not None:
            self._state.mark({name: (served, initial_values.born) for name, (initial_values, served) in marks.items()})
        for initial_values, served in marks.values():
            initial_values.mark(served)

    def _hold_back(self, error: StateError) -> None:
        """Publish nothing but what is recorded, and base values, which need no record."""
        self._telemetry.state_write_errors.inc()
        if not self._recording_fails:
            log.error("counters are held back until the state file can be written", error=str(error))
        self._recording_fails = True
        for transform_id in self._unmarked:
            shown = self._shown[transform_id]
            shown.snapshot.initial_values.retract()
            self._render(shown, {"counters"})
        self._build()


def _series_in(sections: Mapping[Variant, Body]) -> int:
    """Return how many samples a metric has: OpenMetrics may have more lines, but both formats have two about it."""
    return max(section.lines for section in sections.values()) - HEADER_LINES


def _changed_parts(before: TransformSnapshot | None, after: TransformSnapshot) -> set[Part]:
    if before is None or before.name != after.name or before.bounds != after.bounds:
        return {metric.part for metric in METRICS}
    parts: set[Part] = set()
    if before.poll != after.poll:
        parts.add("poll")
    if before.view != after.view:
        parts.add("runs")
    if (before.view is None) != (after.view is None):
        parts.add("details")
    if before.latest != after.latest:
        parts.add("times")
    if before.details != after.details:
        parts |= {"details", "identity"}
    if before.target != after.target or before.account_id != after.account_id:
        parts.add("identity")
    if (
        before.created != after.created
        or before.initial_values is not after.initial_values
        or before.counting != after.counting
    ):
        parts.add("counters")
    return parts
