"""Polls are spread over the interval, and regions that hang do not delay other regions."""

import threading
from collections import Counter

import pytest

from exporter.polling.timetable import TOLERANCE
from exporter.simulator import Simulator
from tests.running import REGION, gaps, running, wait_for

REGIONS = [f"{area}-{number}" for area in ("eu-west", "us-east", "us-west", "ap-south") for number in (1, 2)]
OVERRUNS = "glue_ml_exporter_poll_cycle_overruns_total"


def polls(simulator):
    """Return the number of polls of each transform."""
    return Counter(one.transform_id for one in simulator.requests.all("GetMLTaskRuns"))


@pytest.mark.slow
def test_a_hanging_region_does_not_delay_the_other_seven():
    """While one of 8 regions hangs, the 175 transforms of the other seven are polled equally often."""
    transforms = [{"name": f"in-{region}", "count": 25, "region": region} for region in REGIONS]
    with Simulator({"transforms": transforms}) as simulator:
        ids = simulator.world.transform_ids()
        listed = [{"id": one, "region": REGIONS[number // 25]} for number, one in enumerate(ids)]
        polling = {"interval": "2s", "request_timeout": "5m", "stale_after": "10m"}
        with running(simulator, transforms=listed, transform_details=False, polling=polling) as exporter:
            wait_for(lambda: min(polls(simulator)[one] for one in ids) >= 2)
            hang = simulator.faults.set({"kind": "hang", "regions": [REGIONS[0]]})
            wait_for(lambda: simulator.faults.hits()[hang] == 8, describe="all threads of the region hang")
            before = polls(simulator)
            wait_for(lambda: min((polls(simulator) - before)[one] for one in ids[25:]) >= 4, timeout=60)
            since = polls(simulator) - before
            # All transforms have the same rate, so no transform has many more polls than another.
            assert max(since[one] for one in ids[25:]) <= 6
            assert not any(since[one] for one in ids[:25])
            assert not exporter.errors()


@pytest.mark.slow
def test_two_hundred_hanging_regions_use_few_threads_and_do_not_delay_a_healthy_one():
    """While every poll of 200 regions hangs, the process has few threads, and polls of the healthy region continue."""
    hanging = [f"{area}-{number}" for area in ("us-east", "us-west") for number in range(100)]
    transforms = [{"name": f"in-{region}", "count": 4, "region": region} for region in (*hanging, REGION)]
    with Simulator({"transforms": transforms}) as simulator:
        simulator.faults.set({"kind": "hang", "regions": hanging})
        listed = [
            {"id": transform_id, "region": transforms[number // 4]["region"]}
            for number, transform_id in enumerate(simulator.world.transform_ids())
        ]
        polling = {"interval": "1s", "request_timeout": "5m", "stale_after": "10m"}
        healthy = {one["id"] for one in listed if one["region"] == REGION}

        with running(simulator, transforms=listed, transform_details=False, polling=polling):
            wait_for(lambda: len(polls(simulator).keys() - healthy) == len(hanging), timeout=60)
            before = polls(simulator)
            wait_for(lambda: all(polls(simulator)[one] >= before[one] + 3 for one in healthy), timeout=60)
            threads = [thread for thread in threading.enumerate() if thread.name == "poll"]
            assert len(polls(simulator).keys() - healthy) == len(hanging)
            assert len(threads) <= 2 * (len(hanging) + 1)


@pytest.mark.slow
def test_polls_are_spread_over_the_interval():
    """After their first polls, forty transforms are due at forty different offsets in the interval."""
    with Simulator({"transforms": [{"name": "many", "count": 40}]}) as simulator:
        ids = simulator.world.transform_ids()
        with running(simulator, transforms=ids, transform_details=False, polling={"interval": "2s"}) as exporter:
            wait_for(lambda: simulator.requests.count("GetMLTaskRuns") >= 80)

            def off():
                """Return how far the due time of each transform is from its offset, in seconds; None during a poll."""
                monitored = exporter.service._poller.monitored
                dues = [(one.next_poll, one.offset * 2) for one in monitored]
                return [due and (due - offset + TOLERANCE) % 2 for due, offset in dues]

            wait_for(lambda: all(one is not None and one <= 2 * TOLERANCE for one in off()), describe=off)
            assert len({one.offset for one in exporter.service._poller.monitored}) == 40


@pytest.mark.slow
def test_a_cycle_longer_than_the_interval_is_an_overrun_and_no_poll_runs_twice():
    """Slow answers cause overruns, and two polls of one transform never run at the same time."""
    with Simulator({"transforms": [{"name": "many", "count": 4}]}) as simulator:
        simulator.faults.set({"kind": "delay", "seconds": 0.5})
        with running(simulator, transforms=simulator.world.transform_ids(), transform_details=False) as exporter:
            wait_for(lambda: simulator.requests.count("GetMLTaskRuns") >= 24, timeout=30)
            assert exporter.value(OVERRUNS) >= 3
            assert exporter.value("glue_ml_exporter_poll_cycle_duration_seconds") > 0.4
            requests = simulator.requests.all("GetMLTaskRuns")
    for transform_id in {one.transform_id for one in requests}:
        times = [one.time for one in requests if one.transform_id == transform_id]
        assert min(gaps(times)) >= 0.49


@pytest.mark.slow
def test_cycles_within_the_interval_are_no_overruns(simulator):
    """Polls that fit into the interval leave the counter of overruns at 0, the first poll included."""
    with running(simulator, transforms=["tfm-a", "tfm-b"], polling={"interval": "2s"}) as exporter:
        wait_for(lambda: simulator.requests.count("GetMLTaskRuns") >= 6)
        assert exporter.value(OVERRUNS) == 0
