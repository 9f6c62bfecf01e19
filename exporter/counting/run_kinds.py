"""The pairs of task type and status by which runs are counted, and the number of each pair.

Pure: no clock, no network, no lock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.model.task_run import FINAL_STATUSES, STATUSES, TASK_TYPES, TaskRun

RunKind = tuple[str, str]
"""(task type, status)"""

KNOWN_KINDS: tuple[RunKind, ...] = tuple((t, s) for t in TASK_TYPES for s in STATUSES)
"""The documented pairs. The state file stores the index in this tuple, so the order must not change."""

CODES: Mapping[RunKind, int] = {run_kind: code for code, run_kind in enumerate(KNOWN_KINDS)}
FINAL_CODES: Mapping[RunKind, int] = {
    run_kind: code for run_kind, code in CODES.items() if run_kind[1] in FINAL_STATUSES
}
"""The codes of runs that have ended. None is 0, so ``get(kind, 0)`` is true only for these."""

OTHER = "OTHER"
MAX_FOREIGN_KINDS = 64
"""Undocumented pairs that get labels of their own; the others share OTHER.

The limit bounds the number of series that answers of Glue can create.
"""


@dataclass(slots=True)
class RunKinds:
    """The kinds of one transform's runs: the documented ones, then the undocumented ones in order of appearance."""

    foreign: list[RunKind] = field(default_factory=list)
    """The code of each is its index plus the number of documented kinds."""

    def run_kind(self, code: int) -> RunKind:
        """Return the task type and status of a code."""
        return KNOWN_KINDS[code] if code < len(KNOWN_KINDS) else self.foreign[code - len(KNOWN_KINDS)]

    def named(self, run: TaskRun) -> tuple[TaskRun, int]:
        """Return a run of an undocumented kind and the code of the kind.

        Once `MAX_FOREIGN_KINDS` kinds exist, the run of a further kind is returned with its undocumented type or status
        replaced by OTHER.
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
