"""Helpers of the simulator's tests: boto3 clients without retries, a clock to set, and a reader of all pages."""

from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config

from exporter.simulator import Simulator

REGION = "eu-west-1"
OLDEST_FIRST = {"Column": "STARTED", "SortDirection": "ASCENDING"}

_SESSION = boto3.session.Session()


class Clock:
    """A clock that stands still until a test sets `now`."""

    def __init__(self, now: float = 1_795_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time in epoch seconds."""
        return self.now


def client(
    simulator: Simulator,
    service: str = "glue",
    *,
    region: str = REGION,
    key: str = "AKIATEST",
    validate: bool = True,
    timeout: float = 10.0,
) -> Any:
    """Return a boto3 client of the simulator, without retries; `validate=False` lets it send wrong parameters."""
    return _SESSION.client(
        service,
        endpoint_url=simulator.url,
        region_name=region,
        aws_access_key_id=key,
        aws_secret_access_key="secret",
        config=Config(
            retries={"total_max_attempts": 1},
            proxies={},
            parameter_validation=validate,
            read_timeout=timeout,
            connect_timeout=timeout,
        ),
    )


def walk(call: Callable[..., dict[str, Any]], member: str, **request: Any) -> list[Any]:
    """Read every page of a listing and return all elements."""
    found: list[Any] = []
    while True:
        answer = call(**request)
        found += answer[member]
        if "NextToken" not in answer:
            return found
        request["NextToken"] = answer["NextToken"]
