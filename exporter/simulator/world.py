"""The transforms and runs of the simulated Glue, and the methods that change them.

The state of a `World` depends only on the scenario, the clock and the changes. Runs are drawn when the clock reaches
them, always in the order of time. Therefore reading the world does not change later answers. Every method is
thread-safe.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

from exporter.simulator.expected_counts import count_runs
from exporter.simulator.quantities import instant
from exporter.simulator.rendering import render_run
from exporter.simulator.run_table import RunIds, RunTable
from exporter.simulator.run_timeline import (
    Calendar,
    Override,
    RunGenerator,
    RunTimeline,
    explicit_timeline,
    generated_timelines,
    milliseconds,
)
from exporter.simulator.scenario import ExplicitRun, Scenario, ScenarioError, Transform
from exporter.simulator.service_model import FINAL_STATUSES, TASK_TYPES
from exporter.simulator.simulated_transform import SimulatedTransform

_FLOAT_ERROR = 0.001  # 1000 times the epoch seconds can be slightly below the exact number of milliseconds
_RENDERED_AT_END = ("Status", "CompletedOn", "ExecutionTime", "ErrorString", "LastModifiedOn")


class NotFoundError(LookupError):
    """The transform or run does not exist, or it belongs to another account or region than the caller."""


class InvalidChangeError(ValueError):
    """The state of a run does not allow the change."""


class World:
    """Transforms and their runs at the time of `clock` (epoch seconds). If the clock goes back, the world's time stops.

    `start` is the time when the world was created. The generated history ends at `start`, and the offsets of explicit
    runs are counted from `start`.
    """

    def __init__(self, scenario: Scenario, clock: Callable[[], float] = time.time) -> None:
        self.scenario = scenario
        self.lock = threading.RLock()
        self._clock = clock
        self.start = self._latest = clock()
        self._calendar = Calendar(self.start, scenario.acceleration)
        self._rng = random.Random(f"{scenario.seed}/started by request")  # noqa: S311  # a simulation
        self._transforms: dict[str, SimulatedTransform] = {}
        for number, transform in enumerate(scenario.transforms):
            self._create_transforms(transform, number)

    def now(self) -> float:
        """Return the world's time in epoch seconds."""
        with self.lock:
            self._latest = max(self._latest, self._clock())
            return self._latest

    # -- transforms

    def add_transform(self, transform: Transform | Mapping[str, Any]) -> list[str]:
        """Add a transform, or `count` of them, given as in a scenario. Return the ids.

        Raises:
            ScenarioError: an id exists already.
            pydantic.ValidationError: the mapping is not valid as a transform of a scenario.
        """
        if not isinstance(transform, Transform):
            transform = Transform.model_validate(transform)
        with self.lock:
            return self._create_transforms(transform, len(self._transforms))

    def _create_transforms(self, spec: Transform, number: int) -> list[str]:
        ids = []
        for index in range(spec.count):
            name = f"{spec.name}-{index + 1:05d}" if spec.count > 1 else spec.name
            transform_id = spec.id or self._make_id(f"{number}/{name}")
            if transform_id in self._transforms:
                raise ScenarioError(f"transform {transform_id!r} exists already")
            account = spec.account or self.scenario.default_account
            self._transforms[transform_id] = SimulatedTransform(
                transform_id, name, spec, account, spec.region, spec.tags
            )
            ids.append(transform_id)
        return ids

    def _make_id(self, text: str) -> str:
        digest = blake2b(f"{self.scenario.seed}/{text}".encode(), digest_size=20)
        return f"tfm-{digest.hexdigest()}"

    def alter_transform(self, transform_id: str, fields: Mapping[str, Any]) -> None:
        """Replace members of the transform in Glue's answers by `fields`. None removes a member.

        Raises:
            NotFoundError: no such transform.
        """
        with self.lock:
            transform = self.transform(transform_id)
            transform.fields.update(fields)
            transform.modified = self.now()

    def tag_transform(self, transform_id: str, tags: Mapping[str, str]) -> None:
        """Replace all tags of a transform.

        Raises:
            NotFoundError: no such transform.
        """
        with self.lock:
            self.transform(transform_id).tags = dict(tags)

    def remove_transform(self, transform_id: str) -> None:
        """Delete a transform with all its runs.

        Raises:
            NotFoundError: no such transform.
        """
        with self.lock:
            self.transform(transform_id)
            del self._transforms[transform_id]

    def transform_ids(self) -> list[str]:
        """Return the ids of all transforms of all accounts and regions, in the order in which they were added."""
        with self.lock:
            return list(self._transforms)

    def transform(self, transform_id: str, account: str | None = None, region: str | None = None) -> SimulatedTransform:
        """Return a transform that callers of `account` and `region` (None: any) can see.

        Raises:
            NotFoundError: no such transform.
        """
        transform = self._transforms.get(transform_id)
        if transform is None or not transform.is_visible(account, region):
            raise NotFoundError(f"Entity not found: MLTransform {transform_id}")
        return transform

    def transforms(self, account: str, region: str) -> list[SimulatedTransform]:
        """Return the transforms that an account can see in a region."""
        with self.lock:
            return [transform for transform in self._transforms.values() if transform.is_visible(account, region)]

    # -- runs

    @contextmanager
    def runs_of(self, transform: SimulatedTransform, at: float | None = None) -> Iterator[tuple[RunTable, int]]:
        """Lock the world, and yield the runs of a transform at time `at` and this time in milliseconds.

        `at` is in epoch seconds; None means now.
        """
        with self.lock:
            table = transform.table
            if table is None:
                table = transform.table = self._create_table(transform)
            now = int((self.now() if at is None else at) * 1000 + _FLOAT_ERROR)
            table.advance(now)
            yield table, now

    def _create_table(self, transform: SimulatedTransform) -> RunTable:
        seed = self.scenario.seed
        table = RunTable(
            RunIds.of(seed, transform.id), generated_timelines(transform.spec, transform.id, seed, self._calendar)
        )
        for run in transform.spec.runs:
            table.schedule(_timeline(run, self.start))
        return table

    def run(self, transform_id: str, run_id: str) -> dict[str, Any]:
        """Return one run as it is in the answer of GetMLTaskRun.

        Raises:
            NotFoundError: no such transform or run.
        """
        with self.lock:
            transform = self.transform(transform_id)
            with self.runs_of(transform) as (table, now):
                return render_run(table, _find(table, run_id), now, transform.spec, transform.id)

    def runs(self, transform_id: str) -> list[dict[str, Any]]:
        """Return every visible run of a transform, ordered by StartedOn and id.

        Raises:
            NotFoundError: no such transform.
        """
        with self.lock:
            transform = self.transform(transform_id)
            with self.runs_of(transform) as (table, now):
                return [render_run(table, row, now, transform.spec, transform.id) for row in table.order]

    def add_run(
        self,
        transform_id: str,
        task_type: str = "FIND_MATCHES",
        *,
        status: str = "RUNNING",
        started: float | None = None,
        completed: float | None = None,
        appears: float | None = None,
        run_id: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> str:
        """Add one run with the given times (epoch seconds). Return its id.

        Args:
            transform_id: the transform that gets the run.
            task_type: the task type. A type that Glue does not have is accepted too.
            status: the status at the end. If `completed` is in the future, the run is RUNNING until that time. A status
                that Glue does not have is accepted too.
            started: the time of the start. None: now.
            completed: the time of the end. None: now for a final status, otherwise never.
            appears: the time from which the run is listed. None: now.
            run_id: the id of the run. None: a generated id, which is possible only if the run is listed at once.
            fields: members that replace members of the run in Glue's answers. None removes a member.

        Raises:
            NotFoundError: no such transform.
            ValueError: another run has the id, or a run that appears later has no id.
        """
        with self.lock, self.runs_of(self.transform(transform_id)) as (table, now):
            if completed is None and status in FINAL_STATUSES:
                completed = now / 1000
            timeline = explicit_timeline(
                task_type,
                status,
                started=now / 1000 if started is None else started,
                completed=completed,
                appears=now / 1000 if appears is None else appears,
                run_id=run_id,
                fields=fields or {},
            )
            if timeline.appears <= now:
                return table.run_id(table.append(timeline))
            if run_id is None:
                raise ValueError("a run that appears later needs a run_id")
            table.schedule(timeline)
            return run_id

    def start_run(self, transform_id: str, task_type: str, fields: Mapping[str, Any] | None = None) -> str:
        """Start a run and return its id. The transform's task of that type decides its times and its final status.

        Raises:
            NotFoundError: no such transform.
        """
        with self.lock:
            transform = self.transform(transform_id)
            with self.runs_of(transform) as (table, now):
                generator = RunGenerator.of(transform.spec, task_type, self._calendar)
                timeline = generator.draw(self._calendar.scenario_seconds(now / 1000), self._rng)
                override = Override(fields=dict(fields)) if fields else None
                row = table.append(timeline._replace(appears=now, started=now, override=override))
                return table.run_id(row)

    def finish_run(
        self,
        transform_id: str,
        run_id: str,
        status: str = "SUCCEEDED",
        *,
        completed: float | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """End a run with a final status at `completed` (epoch seconds; None: now). `fields` replace rendered members.

        Raises:
            NotFoundError: no such transform or run.
            ValueError: the status is not a final one.
        """
        if status not in FINAL_STATUSES:
            raise ValueError(f"status must be one of {', '.join(FINAL_STATUSES)}")
        with self.lock, self.runs_of(self.transform(transform_id)) as (table, now):
            row = _find(table, run_id)
            overridden = table.overridden_fields(row)
            for name in _RENDERED_AT_END:
                overridden.pop(name, None)
            overridden.update(fields or {})
            table.ended[row] = now if completed is None else round(completed * 1000)
            table.outcomes[row] = FINAL_STATUSES.index(status)
            table.running[row] = min(table.running[row], table.ended[row])

    def alter_run(self, transform_id: str, run_id: str, fields: Mapping[str, Any]) -> None:
        """Replace members of the run in Glue's answers by `fields`. None removes a member.

        Raises:
            NotFoundError: no such transform or run.
        """
        with self.lock, self.runs_of(self.transform(transform_id)) as (table, _):
            row = _find(table, run_id)
            table.overridden_fields(row).update(fields)
            if "StartedOn" in fields:
                table.move(row, milliseconds(fields["StartedOn"]))

    def remove_run(self, transform_id: str, run_id: str) -> None:
        """Remove a run, as Glue removes old runs.

        Raises:
            NotFoundError: no such transform or run.
        """
        with self.lock, self.runs_of(self.transform(transform_id)) as (table, _):
            table.remove(_find(table, run_id))

    def cancel_run(self, transform_id: str, run_id: str) -> str:
        """Stop a run, and return "STOPPING". The run becomes STOPPED after the `stopping` time of its task.

        Raises:
            NotFoundError: no such transform or run.
            InvalidChangeError: the run has ended.
        """
        with self.lock:
            transform = self.transform(transform_id)
            with self.runs_of(transform) as (table, now):
                row = _find(table, run_id)
                status = table.status(row, now)
                if status in FINAL_STATUSES:
                    raise InvalidChangeError(f"Task run {run_id} is {status} and cannot be cancelled")
                if status != "STOPPING":
                    self._stop(transform, table, row, now)
                return "STOPPING"

    def _stop(self, transform: SimulatedTransform, table: RunTable, row: int, now: int) -> None:
        task = RunGenerator.of(transform.spec, TASK_TYPES[table.task_types[row]], self._calendar).task
        seconds = task.stopping.draw(self._rng) / self.scenario.acceleration
        table.overridden_fields(row).pop("Status", None)
        table.running[row] = min(table.running[row], now)
        table.stopping[row] = now
        table.ended[row] = now + round(seconds * 1000)
        table.outcomes[row] = FINAL_STATUSES.index("STOPPED")

    def expected_counts(self, since: float | None = None) -> dict[str, Any]:
        """Return the true figures of all transforms at the present moment, as plain data.

        Args:
            since: the time from which completed runs are listed in `completions` (epoch seconds; None: the start).

        Returns:
            `now` and `start` in epoch seconds, and `transforms`: {id: the result of `expected_counts.count_runs`}.
        """
        since = self.start if since is None else since
        with self.lock:
            now = self.now()
            counts = {}
            for transform in self._transforms.values():
                with self.runs_of(transform, now) as (table, at):
                    counts[transform.id] = count_runs(transform, table, at, since)
            return {"now": now, "start": self.start, "transforms": counts}


def _find(table: RunTable, run_id: str) -> int:
    row = table.find(run_id)
    if row is None:
        raise NotFoundError(f"Entity not found: MLTaskRun {run_id}")
    return row


def _timeline(run: ExplicitRun, start: float) -> RunTimeline:
    started = instant(run.started, start)
    return explicit_timeline(
        run.type,
        run.status,
        started=started,
        completed=None if run.completed is None else instant(run.completed, start),
        appears=started if run.appears is None else instant(run.appears, start),
        run_id=run.id,
        fields=run.fields,
    )
