"""The runs of one transform as a table: compact columns (about 50 bytes per run) and an index by start time.

A run is identified by its row. Rows are only appended. `order` lists the rows of the visible runs by (StartedOn,
TaskRunId). Runs are drawn lazily, when the world's time reaches them.
"""

import heapq
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from typing import Any

from exporter.simulator.run_timeline import NEVER, Override, RunTimeline
from exporter.simulator.service_model import FINAL_STATUSES, TASK_TYPES

_ID_SPACE = 1 << 160
_ID_FACTOR = 0x9E3779B97F4A7C15F39CC0605CEDC8341082276B
_ID_INVERSE = pow(_ID_FACTOR, -1, _ID_SPACE)
_ID_PREFIX = "tsk-"


@dataclass(frozen=True, slots=True)
class RunIds:
    """Computes the id of a run from its row, and the row from the id. Ids therefore need no memory."""

    offset: int

    @classmethod
    def of(cls, seed: int, transform_id: str) -> "RunIds":
        """Return the `RunIds` of one transform."""
        digest = blake2b(f"{seed}/{transform_id}".encode(), digest_size=20).digest()
        return cls(int.from_bytes(digest, "big"))

    def encode(self, row: int) -> str:
        """Return the id of the run in `row`."""
        return f"{_ID_PREFIX}{(row * _ID_FACTOR + self.offset) % _ID_SPACE:040x}"

    def decode(self, run_id: str) -> int | None:
        """Return the row of an id, or None if the id has another form. The table may not have this row."""
        digits = run_id.removeprefix(_ID_PREFIX)
        if len(digits) != 40 or not run_id.startswith(_ID_PREFIX):
            return None
        try:
            return (int(digits, 16) - self.offset) * _ID_INVERSE % _ID_SPACE
        except ValueError:
            return None


class RunTable:
    """Every run of one transform, up to the time of the last `advance`; not thread-safe."""

    def __init__(self, ids: RunIds, generated: Iterator[RunTimeline]) -> None:
        self.started = array("q")
        self.running = array("q")
        self.stopping = array("q")
        self.ended = array("q")
        self.task_types = array("B")
        self.outcomes = array("B")
        self.overrides: dict[int, Override] = {}
        self.order = array("I")
        self._ids = ids
        self._own_ids: dict[str, int] = {}
        self._removed: set[int] = set()
        self._generated = generated
        self._next: RunTimeline | None = next(generated, None)
        self._scheduled: list[tuple[int, int, RunTimeline]] = []
        self._reserved_ids: set[str] = set()
        self._numbers = count()

    def schedule(self, timeline: RunTimeline) -> None:
        """Keep a run, so that `advance` adds it when its time `appears` comes.

        Raises:
            ValueError: another run has the same id.
        """
        if timeline.override is not None and timeline.override.run_id is not None:
            self._refuse_taken(timeline.override.run_id)
            self._reserved_ids.add(timeline.override.run_id)
        heapq.heappush(self._scheduled, (timeline.appears, next(self._numbers), timeline))

    def advance(self, now: int) -> None:
        """Add every run whose time `appears` is at most `now` (milliseconds), in the order of time."""
        while self._next is not None and self._next.appears <= now:
            self._append_scheduled(self._next.appears - 1)
            self.append(self._next)
            self._next = next(self._generated, None)
        self._append_scheduled(now)

    def _append_scheduled(self, until: int) -> None:
        while self._scheduled and self._scheduled[0][0] <= until:
            timeline = heapq.heappop(self._scheduled)[2]
            if timeline.override is not None and timeline.override.run_id is not None:
                self._reserved_ids.discard(timeline.override.run_id)
            self.append(timeline)

    def append(self, timeline: RunTimeline) -> int:
        """Add a run now. Return its row.

        Raises:
            ValueError: another run has the same id.
        """
        row = len(self.started)
        if timeline.override is not None:
            self._store_override(row, timeline.override)
        self.started.append(timeline.started)
        self.running.append(timeline.running)
        self.stopping.append(timeline.stopping)
        self.ended.append(timeline.ended)
        self.task_types.append(timeline.task_type)
        self.outcomes.append(timeline.outcome)
        self._insert_in_order(row)
        return row

    def _store_override(self, row: int, override: Override) -> None:
        if override.run_id is not None:
            self._refuse_taken(override.run_id)
            self._own_ids[override.run_id] = row
        self.overrides[row] = override

    def _refuse_taken(self, run_id: str) -> None:
        if run_id in self._reserved_ids or self.find(run_id) is not None:
            raise ValueError(f"a run {run_id!r} exists already")

    def _insert_in_order(self, row: int) -> None:
        order, started = self.order, self.started
        if not order or started[order[-1]] < started[row]:  # the usual case; no id is computed
            order.append(row)
            return
        order.insert(bisect_left(order, self._sort_key(row), key=self._sort_key), row)

    def _sort_key(self, row: int) -> tuple[int, str]:
        return self.started[row], self.run_id(row)

    def move(self, row: int, started: int) -> None:
        """Change the start of a run. A run with the start `NEVER` has not started, and is listed last."""
        self.order.remove(row)
        self.started[row] = started
        self._insert_in_order(row)

    def remove(self, row: int) -> None:
        """Remove a run, as Glue removes old runs."""
        self.order.remove(row)
        self._removed.add(row)

    def find(self, run_id: str) -> int | None:
        """Return the row of a visible run, or None."""
        row = self._own_ids.get(run_id)
        if row is None:
            row = self._ids.decode(run_id)
            if row is None or row >= len(self.started) or self.run_id(row) != run_id:
                return None
        return None if row in self._removed else row

    def run_id(self, row: int) -> str:
        """Return the TaskRunId of a run."""
        override = self.overrides.get(row)
        return override.run_id if override and override.run_id else self._ids.encode(row)

    def overridden_fields(self, row: int) -> dict[str, Any]:
        """Return the members that replace members of the rendered run. Changes to this dict change the run."""
        return self.overrides.setdefault(row, Override()).fields

    def status(self, row: int, now: int) -> str:
        """Return a run's status at `now` (milliseconds)."""
        override = self.overrides.get(row)
        if override is not None and override.fields.get("Status"):
            return str(override.fields["Status"])
        if self.ended[row] <= now:
            return FINAL_STATUSES[self.outcomes[row]]
        if self.stopping[row] <= now:
            return "STOPPING"
        return "RUNNING" if self.running[row] <= now else "STARTING"

    def task_type(self, row: int) -> str:
        """Return a run's task type."""
        override = self.overrides.get(row)
        if override is not None:
            overridden = (override.fields.get("Properties") or {}).get("TaskType")
            if overridden:
                return str(overridden)
        return TASK_TYPES[self.task_types[row]]

    def between(self, after: int | None, before: int | None) -> Sequence[int]:
        """Return the rows of the visible runs with after < StartedOn < before (milliseconds), by StartedOn and id.

        If either bound is given, runs without StartedOn are left out.
        """
        if after is None and before is None:
            return self.order
        key = self.started.__getitem__
        low = 0 if after is None else bisect_right(self.order, after, key=key)
        high = bisect_left(self.order, NEVER if before is None else before, key=key)
        return self.order[low:high]
