"""Transforms in which nothing happens are polled less often, and no promise is broken by that."""

import time
from collections import defaultdict

import pytest

from tests.running import gaps, longest_gap, pause, running, wait_for

pytestmark = pytest.mark.slow

INTERVAL, IDLE = 0.2, 3.0
POLLING = {"interval": "200ms", "idle_interval": "3s", "stale_after": "3s500ms"}
FINISHED = "glue_ml_task_runs_finished_total"
OVERRUNS = "glue_ml_exporter_poll_cycle_overruns_total"
LATE = 1.2
"""What a busy machine may add."""


SCENARIO = {"transforms": [{"name": "quiet", "count": 12}]}


@pytest.fixture(autouse=True)
def old_runs(simulator):
    """Give each of the twelve transforms a run that ended a day ago."""
    ended = simulator.world.now() - 86400
    for transform_id in simulator.world.transform_ids():
        simulator.world.add_run(transform_id, status="SUCCEEDED", started=ended - 60, completed=ended)


def polls(simulator, since):
    """Give the times of the polls since then, by transform id."""
    times = defaultdict(list)
    for one in simulator.requests.all("GetMLTaskRuns"):
        if one.time > since:
            times[one.transform_id].append(one.time)
    return times


def settled(simulator, ids):
    """Wait until every transform was polled twice: it has its place in the interval that it needs."""
    wait_for(lambda: all(len(polls(simulator, 0)[one]) >= 2 for one in ids))
    return time.time()


def test_idle_transforms_are_polled_at_their_interval_evenly_and_active_ones_at_theirs(simulator):
    """Of twelve transforms the one with an open run keeps the interval, the others are spread over the longer one."""
    ids = simulator.world.transform_ids()
    simulator.world.add_run(ids[0])
    with running(simulator, transforms=ids, transform_details=False, polling=POLLING) as exporter:
        began = settled(simulator, ids)
        overruns = exporter.value(OVERRUNS)
        pause(2 * IDLE)
        seen = polls(simulator, began)
        # A wait is no delay: of twenty cycles none has overrun but for what a busy machine does.
        assert exporter.value(OVERRUNS) <= overruns + 2
        assert exporter.value("glue_ml_task_runs", status="SUCCEEDED") == 12
    assert 0.75 * 2 * IDLE / INTERVAL <= len(seen[ids[0]]) <= 2 * IDLE / INTERVAL + 1
    assert all(1 <= len(seen[one]) <= 3 for one in ids[1:])
    idle = sorted(at for one in ids[1:] for at in seen[one])
    assert longest_gap(idle) < 2 * IDLE / 12 + LATE
    assert sum(gap > 0.05 for gap in gaps(idle)) > 0.7 * len(idle)


def test_a_start_is_seen_within_the_idle_interval_and_all_that_follows_within_the_interval(simulator):
    """A run of an idle transform is seen at most one idle interval late, its end at most one interval late."""
    ids = simulator.world.transform_ids()
    with running(simulator, transforms=ids, transform_details=False, polling=POLLING) as exporter:
        began = settled(simulator, ids)
        started = time.time()
        runs = {one: simulator.world.add_run(one) for one in ids}
        wait_for(
            lambda: exporter.value("glue_ml_task_runs", status="RUNNING") == 12, timeout=IDLE + LATE, describe="starts"
        )
        for one, run_id in runs.items():
            simulator.world.finish_run(one, run_id, "FAILED")
        ended = time.time()
        wait_for(lambda: exporter.value(FINISHED, status="FAILED") == 12, timeout=INTERVAL + LATE, describe="ends")
        pause(INTERVAL)
        seen = polls(simulator, began)
    for one in ids:
        assert min(at for at in seen[one] if at > started) < started + IDLE + LATE
        assert min(at for at in seen[one] if at > ended) < ended + INTERVAL + LATE


def test_what_starts_and_ends_between_two_idle_polls_is_counted_by_the_next(simulator):
    """Runs too short for an idle transform's polls are counted, at most one idle interval late, each once."""
    ids = simulator.world.transform_ids()
    with running(simulator, transforms=ids, transform_details=False, polling=POLLING) as exporter:
        settled(simulator, ids)
        for one in ids:
            for status in ("FAILED", "SUCCEEDED"):
                simulator.world.add_run(one, status=status)
        wait_for(lambda: exporter.value(FINISHED) == 24, timeout=IDLE + LATE)
        pause(2 * INTERVAL)
        assert exporter.value(FINISHED) == 24


def test_a_transform_is_idle_again_when_its_last_run_is_an_idle_interval_ago(simulator):
    """After a run has ended, a transform keeps the interval for the length of the idle interval, and no longer."""
    one, *_ = ids = simulator.world.transform_ids()
    with running(simulator, transforms=ids, transform_details=False, polling=POLLING):
        settled(simulator, ids)
        simulator.world.add_run(one, status="SUCCEEDED")
        ended = time.time()
        wait_for(lambda: time.time() > ended + 3 * IDLE)
        times = polls(simulator, ended)[one]
    awake = [at for at in times if at < ended + IDLE]
    asleep = [at for at in times if at > ended + IDLE + INTERVAL + LATE]
    assert len(awake) >= 2 or longest_gap([ended, *times]) <= IDLE + LATE
    assert 1 <= len(asleep) <= 3


def test_an_idle_transform_that_cannot_be_polled_is_tried_at_the_interval(simulator):
    """One failed poll of an idle transform is made good at the interval, before its gauges would be too old."""
    one, *_ = ids = simulator.world.transform_ids()
    with running(simulator, transforms=ids, transform_details=False, polling=POLLING) as exporter:
        settled(simulator, ids)
        simulator.faults.set({"kind": "server_error", "transforms": [one], "times": 1})
        broken = time.time()
        wait_for(lambda: exporter.errors() and exporter.up(one) == 1)
        failed, again, *_ = polls(simulator, broken)[one]
        assert again - failed <= INTERVAL + LATE
        assert exporter.value("glue_ml_task_runs", transform_id=one) == 1


def test_a_reload_that_ends_idleness_reaches_sleeping_transforms_within_the_interval(simulator):
    """Without idle_interval, or with a shorter one, no transform sleeps on to the end of the old one."""
    ids = simulator.world.transform_ids()
    slow = {**POLLING, "idle_interval": "1h", "stale_after": "2h"}
    with running(simulator, transforms=ids, transform_details=False, polling=slow) as exporter:
        wait_for(lambda: len(polls(simulator, 0)) == 12)
        assert exporter.reload(polling={**exporter.config["polling"], "idle_interval": None}) is None
        reloaded = time.time()
        wait_for(lambda: len(polls(simulator, reloaded)) == 12, timeout=INTERVAL + LATE)
        pause(5 * INTERVAL)
        assert all(len(times) >= 3 for times in polls(simulator, reloaded).values())
