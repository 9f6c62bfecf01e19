"""The state of a scenario at any instant, and the hand that changes it.

`World` is a function of its scenario and its clock: what has happened by `now()` is drawn when it is asked for, in the
order of time, so neither the moment nor the number of questions changes the answer. Every method is thread-safe.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

from exporter.simulator.expected_counts import Resident, count
from exporter.simulator.history import RunHistory, RunIds
from exporter.simulator.lifecycle import (
    Calendar,
    Life,
    Note,
    courses,
    explicit_life,
    generated_lives,
    milliseconds,
)
from exporter.simulator.quantities import instant
from exporter.simulator.records import render_run, render_transform
from exporter.simulator.scenario import ExplicitRun, Scenario, ScenarioError, Transform
from exporter.simulator.service_model import FINAL_STATUSES, TASK_TYPES

_FLOAT_ERROR = 0.001  # epoch seconds times 1000 may fall just short of the whole millisecond they stand for
_RENDERED_AT_END = ("Status", "CompletedOn", "ExecutionTime", "ErrorString", "LastModifiedOn")


class NotThereError(LookupError):
    """A transform or run that does not exist (or not for this account and region)."""


class NotPossibleError(ValueError):
    """A change that the run's state does not allow."""


class World:
    """Transforms and their runs, as they are at `clock()` (epoch seconds; never runs backwards here).

    `start` is the instant of creation: generated history lies before it, explicit offsets count from it.
    """

    def __init__(self, scenario: Scenario, clock: Callable[[], float] = time.time) -> None:
        self.scenario = scenario
        self.lock = threading.RLock()
        self._clock = clock
        self.start = self._latest = clock()
        self._calendar = Calendar(self.start, scenario.acceleration)
        self._rng = random.Random(f"{scenario.seed}/started by request")  # noqa: S311  # a simulation
        self._residents: dict[str, Resident] = {}
        for number, transform in enumerate(scenario.transforms):
            self._settle(transform, number)

    def now(self) -> float:
        """Give the present of the world in epoch seconds."""
        with self.lock:
            self._latest = max(self._latest, self._clock())
            return self._latest

    # -- transforms

    def add_transform(self, transform: Transform | Mapping[str, Any]) -> list[str]:
        """Add a transform (or `count` of them), given as in a scenario, and give the ids.

        Raises:
            ScenarioError: an id that exists already.
            pydantic.ValidationError: a mapping that a scenario could not hold.
        """
        if not isinstance(transform, Transform):
            transform = Transform.model_validate(transform)
        with self.lock:
            return self._settle(transform, len(self._residents))

    def _settle(self, transform: Transform, number: int) -> list[str]:
        ids = []
        for index in range(transform.count):
            name = f"{transform.name}-{index + 1:05d}" if transform.count > 1 else transform.name
            transform_id = transform.id or self._make_id(f"{number}/{name}")
            if transform_id in self._residents:
                raise ScenarioError(f"transform {transform_id!r} exists already")
            self._residents[transform_id] = Resident(
                transform_id,
                name,
                transform,
                transform.account or self.scenario.default_account,
                transform.region,
                transform.tags,
            )
            ids.append(transform_id)
        return ids

    def _make_id(self, text: str) -> str:
        digest = blake2b(f"{self.scenario.seed}/{text}".encode(), digest_size=20)
        return f"tfm-{digest.hexdigest()}"

    def alter_transform(self, transform_id: str, fields: Mapping[str, Any]) -> None:
        """Set members of a transform's answer exactly, as on the wire; None leaves one out.

        Raises:
            NotThereError: no such transform.
        """
        with self.lock:
            resident = self.resident(transform_id)
            resident.fields.update(fields)
            resident.modified = self.now()

    def tag_transform(self, transform_id: str, tags: Mapping[str, str]) -> None:
        """Give a transform these tags and no others.

        Raises:
            NotThereError: no such transform.
        """
        with self.lock:
            self.resident(transform_id).tags = dict(tags)

    def remove_transform(self, transform_id: str) -> None:
        """Delete a transform with all its runs.

        Raises:
            NotThereError: no such transform.
        """
        with self.lock:
            self.resident(transform_id)
            del self._residents[transform_id]

    def transform_ids(self) -> list[str]:
        """Give the ids of all transforms of all accounts and regions, in the order in which they were added."""
        with self.lock:
            return list(self._residents)

    def resident(self, transform_id: str, account: str | None = None, region: str | None = None) -> Resident:
        """Give a transform, if `account` and `region` (None: any) can see it.

        Raises:
            NotThereError: they cannot.
        """
        resident = self._residents.get(transform_id)
        if resident is None or not _sees(resident, account, region):
            raise NotThereError(f"Entity not found: MLTransform {transform_id}")
        return resident

    def residents(self, account: str, region: str) -> list[Resident]:
        """Give the transforms that an account sees in a region."""
        with self.lock:
            return [one for one in self._residents.values() if _sees(one, account, region)]

    def transform(self, resident: Resident) -> dict[str, Any]:
        """Render a transform as GetMLTransform answers it."""
        record = render_transform(resident.spec, resident.id, resident.name, self.start, resident.fields)
        if resident.modified is not None:
            record["LastModifiedOn"] = round(resident.modified, 3)
        return record

    # -- runs

    @contextmanager
    def runs_of(self, resident: Resident, at: float | None = None) -> Iterator[tuple[RunHistory, int]]:
        """Hold a transform's runs, brought up to `at` (default: the present), together with it in milliseconds."""
        with self.lock:
            history = resident.history
            if history is None:
                history = resident.history = self._open_history(resident)
            now = int((self.now() if at is None else at) * 1000 + _FLOAT_ERROR)
            history.advance(now)
            yield history, now

    def _open_history(self, resident: Resident) -> RunHistory:
        seed = self.scenario.seed
        history = RunHistory(
            RunIds.of(seed, resident.id),
            generated_lives(resident.spec, resident.id, seed, self._calendar),
        )
        for run in resident.spec.runs:
            history.schedule(_explicit_life(run, self.start))
        return history

    def run(self, transform_id: str, run_id: str) -> dict[str, Any]:
        """Render one run as GetMLTaskRun answers it.

        Raises:
            NotThereError: no such transform or run.
        """
        with self.lock:
            resident = self.resident(transform_id)
            with self.runs_of(resident) as (history, now):
                slot = _find(history, run_id)
                return render_run(history, slot, now, resident.spec, resident.id)

    def runs(self, transform_id: str) -> list[dict[str, Any]]:
        """Render every visible run of a transform, ordered by StartedOn and id.

        Raises:
            NotThereError: no such transform.
        """
        with self.lock:
            resident = self.resident(transform_id)
            with self.runs_of(resident) as (history, now):
                return [render_run(history, slot, now, resident.spec, resident.id) for slot in history.order]

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
        """Add one exact run and give its id (times in epoch seconds).

        `status` is the one that it has in the end: with `completed` still ahead the run is RUNNING until then. Without
        `started` it starts now, and one with a final status and no `completed` is completed now. It is listed at
        once, unless `appears` lies ahead. `fields` sets members of the answer exactly; None leaves one out. Statuses
        and types that Glue does not have are passed through.

        Raises:
            NotThereError: no such transform.
            ValueError: the id is taken.
        """
        with self.lock, self.runs_of(self.resident(transform_id)) as (history, now):
            if completed is None and status in FINAL_STATUSES:
                completed = now / 1000
            life = explicit_life(
                task_type,
                status,
                started=now / 1000 if started is None else started,
                completed=completed,
                appears=now / 1000 if appears is None else appears,
                run_id=run_id,
                fields=fields or {},
            )
            if life.appears <= now:
                return history.run_id(history.append(life))
            if run_id is None:
                raise ValueError("a run that appears later needs a run_id")
            history.schedule(life)
            return run_id

    def start_run(self, transform_id: str, task_type: str, fields: Mapping[str, Any] | None = None) -> str:
        """Start a run that lives on its own, as the transform's task of that type describes, and give its id.

        Raises:
            NotThereError: no such transform.
        """
        with self.lock:
            resident = self.resident(transform_id)
            with self.runs_of(resident) as (history, now):
                course = courses(resident.spec, task_type, self._calendar)
                life = course.draw(self._calendar.scenario_seconds(now / 1000), self._rng)
                note = Note(fields=dict(fields)) if fields else None
                slot = history.append(life._replace(appears=now, started=now, note=note))
                return history.run_id(slot)

    def finish_run(
        self,
        transform_id: str,
        run_id: str,
        status: str = "SUCCEEDED",
        *,
        completed: float | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """End a run with a final status at `completed` (epoch seconds, default: now), and set `fields` exactly.

        Raises:
            NotThereError: no such transform or run.
            ValueError: the status is not a final one.
        """
        if status not in FINAL_STATUSES:
            raise ValueError(f"status must be one of {', '.join(FINAL_STATUSES)}")
        with self.lock, self.runs_of(self.resident(transform_id)) as (history, now):
            slot = _find(history, run_id)
            exact = history.exact(slot)
            for name in _RENDERED_AT_END:
                exact.pop(name, None)
            exact.update(fields or {})
            history.ended[slot] = now if completed is None else round(completed * 1000)
            history.outcomes[slot] = FINAL_STATUSES.index(status)
            history.running[slot] = min(history.running[slot], history.ended[slot])

    def alter_run(self, transform_id: str, run_id: str, fields: Mapping[str, Any]) -> None:
        """Set members of a run's answer exactly, as on the wire; None leaves one out.

        Raises:
            NotThereError: no such transform or run.
        """
        with self.lock, self.runs_of(self.resident(transform_id)) as (history, _):
            slot = _find(history, run_id)
            history.exact(slot).update(fields)
            if "StartedOn" in fields:
                history.move(slot, milliseconds(fields["StartedOn"]))

    def remove_run(self, transform_id: str, run_id: str) -> None:
        """Remove a run, as if Glue had purged it.

        Raises:
            NotThereError: no such transform or run.
        """
        with self.lock, self.runs_of(self.resident(transform_id)) as (history, _):
            history.remove(_find(history, run_id))

    def cancel_run(self, transform_id: str, run_id: str) -> str:
        """Ask a run to stop and give its status: STOPPING now, STOPPED after the task's `stopping` time.

        Raises:
            NotThereError: no such transform or run.
            NotPossibleError: the run has ended already.
        """
        with self.lock:
            resident = self.resident(transform_id)
            with self.runs_of(resident) as (history, now):
                slot = _find(history, run_id)
                status = history.status(slot, now)
                if status in FINAL_STATUSES:
                    raise NotPossibleError(f"Task run {run_id} is {status} and cannot be cancelled")
                if status != "STOPPING":
                    self._stop(resident, history, slot, now)
                return "STOPPING"

    def _stop(self, resident: Resident, history: RunHistory, slot: int, now: int) -> None:
        task_type = TASK_TYPES[history.task_types[slot]]
        course = courses(resident.spec, task_type, self._calendar)
        span = course.task.stopping.draw(self._rng) / self.scenario.acceleration
        history.exact(slot).pop("Status", None)
        history.running[slot] = min(history.running[slot], now)
        history.stopping[slot] = now
        history.ended[slot] = now + round(span * 1000)
        history.outcomes[slot] = FINAL_STATUSES.index("STOPPED")

    def truth(self, since: float | None = None) -> dict[str, Any]:
        """Give the world's own count, all of one instant, as plain data.

        It holds `now`, `start`, and per transform id what
        `truth.count` says, with the runs that completed at or after `since` (epoch seconds, default: the start).
        """
        since = self.start if since is None else since
        with self.lock:
            now = self.now()
            counts = {}
            for resident in self._residents.values():
                with self.runs_of(resident, now) as (history, at):
                    counts[resident.id] = count(resident, history, at, since)
            return {"now": now, "start": self.start, "transforms": counts}


def _sees(resident: Resident, account: str | None, region: str | None) -> bool:
    right_region = region is None or resident.region is None or resident.region == region
    return right_region and (account is None or resident.account == account)


def _find(history: RunHistory, run_id: str) -> int:
    slot = history.find(run_id)
    if slot is None:
        raise NotThereError(f"Entity not found: MLTaskRun {run_id}")
    return slot


def _explicit_life(run: ExplicitRun, start: float) -> Life:
    started = instant(run.started, start)
    return explicit_life(
        run.type,
        run.status,
        started=started,
        completed=None if run.completed is None else instant(run.completed, start),
        appears=started if run.appears is None else instant(run.appears, start),
        run_id=run.id,
        fields=run.fields,
    )
