"""The true figures of one transform, counted from its runs. Tests compare an exporter's figures with them."""

from collections import Counter
from typing import Any

from exporter.simulator.rendering import render_run
from exporter.simulator.run_table import RunTable
from exporter.simulator.service_model import FINAL_STATUSES
from exporter.simulator.simulated_transform import SimulatedTransform


def count_runs(transform: SimulatedTransform, table: RunTable, now: int, since: float) -> dict[str, Any]:
    """Count the visible runs of a transform at `now` (milliseconds since the epoch).

    Returns:
        `started` ({task type: count}), `runs` ({task type: {present status: count}}), `finished` ({task type: {final
        status: count}}), and `completions`: all runs completed at or after `since` (epoch seconds), ordered by
        completion time. Also `name`, `account` and `region` of the transform.
    """
    runs: dict[str, dict[str, int]] = {}
    counts = Counter((table.task_type(row), table.status(row, now)) for row in table.order)
    for (task_type, status), count in sorted(counts.items()):
        runs.setdefault(task_type, {})[status] = count
    return {
        "name": transform.name,
        "account": transform.account,
        "region": transform.region,
        "started": {task_type: sum(by_status.values()) for task_type, by_status in runs.items()},
        "runs": runs,
        "finished": {
            task_type: {status: count for status, count in by_status.items() if status in FINAL_STATUSES}
            for task_type, by_status in runs.items()
        },
        "completions": _completions(transform, table, now, since),
    }


def _completions(transform: SimulatedTransform, table: RunTable, now: int, since: float) -> list[dict[str, Any]]:
    completions = []
    for row in table.order:
        # Rendering is slow, so only some runs are rendered: runs that ended in time, and runs with an override, because
        # an override can change the status and the time of the end.
        if since * 1000 <= table.ended[row] <= now or row in table.overrides:
            record = render_run(table, row, now, transform.spec, transform.id)
            if record["Status"] in FINAL_STATUSES and record.get("CompletedOn", 0) >= since:
                completions.append(_completion(record))
    return sorted(completions, key=lambda completion: (completion["completed"], completion["run_id"]))


def _completion(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "run_id": record["TaskRunId"],
        "task_type": record["Properties"]["TaskType"],
        "status": record["Status"],
        "started": record.get("StartedOn"),
        "completed": record["CompletedOn"],
        "execution_time": record.get("ExecutionTime"),
    }
