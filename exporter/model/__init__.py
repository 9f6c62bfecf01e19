"""The values that the other packages exchange: one task run, a page of runs, one transform, one shard, errors."""

from exporter.model.task_run import RunPage, TaskRun
from exporter.model.transform import Details, Target

__all__ = ["Details", "RunPage", "Target", "TaskRun"]
