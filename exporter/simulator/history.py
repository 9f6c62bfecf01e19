"""The runs of one transform: compact columns (about 50 bytes per run) and an index by start time.

A run is known by its slot, its row in the columns. Rows are only ever appended; `order` lists the slots of the
visible runs by (StartedOn, TaskRunId). Runs are drawn lazily, when time reaches them.
"""

import heapq
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from typing import Any

from exporter.simulator.lifecycle import NEVER, Life, Note
from exporter.simulator.service_model import FINAL_STATUSES, TASK_TYPES

_ID_SPACE = 1 << 160
_ID_FACTOR = 0x9E3779B97F4A7C15F39CC0605CEDC8341082276B
_ID_INVERSE = pow(_ID_FACTOR, -1, _ID_SPACE)
_ID_PREFIX = "tsk-"


@dataclass(frozen=True, slots=True)
class RunIds:
    """Task run ids that can be computed from the slot and back, so that no id has to be stored."""

    offset: int

    @classmethod
    def of(cls, seed: int, transform_id: str) -> "RunIds":
        """Give the ids of one transform's runs."""
        digest = blake2b(f"{seed}/{transform_id}".encode(), digest_size=20).digest()
        return cls(int.from_bytes(digest, "big"))

    def encode(self, slot: int) -> str:
        """Give the id of the run in `slot`."""
        return f"{_ID_PREFIX}{(slot * _ID_FACTOR + self.offset) % _ID_SPACE:040x}"

    def decode(self, run_id: str) -> int | None:
        """Give the slot that an id stands for (it may not exist), or None if the id has another form."""
        digits = run_id.removeprefix(_ID_PREFIX)
        if len(digits) != 40 or not run_id.startswith(_ID_PREFIX):
            return None
        try:
            return (int(digits, 16) - self.offset) * _ID_INVERSE % _ID_SPACE
        except ValueError:
            return None


class RunHistory:
    """Every run of one transform, up to the instant that `advance` was last told; not thread-safe."""

    def __init__(self, ids: RunIds, generated: Iterator[Life]) -> None:
        self.started = array("q")
        self.running = array("q")
        self.stopping = array("q")
        self.ended = array("q")
        self.task_types = array("B")
        self.outcomes = array("B")
        self.notes: dict[int, Note] = {}
        self.order = array("I")
        self._ids = ids
        self._own_ids: dict[str, int] = {}
        self._removed: set[int] = set()
        self._generated = generated
        self._next: Life | None = next(generated, None)
        self._scheduled: list[tuple[int, int, Life]] = []
        self._reserved: set[str] = set()
        self._numbers = count()

    def schedule(self, life: Life) -> None:
        """Let a run appear when its time comes.

        Raises:
            ValueError: its own id is taken.
        """
        if life.note is not None and life.note.run_id is not None:
            self._refuse_taken(life.note.run_id)
            self._reserved.add(life.note.run_id)
        heapq.heappush(self._scheduled, (life.appears, next(self._numbers), life))

    def advance(self, now: int) -> None:
        """Let every run appear whose time has come by `now` (milliseconds), in the order of their times."""
        while self._next is not None and self._next.appears <= now:
            self._appear_scheduled(self._next.appears - 1)
            self.append(self._next)
            self._next = next(self._generated, None)
        self._appear_scheduled(now)

    def _appear_scheduled(self, until: int) -> None:
        while self._scheduled and self._scheduled[0][0] <= until:
            life = heapq.heappop(self._scheduled)[2]
            if life.note is not None and life.note.run_id is not None:
                self._reserved.discard(life.note.run_id)
            self.append(life)

    def append(self, life: Life) -> int:
        """Add a run now and give its slot.

        Raises:
            ValueError: its own id is taken.
        """
        slot = len(self.started)
        if life.note is not None:
            self._keep_note(slot, life.note)
        self.started.append(life.started)
        self.running.append(life.running)
        self.stopping.append(life.stopping)
        self.ended.append(life.ended)
        self.task_types.append(life.task_type)
        self.outcomes.append(life.outcome)
        self._list(slot)
        return slot

    def _keep_note(self, slot: int, note: Note) -> None:
        if note.run_id is not None:
            self._refuse_taken(note.run_id)
            self._own_ids[note.run_id] = slot
        self.notes[slot] = note

    def _refuse_taken(self, run_id: str) -> None:
        if run_id in self._reserved or self.find(run_id) is not None:
            raise ValueError(f"a run {run_id!r} exists already")

    def _list(self, slot: int) -> None:
        order, started = self.order, self.started
        if not order or started[order[-1]] < started[slot]:
            order.append(slot)
            return
        order.insert(bisect_left(order, self._rank(slot), key=self._rank), slot)

    def _rank(self, slot: int) -> tuple[int, str]:
        return self.started[slot], self.run_id(slot)

    def move(self, slot: int, started: int) -> None:
        """Change a run's start (`NEVER`: it has none yet and is listed last)."""
        self.order.remove(slot)
        self.started[slot] = started
        self._list(slot)

    def remove(self, slot: int) -> None:
        """Forget a run, as if Glue had purged it."""
        self.order.remove(slot)
        self._removed.add(slot)

    def find(self, run_id: str) -> int | None:
        """Give the slot of a visible run, or None."""
        slot = self._own_ids.get(run_id)
        if slot is None:
            slot = self._ids.decode(run_id)
            if slot is None or slot >= len(self.started) or self.run_id(slot) != run_id:
                return None
        return None if slot in self._removed else slot

    def run_id(self, slot: int) -> str:
        """Give the TaskRunId of a run."""
        note = self.notes.get(slot)
        return note.run_id if note and note.run_id else self._ids.encode(slot)

    def exact(self, slot: int) -> dict[str, Any]:
        """Give the members of a run's answer that were set exactly; changing the dict changes the run."""
        return self.notes.setdefault(slot, Note()).fields

    def status(self, slot: int, now: int) -> str:
        """Give a run's status at `now`."""
        note = self.notes.get(slot)
        if note is not None and note.fields.get("Status"):
            return str(note.fields["Status"])
        if self.ended[slot] <= now:
            return FINAL_STATUSES[self.outcomes[slot]]
        if self.stopping[slot] <= now:
            return "STOPPING"
        return "RUNNING" if self.running[slot] <= now else "STARTING"

    def task_type(self, slot: int) -> str:
        """Give a run's task type."""
        note = self.notes.get(slot)
        if note is not None:
            exact = (note.fields.get("Properties") or {}).get("TaskType")
            if exact:
                return str(exact)
        return TASK_TYPES[self.task_types[slot]]

    def between(self, after: int | None, before: int | None) -> Sequence[int]:
        """Give the slots of the visible runs with after < StartedOn < before (milliseconds), by StartedOn and id.

        A run without StartedOn is left out as soon as either bound is given.
        """
        if after is None and before is None:
            return self.order
        key = self.started.__getitem__
        low = 0 if after is None else bisect_right(self.order, after, key=key)
        high = bisect_left(self.order, NEVER if before is None else before, key=key)
        return self.order[low:high]
