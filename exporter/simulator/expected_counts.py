"""What is true of one transform, counted from its runs themselves: what tests compare an exporter's figures with."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from exporter.simulator.history import RunHistory
from exporter.simulator.records import render_run
from exporter.simulator.scenario import Transform
from exporter.simulator.service_model import FINAL_STATUSES


@dataclass(slots=True)
class Resident:
    """One transform that lives in the world; `region` None stands for every region."""

    id: str
    name: str
    spec: Transform
    account: str
    region: str | None
    tags: Mapping[str, str]
    fields: dict[str, Any] = field(default_factory=dict)
    modified: float | None = None
    history: RunHistory | None = None


def count(resident: Resident, history: RunHistory, now: int, since: float) -> dict[str, Any]:
    """Count a transform's visible runs at `now` (milliseconds).

    Gives `started` (type: count), `runs` (type: present status: count), `finished` (type: final status: count), and
    `completions`: every run that completed at or after `since` (epoch seconds), by completion time.
    """
    runs: dict[str, dict[str, int]] = {}
    kinds = Counter((history.task_type(slot), history.status(slot, now)) for slot in history.order)
    for (task_type, status), number in sorted(kinds.items()):
        runs.setdefault(task_type, {})[status] = number
    return {
        "name": resident.name,
        "account": resident.account,
        "region": resident.region,
        "started": {task_type: sum(counts.values()) for task_type, counts in runs.items()},
        "runs": runs,
        "finished": {
            task_type: {status: n for status, n in counts.items() if status in FINAL_STATUSES}
            for task_type, counts in runs.items()
        },
        "completions": _completions(resident, history, now, since),
    }


def _completions(resident: Resident, history: RunHistory, now: int, since: float) -> list[dict[str, Any]]:
    found = []
    for slot in history.order:
        if since * 1000 <= history.ended[slot] <= now or slot in history.notes:
            record = render_run(history, slot, now, resident.spec, resident.id)
            if record["Status"] in FINAL_STATUSES and record.get("CompletedOn", 0) >= since:
                found.append(_completion(record))
    return sorted(found, key=lambda one: (one["completed"], one["run_id"]))


def _completion(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "run_id": record["TaskRunId"],
        "task_type": record["Properties"]["TaskType"],
        "status": record["Status"],
        "started": record.get("StartedOn"),
        "completed": record["CompletedOn"],
        "execution_time": record.get("ExecutionTime"),
    }
