"""Draw the timelines of task runs from a `Task` and a seeded generator: the times of start, RUNNING, STOPPING and end.

Scenario time is in seconds from the simulator's start. The public functions return only calendar time, in whole
milliseconds since the epoch.
"""

import heapq
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, NamedTuple, Self

from exporter.simulator.scenario import Task, Transform
from exporter.simulator.service_model import FINAL_STATUSES, STATUSES, TASK_TYPES

NEVER = 1 << 62


@dataclass(slots=True)
class Override:
    """The id and the members of the rendered run that a scenario or a test sets. None removes a member."""

    run_id: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)


class RunTimeline(NamedTuple):
    """The times at which one run changes its status, in calendar milliseconds. `NEVER` means no such change.

    `task_type` and `outcome` are indexes into `TASK_TYPES` and `FINAL_STATUSES`.
    """

    appears: int
    started: int
    running: int
    stopping: int
    ended: int
    task_type: int
    outcome: int
    override: Override | None = None


@dataclass(frozen=True, slots=True)
class Calendar:
    """Converts scenario time to calendar time.

    Scenario second 0 is `start` (epoch seconds). Scenario seconds before the start have the length of calendar seconds.
    After the start, `acceleration` scenario seconds pass in one calendar second.
    """

    start: float
    acceleration: float

    def milliseconds(self, scenario_seconds: float) -> int:
        """Convert scenario seconds to calendar milliseconds."""
        if scenario_seconds > 0:
            scenario_seconds /= self.acceleration
        return round((self.start + scenario_seconds) * 1000)

    def scenario_seconds(self, epoch: float) -> float:
        """Convert epoch seconds to scenario seconds."""
        seconds = epoch - self.start
        return seconds * self.acceleration if seconds > 0 else seconds


@dataclass(frozen=True, slots=True)
class RunGenerator:
    """Draws the timelines of the runs of one task type of one transform; `timeout` is in seconds."""

    task: Task
    task_type: int
    timeout: float | None
    calendar: Calendar

    @classmethod
    def of(cls, transform: Transform, task_type: str, calendar: Calendar) -> Self:
        """Return the generator for a task type. A type without a task in the transform gets the default task."""
        return cls(
            task=transform.tasks.get(task_type) or Task(),  # type: ignore[call-overload]  # any string may be asked for
            task_type=TASK_TYPES.index(task_type),
            timeout=transform.timeout_minutes and transform.timeout_minutes * 60.0,
            calendar=calendar,
        )

    def draw(self, started: float, rng: random.Random) -> RunTimeline:
        """Draw a run that starts at scenario second `started`."""
        task = self.task
        outcome = _draw_outcome(task.outcomes, rng.random())
        hangs = rng.random() < task.hang
        running = started + task.waiting.draw(rng)
        ended = running + task.duration.draw(rng)
        if outcome == "TIMEOUT" and self.timeout is not None:
            ended = running + self.timeout
        at = self.calendar.milliseconds
        stopping = NEVER
        if outcome == "STOPPED":
            stopping = at(ended)
            ended += task.stopping.draw(rng)
        return RunTimeline(
            appears=at(started),
            started=at(started),
            running=at(running),
            stopping=NEVER if hangs else stopping,
            ended=NEVER if hangs else at(ended),
            task_type=self.task_type,
            outcome=FINAL_STATUSES.index(outcome),
        )

    def draw_all(self, history: float, rng: random.Random) -> Iterator[RunTimeline]:
        """Draw all runs in the order of their starts. The first run starts at most `history` seconds before the start.

        If the task has a gap between runs (`every`), the iterator is endless.
        """
        for started in _start_times(self.task, history, rng):
            yield self.draw(started, rng)


def generated_timelines(
    transform: Transform, transform_id: str, seed: int, calendar: Calendar
) -> Iterator[RunTimeline]:
    """Yield every run that a transform's tasks generate, ordered by start.

    Each task type has its own random generator. Its seed depends on scenario, transform and type. Therefore a change of
    one task does not change the runs of the other tasks.
    """
    streams = [
        RunGenerator.of(transform, task_type, calendar).draw_all(
            transform.history,
            random.Random(f"{seed}/{transform_id}/{task_type}"),  # noqa: S311  # a simulation, not a secret
        )
        for task_type, task in transform.tasks.items()
        if task.every is not None or task.history_runs
    ]
    if len(streams) == 1:
        return streams[0]
    return heapq.merge(*streams, key=attrgetter("started"))


def _start_times(task: Task, history: float, rng: random.Random) -> Iterator[float]:
    now = -history
    if task.history_runs is not None:
        step = history / max(task.history_runs, 1)
        for number in range(task.history_runs):
            yield now + (number + rng.random()) * step
        now = 0.0
    if task.every is None:
        return
    if task.arrivals == "regular":
        now += rng.random() * task.every
        while True:
            yield now
            now += task.every
    while True:
        now += rng.expovariate(1 / task.every)
        yield now


def _draw_outcome(outcomes: Mapping[Any, float], draw: float) -> str:
    for status, probability in outcomes.items():
        if draw < probability:
            return str(status)
        draw -= probability
    return "SUCCEEDED"


def milliseconds(epoch: float | None) -> int:
    """Convert epoch seconds to milliseconds; None becomes `NEVER`."""
    return NEVER if epoch is None else round(epoch * 1000)


def explicit_timeline(
    task_type: str,
    status: str,
    *,
    started: float,
    completed: float | None,
    appears: float,
    run_id: str | None,
    fields: Mapping[str, Any],
) -> RunTimeline:
    """Return the timeline of a run with given times (epoch seconds).

    If Glue does not have the type or status, an override puts the value into the rendered run.

    Raises:
        ValueError: `completed` and `status` contradict each other.
    """
    overridden = dict(fields)
    if task_type not in TASK_TYPES:
        overridden.setdefault("Properties", {"TaskType": task_type})
        task_type = "FIND_MATCHES"
    if status not in STATUSES:
        overridden.setdefault("Status", status)
        overridden.setdefault("CompletedOn", completed)
    elif (status in FINAL_STATUSES) != (completed is not None):
        raise ValueError("completed needs a final status, and a final status needs completed")
    ends = completed is not None and status in FINAL_STATUSES
    start = milliseconds(started)
    return RunTimeline(
        appears=milliseconds(appears),
        started=milliseconds(overridden["StartedOn"]) if "StartedOn" in overridden else start,
        running=NEVER if status == "STARTING" else start,
        stopping=start if status == "STOPPING" else NEVER,
        ended=milliseconds(completed) if ends else NEVER,
        task_type=TASK_TYPES.index(task_type),
        outcome=FINAL_STATUSES.index(status) if ends else 0,
        override=Override(run_id, overridden) if run_id or overridden else None,
    )
