"""The kinds of runs (task type and status), and the integer code of each kind.

This module does not read a clock, use the network or take a lock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.model.task_run import FINAL_STATUSES, STATUSES, TASK_TYPES, TaskRun

RunKind = tuple[str, str]
"""A task type and a status."""

KNOWN_KINDS: tuple[RunKind, ...] = tuple((t, s) for t in TASK_TYPES for s in STATUSES)
"""The documented kinds. The state file stores an index of this tuple, so the order must not change."""

CODES: Mapping[RunKind, int] = {run_kind: code for code, run_kind in enumerate(KNOWN_KINDS)}
FINAL_CODES: Mapping[RunKind, int] = {
    run_kind: code for run_kind, code in CODES.items() if run_kind[1] in FINAL_STATUSES
}
"""The codes of ended runs. All of them are above 0, so ``get(kind, 0)`` is true only for a kind of ended run."""

OTHER = "OTHER"
MAX_FOREIGN_KINDS = 64
"""Maximum number of undocumented kinds with their own labels; further kinds have the label value OTHER.

The limit is needed because each kind creates new series.
"""


@dataclass(slots=True)
class RunKinds:
    """The documented kinds, and the undocumented kinds of one transform in order of their first run."""

    foreign: list[RunKind] = field(default_factory=list)
    """The undocumented kinds. The code of a kind is its index plus the number of documented kinds."""

    def run_kind(self, code: int) -> RunKind:
        """Return the task type and the status for a code."""
        return KNOWN_KINDS[code] if code < len(KNOWN_KINDS) else self.foreign[code - len(KNOWN_KINDS)]

    def named(self, run: TaskRun) -> tuple[TaskRun, int]:
        """Return a run of an undocumented kind, and the code of its kind.

        If there are `MAX_FOREIGN_KINDS` other kinds already, the undocumented task type or status of the returned run
        is replaced by OTHER.
        """
        run_kind = (run.task_type, run.status)
        if run_kind not in self.foreign and len(self.foreign) >= MAX_FOREIGN_KINDS:
            run_kind = (
                run.task_type if run.task_type in TASK_TYPES else OTHER,
                run.status if run.status in STATUSES else OTHER,
            )
            run = run._replace(task_type=run_kind[0], status=run_kind[1])
        if run_kind not in self.foreign:
            self.foreign.append(run_kind)
        return run, len(KNOWN_KINDS) + self.foreign.index(run_kind)
