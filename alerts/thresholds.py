"""The settings of the rules: the schema of `thresholds.toml`, and its reader."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from exporter.config.durations import parse_duration

TaskType = Literal["EVALUATION", "LABELING_SET_GENERATION", "IMPORT_LABELS", "EXPORT_LABELS", "FIND_MATCHES"]


def _duration(text: str) -> str:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise ValueError(f"{text!r} {error}") from error
    if not seconds:
        raise ValueError(f"{text!r} is too short; expected e.g. 5m")
    return text


Duration = Annotated[str, AfterValidator(_duration)]
"""A Prometheus duration, kept as text for use in PromQL."""

Label = Annotated[str, Field(pattern="^[a-zA-Z_][a-zA-Z0-9_]*$")]
JobName = Annotated[str, Field(pattern=r'^[^"\\\s]+$')]
Ratio = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class ThresholdsError(ValueError):
    """The file cannot be used. The text has one line for each problem, with the name of the setting."""


class Thresholds(BaseModel):
    """The settings, with the names that they have in `thresholds.toml`. The comments in that file explain them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    runbook_url: str
    dashboard_url: str
    job: JobName
    joined_labels: list[Label]
    window: Duration
    unrecovered_at_most: Duration
    no_success_for: Duration
    no_success_task_types: Annotated[list[TaskType], Field(min_length=1)]
    active_for: Duration
    slow_factor: Annotated[float, Field(gt=1)]
    slow_at_least: Duration
    slow_runs: Count
    failure_ratio: Ratio
    failure_ratio_window: Duration
    failure_ratio_runs: Count
    quality_drop: Ratio
    quality_window: Duration
    not_ready_for: Duration
    transform_down_for: Duration
    data_age: Duration
    exporter_down_for: Duration
    error_window: Duration
    error_for: Duration
    throttled_ratio: Ratio
    throttled_for: Duration
    overruns: Annotated[int, Field(ge=0)]
    overruns_window: Duration
    reload_failed_for: Duration
    shard_missing_for: Duration
    shard_mismatch_for: Duration


def read_thresholds(path: Path) -> Thresholds:
    """Return the settings in a TOML file. The file must contain every setting.

    Raises:
        ThresholdsError: the file cannot be read, is not TOML, or has a wrong, unknown or missing setting.
    """
    try:
        return Thresholds.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        problems = error.errors(include_url=False)
        lines = (f"{path}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems)
        raise ThresholdsError("\n".join(lines)) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ThresholdsError(f"{path}: {error}") from error
