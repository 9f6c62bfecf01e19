"""The faults that are set, and the choice of the faults that apply to a request."""

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

from exporter.simulator.messages import HttpResponse
from exporter.simulator.protocol import AwsError
from exporter.simulator.scenario import Fault


class FaultTarget(NamedTuple):
    """The properties by which a fault selects requests. `transform_id` is None if the request names no transform."""

    operation: str
    transform_id: str | None
    region: str
    account: str


@dataclass(slots=True)
class _ActiveFault:
    fault: Fault
    since: float
    hits: int = 0


class InjectedFaults:
    """The faults that are set; thread-safe. `clock` returns seconds and must not go back."""

    def __init__(self, seed: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rng = random.Random(f"{seed}/faults")  # noqa: S311  # a simulation, not a secret
        self._numbers = count(1)
        self._active: dict[int, _ActiveFault] = {}

    def set(self, fault: Fault | Mapping[str, Any]) -> int:
        """Set a fault, given as in a scenario, from now on. Return its number, for `clear`.

        Raises:
            pydantic.ValidationError: the mapping is not valid as a fault of a scenario.
        """
        if not isinstance(fault, Fault):
            fault = Fault.model_validate(fault)
        with self._lock:
            number = next(self._numbers)
            self._active[number] = _ActiveFault(fault, self._clock())
            return number

    def clear(self, number: int | None = None) -> None:
        """Clear the fault with this number, or all faults (None). An unknown number is ignored."""
        with self._lock:
            if number is None:
                self._active.clear()
            else:
                self._active.pop(number, None)

    def hits(self) -> dict[int, int]:
        """Return how often each fault has fired: {number of the fault: count}."""
        with self._lock:
            return {number: active.hits for number, active in self._active.items()}

    def matching(self, target: FaultTarget) -> list[Fault]:
        """Return the faults that fire on a request, in the order in which they were set.

        The list ends at the first fault that is not a delay, because only one such fault can decide the answer.
        """
        firing: list[Fault] = []
        with self._lock:
            now = self._clock()
            for active in self._active.values():
                if self._fires(active, target, now):
                    active.hits += 1
                    firing.append(active.fault)
                    if active.fault.kind != "delay":
                        break
        return firing

    def _fires(self, active: _ActiveFault, target: FaultTarget, now: float) -> bool:
        fault, age = active.fault, now - active.since
        return (
            age >= fault.after
            and (fault.until is None or age < fault.until)
            and (fault.times is None or active.hits < fault.times)
            and _selects(fault, target)
            and (fault.probability >= 1 or self._rng.random() < fault.probability)
        )


def _selects(fault: Fault, target: FaultTarget) -> bool:
    selections = (fault.operations, fault.transforms, fault.regions, fault.accounts)
    return all(not selection or value in selection for selection, value in zip(selections, target, strict=True))


def fault_error(fault: Fault, target: FaultTarget) -> AwsError | None:
    """Return the error answer of a fault, or None if the fault is of a kind without an error answer."""
    if fault.kind == "error":
        return AwsError(str(fault.code), fault.message or "Simulated error", status=fault.status)
    if fault.kind == "server_error" and fault.status == 503:
        return AwsError("ServiceUnavailableException", fault.message or "Service unavailable")
    if fault.kind not in _ERRORS:
        return None
    code, message = _ERRORS[fault.kind]
    resource = f"arn:aws:glue:{target.region}:{target.account}:mlTransform/{target.transform_id or '*'}"
    text = fault.message or message.format(operation=target.operation, resource=resource)
    return AwsError(code, text, status=fault.status)


_ERRORS: Mapping[str, tuple[str, str]] = {
    "throttle": ("ThrottlingException", "Rate exceeded"),
    "server_error": ("InternalServiceException", "An internal service error occurred."),
    "timeout": ("OperationTimeoutException", "The operation timed out."),
    "not_found": ("EntityNotFoundException", "Entity not found: {resource}"),
    "expired_credentials": (
        "ExpiredTokenException",
        "The security token included in the request is expired",
    ),
    "access_denied": (
        "AccessDeniedException",
        "The caller is not authorized to perform: glue:{operation} on resource: {resource}",
    ),
}


def garbage_response(fault: Fault, response: HttpResponse) -> HttpResponse:
    """Return the broken response, with HTTP status 200, that a garbage fault sends in place of `response`."""
    if fault.body == "html":
        page = b"<!DOCTYPE html><html><body><h1>Welcome to the proxy</h1></body></html>"
        return HttpResponse(200, page, "text/html")
    bodies = {
        "truncated": response.body[: len(response.body) // 2] or b"{",
        "empty_object": b"{}",
        "wrong_types": b'{"TaskRuns":{"Status":7},"TransformIds":"none","Name":[]}',
        "empty": b"",
    }
    return HttpResponse(200, bodies[fault.body])
