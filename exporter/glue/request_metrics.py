"""Measures the requests to AWS as they are sent: each attempt is rate-limited, timed and counted.

The answers also set the clock of AWS.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from exporter.glue.aws_clock import AwsClock
from exporter.glue.deadline import ANSWER, CREDENTIALS, current_call
from exporter.glue.error_table import classify_answer, classify_exception
from exporter.glue.rate_limit import RateLimiter
from exporter.model.errors import GlueError
from exporter.model.transform import Lane
from exporter.telemetry import Telemetry

MIN_DELAY = 0.001
"""Shortest wait that is counted as delay, in seconds. Shorter waits are measurement noise."""


class RequestMetrics:
    """Counts every request of one account and region, including retries and calls to STS."""

    def __init__(
        self,
        lane: Lane,
        rate_limiter: RateLimiter,
        telemetry: Telemetry,
        aws_clock: AwsClock,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._lane = lane
        self._clock = clock
        self._rate_limiter = rate_limiter
        self._telemetry = telemetry
        self.aws_clock = aws_clock
        """The clock of AWS, which the answers set."""
        self._thread = threading.local()

    def observe(self, client: Any) -> None:
        """Rate-limit and count all requests that this client sends from now on."""
        service = client.meta.service_model.service_id.hyphenize()
        # After throttling, botocore's adaptive mode waits between the two handlers of "before-send". botocore always
        # calls the handlers of one service before the handlers of all services, even if register_first and
        # register_last ask for another order.
        client.meta.events.register_first(f"request-created.{service}", self._before_signing)
        client.meta.events.register_first(f"before-send.{service}", self._before_delay)
        client.meta.events.register_last("before-send", self._before_send)
        client.meta.events.register(f"response-received.{service}", self._after_response)

    def wait_for_turn(self) -> None:
        """Wait until the rate limit allows the first attempt of a call; raises `Stopped` if the exporter stops."""
        self._rate_limiter.wait()
        current_call().resume(CREDENTIALS)
        self._thread.turn_taken = True
        self._thread.sent_at = None

    def record_unparsed(self, reason: str) -> None:
        """Count the running attempt as failed with this reason, if an attempt is running.

        botocore emits "response-received" only after it has parsed the answer, so an answer that cannot be parsed is
        counted here. Raises `Stopped` while the exporter stops, because failures are not counted then.
        """
        self.check_stop()
        if self._thread.sent_at is not None:
            self._record(self._thread.operation, reason)

    def check_stop(self) -> None:
        """Raise `Stopped` while the exporter stops, because its calls are interrupted then."""
        self._rate_limiter.check_stop()

    def _before_signing(self, **_: Any) -> None:
        current_call().resume(CREDENTIALS)

    def _before_delay(self, **_: Any) -> None:
        current_call().pause()
        self._thread.ready_at = self._clock()

    def _before_send(self, event_name: str, **_: Any) -> None:
        delay = self._clock() - self._thread.ready_at
        if delay > MIN_DELAY:
            self._telemetry.api_request_delay.labels(*self._lane).inc(delay)
        if not self._thread.turn_taken:
            self._rate_limiter.wait()
        self._rate_limiter.check_stop()
        current_call().resume(ANSWER)
        self._thread.turn_taken = False
        self._thread.operation = event_name.rpartition(".")[2]
        self._thread.sent_at = self._clock()

    def _after_response(self, event_name: str, **event: Any) -> None:
        if self._thread.sent_at is not None:
            answer = event["response_dict"]  # None if the attempt got no answer
            # A proxy answers by itself if AWS is out of reach, and its clock may be wrong. Only AWS gives each
            # of its answers, also errors, a request id.
            if answer is not None and "x-amzn-RequestId" in answer["headers"]:
                self.aws_clock.observe(answer["headers"].get("Date"), self._clock() - self._thread.sent_at)
            code = "timeout" if current_call().expired else _code(event["parsed_response"], event["exception"])
            self._record(event_name.rpartition(".")[2], code)
        # Next, botocore may wait before it tries again.
        current_call().pause()

    def _record(self, operation: str, code: str) -> None:
        seconds = self._clock() - self._thread.sent_at
        self._thread.sent_at = None
        self._telemetry.api_request_duration.labels(operation).observe(seconds)
        self._telemetry.api_requests.labels(*self._lane, operation, code).inc()


def _code(parsed: Mapping[str, Any] | None, exception: BaseException | None) -> str:
    if isinstance(exception, GlueError):
        return exception.reason
    if exception is not None:
        return classify_exception(exception).reason
    return classify_answer(parsed).reason if parsed and parsed.get("Error") else "OK"
