"""What one poll has brought, for the log to tell and the state file to store.

Pure, as the ledger is.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.model.task_run import TaskRun


@dataclass(frozen=True, slots=True)
class Changes:
    """What one poll has brought, compared with what the ledger knew."""

    started: tuple[TaskRun, ...]
    finished: tuple[TaskRun, ...]
    recanted: tuple[tuple[TaskRun, str], ...]
    """Finished runs that now say another status, with the one they had; they are not counted again."""
    gone: tuple[TaskRun, ...]
    """Open runs that Glue no longer knows."""
    settled: Mapping[int, int]
    """Fingerprint -> packed entry of every finished run that is new or changed."""
    dropped: tuple[int, ...]
    """Fingerprints of the finished runs that are no longer remembered."""
    remembered: bool
    """Whether the open runs, the newest facts, the watermark or the floor are other than before."""

    def __bool__(self) -> bool:
        """Whether there is anything to store."""
        return bool(self.settled or self.dropped or self.remembered)


NO_CHANGES = Changes((), (), (), (), {}, (), remembered=False)
