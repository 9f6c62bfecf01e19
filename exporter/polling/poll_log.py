"""What the log tells of polls: each finished run once, each trouble when it begins and when it ends.

A label must not carry a run id, an error string or a log group; the log does.
"""

import threading
from collections.abc import Collection, Hashable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from exporter.counting.changes import Changes
from exporter.errors import GlueError, StateError
from exporter.logs import get_logger
from exporter.model.task_run import FAILURES, TaskRun
from exporter.model.transform import Lane, Target

TRANSFORM_REASONS = frozenset(
    ("EntityNotFoundException", "InvalidInputException", "ValidationException", "malformed_response", "pagination")
)
"""Failures that concern one transform; every other one concerns its whole account and region."""

log = get_logger(__name__)


def utc(seconds: float | None) -> str | None:
    """Return the time as RFC 3339, in UTC and whole seconds."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True)
class _Trouble:
    """What goes wrong in one scope: an account and region, or a transform."""

    troubled: set[Hashable] = field(default_factory=set)
    """Who has not succeeded since."""
    told: set[str] = field(default_factory=set)
    """The reasons that the log has told."""


class PollLog:
    """Writes the log of all polls, and no line twice for one trouble that lasts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._troubles: dict[Hashable, _Trouble] = {}

    def polled(self, target: Target, name: str, changes: Changes) -> None:
        """Tell what a good poll has brought, and that troubles are over."""
        who, lane = target.id, target.lane
        self._over(who, who, "polls of the transform succeed again", transform_id=who, transform_name=name)
        self._over(lane, who, "polls succeed again", account=lane.account, region=lane.region)
        for run in changes.finished:
            self._finished(target, name, run)
        for run, before in changes.recanted:
            log.warning(
                "a finished run has changed its status and is not counted again",
                transform_id=target.id,
                run_id=run.run_id,
                before=before,
                status=run.status,
            )
        for run in changes.gone:
            log.warning("an open run is no longer known to Glue", transform_id=target.id, run_id=run.run_id)

    def _finished(self, target: Target, name: str, run: TaskRun) -> None:
        tell = log.warning if run.status in FAILURES else log.info
        tell(
            "run finished",
            transform_id=target.id,
            transform_name=name,
            run_id=run.run_id,
            task_type=run.task_type,
            status=run.status,
            started=utc(run.started),
            completed=utc(run.completed),
            execution_seconds=run.execution,
            error=run.error,
            log_group=run.log_group,
        )

    def failed(self, target: Target, error: GlueError) -> bool:
        """Tell that a poll has failed, when that is news; whether it concerns the whole account and region."""
        alone = error.reason in TRANSFORM_REASONS
        scope: Hashable = target.id if alone else target.lane
        tell = log.error if self._begins(scope, target.id, error.reason) else log.debug
        tell(
            "poll failed" if alone else "polls fail",
            transform_id=target.id,
            account=target.lane.account,
            region=target.lane.region,
            reason=error.reason,
            error=str(error),
            advice=error.advice,
        )
        return not alone

    def not_stored(self, error: StateError) -> None:
        """Tell that the state file could not be written, when that is news."""
        tell = log.error if self._begins("state", "", "write") else log.debug
        tell("state not written; counters are held back until it can be", error=str(error))

    def stored(self) -> None:
        """Tell that the state file can be written again, when that is news."""
        self._over("state", "", "state is written again")

    def details_failed(self, target: Target, error: GlueError) -> None:
        """Tell that GetMLTransform has failed, once per account and region and reason."""
        tell = log.warning if self._begins(("details", target.lane), target.id, error.reason) else log.debug
        tell(
            "transform details are not to be had; run metrics are not affected",
            transform_id=target.id,
            account=target.lane.account,
            region=target.lane.region,
            reason=error.reason,
            error=str(error),
            advice=error.advice,
        )

    def details_known(self, target: Target) -> None:
        """Tell that GetMLTransform succeeds again, when that is news."""
        self._over(("details", target.lane), target.id, "transform details are to be had again")

    def rebucketed(self, target: Target) -> None:
        """Tell that a transform's histograms begin anew."""
        log.warning("the configured buckets have changed: histograms begin anew", transform_id=target.id)

    def discovery_failed(self, lane: Lane, who: Hashable, error: GlueError) -> None:
        """Tell that the search ``who`` for transforms has failed, when that is news."""
        tell = log.error if self._begins(("discovery", lane), who, error.reason) else log.debug
        tell(
            "discovery fails; the transforms found before are kept",
            account=lane.account,
            region=lane.region,
            reason=error.reason,
            error=str(error),
            advice=error.advice,
        )

    def discovered(self, lane: Lane, who: Hashable, before: Collection[str], found: Collection[str]) -> None:
        """Tell which transform ids the search ``who`` has found that it had not ``before``, and which are gone."""
        self._over(("discovery", lane), who, "discovery succeeds again", account=lane.account, region=lane.region)
        appeared, vanished = sorted(set(found) - set(before)), sorted(set(before) - set(found))
        if appeared or vanished:
            log.info(
                "discovery has found a change",
                account=lane.account,
                region=lane.region,
                transforms=len(found),
                appeared=appeared,
                vanished=vanished,
            )

    def tags_failed(self, lane: Lane, error: GlueError) -> None:
        """Tell that GetTags has failed, once per account and region and reason."""
        tell = log.warning if self._begins(("tags", lane), "", error.reason) else log.debug
        tell(
            "tags are not to be had; labels keep what they last said",
            account=lane.account,
            region=lane.region,
            reason=error.reason,
            error=str(error),
            advice=error.advice,
        )

    def tags_known(self, lane: Lane) -> None:
        """Tell that GetTags succeeds again, when that is news."""
        self._over(("tags", lane), "", "tags are to be had again", account=lane.account, region=lane.region)

    def forget(self, target: Target) -> None:
        """Expect no more of a transform's troubles to end: it is no longer watched."""
        for scope in (target.id, target.lane, ("details", target.lane)):
            self._resolved(scope, target.id)

    def forget_discovery(self, lane: Lane, who: Hashable) -> None:
        """Expect no more of the search ``who`` to succeed: it is no longer made."""
        self._resolved(("discovery", lane), who)

    def _begins(self, scope: Hashable, who: Hashable, reason: str) -> bool:
        """Note a trouble of ``who``; whether the reason is new to the scope, which others may share."""
        with self._lock:
            trouble = self._troubles.setdefault(scope, _Trouble())
            trouble.troubled.add(who)
            news = reason not in trouble.told
            trouble.told.add(reason)
        return news

    def _over(self, scope: Hashable, who: Hashable, message: str, **fields: str) -> None:
        told = self._resolved(scope, who)
        if told:
            log.info(message, reason=", ".join(sorted(told)), **fields)

    def _resolved(self, scope: Hashable, who: Hashable) -> set[str]:
        """Take ``who`` out of a trouble; return the reasons that were told if it was the last in it."""
        with self._lock:
            trouble = self._troubles.get(scope)
            if trouble is None or who not in trouble.troubled:
                return set()
            trouble.troubled.discard(who)
            if trouble.troubled:
                return set()
            del self._troubles[scope]
        return trouble.told
