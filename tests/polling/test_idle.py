"""Idle transforms are polled less often, and their runs are still counted."""

import time
from collections import Counter

import pytest

from exporter.polling.timetable import TOLERANCE
from tests.running import running, wait_for

pytestmark = pytest.mark.slow

INTERVAL, IDLE = 0.2, 3.0
POLLING = {"interval": "200ms", "idle_interval": "3s", "stale_after": "1m"}
FINISHED = "glue_ml_task_runs_finished_total"


SCENARIO = {"transforms": [{"name": "quiet", "count": 12}]}


@pytest.fixture(autouse=True)
def old_runs(simulator):
    """Add a run that ended a day ago to each of the twelve transforms."""
    ended = simulator.world.now() - 86400
    for transform_id in simulator.world.transform_ids():
        simulator.world.add_run(transform_id, status="SUCCEEDED", started=ended - 60, completed=ended)


def polls(simulator):
    """Return the number of polls of each transform."""
    return Counter(one.transform_id for one in simulator.requests.all("GetMLTaskRuns"))


def planned(exporter):
    """Return the interval that determines the next poll of each transform, by transform id."""
    return {one.target.id: one.job.planned_interval for one in exporter.service._poller.monitored}


def wait_until_planned(exporter, interval, *ids):
    """Wait until this interval determines the next polls of all these transforms."""
    wait_for(lambda: {planned(exporter)[one] for one in ids} == {interval}, describe=lambda: planned(exporter))


def wait_until_polled(simulator, *ids, times=1):
    """Wait until each of these transforms was polled `times` more times."""
    before = polls(simulator)
    wait_for(lambda: all(polls(simulator)[one] >= before[one] + times for one in ids), timeout=60)


def test_idle_transforms_are_polled_at_their_interval_and_active_ones_at_theirs(simulator):
    """Of twelve transforms eleven are idle and use the longer interval; a transform with an open run does not."""
    active, *idle = ids = simulator.world.transform_ids()
    simulator.world.add_run(active)
    with running(simulator, transforms=ids, transform_details=False, polling=POLLING) as exporter:
        wait_until_planned(exporter, IDLE, *idle)
        began, before = time.monotonic(), polls(simulator)
        wait_until_polled(simulator, *idle, times=2)
        seen, seconds = polls(simulator) - before, time.monotonic() - began
        assert planned(exporter) == {active: INTERVAL} | dict.fromkeys(idle, IDLE)
        assert exporter.value("glue_ml_task_runs", status="SUCCEEDED") == 12
        # Allow one extra poll at the start, and one extra poll after a poll that a busy machine delayed.
        assert all(2 <= seen[one] <= seconds / IDLE + 2 for one in idle)
        assert seen[active] > max(seen[one] for one in idle)

        def off():
            """Return how far the due time of each idle transform is from its offset, in seconds; None during a poll."""
            monitored = [one for one in exporter.service._poller.monitored if one.target.id in idle]
            dues = [(one.next_poll, one.offset * IDLE) for one in monitored]
            return [due and (due - offset + TOLERANCE) % IDLE for due, offset in dues]

        wait_for(lambda: all(one is not None and one <= 2 * TOLERANCE for one in off()), describe=off)


def test_a_new_run_is_seen_by_the_next_idle_poll_and_ends_the_idle_interval(simulator):
    """When a poll of an idle transform finds a new run, the next polls use the normal interval."""
    ids = simulator.world.transform_ids()
    with running(simulator, transforms=ids, transform_details=False, polling=POLLING) as exporter:
        wait_until_planned(exporter, IDLE, *ids)
        runs = {one: simulator.world.add_run(one) for one in ids}
        wait_until_polled(simulator, *ids)
        wait_for(lambda: exporter.value("glue_ml_task_runs", status="RUNNING") == 12)
        wait_until_planned(exporter, INTERVAL, *ids)
        for one, run_id in runs.items():
            simulator.world.finish_run(one, run_id, "FAILED")
        wait_until_polled(simulator, *ids)
        wait_for(lambda: exporter.value(FINISHED, status="FAILED") == 12)


def test_runs_that_start_and_end_between_two_idle_polls_are_counted_by_the_next(simulator):
    """Runs that start and end between two polls of an idle transform are counted once, by the next poll."""
    ids = simulator.world.transform_ids()
    with running(simulator, transforms=ids, transform_details=False, polling=POLLING) as exporter:
        wait_until_planned(exporter, IDLE, *ids)
        for one in ids:
            for status in ("FAILED", "SUCCEEDED"):
                simulator.world.add_run(one, status=status)
        wait_until_polled(simulator, *ids)
        wait_for(lambda: exporter.value(FINISHED) == 24)
        wait_until_polled(simulator, *ids, times=2)
        assert exporter.value(FINISHED) == 24


def test_a_transform_is_idle_again_when_its_last_run_is_an_idle_interval_ago(simulator):
    """A transform becomes idle again when its last run ended longer ago than the idle interval."""
    one, *_ = ids = simulator.world.transform_ids()
    with running(simulator, transforms=ids, transform_details=False, polling=POLLING) as exporter:
        wait_until_planned(exporter, IDLE, *ids)
        simulator.world.add_run(one)
        wait_until_planned(exporter, INTERVAL, one)
        [run_id] = [run["TaskRunId"] for run in simulator.world.runs(one) if run["Status"] == "RUNNING"]
        ended = time.time()
        simulator.world.finish_run(one, run_id, "SUCCEEDED")
        wait_until_planned(exporter, IDLE, one)
        assert time.time() >= ended + IDLE


def test_failed_polls_of_an_idle_transform_are_repeated_at_the_interval(simulator):
    """A failed poll of an idle transform is repeated after the normal interval, before its gauges are stale."""
    one, *others = ids = simulator.world.transform_ids()
    with running(simulator, transforms=ids, transform_details=False, polling=POLLING) as exporter:
        wait_until_planned(exporter, IDLE, *ids)
        simulator.faults.set({"kind": "server_error", "transforms": [one]})
        wait_until_planned(exporter, INTERVAL, one)
        wait_until_polled(simulator, one, times=3)
        assert planned(exporter) == {one: INTERVAL} | dict.fromkeys(others, IDLE)
        simulator.faults.clear()
        wait_for(lambda: exporter.errors() and exporter.up(one) == 1)
        assert exporter.value("glue_ml_task_runs", transform_id=one) == 1
        wait_until_planned(exporter, IDLE, one)


def test_a_reload_without_idle_interval_moves_planned_polls_forward(simulator):
    """After a reload without idle_interval, polls that were planned for the next hour run within the interval."""
    ids = simulator.world.transform_ids()
    slow = {**POLLING, "idle_interval": "1h", "stale_after": "2h"}
    with running(simulator, transforms=ids, transform_details=False, polling=slow) as exporter:
        wait_until_planned(exporter, 3600, *ids)
        assert exporter.reload(polling={**exporter.config["polling"], "idle_interval": None}) is None
        assert set(planned(exporter).values()) == {INTERVAL}
        wait_until_polled(simulator, *ids, times=3)
