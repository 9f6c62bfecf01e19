"""A publication is right after any sequence of changes, although only changed parts are rendered again."""

import re
import time
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from exporter.counting.counters import Count, Series, Total
from exporter.counting.latest import LatestRun
from exporter.exposition.chunk_index import GROUP_SIZE, ChunkGroup
from exporter.exposition.compression import Chunk
from exporter.exposition.formats import Encoding, TextFormat
from exporter.exposition.metrics import METRICS
from exporter.exposition.publisher import UNUSED_AFTER, Exposition
from exporter.exposition.snapshot import PARTS, Part, PollResult, TransformSnapshot
from exporter.model.transform import Details, Lane, Target
from tests.exposition.snapshots import (
    EXECUTION,
    FAILED,
    HOLD,
    NO_RUNS,
    VARIANTS,
    Clock,
    body,
    exposition,
    new_values,
    observed,
    shown,
    snapshot,
)

NAMES = [f"tfm-{number}" for number in range(4)]
CROWD = [f"crowd-{number}" for number in range(GROUP_SIZE + 1)]


def drawn_picture(name: str, poll: int, runs: int, details: int) -> TransformSnapshot:
    """Give one of a few snapshots; snapshots of different numbers differ in different fields."""
    return snapshot(
        name,
        poll=PollResult(up=poll > 0, tried=1000.0 + poll, succeeded=1000.0, duration=0.5) if poll < 3 else None,
        gauge_values=replace(
            NO_RUNS, runs=NO_RUNS.runs | {("EVALUATION", "FAILED"): runs}, oldest_active={"EVALUATION": 5.0}
        ),
        latest={"EVALUATION": LatestRun(start=float(runs))} if runs else {},
        has_baseline=runs < 3,
        created=poll == 2,
        details=Details(name=f"name-{details}", status="READY", f1=details / 10) if details else None,
    )


snapshots = st.builds(drawn_picture, st.sampled_from(NAMES), *[st.integers(0, 3)] * 3)
some_totals = st.dictionaries(
    st.sampled_from([FAILED, Series("finished", "NEW", "FAILED"), EXECUTION]), st.integers(1, 3), max_size=3
)


def totals_of(numbers: dict[Series, int]) -> dict[Series, Total]:
    """Give totals of so many runs."""
    return {
        series: observed(*map(float, range(number))) if series is EXECUTION else Count(number)
        for series, number in numbers.items()
    }


class Publications(RuleBasedStateMachine):
    """Polls, reloads and scrapes in any order, compared with a new exposition of the same snapshots."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.exposed: Exposition = exposition(clock=self.clock)
        self.snapshots: dict[str, TransformSnapshot] = {}

    def show(self, each: TransformSnapshot, numbers: dict[Series, int]) -> None:
        self.snapshots[each.target.id] = each
        self.exposed.update(each, totals_of(numbers))

    @rule(each=snapshots, numbers=some_totals)
    def show_restarted(self, each: TransformSnapshot, numbers: dict[Series, int]) -> None:
        """A poll of a transform that is new, or whose initial values are restarted."""
        self.show(replace(each, initial_values=new_values()), numbers)

    @precondition(lambda self: self.snapshots.keys() & NAMES)
    @rule(each=snapshots, numbers=some_totals)
    def show_again(self, each: TransformSnapshot, numbers: dict[Series, int]) -> None:
        """A later poll of a transform that is shown."""
        if each.target.id in self.snapshots:
            self.show(replace(each, initial_values=self.snapshots[each.target.id].initial_values), numbers)

    @rule()
    def show_a_crowd(self) -> None:
        """Polls of more transforms than fit into a group."""
        for name in CROWD:
            self.show(snapshot(name, initial_values=new_values()), {FAILED: len(name)})

    @rule(name=st.sampled_from([*NAMES, *CROWD[:3], "stranger"]))
    def remove(self, name: str) -> None:
        self.exposed.remove(name)
        self.snapshots.pop(name, None)

    @rule(variant=st.sampled_from(VARIANTS))
    def scrape(self, variant: tuple[TextFormat, Encoding]) -> None:
        (self.exposed.scrape(*variant) or self.exposed.prepare_scrape(*variant)).sent()

    @rule(seconds=st.sampled_from([HOLD / 2, HOLD]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def publish(self) -> None:
        self.exposed.publish()

    @rule()
    def compare(self) -> None:
        """Check that every variant equals the variant of a new exposition with the transforms in the same order."""
        plain = body(self.exposed)
        lines = [line for line in plain.splitlines() if line.startswith("glue_ml_transform_info{")]
        order = [re.search(r'transform_id="([^"]*)"', line)[1] for line in lines]  # type: ignore[index]
        assert sorted(order) == sorted(self.snapshots)
        anew = exposition()
        for name in order:
            initial_values = self.snapshots[name].initial_values
            same = new_values(
                created_at=initial_values.created_at,
                recorded=initial_values.served,
                series_created_at=initial_values.series_created_at,
            )
            anew.update(replace(self.snapshots[name], initial_values=same), {})
        for text_format in TextFormat:
            expected = body(anew, text_format)
            assert body(self.exposed, text_format, Encoding.IDENTITY) == expected
            assert body(self.exposed, text_format, Encoding.GZIP) == expected

    def teardown(self) -> None:
        self.compare()


@pytest.mark.slow
class TestPublications(Publications.TestCase):  # type: ignore[misc] # hypothesis makes the class at run time
    """After any polls, removals and scrapes, every variant is the same as after rendering all transforms again."""

    settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


# -- only what changed is rendered ------------------------------------------------------------------------------------


def groups_of(exposed: Exposition) -> list[ChunkGroup]:
    """Give the chunk groups of an exposition."""
    return exposed._rendered._index.groups


def chunks(exposed: Exposition) -> dict[str, tuple[Chunk, ...]]:
    """Give the OpenMetrics chunks of all groups, by metric."""
    body(exposed)
    return {
        metric.name: tuple(group.chunk(metric.name, TextFormat.OPENMETRICS) for group in groups_of(exposed))
        for metric in METRICS
    }


BEFORE = snapshot("tfm-40", initial_values=new_values(), details=Details(name="before", status="READY"))
SERVED: dict[Series, Total] = {FAILED: Count(1), EXECUTION: observed(1.0)}


@pytest.mark.parametrize(
    ("change", "totals", "parts"),
    [
        (BEFORE, SERVED, set()),
        (replace(BEFORE, poll=PollResult(up=False, tried=2.0, succeeded=1.0, duration=0.1)), SERVED, {"poll"}),
        (replace(BEFORE, gauge_values=replace(NO_RUNS, oldest_active={"EVALUATION": 5.0})), SERVED, {"runs"}),
        (replace(BEFORE, latest={"EVALUATION": LatestRun(start=5.0)}), SERVED, {"times"}),
        (BEFORE, {**SERVED, FAILED: Count(2)}, {"counters"}),
        (replace(BEFORE, created=True), SERVED, {"counters"}),
        (replace(BEFORE, gauge_values=None), SERVED, {"runs", "details"}),
        (replace(BEFORE, details=Details(name="before", status="DELETING")), SERVED, {"details", "identity"}),
        (replace(BEFORE, account_id="123456789012"), SERVED, {"identity"}),
        (replace(BEFORE, details=Details(name="after")), SERVED, PARTS),
        (
            replace(BEFORE, target=Target("tfm-40", Lane("default", "eu-west-1"), "mine")),
            SERVED,
            PARTS,
        ),
    ],
)
def test_only_what_has_changed_is_rendered_again(
    change: TransformSnapshot, totals: dict[Series, Total], parts: set[Part]
) -> None:
    """After a poll only the changed parts of a transform are rendered, and only changed lines are compressed."""
    initial_values = new_values()
    others = [snapshot(f"tfm-{number}", initial_values=new_values()) for number in range(2 * GROUP_SIZE)]
    exposed = shown(
        *(replace(BEFORE, initial_values=initial_values) if each.target.id == "tfm-40" else each for each in others),
        totals=SERVED,
    )
    before, lines = chunks(exposed), groups_of(exposed)[1].rendered["tfm-40"]
    former = dict(lines)
    exposed.update(replace(change, initial_values=initial_values), totals)
    after = chunks(exposed)
    again = {name: [a is not b for a, b in zip(before[name], after[name], strict=True)] for name in before}
    assert again == {name: [False, before[name][1].raw != after[name][1].raw] for name in before}
    rendered = {name for name, its_lines in lines.items() if its_lines is not former[name]}
    assert rendered == {metric.name for metric in METRICS if metric.part in parts}


def test_a_poll_without_changes_is_not_published() -> None:
    """After a poll that changes nothing the publication is the same object as before."""
    initial_values = new_values()
    exposed = shown(snapshot(initial_values=initial_values))
    body(exposed)
    before = exposed._publication
    exposed.update(snapshot(initial_values=initial_values), {})
    exposed.publish()
    assert exposed._publication is before


# -- formats ----------------------------------------------------------------------------------------------------------


def test_a_format_is_prepared_after_the_first_scrape_of_it() -> None:
    """The first scrape of a variant waits until it is rendered; later publications contain the variant already."""
    exposed = shown(snapshot())
    exposed.publish()
    for variant in VARIANTS:
        assert exposed.scrape(*variant) is None
        assert exposed.prepare_scrape(*variant).length > 0
        assert exposed.scrape(*variant) is not None
    exposed.update(snapshot(), {FAILED: Count(1)})
    exposed.publish()
    assert VARIANTS[0] in exposed._publication.bodies
    exposed.prepare_scrape(*VARIANTS[0])  # this scrape records the new value in the state file, for all variants
    assert all(exposed.scrape(*variant) is not None for variant in VARIANTS)


def test_an_unused_format_is_no_longer_prepared() -> None:
    """A publication leaves out a variant that was not scraped for ten minutes, until a scrape asks for it again."""
    exposed = shown(snapshot())
    for variant in VARIANTS:
        exposed.prepare_scrape(*variant)
    kept, *unused = VARIANTS
    for variant in unused:
        exposed._in_use.used[variant] = time.monotonic() - UNUSED_AFTER - 1
    exposed.update(snapshot(), {FAILED: Count(1)})
    exposed.publish()
    assert set(exposed._publication.bodies) == {kept}
    assert all(body(exposed, *variant) for variant in unused)
    assert set(exposed._publication.bodies) == set(VARIANTS)


def test_a_scrape_does_not_change_once_it_has_begun() -> None:
    """The chunks of a scrape stay the same while the next publication is made."""
    exposed = shown(snapshot(), totals={FAILED: Count(1)})
    scrape = exposed.prepare_scrape(TextFormat.TEXT, Encoding.IDENTITY)
    before = b"".join(scrape.chunks)
    exposed.remove("tfm-1")
    exposed.publish()
    assert b"".join(scrape.chunks) == before
    assert b"tfm-1" not in b"".join(exposed.prepare_scrape(TextFormat.TEXT, Encoding.IDENTITY).chunks)
