"""Snapshots of transforms, written by hand or drawn by hypothesis, and functions that read a scrape's text."""

import gzip
import itertools
import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from exporter.config.schema import RESERVED_LABELS, Metrics
from exporter.counting.counters import Count, Exemplar, Histogram, Series, Total
from exporter.counting.latest import GaugeValues, LatestRun
from exporter.counting.run_kinds import KNOWN_KINDS
from exporter.exposition.formats import Encoding, TextFormat
from exporter.exposition.initial_values import FIRST_SERIES, InitialValues
from exporter.exposition.publisher import Exposition, Scrape
from exporter.exposition.snapshot import PollResult, TransformSnapshot
from exporter.model.failure_reasons import FailureReasons
from exporter.model.task_run import FINAL_STATUSES, STATUSES, TASK_TYPES
from exporter.model.transform import Details, Lane, Target
from exporter.state.store import StateFile
from exporter.telemetry import Telemetry

BOUNDS = (30.0, 60.0, 3600.0)
LANE = Lane("default", "eu-west-1")
VARIANTS = list(itertools.product(TextFormat, Encoding))
FAILED = Series("finished", "FIND_MATCHES", "FAILED")
FINISHED = "glue_ml_task_runs_finished_total"
EXECUTION = Series("execution", "FIND_MATCHES", "FAILED")
NO_RUNS = GaugeValues(dict.fromkeys(KNOWN_KINDS, 0), {}, {})


def new_values(**changes: Any) -> InitialValues:
    """Give the initial values of a new transform; `changes` replace some arguments."""
    return InitialValues(**{"created_at": 1.0} | changes)


def snapshot(transform_id: str = "tfm-1", **changes: Any) -> TransformSnapshot:
    """Give the snapshot after a successful poll without runs; `changes` replace some of its fields."""
    plain = TransformSnapshot(
        target=Target(transform_id, LANE),
        account_id="",
        poll=PollResult(up=True, tried=1000.0, succeeded=1000.0, duration=0.5),
        gauge_values=NO_RUNS,
        latest={},
        watched_since=900.0,
        has_baseline=True,
        initial_values=new_values(),
        bounds=BOUNDS,
        created=False,
        details=None,
        failure_reasons=FailureReasons(),
    )
    return replace(plain, **changes)


def observed(*seconds: float) -> Histogram:
    """Give the histogram over `BOUNDS` that has observed these values."""
    histogram = Histogram.empty(BOUNDS)
    for number, value in enumerate(seconds):
        histogram = histogram.plus(Exemplar(f"tsk-{number}", value, 1000.0 + number), BOUNDS)
    return histogram


def silent_telemetry() -> Telemetry:
    """Give telemetry that adds no metrics to a scrape."""
    telemetry = Telemetry(process=False)
    telemetry.add_state_metrics()
    telemetry.registry = CollectorRegistry()
    return telemetry


class Clock:
    """A monotonic clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


HOLD = 120.0


def exposition(state: StateFile | None = None, *, clock: Clock | None = None) -> Exposition:
    """Give an exposition without transforms and without the exporter's own metrics; the test adds transforms.

    With a clock it holds each series for `HOLD`, without one it holds no series.
    """
    if clock is None:
        return Exposition(silent_telemetry(), state)
    exposed = Exposition(silent_telemetry(), state, tick=clock)
    exposed.configure(Metrics(initial_hold=f"{HOLD:.0f}s"))
    return exposed


def shown(*snapshots: TransformSnapshot, totals: Mapping[Series, Total] | None = None) -> Exposition:
    """Give an exposition of these snapshots, all with the same `totals`."""
    exposed = exposition()
    for each in snapshots:
        exposed.update(each, totals or {})
    return exposed


def body(exposed: Exposition, text_format: TextFormat = TextFormat.TEXT, encoding: Encoding = Encoding.IDENTITY) -> str:
    """Publish, scrape, and give the text that a client reads; the scrape does not count as sent."""
    exposed.publish()
    scrape = exposed.scrape(text_format, encoding) or exposed.prepare_scrape(text_format, encoding)
    sent = b"".join(scrape.chunks)
    assert len(sent) == scrape.length
    return (gzip.decompress(sent) if encoding is Encoding.GZIP else sent).decode()


def samples(text: str, name: str) -> dict[str, float]:
    """Give the samples of a metric: a dict from the text between the braces to the value, without exemplar."""
    lines = [line.removeprefix(name + "{") for line in text.splitlines() if line.startswith(name + "{")]
    found = [line.rpartition(" # {")[0] or line for line in lines]
    return {labels: float(value) for labels, _, value in (line.rpartition("} ") for line in found)}


def value(text: str, name: str, *labels: str) -> float:
    """Give the only sample of this name whose labels contain all of `labels`."""
    (found,) = [number for text, number in samples(text, name).items() if all(label in text for label in labels)]
    return found


def begin_scrape(exposed: Exposition) -> Scrape:
    """Begin a scrape of the plain text format; the test calls `sent` on it to complete it."""
    variant = (TextFormat.TEXT, Encoding.IDENTITY)
    return exposed.scrape(*variant) or exposed.prepare_scrape(*variant)


def scrape(exposed: Exposition, *, sent: bool = True) -> str:
    """Publish, scrape and give the text. The scrape counts as completely sent if `sent` is true."""
    exposed.publish()
    answer = begin_scrape(exposed)
    if sent:
        answer.sent()
    return text_of(answer)


def text_of(answer: Scrape) -> str:
    """Give the text of a scrape in the plain text format."""
    return b"".join(answer.chunks).decode()


def failures(text: str) -> float:
    """Give the number of failed FIND_MATCHES runs; the text must contain a single transform."""
    return value(text, FINISHED, 'status="FAILED"', "FIND_MATCHES")


@contextmanager
def publishing(exposed: Exposition) -> Iterator[None]:
    """Publish in a thread of its own, which ends when the exposition is stopped."""
    thread = threading.Thread(target=exposed.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        exposed.stop()
        thread.join(60)
        assert not thread.is_alive()


# -- drawn by hypothesis ----------------------------------------------------------------------------------------------

HOSTILE = (
    "\\",
    '"',
    "\n",
    "\\n",
    '\\"',
    'a",b="',
    "} 1\n",
    " # {",
    "#",
    "{}",
    "é",
    "\U0001f40d",
    " ",
)

# Characters that become blanks have a test of their own, because prometheus_client keeps them.
readable = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))
words = st.text(readable, max_size=6) | st.lists(st.sampled_from(HOSTILE), max_size=4).map("".join)
filled_words = words.filter(bool)
task_types = st.sampled_from(TASK_TYPES) | filled_words
statuses = st.sampled_from(STATUSES) | filled_words
times = st.floats(min_value=0.001, max_value=4e9) | st.integers(1, 4_000_000_000).map(float)
maybe_times = st.none() | times
odd_floats = st.floats().map(lambda number: number + 0.0) | st.sampled_from(
    [1e6, 1e7, 123456789.125, 1e21, 1e22, 5e-324]
)
label_names = st.from_regex("[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: not name.startswith("__") and name not in RESERVED_LABELS
)
bucket_bounds = st.lists(
    st.sampled_from([0.5, 1.0, 30.0, 3600.0, 1e6, 1e7, 123456789.0]) | st.floats(0.001, 1e9),
    min_size=1,
    max_size=5,
    unique=True,
).map(lambda bounds: tuple(sorted(bounds)))
run_ids = filled_words | st.integers(100, 140).map("t".__mul__)
polls = st.builds(
    PollResult,
    up=st.booleans(),
    tried=times,
    succeeded=maybe_times,
    duration=odd_floats,
    reason=st.sampled_from(["", "timeout", "AccessDeniedException"]),
    operation=st.sampled_from(["", "GetMLTaskRuns"]),
)
some_details = st.builds(
    Details,
    name=words,
    status=st.sampled_from(["", "READY", "NOT_READY", "DELETING", "SOMETHING_NEW"]),
    transform_type=words,
    glue_version=words,
    worker_type=words,
    label_count=st.none() | st.integers(0, 10**12),
    precision=st.none() | odd_floats,
    recall=st.none() | odd_floats,
    f1=st.none() | odd_floats,
    area_under_pr_curve=st.none() | odd_floats,
    capacity=st.none() | odd_floats,
)
latests = st.builds(
    LatestRun,
    start=maybe_times,
    status=st.none() | statuses,
    success=maybe_times,
    failed=maybe_times,
    timeout=maybe_times,
    execution=st.none() | odd_floats,
    failed_error=st.none() | words,
    timeout_error=st.none() | words,
)
some_reasons = st.builds(FailureReasons, st.lists(st.tuples(words, words), max_size=2).map(tuple))
counts = st.integers(0, 10**9)
views = st.builds(
    lambda known, foreign, latest, oldest: GaugeValues(dict.fromkeys(KNOWN_KINDS, 0) | known | foreign, latest, oldest),
    st.dictionaries(st.sampled_from(KNOWN_KINDS), counts, max_size=5),
    st.dictionaries(st.tuples(task_types, statuses), counts, max_size=3),
    st.dictionaries(task_types, latests, max_size=3),
    st.dictionaries(task_types, times, max_size=3),
)
exemplars = st.builds(Exemplar, run_ids, odd_floats.filter(lambda number: not math.isnan(number)), maybe_times)
totals_of_counts = st.builds(Count, counts, st.none() | exemplars)
counting_series = st.sampled_from(sorted(FIRST_SERIES)) | st.one_of(
    st.builds(Series, st.just("started"), task_types, st.just("")),
    st.builds(Series, st.just("finished"), task_types, st.sampled_from(FINAL_STATUSES) | filled_words),
)
histogram_series = st.builds(
    Series, st.sampled_from(["execution", "duration"]), task_types, st.sampled_from(FINAL_STATUSES) | filled_words
)


def histograms(bounds: tuple[float, ...]) -> st.SearchStrategy[Histogram]:
    places = len(bounds) + 1
    return st.builds(
        Histogram,
        st.tuples(*[counts] * places),
        st.floats(0, 1e15).map(lambda number: number + 0.0),
        st.tuples(*[st.none() | exemplars] * places),
    )


def all_totals(bounds: tuple[float, ...]) -> st.SearchStrategy[dict[Series, Total]]:
    return st.builds(
        lambda counted, observed: counted | observed,
        st.dictionaries(counting_series, totals_of_counts, max_size=4),
        st.dictionaries(histogram_series, histograms(bounds), max_size=3),
    )


@st.composite
def shows(draw: st.DrawFn, transform_id: str | None = None) -> tuple[TransformSnapshot, dict[Series, Total]]:
    """Draw a snapshot and the totals of its ledger."""
    bounds = draw(bucket_bounds)
    target = Target(
        draw(filled_words) if transform_id is None else transform_id,
        Lane(draw(filled_words), draw(filled_words)),
        draw(st.none() | words),
        draw(st.dictionaries(label_names, words, max_size=3)),
        draw(maybe_times),
        draw(maybe_times),
    )
    drawn = TransformSnapshot(
        target=target,
        account_id=draw(st.sampled_from(["", "123456789012"])),
        poll=draw(st.none() | polls),
        gauge_values=draw(st.none() | views),
        latest=draw(st.dictionaries(task_types, latests, max_size=3)),
        watched_since=draw(st.none() | st.floats(0, 1e10)),
        has_baseline=draw(st.booleans()),
        initial_values=new_values(created_at=draw(times)),
        bounds=bounds,
        created=draw(st.booleans()),
        details=draw(st.none() | some_details),
        failure_reasons=draw(some_reasons),
    )
    return drawn, draw(all_totals(bounds))
