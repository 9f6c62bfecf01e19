"""Render runs and transforms as members of the API's answers. Members without a value are left out."""

from collections.abc import Callable, Mapping
from typing import Any

from exporter.simulator.quantities import instant
from exporter.simulator.run_table import RunTable
from exporter.simulator.run_timeline import NEVER
from exporter.simulator.scenario import Quality, Transform
from exporter.simulator.service_model import FINAL_STATUSES, TASK_TYPES

_BUCKET = "s3://aws-glue-ml-123456789012"
_WITH_ERROR = ("FAILED", "TIMEOUT")


def render_run(table: RunTable, row: int, now: int, transform: Transform, transform_id: str) -> dict[str, Any]:
    """Render one run as a TaskRun at `now` (milliseconds).

    ExecutionTime is the time from RUNNING to the end in whole seconds. A run that has not ended has no ExecutionTime.
    Overrides of the run replace rendered members.
    """
    run_id = table.run_id(row)
    started = table.started[row]
    status = table.status(row, now)
    record: dict[str, Any] = {
        "TransformId": transform_id,
        "TaskRunId": run_id,
        "Status": status,
        "LogGroupName": transform.log_group,
        "Properties": _properties(TASK_TYPES[table.task_types[row]], transform.name, run_id),
    }
    if started != NEVER:
        record["StartedOn"] = started / 1000
        record["LastModifiedOn"] = _last_change(table, row, now) / 1000
    if table.ended[row] <= now:
        _render_end(record, table, row, transform)
    override = table.overrides.get(row)
    return _without_none({**record, **override.fields}) if override else record


def _last_change(table: RunTable, row: int, now: int) -> int:
    times = (table.ended[row], table.stopping[row], table.running[row])
    return next((at for at in times if at <= now), table.started[row])


def _render_end(record: dict[str, Any], table: RunTable, row: int, transform: Transform) -> None:
    ended = table.ended[row]
    record["CompletedOn"] = ended / 1000
    record["ExecutionTime"] = max(0, ended - table.running[row]) // 1000
    outcome = FINAL_STATUSES[table.outcomes[row]]
    if outcome in _WITH_ERROR:
        record["ErrorString"] = _error(outcome, row, record, transform)


def _error(outcome: str, row: int, record: dict[str, Any], transform: Transform) -> str:
    if outcome == "TIMEOUT":
        return f"Task run exceeded its timeout after {record['ExecutionTime']} seconds."
    task = transform.tasks.get(record["Properties"]["TaskType"])
    return task.errors[row % len(task.errors)] if task else "The task run failed."


def _properties(task_type: str, name: str, run_id: str) -> dict[str, Any]:
    details = _DETAILS.get(task_type)
    properties: dict[str, Any] = {"TaskType": task_type}
    if details is not None:
        properties[details[0]] = details[1](name, run_id[-16:])
    return properties


def _generated_set(name: str, digits: str) -> dict[str, Any]:
    return {"OutputS3Path": f"{_BUCKET}/{name}/to-label/{digits}/"}


def _imported_labels(name: str, digits: str) -> dict[str, Any]:
    path = f"{_BUCKET}/{name}/labelled/{digits}.csv"
    return {"InputS3Path": path, "Replace": digits[-1:] in "01234567"}


def _exported_labels(name: str, digits: str) -> dict[str, Any]:
    return {"OutputS3Path": f"{_BUCKET}/{name}/labels/{digits}/"}


def _found_matches(name: str, digits: str) -> dict[str, Any]:
    return {
        "JobId": f"job-{digits}",
        "JobName": f"find-matches-{name}"[:255],
        "JobRunId": f"jr_{digits}",
    }


_DETAILS: Mapping[str, tuple[str, Callable[[str, str], dict[str, Any]]]] = {
    "LABELING_SET_GENERATION": ("LabelingSetGenerationTaskRunProperties", _generated_set),
    "IMPORT_LABELS": ("ImportLabelsTaskRunProperties", _imported_labels),
    "EXPORT_LABELS": ("ExportLabelsTaskRunProperties", _exported_labels),
    "FIND_MATCHES": ("FindMatchesTaskRunProperties", _found_matches),
}


def _without_none(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if value is not None}


def render_transform(
    transform: Transform, transform_id: str, name: str, start: float, overrides: dict[str, Any]
) -> dict[str, Any]:
    """Render a transform as the answer of GetMLTransform.

    `start` is the simulator's start in epoch seconds. `overrides` replace rendered members; None leaves a member out.
    """
    created = round(instant(transform.created, start), 3)
    record: dict[str, Any] = {
        "TransformId": transform_id,
        "Name": name,
        "Description": transform.description,
        "Status": transform.status,
        "CreatedOn": created,
        "LastModifiedOn": created,
        "InputRecordTables": [{"DatabaseName": table.database, "TableName": table.table} for table in transform.tables],
        "Parameters": _parameters(transform),
        "EvaluationMetrics": transform.quality and _evaluation_metrics(transform.quality),
        "LabelCount": transform.labels,
        "Schema": [{"Name": name, "DataType": kind} for name, kind in transform.columns.items()],
        "Role": transform.role,
        "GlueVersion": transform.glue_version,
        "WorkerType": transform.worker_type,
        "NumberOfWorkers": transform.number_of_workers,
        "MaxCapacity": None if transform.worker_type else transform.max_capacity,
        "Timeout": transform.timeout_minutes,
        "MaxRetries": transform.max_retries,
        "TransformEncryption": _encryption(transform),
    }
    return _without_none({**record, **overrides})


def _parameters(transform: Transform) -> dict[str, Any]:
    return {
        "TransformType": "FIND_MATCHES",
        "FindMatchesParameters": {
            "PrimaryKeyColumnName": transform.primary_key,
            "PrecisionRecallTradeoff": transform.precision_recall_tradeoff,
            "AccuracyCostTradeoff": transform.accuracy_cost_tradeoff,
            "EnforceProvidedLabels": transform.enforce_provided_labels,
        },
    }


def _encryption(transform: Transform) -> dict[str, Any] | None:
    if transform.security_configuration is None:
        return None
    return {
        "MlUserDataEncryption": {"MlUserDataEncryptionMode": "SSE-KMS", "KmsKeyId": "alias/aws/glue"},
        "TaskRunSecurityConfigurationName": transform.security_configuration,
    }


def _evaluation_metrics(quality: Quality) -> dict[str, Any]:
    confusion = _without_none(
        {
            "NumTruePositives": quality.true_positives,
            "NumFalsePositives": quality.false_positives,
            "NumTrueNegatives": quality.true_negatives,
            "NumFalseNegatives": quality.false_negatives,
        }
    )
    importances = [
        {"ColumnName": name, "Importance": importance} for name, importance in quality.column_importances.items()
    ]
    metrics = {
        "AreaUnderPRCurve": quality.area_under_pr_curve,
        "Precision": quality.precision,
        "Recall": quality.recall,
        "F1": quality.f1,
        "ConfusionMatrix": confusion or None,
        "ColumnImportances": importances or None,
    }
    return {"TransformType": "FIND_MATCHES", "FindMatchesMetrics": _without_none(metrics)}
