"""One run: its end, its duration, and the times that are dropped because they are impossible."""

import math

import pytest

from exporter.model.task_run import FINAL_STATUSES, MAX_CLOCK_SKEW, MAX_EXECUTION, STATUSES, TaskRun, sanitized
from tests.counting.world import NOW


def task_run(
    status: str = "SUCCEEDED",
    started: float | None = NOW - 60,
    completed: float | None = NOW - 10,
    execution: float | None = 50.0,
) -> TaskRun:
    """Return a run; by default it succeeded ten seconds ago."""
    return TaskRun("tsk-1", "FIND_MATCHES", status, started, completed, execution)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("completed", [None, NOW])
def test_a_documented_status_decides_whether_the_run_has_ended(status: str, completed: float | None) -> None:
    """A run has ended if its status is STOPPED, SUCCEEDED, FAILED or TIMEOUT. CompletedOn has no influence."""
    assert task_run(status, completed=completed).final == (status in FINAL_STATUSES)


def test_an_undocumented_status_is_final_with_completed_on() -> None:
    """A run with an undocumented status has ended if it has a CompletedOn."""
    assert task_run("EXPLODED").final
    assert not task_run("EXPLODING", completed=None).final


def test_the_duration_is_the_time_from_start_to_completion() -> None:
    """The duration includes waiting and does not depend on ExecutionTime."""
    assert task_run(execution=1.0).duration == 50.0


@pytest.mark.parametrize(("started", "completed"), [(None, NOW), (NOW, None), (NOW, NOW - 1)])
def test_a_run_without_usable_times_has_no_duration(started: float | None, completed: float | None) -> None:
    """The duration is None without StartedOn, without CompletedOn, or if the end is before the start."""
    assert task_run(started=started, completed=completed).duration is None


@pytest.mark.parametrize("time", [-1.0, 0.0, NOW + MAX_CLOCK_SKEW + 1, 4e9, math.inf, math.nan])
def test_an_impossible_time_is_dropped(time: float) -> None:
    """A time before 1970 or more than `MAX_CLOCK_SKEW` ahead counts as missing."""
    run = sanitized(task_run(started=time, completed=time), NOW)
    assert (run.started, run.completed, run.execution) == (None, None, 50.0)


@pytest.mark.parametrize("seconds", [-1.0, MAX_EXECUTION * 1.01, 1e306, math.inf, math.nan])
def test_an_impossible_execution_time_is_dropped(seconds: float) -> None:
    """An ExecutionTime that is negative, or longer than `MAX_EXECUTION`, counts as missing."""
    assert sanitized(task_run(execution=seconds), NOW).execution is None


def test_possible_times_stay_unchanged() -> None:
    """A run is returned unchanged if its times are at most `MAX_CLOCK_SKEW` ahead of the clock."""
    run = task_run(started=NOW + MAX_CLOCK_SKEW, completed=NOW + MAX_CLOCK_SKEW, execution=0.0)
    assert sanitized(run, NOW) is run


@pytest.mark.parametrize(
    ("started", "completed", "effective_time"),
    [
        (NOW - 60, NOW, NOW - 60),
        (None, NOW, NOW),
        (-5.0, NOW, NOW),
        (math.nan, None, None),
        (1e12, None, None),
        (NOW + 1e6, None, NOW + 1e6),
        (None, None, None),
    ],
)
def test_the_effective_time_is_the_start_or_else_the_end(
    started: float | None, completed: float | None, effective_time: float | None
) -> None:
    """The effective time comes only from Glue's clock. It may therefore be ahead of the host's clock."""
    assert task_run(started=started, completed=completed).effective_time == effective_time
