"""The rate limit, measured with a fake clock and by the request times in the simulator."""

import threading

import pytest

from exporter.glue.rate_limit import RateLimiter, Stopped
from exporter.simulator import Simulator
from tests.running import gaps, running, wait_for

DELAY = "glue_ml_exporter_api_request_delay_seconds_total"


class StopEvent(threading.Event):
    """A stop event whose `wait` moves the clock instead of waiting."""

    def __init__(self):
        super().__init__()
        self.now = 1000.0

    def wait(self, timeout=None):
        self.now += timeout
        return self.is_set()


def limiter(stop, rate):
    """Return a rate limiter on the clock of a `StopEvent`, and the list of its waits."""
    waits = []
    return RateLimiter(rate, stop, waits.append, clock=lambda: stop.now), waits


def test_calls_are_spaced_evenly_without_a_burst():
    """At 5 calls per second, calls start 0.2 s apart, also after an idle minute; the first call does not wait."""
    stop = StopEvent()
    rate_limiter, waits = limiter(stop, 5)
    for _ in range(3):
        times = []
        for _ in range(10):
            rate_limiter.wait()
            times.append(stop.now)
        assert gaps(times) == pytest.approx([0.2] * 9)
        stop.now += 60
    assert waits == pytest.approx([0.2] * 27)


def test_the_time_between_calls_counts_towards_their_spacing():
    """A caller waits for 0.05 s if 0.15 s have passed since the last turn, and does not wait after 0.2 s."""
    stop = StopEvent()
    rate_limiter, waits = limiter(stop, 5)
    rate_limiter.wait()
    stop.now += 0.15
    rate_limiter.wait()
    stop.now += 0.25
    rate_limiter.wait()
    assert waits == pytest.approx([0.05])


def test_waiting_for_a_turn_ends_when_the_exporter_stops():
    """A caller whose turn is 100 s away raises `Stopped` when the stop event is set."""
    waiting = threading.Event()
    stop = threading.Event()
    rate_limiter = RateLimiter(0.01, stop, lambda _: waiting.set())
    rate_limiter.wait()
    ended = []

    def call():
        with pytest.raises(Stopped):
            rate_limiter.wait()
        ended.append(True)

    caller = threading.Thread(target=call, daemon=True)
    caller.start()
    wait_for(waiting.is_set)
    assert not ended
    stop.set()
    wait_for(lambda: ended)
    with pytest.raises(Stopped):
        rate_limiter.wait()


@pytest.mark.slow
def test_all_operations_of_an_account_and_region_share_one_rate():
    """Polls, details, discovery and retries share one rate, measured at the server."""
    with Simulator({"transforms": [{"name": "many", "count": 20}]}) as simulator:
        simulator.faults.set({"kind": "server_error", "probability": 0.3})
        polling = {"interval": "500ms", "requests_per_second": 20, "max_attempts": 3}
        with running(simulator, discovery=[{"interval": "200ms", "name": "*"}], polling=polling) as exporter:
            wait_for(lambda: simulator.requests.count() >= 200, timeout=60)
            seen = simulator.requests.all()[:200]
            assert exporter.value(DELAY) > 0
    assert {"GetMLTaskRuns", "ListMLTransforms"} <= {one.operation for one in seen}
    # A busy machine makes requests late, never early. 200 requests have 199 gaps of 50 ms, minus the delay of
    # the first request.
    assert seen[-1].time - seen[0].time > 0.9 * 199 / 20


@pytest.mark.slow
def test_throttling_slows_the_whole_lane_until_it_ends():
    """After ten throttled calls all calls of the lane wait before they are sent; no poll fails, and the waits end."""
    with Simulator({"transforms": [{"name": "many", "count": 40}]}) as simulator:
        ids = simulator.world.transform_ids()
        polling = {"interval": "1s", "requests_per_second": 100, "max_attempts": 10}

        def on_time(since):
            """Return whether every transform was polled twice since then, the last time at its interval."""
            polls = [one for one in simulator.requests.all("GetMLTaskRuns") if one.time > since]
            times = [[one.time for one in polls if one.transform_id == transform_id] for transform_id in ids]
            return all(len(own) > 1 and gaps(own)[-1] < 1.5 for own in times)

        with running(simulator, transforms=ids, transform_details=False, polling=polling) as exporter:
            exporter.wait_until_up(*ids)
            delayed = exporter.value(DELAY)
            simulator.faults.set({"kind": "throttle", "times": 10})
            wait_for(lambda: simulator.requests.count("GetMLTaskRuns", "ThrottlingException") == 10)
            throttled = simulator.requests.all()[-1].time
            wait_for(lambda: exporter.value(DELAY) - delayed > 5, timeout=60)
            wait_for(lambda: on_time(throttled), timeout=60)
            assert not exporter.errors()
