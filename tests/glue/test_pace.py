"""Rate and fairness, as the server sees them."""

import threading
import time

import pytest

from exporter.glue.rate_limit import RateLimiter, Stopped
from exporter.simulator import Simulator
from tests.running import gaps, longest_gap, pause, running, wait_for

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
