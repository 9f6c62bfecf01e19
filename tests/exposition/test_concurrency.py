"""Polls and scrapes at the same time: each scrape shows one whole publication."""

import gzip
import itertools
import random
import re
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.counting.counters import Count
from exporter.counting.latest import LatestRun
from exporter.exposition.chunk_index import GROUP_SIZE
from exporter.exposition.formats import Encoding, TextFormat
from exporter.exposition.metrics import METRICS
from exporter.exposition.publisher import Exposition
from exporter.exposition.snapshot import PollResult
from exporter.model.transform import Details
from exporter.state.store import open_state
from tests.exposition.snapshots import (
    EXECUTION,
    FAILED,
    NO_RUNS,
    VARIANTS,
    exposition,
    new_values,
    observed,
    publishing,
    snapshot,
)
from tests.exposition.test_served_record import polled

TRANSFORMS = [f"tfm-{number}" for number in range(GROUP_SIZE + 3)]
SAMPLE = re.compile(r'^(glue_ml_[a-z0-9_]+)\{(.*)transform_id="([^"]+)".*?\} (\S+)', re.MULTILINE)
NUMBERED = {
    "glue_ml_task_runs_finished_total": 'status="FAILED",task_type="FIND_MATCHES"',
    "glue_ml_task_runs": 'status="FAILED",task_type="FIND_MATCHES"',
    "glue_ml_task_run_last_start_timestamp_seconds": 'task_type="FIND_MATCHES"',
    "glue_ml_transform_training_labels": "",
    "glue_ml_transform_last_poll_timestamp_seconds": "",
}
"""Samples that the n-th poll sets to n."""


class Polls:
    """Repeated polls of one transform; the n-th poll sets all values to n."""

    def __init__(self, exposed: Exposition, name: str) -> None:
        self.exposed = exposed
        self.name = name
        self.initial_values = new_values()
        self.number = 0

    def poll(self) -> None:
        self.number = number = self.number + 1
        each = snapshot(
            self.name,
            initial_values=self.initial_values,
            poll=PollResult(up=True, tried=float(number), succeeded=float(number), duration=0.1),
            gauge_values=replace(NO_RUNS, runs=NO_RUNS.runs | {("FIND_MATCHES", "FAILED"): number}),
            latest={"FIND_MATCHES": LatestRun(start=float(number))},
            details=Details(label_count=number),
        )
        self.exposed.update(each, {FAILED: Count(number), EXECUTION: observed(1.0)})


def read(exposed: Exposition, variant: tuple[TextFormat, Encoding]) -> str:
    scrape = exposed.scrape(*variant) or exposed.prepare_scrape(*variant)
    sent = b"".join(scrape.chunks)
    assert len(sent) == scrape.length
    scrape.sent()
    return (gzip.decompress(sent) if variant[1] is Encoding.GZIP else sent).decode()


def numbers(text: str) -> dict[str, set[float]]:
    """Give the values of all samples by transform; each value is the number of the poll that set it."""
    found = defaultdict(set)
    for name, labels, transform, value in SAMPLE.findall(text):
        if name in NUMBERED and labels.rstrip(",") == NUMBERED[name]:
            found[transform].add((name, float(value)))
    assert all(len(samples) == len(NUMBERED) for samples in found.values())
    return {transform: {value for _, value in samples} for transform, samples in found.items()}


def together(*works: Callable[[], None]) -> None:
    """Run each function in its own thread, and raise the first exception that a function raised."""
    raised: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if raised:
        raise raised[0]


@pytest.mark.slow
def test_each_scrape_is_one_whole_publication() -> None:
    """In each scrape during polls all metrics of a transform come from the same poll, and no counter decreases."""
    exposed = exposition()
    polls = [Polls(exposed, name) for name in TRANSFORMS]
    for each in polls:
        each.poll()
    over = threading.Event()

    def keep_polling(mine: list[Polls]) -> None:
        for _ in range(40):
            for each in mine:
                each.poll()
        over.set()

    def keep_scraping(seed: int) -> None:
        variants = random.Random(seed)  # noqa: S311 - which format comes next is no secret
        before: dict[str, float] = {}
        for turn in itertools.count():
            variant = variants.choice(VARIANTS)
            text = read(exposed, variant)
            seen = numbers(text)
            assert seen.keys() == set(TRANSFORMS)
            assert all(len(values) == 1 for values in seen.values())
            now = {name: values.pop() for name, values in seen.items()}
            assert all(now[name] >= before.get(name, 0) for name in now)
            before = now
            if turn == 0:
                parse = parse_text if variant[0] is TextFormat.TEXT else parse_openmetrics
                assert {family.name for family in parse(text)} == {metric.family for metric in METRICS}
            if over.is_set():
                return

    with publishing(exposed):
        together(
            *(lambda mine=mine: keep_polling(mine) for mine in (polls[::2], polls[1::2])),
            *(lambda seed=seed: keep_scraping(seed) for seed in range(4)),
        )


@pytest.mark.slow
def test_transforms_come_and_go_under_scrapes() -> None:
    """While transforms are added and removed, a scrape shows either all metrics of a transform or none of them."""
    exposed = exposition()
    over = threading.Event()

    def come_and_go() -> None:
        for turn in range(60):
            for name in TRANSFORMS[turn % 3 :: 3]:
                Polls(exposed, name).poll()
            exposed.publish()
            for name in TRANSFORMS[(turn + 1) % 3 :: 3]:
                exposed.remove(name)
        over.set()

    def keep_scraping(variant: tuple[TextFormat, Encoding]) -> None:
        while not over.is_set():
            assert set().union(*numbers(read(exposed, variant)).values()) <= {1.0}

    together(come_and_go, *(lambda variant=variant: keep_scraping(variant) for variant in VARIANTS))


@pytest.mark.slow
def test_concurrent_scrapes_show_only_recorded_values(tmp_path) -> None:
    """All scrapes that wait for the disk at the same time are answered, with values from the state file."""
    state, _ = open_state(tmp_path / "state.db", 1000.0)
    exposed = exposition(state)
    initial_values = new_values()
    over = threading.Event()

    def poll(number: int) -> None:
        ledger, changes = polled(number)
        state.save("tfm-1", "tfm-1", ledger, changes, 2000.0, created_at=2000.0)
        exposed.update(snapshot(initial_values=initial_values), dict(ledger.totals))
        exposed.publish()

    def keep_polling() -> None:
        for number in range(2, 60):
            poll(number)
        over.set()

    def keep_scraping(variant: tuple[TextFormat, Encoding]) -> None:
        while not over.is_set():
            text = read(exposed, variant)
            found = re.findall(r'finished_total\{status="FAILED",task_type="FIND_MATCHES".*?\} (\S+)', text)
            shown = max(map(float, found), default=0.0)
            restored = state.load("tfm-1", (30.0, 60.0, 3600.0))
            recorded = restored.served.get(FAILED, Count()) if restored else Count()
            assert isinstance(recorded, Count)
            assert shown <= recorded.value

    poll(1)
    together(keep_polling, *(lambda variant=variant: keep_scraping(variant) for variant in VARIANTS))
    state.close()
