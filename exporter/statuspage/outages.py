"""Finds the accounts and regions that are down as a whole, by the threshold of the alert GlueMLRegionDown.

The front page shows each outage once, at its top. The rows of its transforms then show only what the outage does not
explain, such as a run that had failed before.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from exporter.exposition.snapshot import PollResult
from exporter.model.transform import Lane
from exporter.statuspage.limits import Limits
from exporter.statuspage.summary import POLL_HANGS, TransformReport

_NOT_FOUND = "EntityNotFoundException"


@dataclass(frozen=True, slots=True)
class Outage:
    """An account and region in which most polls fail."""

    lane: Lane
    account_id: str
    """Twelve digits; empty if they are not known."""
    down: int
    transforms: int
    """Number of transforms of the account and region that were polled."""
    since: float | None
    """When so many polls failed that it was an outage (UTC seconds)."""
    reason: str
    """The reason of most failed polls."""
    error: str
    """The error of the last failed poll with this reason."""


def find_outages(reports: Iterable[TransformReport], limits: Limits) -> Mapping[Lane, Outage]:
    """Return the outages by account and region. A transform that does not exist is not part of an outage."""
    polls: dict[Lane, list[PollResult]] = {}
    account_ids: dict[Lane, str] = {}
    for report in reports:
        snapshot = report.snapshot
        if snapshot is not None and snapshot.poll is not None:
            polls.setdefault(report.target.lane, []).append(snapshot.poll)
            account_ids[report.target.lane] = account_ids.get(report.target.lane) or snapshot.account_id
    return {
        lane: _outage(lane, account_ids[lane], len(of_lane), down, limits)
        for lane, of_lane in sorted(polls.items())
        if len(of_lane) >= limits.outage_transforms
        and len(down := [one for one in of_lane if not one.up and one.reason != _NOT_FOUND])
        > limits.outage_ratio * len(of_lane)
    }


def _outage(lane: Lane, account_id: str, transforms: int, down: list[PollResult], limits: Limits) -> Outage:
    reason = Counter(one.reason for one in down).most_common(1)[0][0]
    last = max((one for one in down if one.reason == reason), key=lambda one: one.tried)
    # Some transforms may have been down long before. The outage began when the ratio of the alert was exceeded.
    since = sorted(one.down_since or one.tried for one in down)[int(limits.outage_ratio * transforms)]
    return Outage(lane, account_id, len(down), transforms, since, reason, last.error or POLL_HANGS)
