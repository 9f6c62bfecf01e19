"""Rate and fairness, as the server sees them."""

import threading
import time
from collections import Counter, defaultdict
from statistics import median

import pytest

from exporter.glue.rate_limit import RateLimiter, Stopped
from exporter.model.transform import Lane
from exporter.polling.targets import Places
from exporter.simulator import Simulator
from tests.running import REGION, gaps, longest_gap, pause, running, wait_for

REGIONS = [f"{place}-{number}" for place in ("eu-west", "us-east", "us-west", "ap-south") for number in (1, 2)]
DELAY = "glue_ml_exporter_api_request_delay_seconds_total"
CALLED = "glue_ml_exporter_api_request_duration_seconds_sum"
OVERRUNS = "glue_ml_exporter_poll_cycle_overruns_total"


@pytest.mark.slow
def test_the_server_sees_the_configured_rate_and_no_bursts():
    """Fifty transforms that want more than requests_per_second allows make 5 a second within 10 %, evenly spaced."""
    with Simulator({"transforms": [{"name": "many", "count": 50}]}) as simulator:
        polling = {"interval": "1s", "requests_per_second": 5}
        with running(simulator, transforms=simulator.world.transform_ids(), polling=polling) as exporter:
            wait_for(lambda: simulator.requests.count() >= 5)
            began = time.time()
            pause(10)
            times = [one.time for one in simulator.requests.all() if one.time > began]
            delayed = exporter.value(DELAY)
    assert 45 <= len(times) <= 55
    assert longest_gap(times) < 0.4
    assert sum(0.1 < gap < 0.3 for gap in gaps(times)) > 0.9 * len(times)
    assert delayed > 10


@pytest.mark.slow
def test_details_discovery_and_polls_share_one_rate():
    """All calls of an account and region together keep requests_per_second, retries included."""
    with Simulator({"transforms": [{"name": "many", "count": 20}]}) as simulator:
        simulator.faults.set({"kind": "server_error", "probability": 0.3})
        polling = {"interval": "500ms", "requests_per_second": 20, "max_attempts": 3}
        with running(simulator, discovery=[{"interval": "200ms", "name": "*"}], polling=polling):
            wait_for(lambda: simulator.requests.count("GetMLTaskRuns") > 5, timeout=20)
            began = time.time()
            pause(4)
            seen = [one for one in simulator.requests.all() if one.time > began]
    assert len({one.operation for one in seen}) >= 2
    assert len(seen) <= 4 * 20 * 1.1


@pytest.mark.slow
def test_throttling_slows_the_whole_lane_and_is_over_when_it_ends():
    """After a few throttled calls the other calls of the lane wait too, as the metric tells, until all is well."""
    with Simulator({"transforms": [{"name": "many", "count": 40}]}) as simulator:
        ids = simulator.world.transform_ids()
        polling = {"interval": "1s", "requests_per_second": 100, "max_attempts": 10}

        def rate():
            before = simulator.requests.count("GetMLTaskRuns", "OK")
            pause(2)
            return (simulator.requests.count("GetMLTaskRuns", "OK") - before) / 2

        with running(simulator, transforms=ids, transform_details=False, polling=polling) as exporter:
            exporter.wait_until_up(*ids)
            calm = rate()
            delayed, called = exporter.value(DELAY), exporter.value(CALLED)
            simulator.faults.set({"kind": "throttle", "times": 10})
            wait_for(lambda: simulator.requests.count("GetMLTaskRuns", "ThrottlingException") == 10)
            assert rate() < 0.7 * calm
            wait_for(lambda: rate() > 0.8 * calm, timeout=60)
            assert not exporter.errors()
            # The answers themselves come within milliseconds: what is waited for before is no time of the call.
            assert exporter.value(DELAY) - delayed > 2 * (exporter.value(CALLED) - called)


@pytest.mark.slow
def test_a_hanging_region_takes_no_turn_from_the_other_seven():
    """With 200 transforms in 8 regions and one region hanging, each transform of the other seven keeps its interval."""
    transforms = [{"name": f"in-{region}", "count": 25, "region": region} for region in REGIONS]
    with Simulator({"transforms": transforms}) as simulator:
        listed = [
            {"id": transform_id, "region": REGIONS[number // 25]}
            for number, transform_id in enumerate(simulator.world.transform_ids())
        ]
        polling = {"interval": "3s", "request_timeout": "20s"}
        with running(simulator, transforms=listed, transform_details=False, polling=polling) as exporter:
            wait_for(lambda: simulator.requests.count("GetMLTaskRuns") >= 400, timeout=30)
            simulator.faults.set({"kind": "hang", "regions": [REGIONS[0]]})
            began = time.time()
            pause(12)
            seen = [one for one in simulator.requests.all("GetMLTaskRuns") if one.time > began]
            assert not exporter.errors()
    for number, transform in enumerate(listed):
        times = [began, *(one.time for one in seen if one.transform_id == transform["id"])]
        if number >= 25:
            assert len(times) >= 4
            assert longest_gap(times) < 4.5


@pytest.mark.slow
def test_two_hundred_hanging_regions_take_few_threads_and_no_turn_from_a_healthy_one():
    """While every poll of 200 regions hangs, the process has few threads, and the healthy region is polled on."""
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

        def polls():
            return Counter(one.transform_id for one in simulator.requests.all("GetMLTaskRuns"))

        with running(simulator, transforms=listed, transform_details=False, polling=polling):
            wait_for(lambda: len(polls().keys() - healthy) == len(hanging), timeout=60)
            before = polls()
            wait_for(lambda: all(polls()[one] >= before[one] + 3 for one in healthy), timeout=60)
            threads = [thread for thread in threading.enumerate() if thread.name == "poll"]
            assert len(polls().keys() - healthy) == len(hanging)
            assert len(threads) <= 2 * (len(hanging) + 1)


@pytest.mark.slow
def test_polls_are_spread_over_the_interval():
    """After the first turn, the polls of forty transforms lie evenly in the interval instead of starting together."""
    with Simulator({"transforms": [{"name": "many", "count": 40}]}) as simulator:
        ids = simulator.world.transform_ids()
        with running(simulator, transforms=ids, transform_details=False, polling={"interval": "2s"}):
            wait_for(lambda: simulator.requests.count("GetMLTaskRuns") >= 80, timeout=20)
            began = time.time()
            pause(2)
            times = [one.time for one in simulator.requests.all("GetMLTaskRuns") if began < one.time <= began + 2]
    quarters = [sum(began + n / 2 <= at < began + (n + 1) / 2 for at in times) for n in range(4)]
    assert 38 <= len(times) <= 42
    assert all(7 <= quarter <= 13 for quarter in quarters), quarters
    assert median(gaps(times)) > 0.03


@pytest.mark.parametrize(("lanes", "members"), [(1, 1), (1, 40), (4, 50), (200, 50), (50, 200), (13, 7)])
def test_each_lane_is_spread_over_the_interval_and_lanes_lie_between_each_other(lanes, members):
    """The places of a lane lie about as far apart as they can, and those of all lanes fill the interval evenly."""
    places, taken = Places(), defaultdict(list)
    for lane in (Lane(f"account-{n}", "eu-west-1") for n in range(lanes)):
        taken[lane] = sorted(places.next(lane) for _ in range(members))
    for own in taken.values():
        assert 0 < own[0] <= own[-1] <= 1
        assert longest_gap([own[-1] - 1, *own]) <= 2.7 / members
        assert not members > 1 or min(gaps(own)) > 0.38 / members
    tenths = [
        sum(tenth / 10 < place <= (tenth + 1) / 10 for own in taken.values() for place in own) for tenth in range(10)
    ]
    assert max(tenths) - min(tenths) <= max(4, 0.03 * lanes * members)


def test_a_place_does_not_depend_on_what_is_found_elsewhere():
    """A lane whose targets are found among those of other lanes has the places that it has when they come in a row."""
    lanes = [Lane(f"account-{n}", "eu-west-1") for n in range(5)]
    in_a_row, among_others = Places(), Places()
    rows = {lane: [in_a_row.next(lane) for _ in range(3)] for lane in lanes}
    rounds = [{lane: among_others.next(lane) for lane in lanes} for _ in range(3)]
    assert rows == {lane: [places[lane] for places in rounds] for lane in lanes}


def test_two_processes_have_other_places_for_the_same_targets():
    """An offset moves every place around the interval by as much, so processes side by side call at other moments."""
    lane = Lane("account", "eu-west-1")
    one, other = Places(), Places(0.25)
    moved = [(one.next(lane) - other.next(lane)) % 1 for _ in range(50)]
    assert moved == pytest.approx([0.25] * 50)


@pytest.mark.slow
def test_a_cycle_longer_than_the_interval_is_an_overrun_and_no_poll_runs_twice():
    """Slow answers make overruns; the next turn starts at once, and no transform is ever polled twice at a time."""
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
        assert longest_gap(times) < 0.9


@pytest.mark.slow
def test_cycles_within_the_interval_are_no_overruns(simulator):
    """Polls that fit into the interval, that of the first connection too, leave the counter of overruns at 0."""
    with running(simulator, transforms=["tfm-a", "tfm-b"], polling={"interval": "2s"}) as exporter:
        wait_for(lambda: simulator.requests.count("GetMLTaskRuns") >= 6)
        assert exporter.value(OVERRUNS) == 0


def test_waiting_for_a_turn_ends_when_the_exporter_stops():
    """A caller whose turn is far away leaves with `Stopped` at once."""
    stop = threading.Event()
    rate_limiter = RateLimiter(0.01, stop, lambda _: None)
    rate_limiter.wait()
    threading.Timer(0.1, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        rate_limiter.wait()
    assert time.monotonic() - began < 2
