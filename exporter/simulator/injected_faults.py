"""The faults that are set, and which of them a request meets."""

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


class Target(NamedTuple):
    """What a fault may be aimed at: the request's operation, transform, region and account, as far as known."""

    operation: str
    transform_id: str | None
    region: str
    account: str


@dataclass(slots=True)
class _Set:
    fault: Fault
    since: float
    hits: int = 0


class FaultBoard:
    """The faults set at present; thread-safe. `clock` gives seconds and may be any monotonic one."""

    def __init__(self, seed: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rng = random.Random(f"{seed}/faults")  # noqa: S311  # a simulation, not a secret
        self._numbers = count(1)
        self._set: dict[int, _Set] = {}

    def set(self, fault: Fault | Mapping[str, Any]) -> int:
        """Set a fault, given as in a scenario, from now on; give the number to clear it by.

        Raises:
            pydantic.ValidationError: a mapping that a scenario could not hold.
        """
        if not isinstance(fault, Fault):
            fault = Fault.model_validate(fault)
        with self._lock:
            number = next(self._numbers)
            self._set[number] = _Set(fault, self._clock())
            return number

    def clear(self, number: int | None = None) -> None:
        """Clear one fault, or all; a number that is not set is no error."""
        with self._lock:
            if number is None:
                self._set.clear()
            else:
                self._set.pop(number, None)

    def hits(self) -> dict[int, int]:
        """Give, for every fault that is set, how often it has fired."""
        with self._lock:
            return {number: one.hits for number, one in self._set.items()}

    def meet(self, target: Target) -> list[Fault]:
        """Give the faults that fire on a request: any delays and at most one other, the one set first."""
        met: list[Fault] = []
        with self._lock:
            now = self._clock()
            for one in self._set.values():
                if self._fires(one, target, now):
                    one.hits += 1
                    met.append(one.fault)
                    if one.fault.kind != "delay":
                        break
        return met

    def _fires(self, one: _Set, target: Target, now: float) -> bool:
        fault, age = one.fault, now - one.since
        return (
            age >= fault.after
            and (fault.until is None or age < fault.until)
            and (fault.times is None or one.hits < fault.times)
            and _aims_at(fault, target)
            and (fault.probability >= 1 or self._rng.random() < fault.probability)
        )


def _aims_at(fault: Fault, target: Target) -> bool:
    aims = (fault.operations, fault.transforms, fault.regions, fault.accounts)
    return all(not aim or value in aim for aim, value in zip(aims, target, strict=True))


def fault_error(fault: Fault, target: Target) -> AwsError | None:
    """Give the error that a fault answers with; None if it is of another kind."""
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


def garble(fault: Fault, answer: HttpResponse) -> HttpResponse:
    """Give what a garbage fault sends in place of `answer`, with HTTP status 200."""
    if fault.body == "html":
        page = b"<!DOCTYPE html><html><body><h1>Welcome to the proxy</h1></body></html>"
        return HttpResponse(200, page, "text/html")
    bodies = {
        "truncated": answer.body[: len(answer.body) // 2] or b"{",
        "empty_object": b"{}",
        "wrong_types": b'{"TaskRuns":{"Status":7},"TransformIds":"none","Name":[]}',
        "empty": b"",
    }
    return HttpResponse(200, bodies[fault.body])
