"""Logs the results of polls and of discovery: each finished run, and the beginning and the end of each failure.

Run ids, error texts and log groups are logged, because they must not be metric labels. As labels they would create new
series for each run.
"""

import math
import threading
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from exporter.counting.ledger import Changes
from exporter.logs import get_logger
from exporter.model.errors import GlueError
from exporter.model.task_run import FAILURES, TaskRun
from exporter.model.transform import Lane, Target

TRANSFORM_REASONS = frozenset(
    ("EntityNotFoundException", "InvalidInputException", "ValidationException", "malformed_response", "pagination")
)
"""Reasons of failures that concern a single transform. All other reasons concern its whole account and region."""

log = get_logger(__name__)


class Failure(NamedTuple):
    """A kind of failure that may last: the messages for its beginning and end, and the level of the first message."""

    begins: str
    ends: str
    level: str = "error"


POLLS_OF_LANE = Failure("polls fail", "polls succeed again")
POLLS_OF_TRANSFORM = Failure("poll failed", "polls of the transform succeed again")
DETAILS = Failure(
    "transform details cannot be read; run metrics are not affected", "transform details can be read again", "warning"
)
LOOK_UPS = Failure("a run cannot be looked up and stays as it is", "all runs can be looked up again", "warning")
DISCOVERY = Failure("discovery fails; the transforms found before are kept", "discovery succeeds again")
TAGS = Failure("tags cannot be read; labels keep their last values", "tags can be read again", "warning")

Scope = Lane | str
"""The account and region that a failure concerns, or the id of the transform."""


def utc(seconds: float | None) -> str | None:
    """Return the time as RFC 3339, in UTC and whole seconds."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True)
class _Ongoing:
    """A failure that has begun in one scope and has not ended."""

    affected: set[Hashable] = field(default_factory=set)
    """The transforms or queries that have failed and have not succeeded since."""
    failed: dict[str, set[Hashable]] = field(default_factory=dict)
    """The affected transforms or queries by each reason that was logged."""
    tried: set[Hashable] = field(default_factory=set)
    """Every one that was tried since the failure began, with or without success."""
    counted: set[str] = field(default_factory=set)
    """The reasons for which the number of affected ones was logged."""
    most: int = 0
    """The highest number that was affected at the same time."""


class PollLog:
    """Writes the log of all polls. A failure that lasts is logged once for each scope and reason."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ongoing: dict[tuple[Failure, Scope], _Ongoing] = {}

    # -- failures ---------------------------------------------------------------------------------------------------

    def begin(
        self,
        failure: Failure,
        scope: Scope,
        who: Hashable,
        error: GlueError,
        monitored: Callable[[], float] = lambda: math.inf,
        **fields: str,
    ) -> int:
        """Log that ``who`` fails with this error; at debug level if this was logged for the scope before.

        The failure lasts until `end` or `forget` is called for each ``who`` of the scope.

        Return how many fail for this reason, as soon as each of the ``monitored()`` members of the scope has been tried
        since the failure began. Return 0 before this moment, and after the number was returned once.
        """
        with self._lock:
            ongoing = self._ongoing.setdefault((failure, scope), _Ongoing())
            ongoing.affected.add(who)
            ongoing.most = max(ongoing.most, len(ongoing.affected))
            is_new = error.reason not in ongoing.failed
            failed = ongoing.failed.setdefault(error.reason, set())
            failed.add(who)
            is_repeated = who in ongoing.tried
            ongoing.tried.add(who)
            is_complete = is_repeated and error.reason not in ongoing.counted and len(ongoing.tried) >= monitored()
            if is_complete:
                ongoing.counted.add(error.reason)
            number = len(failed) if is_complete else 0
        fields = {
            **_fields_of(scope),
            **fields,
            "reason": error.reason,
            "error": str(error),
            "advice": error.advice,
        }
        getattr(log, failure.level if is_new else "debug")(failure.begins, **fields)
        return number

    def end(self, failure: Failure, scope: Scope, who: Hashable, **fields: str) -> None:
        """End the failure for ``who``. If nothing else in the scope is affected, log that the failure has ended."""
        if ended := self.forget(failure, scope, who):
            log.info(
                failure.ends,
                reason=", ".join(sorted(ended.failed)),
                **_fields_of(scope),
                **fields,
                **({"failed": ended.most} if ended.most > 1 else {}),
            )

    def forget(self, failure: Failure, scope: Scope, who: Hashable) -> _Ongoing | None:
        """End the failure for ``who`` without a log line; return the failure if the scope has no other ``who``."""
        with self._lock:
            ongoing = self._ongoing.get((failure, scope))
            if ongoing is None:
                return None
            ongoing.tried.add(who)
            if who not in ongoing.affected:
                return None
            ongoing.affected.discard(who)
            for failed in ongoing.failed.values():
                failed.discard(who)
            if ongoing.affected:
                return None
            del self._ongoing[failure, scope]
        return ongoing

    # -- polls of one transform -------------------------------------------------------------------------------------

    def poll_succeeded(self, target: Target, name: str, changes: Changes) -> None:
        """Log the changes that a successful poll has found, and the end of failures."""
        self.end(POLLS_OF_TRANSFORM, target.id, target.id, transform_name=name)
        self.end(POLLS_OF_LANE, target.lane, target.id)
        for run in changes.finished:
            _log_finished(target, name, run)
        for run, before in changes.status_changed:
            log.warning(
                "a finished run has changed its status and is not counted again",
                transform_id=target.id,
                run_id=run.run_id,
                before=before,
                status=run.status,
            )
        for run in changes.missing:
            log.warning("an open run is no longer known to Glue", transform_id=target.id, run_id=run.run_id)

    def look_ups_failed(self, target: Target, failures: Mapping[str, GlueError]) -> None:
        """Log the runs that cannot be looked up at present, by id, and end the failures of all other runs."""
        lane = target.lane
        for run_id, error in failures.items():
            self.begin(LOOK_UPS, target.id, run_id, error, run_id=run_id, account=lane.account, region=lane.region)
        with self._lock:
            ongoing = self._ongoing.get((LOOK_UPS, target.id))
            ended = ongoing.affected - failures.keys() if ongoing is not None else ()
        for run in ended:
            self.end(LOOK_UPS, target.id, run)

    def poll_failed(self, target: Target, error: GlueError, count_monitored: Callable[[Lane], int]) -> bool:
        """Log that a poll has failed; return whether the failure concerns the whole account and region.

        When each transform of the account and region has had its turn, a second line says how many of how many fail.
        ``count_monitored`` returns the number of all transforms that are monitored there.
        """
        if error.reason in TRANSFORM_REASONS:
            lane = target.lane
            self.begin(POLLS_OF_TRANSFORM, target.id, target.id, error, account=lane.account, region=lane.region)
            return False
        lane, monitored = target.lane, partial(count_monitored, target.lane)
        failing = self.begin(POLLS_OF_LANE, lane, target.id, error, monitored, transform_id=target.id)
        if failing and monitored() > 1:
            log.error(
                "polls of the account and region fail",
                **_fields_of(lane),
                failing=failing,
                transforms=monitored(),
                reason=error.reason,
            )
        return True

    def forget_transform(self, target: Target) -> None:
        """Drop all failures of a transform that is no longer monitored, because no poll will end them."""
        self.forget(POLLS_OF_TRANSFORM, target.id, target.id)
        self.forget(POLLS_OF_LANE, target.lane, target.id)
        self.forget(DETAILS, target.lane, target.id)
        with self._lock:
            self._ongoing.pop((LOOK_UPS, target.id), None)


def log_rebucketed(target: Target) -> None:
    """Log that the histograms of a transform start again at 0."""
    log.warning("the configured buckets have changed; histograms start again at 0", transform_id=target.id)


def log_discovered(lane: Lane, before: Collection[str], found: Collection[str]) -> None:
    """Log the transform ids that a query has found now but not ``before``, and the ids that are gone."""
    appeared, vanished = sorted(set(found) - set(before)), sorted(set(before) - set(found))
    if appeared or vanished:
        log.info(
            "discovery has found a change",
            **_fields_of(lane),
            transforms=len(found),
            appeared=appeared,
            vanished=vanished,
        )


def _log_finished(target: Target, name: str, run: TaskRun) -> None:
    write = log.warning if run.status in FAILURES else log.info
    write(
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


def _fields_of(scope: Scope) -> dict[str, str]:
    if isinstance(scope, Lane):
        return {"account": scope.account, "region": scope.region}
    return {"transform_id": scope}
