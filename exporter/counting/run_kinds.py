"""The pairs of task type and status by which runs are counted, and the number that stands for each.

Pure, as the ledger is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.model.task_run import FINAL_STATUSES, STATUSES, TASK_TYPES, TaskRun

RunKind = tuple[str, str]
"""(task type, status)"""

KNOWN_KINDS: tuple[RunKind, ...] = tuple((t, s) for t in TASK_TYPES for s in STATUSES)

CODES: Mapping[RunKind, int] = {run_kind: code for code, run_kind in enumerate(KNOWN_KINDS)}
FINAL_CODES: Mapping[RunKind, int] = {
    run_kind: code for run_kind, code in CODES.items() if run_kind[1] in FINAL_STATUSES
}
"""None of them is 0."""

OTHER = "OTHER"
MAX_FOREIGN_KINDS = 64
"""How many pairs outside the documentation get a name of their own; the rest share OTHER.

A label value that comes from outside must not grow without bound, whatever the answer says.
"""


@dataclass(slots=True)
class RunKinds:
    """Those of one transform: the documented ones, and what else its runs have named."""

    foreign: list[RunKind] = field(default_factory=list)
    """The code of each is its place behind the documented ones."""

    def run_kind(self, code: int) -> RunKind:
        """Return the type and status that `code` stands for."""
        return KNOWN_KINDS[code] if code < len(KNOWN_KINDS) else self.foreign[code - len(KNOWN_KINDS)]

    def named(self, run: TaskRun) -> tuple[TaskRun, int]:
        """Return a run of an undocumented type or status under the names by which it is counted, and their code."""
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
