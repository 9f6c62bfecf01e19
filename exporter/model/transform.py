"""One transform: its account and region, its configuration, and its details from Glue."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Lane(NamedTuple):
    """An account and a region. The transforms of a lane share credentials, a client and a rate limit."""

    account: str
    region: str


@dataclass(frozen=True, slots=True)
class Target:
    """One transform to poll."""

    id: str
    lane: Lane
    name: str | None = None
    """The configured name, which is used instead of the name in Glue; None if not configured."""
    labels: Mapping[str, str] = field(default_factory=dict)
    expected_interval: float | None = None
    """Seconds within which a run should succeed; None if not configured."""
    expected_duration: float | None = None
    """Seconds for which no run should be active; None if not configured."""


@dataclass(frozen=True, slots=True)
class Details:
    """The answer of GetMLTransform. Missing values are None or empty. Quality values are between 0 and 1."""

    name: str = ""
    status: str = ""
    transform_type: str = ""
    glue_version: str = ""
    worker_type: str = ""
    label_count: int | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    area_under_pr_curve: float | None = None
    capacity: float | None = None
    """DPUs that a run may use."""


_PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "eu-isoe-": "aws-iso-e",
    "us-isof-": "aws-iso-f",
    "eusc-": "aws-eusc",
}


def partition(region: str) -> str:
    """Return the AWS partition of a region. The partition is the second part of an ARN, for example ``aws``."""
    return next((name for prefix, name in _PARTITIONS.items() if region.startswith(prefix)), "aws")


def transform_arn(region: str, account_id: str, transform_id: str) -> str:
    """Return the ARN of a transform. With ``*`` as an argument, the result is a pattern that matches ARNs."""
    return f"arn:{partition(region)}:glue:{region}:{account_id}:mlTransform/{transform_id}"
