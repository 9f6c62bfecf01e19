"""Draw the lives of task runs: when each starts, runs, stops and ends, from a `Task` and a seeded generator.

All times that leave this module are calendar time in whole milliseconds since the epoch.
"""

import heapq
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, NamedTuple

from exporter.simulator.scenario import Task, Transform
from exporter.simulator.service_model import FINAL_STATUSES, STATUSES, TASK_TYPES

NEVER = 1 << 62


@dataclass(slots=True)
class Note:
    """What is special about one run: its own id, and members of the answer given exactly (None leaves one out)."""

    run_id: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)


class Life(NamedTuple):
    """The whole course of one run, in calendar milliseconds; `NEVER` for what does not happen.

    `task_type` and `outcome` are indexes into `TASK_TYPES` and `FINAL_STATUSES`.
    """

    appears: int
    started: int
    running: int
    stopping: int
    ended: int
    task_type: int
    outcome: int
    note: Note | None = None


@dataclass(frozen=True, slots=True)
class Calendar:
    """Scenario time to calendar time.

    Seconds before the start keep their length, those after pass `acceleration` times faster. Scenario second 0 is
    `start`, so nothing that has happened ever lies in the real clock's future.
    """

    start: float
    acceleration: float

    def milliseconds(self, scenario_seconds: float) -> int:
        """Give the calendar instant, in milliseconds, of a scenario instant in seconds from the start."""
        if scenario_seconds > 0:
            scenario_seconds /= self.acceleration
        return round((self.start + scenario_seconds) * 1000)

    def scenario_seconds(self, epoch: float) -> float:
        """Give the scenario instant of a calendar instant in epoch seconds."""
        seconds = epoch - self.start
        return seconds * self.acceleration if seconds > 0 else seconds


@dataclass(frozen=True, slots=True)
class Courses:
    """Draws the course of single runs of one task type of one transform."""

    task: Task
    task_type: int
    timeout: float | None
    calendar: Calendar

    def draw(self, started: float, rng: random.Random) -> Life:
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
        return Life(
            appears=at(started),
            started=at(started),
            running=at(running),
            stopping=NEVER if hangs else stopping,
            ended=NEVER if hangs else at(ended),
            task_type=self.task_type,
            outcome=FINAL_STATUSES.index(outcome),
        )

    def draw_all(self, history: float, rng: random.Random) -> Iterator[Life]:
        """Draw every run from `history` seconds before the start on, in the order of their starts.

        Without end, if runs keep arriving.
        """
        for started in _arrivals(self.task, history, rng):
            yield self.draw(started, rng)


def courses(transform: Transform, task_type: str, calendar: Calendar) -> Courses:
    """Give what draws the runs of `task_type`; a type that the transform does not mention gets a plain task."""
    return Courses(
        task=transform.tasks.get(task_type) or Task(),  # type: ignore[call-overload]  # any string may be asked for
        task_type=TASK_TYPES.index(task_type),
        timeout=transform.timeout_minutes and transform.timeout_minutes * 60.0,
        calendar=calendar,
    )


def generated_lives(transform: Transform, transform_id: str, seed: int, calendar: Calendar) -> Iterator[Life]:
    """Give every run of a transform that its tasks make, in the order of their starts.

    Each task type draws from a generator of its own, seeded by scenario, transform and type.
    """
    streams = [
        courses(transform, task_type, calendar).draw_all(
            transform.history,
            random.Random(f"{seed}/{transform_id}/{task_type}"),  # noqa: S311  # a simulation, not a secret
        )
        for task_type, task in transform.tasks.items()
        if task.every is not None or task.history_runs
    ]
    if len(streams) == 1:
        return streams[0]
    return heapq.merge(*streams, key=attrgetter("started"))


def _arrivals(task: Task, history: float, rng: random.Random) -> Iterator[float]:
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
    """Give epoch seconds in milliseconds; `NEVER` for None."""
    return NEVER if epoch is None else round(epoch * 1000)


def explicit_life(
    task_type: str,
    status: str,
    *,
    started: float,
    completed: float | None,
    appears: float,
    run_id: str | None,
    fields: Mapping[str, Any],
) -> Life:
    """Give the life of a run of which everything is said (times in epoch seconds).

    A type or status that Glue does not have goes into the exact members of the answer.

    Raises:
        ValueError: `completed` and `status` contradict each other.
    """
    exact = dict(fields)
    if task_type not in TASK_TYPES:
        exact.setdefault("Properties", {"TaskType": task_type})
        task_type = "FIND_MATCHES"
    if status not in STATUSES:
        exact.setdefault("Status", status)
        exact.setdefault("CompletedOn", completed)
    elif (status in FINAL_STATUSES) != (completed is not None):
        raise ValueError("completed goes with a final status, and a final status with completed")
    ends = completed is not None and status in FINAL_STATUSES
    begun = milliseconds(started)
    return Life(
        appears=milliseconds(appears),
        started=milliseconds(exact["StartedOn"]) if "StartedOn" in exact else begun,
        running=NEVER if status == "STARTING" else begun,
        stopping=begun if status == "STOPPING" else NEVER,
        ended=milliseconds(completed) if ends else NEVER,
        task_type=TASK_TYPES.index(task_type),
        outcome=FINAL_STATUSES.index(status) if ends else 0,
        note=Note(run_id, exact) if run_id or exact else None,
    )
