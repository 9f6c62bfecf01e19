"""Runs as text: whole for programs (JSON, CSV), and in words for people. Nothing that Glue says can forge either.

Names and structure: the GetMLTaskRuns document.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from exporter.config.durations import format_duration
from exporter.config.timestamps import ago, stamp
from exporter.glue.decode import Record

TIMES = ("StartedOn", "LastModifiedOn", "CompletedOn")

CSV_COLUMNS = (
    "TransformId",
    "TaskRunId",
    "Status",
    "Properties.TaskType",
    "StartedOn",
    "LastModifiedOn",
    "CompletedOn",
    "ExecutionTime",
    "ErrorString",
    "LogGroupName",
    "Properties.ImportLabelsTaskRunProperties.InputS3Path",
    "Properties.ImportLabelsTaskRunProperties.Replace",
    "Properties.ExportLabelsTaskRunProperties.OutputS3Path",
    "Properties.LabelingSetGenerationTaskRunProperties.OutputS3Path",
    "Properties.FindMatchesTaskRunProperties.JobId",
    "Properties.FindMatchesTaskRunProperties.JobName",
    "Properties.FindMatchesTaskRunProperties.JobRunId",
)
"""Every documented field of a run; a nested one is named by its path."""

_DETAILS = (
    ("Error", "ErrorString"),
    ("Log group", "LogGroupName"),
    ("Input", "Properties.ImportLabelsTaskRunProperties.InputS3Path"),
    ("Replaces labels", "Properties.ImportLabelsTaskRunProperties.Replace"),
    ("Output", "Properties.ExportLabelsTaskRunProperties.OutputS3Path"),
    ("Output", "Properties.LabelingSetGenerationTaskRunProperties.OutputS3Path"),
    ("Job", "Properties.FindMatchesTaskRunProperties.JobName"),
    ("Job id", "Properties.FindMatchesTaskRunProperties.JobId"),
    ("Job run", "Properties.FindMatchesTaskRunProperties.JobRunId"),
)

_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")  # the latter four are the same, in full width


def printable(text: str) -> str:
    r"""Return a text in one line, with everything a terminal might obey, or not show, written out: `\x1b`."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def folded(text: str) -> str:
    """Return the same with every run of white space as one blank: an error of many lines as a paragraph."""
    return printable(" ".join(text.split()))


def json_line(record: Record) -> str:
    """Return a run as one line of JSON, pure ASCII, under Glue's own names; times in ISO 8601, as the AWS CLI does."""
    return json.dumps({**record, **dict(_timed(record, "milliseconds"))}, allow_nan=False)


def csv_row(record: Record) -> list[str]:
    """Return a run's fields in the order of `CSV_COLUMNS`; none has a line break or is a formula to a spreadsheet."""
    fields = {**_flat(record), **dict(_timed(record, "milliseconds"))}
    cells = [_text(fields.get(name)) for name in CSV_COLUMNS]
    return [f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in map(printable, cells)]


def status(record: Record) -> str:
    """Return the status of a run."""
    return folded(_text(record.get("Status"))) or "-"


def task_type(record: Record) -> str:
    """Return the type of a run."""
    return folded(_text(_flat(record).get("Properties.TaskType"))) or "-"


def run_id(record: Record) -> str:
    """Return the id of a run."""
    return folded(_text(record.get("TaskRunId"))) or "-"


def started(record: Record, now: float) -> str:
    """Return when a run started: absolute, and relative to ``now`` (UTC seconds)."""
    return _when(record.get("StartedOn"), now)


def took(record: Record) -> str:
    """Return a run's ExecutionTime, as 12m3s."""
    seconds = record.get("ExecutionTime")
    return format_duration(seconds) if _is_number(seconds) and 0 <= seconds < 1e12 else "-"


def details(record: Record, now: float) -> Iterator[tuple[str, str]]:
    """Yield what else there is to say of a run: labels and texts, the error first."""
    fields = _flat(record)
    for label, name in _DETAILS:
        if text := folded(_text(fields.get(name))):
            yield label, text
    if record.get("CompletedOn") is not None:
        yield "Ended", _when(record["CompletedOn"], now)


def _when(value: Any, now: float) -> str:
    if not _is_number(value):
        return folded(_text(value)) or "-"
    return f"{stamp(value).replace('T', ' ')} ({ago(value, now)})" if abs(value) < 1e11 else str(value)


def _timed(record: Record, timespec: str) -> Iterator[tuple[str, str]]:
    for name in TIMES:
        if _is_number(value := record.get(name)):
            yield name, stamp(value, timespec)


def _flat(fields: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{path}{name}.")
        else:
            flat[f"{path}{name}"] = value
    return flat


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
