"""Makes the summary of a transform for the pages: its health, its problems, its active runs and its times.

The summary is made from published snapshots. They are immutable, so a page can be rendered while a poll runs. Health is
judged by the thresholds of the alerts (`limits`), without the time for which an alert waits before it fires.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from exporter.config.durations import format_duration
from exporter.counting.latest import LatestRun
from exporter.counting.recent_runs import RecentRun
from exporter.exposition.snapshot import PollResult, TransformSnapshot
from exporter.model.failure_reasons import FailureReasons
from exporter.model.task_run import FAILURES, STATUSES
from exporter.model.transform import Target
from exporter.statuspage.limits import Limits

_ACTIVE = STATUSES[:3]

POLL_HANGS = "The poll takes too long."
"""The error of a poll that has not ended."""


class Health(Enum):
    """The state of a transform; the worst state comes first."""

    DOWN = "Down"
    """The last poll failed, so the data on the page may be old."""
    FAILING = "Failing"
    """For at least one task type, the latest failed or timed-out run is newer than the latest success."""
    OVERDUE = "Overdue"
    """No run has succeeded for the expected interval (GlueMLTaskRunNoSuccess)."""
    TOO_LONG = "Too long"
    """A run has been active for longer than the expected duration (GlueMLTaskRunActiveTooLong)."""
    NOT_READY = "Not ready"
    """Glue cannot use the transform, because it is not READY (GlueMLTransformNotReady)."""
    WAITING = "Waiting"
    """The transform has not been polled yet."""
    OK = "OK"


PROBLEMS = (Health.DOWN, Health.FAILING, Health.OVERDUE, Health.TOO_LONG, Health.NOT_READY)


class Problem(NamedTuple):
    """One reason why a transform is not OK, with what the person on call asks. Times are UTC seconds."""

    health: Health
    what: str
    """What happens, such as "FIND_MATCHES FAILED"."""
    why: str
    """The error text from AWS, or the expectation that is not met."""
    alert: str
    """The alert whose runbook says what to do."""
    since: float | None = None
    at_least: bool = False
    """Whether the problem may have begun before `since`."""
    reason: str = ""
    """The class of the error."""
    expected: str = ""
    """What is expected at `due`, such as "success"."""
    due: float | None = None
    log_group: str | None = None
    """The log of the failed run."""


class TransformSummary(NamedTuple):
    """The contents of one row. Times are UTC seconds, or None if the event is unknown."""

    name: str
    health: Health
    problems: tuple[Problem, ...]
    """The worst problem comes first."""
    counts: Mapping[str, int] | None
    """Number of runs in the lookback, for each status that has runs. None before the first successful poll and after
    `stale_after`."""
    active: int | None
    """Number of runs that have not ended; None if `counts` is None."""
    oldest: float | None
    """Start of the oldest active run."""
    success: float | None
    """End of the latest successful run."""
    failure: float | None
    """End of the latest run that failed or timed out."""
    polled: float | None
    """Time of the last successful poll. The other fields describe the runs at this time."""
    valid_until: float
    """When the summary changes although nothing new is known, because an expectation is then not met."""

    @property
    def runs(self) -> int:
        """The number of runs in the lookback."""
        return sum((self.counts or {}).values())

    @property
    def failed(self) -> int:
        """The number of runs in the lookback that failed or timed out."""
        return sum((self.counts or {}).get(status, 0) for status in FAILURES)


@dataclass(frozen=True, slots=True)
class TransformReport:
    """All data about one transform that the pages need."""

    target: Target
    snapshot: TransformSnapshot | None
    """The published values, which are also in the metrics; None before the first poll."""
    recent: tuple[RecentRun, ...]
    """The newest runs, the newest first."""
    due: float | None
    """The time of the next poll (monotonic seconds); None while a poll runs."""

    def summary(self, limits: Limits, now: float) -> TransformSummary:
        """Return the summary for one row at `now` (UTC seconds)."""
        snapshot = self.snapshot
        if snapshot is None or snapshot.poll is None:
            name = self.target.name or self.target.id if snapshot is None else snapshot.name
            return TransformSummary(name, Health.WAITING, (), None, None, None, None, None, None, math.inf)
        failures = self._failures(snapshot, limits)
        expectations = [*self._successes(snapshot, limits), *_ends(snapshot, limits)]
        problems = (
            *_poll_problem(snapshot.poll),
            *failures,
            *(one for one in expectations if one.due is not None and one.due < now),
            *_not_ready(snapshot),
        )
        gauges = snapshot.gauge_values
        counts = None if gauges is None else _counts_by_status(gauges.runs)
        latest = snapshot.latest.values()
        return TransformSummary(
            name=snapshot.name,
            health=problems[0].health if problems else Health.OK,
            problems=problems,
            counts=counts,
            active=None if counts is None else sum(counts.get(status, 0) for status in _ACTIVE),
            oldest=None if gauges is None else min(gauges.oldest_active.values(), default=None),
            success=_newest(one.success for one in latest),
            failure=_newest(_latest_failure(one) for one in latest),
            polled=snapshot.poll.succeeded,
            valid_until=min(
                (one.due for one in expectations if one.due is not None and one.due >= now), default=math.inf
            ),
        )

    def _successes(self, snapshot: TransformSnapshot, limits: Limits) -> Iterator[Problem]:
        """Yield each expected success as the problem that it becomes after its `due`.

        The conditions are those of GlueMLTaskRunNoSuccess. A task type that fails has a problem already.
        """
        interval = snapshot.target.expected_interval or limits.success_interval
        for task_type in sorted(limits.critical_types):
            latest = snapshot.latest.get(task_type, LatestRun())
            begin = latest.success
            if begin is None and snapshot.target.expected_interval is not None:
                begin = snapshot.watched_since
            elif begin is None:
                starts = (run.started for run, _ in self.recent if run.task_type == task_type)
                begin = min((start for start in starts if start is not None), default=None)
            if begin is not None and not _fails(latest):
                yield Problem(
                    Health.OVERDUE,
                    f"No {task_type} success",
                    f"A run should succeed at least every {format_duration(interval)}.",
                    "GlueMLTaskRunNoSuccess",
                    begin,
                    expected="success",
                    due=begin + interval,
                )

    def _failures(self, snapshot: TransformSnapshot, limits: Limits) -> list[Problem]:
        """Return a problem for each task type whose latest failure is newer than its latest success, newest first."""
        failing = [(task_type, latest) for task_type, latest in snapshot.latest.items() if _fails(latest)]
        failing.sort(key=lambda item: _latest_failure(item[1]) or 0.0, reverse=True)
        return [self._failure(snapshot, task_type, latest, limits) for task_type, latest in failing]

    def _failing_since(self, task_type: str, latest: LatestRun) -> tuple[float | None, bool]:
        """Return the end of the first failed run after the latest success, and whether older ones may exist.

        Older ones may exist if the successful run is not among the recent runs.
        """
        success = latest.success or 0.0
        ends = [
            (run.status, run.completed)
            for run, _ in self.recent
            if run.task_type == task_type and run.completed is not None
        ]
        failures = [end for status, end in ends if status in FAILURES and end > success]
        since = min(failures, default=_latest_failure(latest))
        return since, ("SUCCEEDED", latest.success) not in ends

    def _failure(self, snapshot: TransformSnapshot, task_type: str, latest: LatestRun, limits: Limits) -> Problem:
        ended = _latest_failure(latest)
        status = "FAILED" if ended == latest.failed else "TIMEOUT"
        error = latest.failed_error if status == "FAILED" else latest.timeout_error
        key = (task_type, status, ended)
        run = next((run for run, _ in self.recent if (run.task_type, run.status, run.completed) == key), None)
        since, at_least = self._failing_since(task_type, latest)
        begin = latest.success or snapshot.watched_since
        due = None
        if begin is not None and task_type in limits.critical_types:
            due = begin + (snapshot.target.expected_interval or limits.success_interval)
        return Problem(
            Health.FAILING,
            f"{task_type} {status}",
            (run and run.error) or error or "No error string.",
            "GlueMLTaskRunFailedSinceSuccess" if status == "FAILED" else "GlueMLTaskRunTimedOutSinceSuccess",
            since,
            at_least,
            _reason_of(snapshot.failure_reasons, status, error),
            "" if due is None else "success",
            due,
            run and run.log_group,
        )


@lru_cache(256)
def _reason_of(reasons: FailureReasons, status: str, error: str | None) -> str:
    """Return `FailureReasons.reason_of`. A search for all patterns takes longer than the rest of a summary."""
    return reasons.reason_of(status, error)


def _poll_problem(poll: PollResult) -> Iterator[Problem]:
    if not poll.up:
        alert = {
            "AccessDeniedException": "GlueMLTransformDenied",
            "EntityNotFoundException": "GlueMLTransformNotFound",
        }.get(poll.reason, "GlueMLTransformDown")
        yield Problem(
            Health.DOWN,
            "Polls fail",
            poll.error or POLL_HANGS,
            alert,
            poll.down_since,
            reason=poll.reason,
            expected="next poll",
        )


def _ends(snapshot: TransformSnapshot, limits: Limits) -> Iterator[Problem]:
    """Yield the expected end of each oldest active run as the problem that it becomes after its `due`.

    The conditions are those of GlueMLTaskRunActiveTooLong.
    """
    active = snapshot.gauge_values.oldest_active if snapshot.gauge_values else {}
    duration = snapshot.target.expected_duration or limits.active
    for task_type, started in sorted(active.items(), key=lambda item: item[1]):
        if task_type in limits.active_types:
            yield Problem(
                Health.TOO_LONG,
                f"{task_type} is active",
                f"No run should be active for longer than {format_duration(duration)}.",
                "GlueMLTaskRunActiveTooLong",
                started,
                expected="end",
                due=started + duration,
            )


def _not_ready(snapshot: TransformSnapshot) -> Iterator[Problem]:
    details = snapshot.details
    if details is not None and details.status not in {"", "READY"}:
        yield Problem(
            Health.NOT_READY,
            f"{details.status} in Glue",
            "The transform cannot find matches until it is READY.",
            "GlueMLTransformNotReady",
            snapshot.not_ready_since,
        )


def _fails(latest: LatestRun) -> bool:
    return (_latest_failure(latest) or 0.0) > (latest.success or 0.0)


def _latest_failure(latest: LatestRun) -> float | None:
    return _newest((latest.failed, latest.timeout))


def _newest(times: Iterable[float | None]) -> float | None:
    return max((time for time in times if time is not None), default=None)


def _counts_by_status(runs: Mapping[tuple[str, str], int]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for (_, status), count in runs.items():
        if count:
            counts[status] = counts.get(status, 0) + count
    return counts
