"""The pairs of task type and status by which runs are counted, and the number that stands for each.

Pure, as the ledger is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.runs import FINAL_STATUSES, STATUSES, TASK_TYPES, TaskRun

Cell = tuple[str, str]
"""(task type, status)"""

KNOWN_CELLS: tuple[Cell, ...] = tuple((t, s) for t in TASK_TYPES for s in STATUSES)

CODES: Mapping[Cell, int] = {cell: code for code, cell in enumerate(KNOWN_CELLS)}
FINAL_CODES: Mapping[Cell, int] = {cell: code for cell, code in CODES.items() if cell[1] in FINAL_STATUSES}
"""None of them is 0."""

OTHER = "OTHER"
MAX_FOREIGN_CELLS = 64
"""How many pairs outside the documentation get a name of their own; the rest share OTHER.

A label value that comes from outside must not grow without bound, whatever the answer says.
"""


@dataclass(slots=True)
class Cells:
    """Those of one transform: the documented ones, and what else its runs have named."""

    foreign: list[Cell] = field(default_factory=list)
    """The code of each is its place behind the documented ones."""

    def cell(self, code: int) -> Cell:
        """Return the type and status that `code` stands for."""
        return KNOWN_CELLS[code] if code < len(KNOWN_CELLS) else self.foreign[code - len(KNOWN_CELLS)]

    def named(self, run: TaskRun) -> tuple[TaskRun, int]:
        """Return a run of an undocumented type or status under the names by which it is counted, and their code."""
        cell = (run.task_type, run.status)
        if cell not in self.foreign and len(self.foreign) >= MAX_FOREIGN_CELLS:
            cell = (
                run.task_type if run.task_type in TASK_TYPES else OTHER,
                run.status if run.status in STATUSES else OTHER,
            )
            run = run._replace(task_type=cell[0], status=cell[1])
        if cell not in self.foreign:
            self.foreign.append(cell)
        return run, len(KNOWN_CELLS) + self.foreign.index(cell)
