"""One run: whether it has ended, and what of it can be believed."""

import math

import pytest

from exporter.model.task_run import FINAL_STATUSES, MAX_CLOCK_SKEW, STATUSES, TaskRun, sanitized
from tests.counting.world import NOW


def a_run(
    status: str = "SUCCEEDED",
    started: float | None = NOW - 60,
    completed: float | None = NOW - 10,
    execution: float | None = 50.0,
) -> TaskRun:
    """Give a run, that ended well a moment ago if not told otherwise."""
    return TaskRun("tsk-1", "FIND_MATCHES", status, started, completed, execution)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("completed", [None, NOW])
def test_a_documented_status_says_whether_the_run_has_ended(status: str, completed: float | None) -> None:
    """STOPPED, SUCCEEDED, FAILED and TIMEOUT are final and the other three are not, whatever CompletedOn says."""
    assert a_run(status, completed=completed).final == (status in FINAL_STATUSES)


def test_a_status_of_the_future_is_final_with_completed_on() -> None:
    """A run in a status that Glue adds later has ended once it has a CompletedOn."""
    assert a_run("EXPLODED").final
    assert not a_run("EXPLODING", completed=None).final


def test_the_duration_is_the_time_from_start_to_completion() -> None:
    """The duration counts waiting as well, and ExecutionTime has no part in it."""
    assert a_run(execution=1.0).duration == 50.0


@pytest.mark.parametrize(("started", "completed"), [(None, NOW), (NOW, None), (NOW, NOW - 1)])
def test_times_that_tell_no_duration_give_none(started: float | None, completed: float | None) -> None:
    """A run without StartedOn or CompletedOn, or completed before its start, has no duration."""
    assert a_run(started=started, completed=completed).duration is None


@pytest.mark.parametrize("time", [-1.0, 0.0, NOW + MAX_CLOCK_SKEW + 1, 4e9, math.inf, math.nan])
def test_a_time_that_cannot_be_is_not_believed(time: float) -> None:
    """A time before 1970, or further ahead than clocks may differ, is taken for missing."""
    run = sanitized(a_run(started=time, completed=time), NOW)
    assert (run.started, run.completed, run.execution) == (None, None, 50.0)


@pytest.mark.parametrize("seconds", [-1.0, math.inf, math.nan])
def test_an_execution_time_that_cannot_be_is_not_believed(seconds: float) -> None:
    """A negative or endless ExecutionTime is taken for missing."""
    assert sanitized(a_run(execution=seconds), NOW).execution is None


def test_what_can_be_is_left_as_it_is() -> None:
    """A run whose times lie ahead by no more than clocks may differ is the same run afterwards."""
    run = a_run(started=NOW + MAX_CLOCK_SKEW, completed=NOW + MAX_CLOCK_SKEW, execution=0.0)
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
def test_a_run_is_as_old_as_glue_says(
    started: float | None, completed: float | None, effective_time: float | None
) -> None:
    """A run is dated by its start, else by its end, on Glue's clock alone."""
    assert a_run(started=started, completed=completed).effective_time == effective_time
