"""Requests to AWS as they are sent: paced, timed and counted, each attempt by itself."""

import threading
import time
from collections.abc import Mapping
from typing import Any

from exporter.glue.error_table import fault_of_answer, fault_of_exception
from exporter.glue.rate_limit import RateLimiter
from exporter.model.transform import Lane
from exporter.telemetry import Telemetry

NO_WAIT = 0.001
"""Seconds up to which nobody has waited: so long it may take to find that there is nothing to wait for."""


class Attempts:
    """Paces and counts every request that a lane sends, retries and those to STS included."""

    def __init__(self, lane: Lane, rate_limiter: RateLimiter, telemetry: Telemetry) -> None:
        self._lane = lane
        self._pacer = rate_limiter
        self._telemetry = telemetry
        self._thread = threading.local()

    def count(self, client: Any) -> Any:
        """Pace and count what this client sends from now on; return the client."""
        service = client.meta.service_model.service_id.hyphenize()
        # Once it was throttled, botocore waits between these two for the rate that it has learnt. Who has registered
        # for a service is called before who has for all of them, whatever is said of first and last.
        client.meta.events.register_first(f"before-send.{service}", self._arrive)
        client.meta.events.register_last("before-send", self._begin)
        client.meta.events.register(f"response-received.{service}", self._end)
        return client

    def take_turn(self) -> None:
        """Wait for the turn of a call's first attempt."""
        self._pacer.wait()
        self._thread.turn_taken = True
        self._thread.sent = None

    def lost(self, reason: str) -> None:
        """Count an attempt whose answer could not be read: botocore tells of no end.

        Raises `Stopped` when the exporter stops: what fails then is no news.
        """
        self._pacer.check_stop()
        if self._thread.sent is not None:
            self._note_end(self._thread.operation, reason)

    def _arrive(self, **_: Any) -> None:
        self._thread.arrived = time.perf_counter()

    def _begin(self, event_name: str, **_: Any) -> None:
        waited = time.perf_counter() - self._thread.arrived
        if waited > NO_WAIT:
            self._telemetry.api_request_delay.labels(*self._lane).inc(waited)
        if not self._thread.turn_taken:
            self._pacer.wait()
        self._pacer.check_stop()
        self._thread.turn_taken = False
        self._thread.operation = event_name.rpartition(".")[2]
        self._thread.sent = time.perf_counter()

    def _end(self, event_name: str, **event: Any) -> None:
        if self._thread.sent is not None:
            code = _code(event["parsed_response"], event["exception"])
            self._note_end(event_name.rpartition(".")[2], code)

    def _note_end(self, operation: str, code: str) -> None:
        seconds = time.perf_counter() - self._thread.sent
        self._thread.sent = None
        self._telemetry.api_request_duration.labels(operation).observe(seconds)
        self._telemetry.api_requests.labels(*self._lane, operation, code).inc()


def _code(parsed: Mapping[str, Any] | None, exception: BaseException | None) -> str:
    if exception is not None:
        return fault_of_exception(exception).reason
    return fault_of_answer(parsed).reason if parsed and parsed.get("Error") else "OK"
