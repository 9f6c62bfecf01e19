"""Task runs, transforms, shards and exceptions, which all other packages use.

This package imports no other package of the exporter.
"""

from exporter.model.task_run import RunPage, TaskRun
from exporter.model.transform import Details, Target

__all__ = ["Details", "RunPage", "Target", "TaskRun"]
