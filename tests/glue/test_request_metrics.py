import threading
from types import SimpleNamespace

import pytest
from botocore.hooks import HierarchicalEmitter

from exporter.glue.aws_clock import AwsClock
from exporter.glue.rate_limit import RateLimiter
from exporter.glue.request_metrics import RequestMetrics
from exporter.model.transform import Lane
from exporter.telemetry import Telemetry

LANE = Lane("one", "eu-west-1")
LABELS = {"aws_account": "one", "aws_region": "eu-west-1"}
OPERATION = {"operation": "GetMLTaskRuns"}


class FakeCall:
    """Emits the events of botocore for one call, with a fake clock that each step of the call advances."""

    def __init__(self):
        self.now = 100.0
        self.telemetry = Telemetry(process=False)
        rate_limiter = RateLimiter(1e9, threading.Event(), lambda _: None)
        self.metrics = RequestMetrics(LANE, rate_limiter, self.telemetry, AwsClock(), clock=lambda: self.now)
        self.events = HierarchicalEmitter()
        service = SimpleNamespace(service_id=SimpleNamespace(hyphenize=lambda: "glue"))
        self.metrics.observe(SimpleNamespace(meta=SimpleNamespace(service_model=service, events=self.events)))
        self.metrics.wait_for_turn()

    def wait(self, seconds):
        self.now += seconds

    def send(self, *, throttle_delay=0.0):
        """Send an attempt; the adaptive mode of botocore waits for `throttle_delay` seconds before it."""
        self.events.register("before-send.glue", lambda **_: self.wait(throttle_delay), unique_id="throttle")
        self.events.emit("before-send.glue.GetMLTaskRuns")
        self.events.unregister("before-send.glue", unique_id="throttle")

    def answer(self, parsed):
        response = {"headers": {}}
        self.events.emit(
            "response-received.glue.GetMLTaskRuns", response_dict=response, parsed_response=parsed, exception=None
        )

    def value(self, name, **labels):
        """Return the value of one of the metrics of requests, None if it has no sample."""
        return self.telemetry.registry.get_sample_value(f"glue_ml_exporter_api_request{name}", labels)

    def count(self, code):
        """Return how many attempts have ended with this code."""
        return self.value("s_total", **LABELS, **OPERATION, code=code)


@pytest.fixture
def call():
    return FakeCall()


def test_the_wait_before_a_request_is_delay_and_not_duration(call):
    """Botocore waits 5 s after throttling, then the server answers within 0.25 s."""
    call.send(throttle_delay=5.0)
    call.wait(0.25)
    call.answer({})
    assert call.value("_delay_seconds_total", **LABELS) == pytest.approx(5.0)
    assert call.value("_duration_seconds_sum", **OPERATION) == pytest.approx(0.25)
    assert call.count("OK") == 1


def test_a_wait_below_a_millisecond_is_not_a_delay(call):
    """A wait of less than a millisecond is not counted, because the handlers themselves take microseconds."""
    call.send(throttle_delay=0.0005)
    assert not call.value("_delay_seconds_total", **LABELS)


def test_an_answer_that_cannot_be_parsed_is_counted_once(call):
    """An unreadable answer is counted once, by the caller, because botocore emits no final event for it."""
    call.send()
    call.metrics.record_unparsed("malformed_response")
    call.metrics.record_unparsed("malformed_response")
    assert call.count("malformed_response") == 1


def test_a_failure_before_any_request_is_not_an_attempt(call):
    """Without credentials no request is sent, and no attempt is counted."""
    call.metrics.record_unparsed("credentials")
    assert not call.count("credentials")


def test_each_retry_is_a_separate_attempt(call):
    """A throttled attempt and a successful one are two requests with two durations."""
    call.send()
    call.answer({"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": {"HTTPStatusCode": 400}})
    call.send()
    call.answer({})
    assert (call.count("ThrottlingException"), call.count("OK")) == (1, 1)
    assert call.value("_duration_seconds_count", **OPERATION) == 2
