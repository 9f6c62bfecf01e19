"""Formats the fields of a run as text: all fields for programs (JSON, CSV), single fields for people.

A text of Glue (an error string, for instance) cannot add a line, a terminal escape sequence or a spreadsheet formula.
Names and structure are those of the response of GetMLTaskRuns in the AWS Glue API reference.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeGuard

from exporter.config.durations import format_duration
from exporter.config.timestamps import format_age, format_time
from exporter.glue.decode import Record

TIME_FIELDS = ("StartedOn", "LastModifiedOn", "CompletedOn", "NewestRunStartedOn")

CSV_COLUMNS = (
    "TransformId",
    "TransformName",
    "Account",
    "Region",
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
"""Every documented field of a run, and the name, account and region of its transform.

A nested field is named by its path.
"""

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

_FORMULA_STARTS = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
"""A spreadsheet reads a cell that starts with one of these characters as a formula. The last four are full-width
forms."""


def printable(text: str) -> str:
    r"""Return the text in one line, with an escape (`\x1b`) for each character that is not printable."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def one_line(text: str) -> str:
    """Return the text as `printable` does, with each run of white space replaced by one space."""
    return printable(" ".join(text.split()))


def json_line(record: Record) -> str:
    """Return a run as one line of JSON in ASCII, with Glue's field names and times in ISO 8601, as in the AWS CLI."""
    return json.dumps(with_iso_times(record), allow_nan=False)


def csv_row(record: Record) -> list[str]:
    """Return the cells of a run in the order of `CSV_COLUMNS`, without line breaks."""
    return csv_cells(with_iso_times(_flatten(record)), CSV_COLUMNS)


def csv_cells(values: Mapping[str, Any], columns: Iterable[str]) -> list[str]:
    """Return the values as cells in the order of the columns, without line breaks.

    An apostrophe is put before a cell that a spreadsheet would read as a formula.
    """
    cells = [_text(values.get(name)) for name in columns]
    return [f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell for cell in map(printable, cells)]


def status(record: Record) -> str:
    """Return the status of a run, `-` if there is none."""
    return one_line(_text(record.get("Status"))) or "-"


def task_type(record: Record) -> str:
    """Return the task type of a run, `-` if there is none."""
    return one_line(_text(_flatten(record).get("Properties.TaskType"))) or "-"


def run_id(record: Record) -> str:
    """Return the id of a run, `-` if there is none."""
    return one_line(_text(record.get("TaskRunId"))) or "-"


def started(record: Record, now: float) -> str:
    """Return the start of a run as UTC time, and relative to `now` (UTC seconds)."""
    return _time_and_age(record.get("StartedOn"), now)


def duration(record: Record) -> str:
    """Return the time from StartedOn to CompletedOn, with waiting, as 12m3s; `-` while the run is active."""
    start, end = record.get("StartedOn"), record.get("CompletedOn")
    return _seconds(end - start) if _is_number(start) and _is_number(end) else "-"


def execution_time(record: Record) -> str:
    """Return the ExecutionTime of a run, as 12m3s; `-` if there is none."""
    seconds = record.get("ExecutionTime")
    return _seconds(seconds) if _is_number(seconds) else "-"


def _seconds(seconds: float) -> str:
    return format_duration(float(round(seconds))) if 0 <= seconds < 1e12 else "-"


def details(record: Record, now: float) -> Iterator[tuple[str, str]]:
    """Yield the other fields of a run that have a value, as label and text; the error comes first."""
    fields = _flatten(record)
    for label, name in _DETAILS:
        if text := one_line(_text(fields.get(name))):
            yield label, text
    if record.get("CompletedOn") is not None:
        yield "Ended", _time_and_age(record["CompletedOn"], now)


def _time_and_age(value: Any, now: float) -> str:
    if not _is_number(value):
        return one_line(_text(value)) or "-"
    return f"{format_time(value).replace('T', ' ')} ({format_age(value, now)})" if abs(value) < 1e11 else str(value)


def with_iso_times(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with the times in ISO 8601 instead of UTC seconds."""
    times = {name: values[name] for name in TIME_FIELDS if _is_number(values.get(name))}
    return {**values, **{name: format_time(seconds, "milliseconds") for name, seconds in times.items()}}


def _flatten(fields: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{path}{name}.")
        else:
            flat[f"{path}{name}"] = value
    return flat


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
