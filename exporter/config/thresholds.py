"""The settings of the rules and of the status page: the schema of `thresholds.toml`, and the reader of such a file."""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from exporter.config.durations import parse_duration
from exporter.model.errors import ExporterError

DEFAULTS = Path(__file__).with_name("thresholds.toml")
"""The file with all settings and their defaults, which is part of the package."""

TaskType = Literal["EVALUATION", "LABELING_SET_GENERATION", "IMPORT_LABELS", "EXPORT_LABELS", "FIND_MATCHES"]


def _duration(text: str) -> str:
    try:
        parse_duration(text)
    except ValueError as error:
        raise ValueError(f"{text!r} {error}") from error
    return text


def _above_zero(text: str) -> str:
    if not parse_duration(_duration(text)):
        raise ValueError(f"{text!r} is too short; expected e.g. 5m")
    return text


Duration = Annotated[str, AfterValidator(_above_zero)]
"""A Prometheus duration, kept as text for use in PromQL."""

Label = Annotated[str, Field(pattern="^[a-zA-Z_][a-zA-Z0-9_]*$")]
Pattern = Annotated[str, Field(pattern=r"""^[^"'\\\s{}]+$""")]
"""A regular expression that can stand in PromQL and in YAML without escapes."""


def _without_slash(url: str) -> str:
    return url.removesuffix("/")


Url = Annotated[str, Field(pattern=r"""^(https?://[^\s"'#{}]+)?$"""), AfterValidator(_without_slash)]
"""An address to which a path is added; empty for none."""

Ratio = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class ThresholdsError(ExporterError):
    """The file cannot be used. The text has one line for each problem, with the name of the setting."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)


class AlertSettings(_Section):
    """The settings that every alert has."""

    enabled: bool = True
    held_for: Annotated[str, AfterValidator(_duration), Field(alias="for")]
    """Time for which the expression must be true before the alert fires."""
    severity: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]+$")]
    labels: dict[Label, str] = {}


class RunAlertSettings(AlertSettings):
    """An alert on task runs of these types."""

    task_types: list[TaskType]


class NoSuccessSettings(AlertSettings):
    """GlueMLTaskRunNoSuccess."""

    at_most: Duration


class ActiveSettings(RunAlertSettings):
    """GlueMLTaskRunActiveTooLong."""

    at_most: Duration


class SlowSettings(RunAlertSettings):
    """GlueMLTaskRunSlow."""

    factor: Annotated[float, Field(gt=1)]
    at_least: Duration
    runs: Count


class FailureRatioSettings(RunAlertSettings):
    """GlueMLTaskRunFailureRatio."""

    ratio: Ratio
    window: Duration
    runs: Count


class DropSettings(AlertSettings):
    """GlueMLPrecisionDropped and GlueMLRecallDropped."""

    drop: Ratio
    window: Duration


class StaleSettings(AlertSettings):
    """GlueMLDataStale."""

    age: Duration


class RegionSettings(AlertSettings):
    """GlueMLRegionDown."""

    ratio: Ratio
    transforms: Count


class ThrottledSettings(AlertSettings):
    """GlueMLExporterThrottled."""

    ratio: Ratio


class OverrunSettings(AlertSettings):
    """GlueMLExporterCycleOverruns."""

    overruns: Annotated[int, Field(ge=0)]


class Alerts(_Section):
    """The settings of each alert, by its name."""

    GlueMLTaskRunFailed: RunAlertSettings
    GlueMLTaskRunFailedSinceSuccess: AlertSettings
    GlueMLTaskRunTimedOut: RunAlertSettings
    GlueMLTaskRunTimedOutSinceSuccess: AlertSettings
    GlueMLTaskRunNoSuccess: NoSuccessSettings
    GlueMLTaskRunActiveTooLong: ActiveSettings
    GlueMLTaskRunSlow: SlowSettings
    GlueMLTaskRunFailureRatio: FailureRatioSettings
    GlueMLPrecisionDropped: DropSettings
    GlueMLRecallDropped: DropSettings
    GlueMLTransformNotReady: AlertSettings
    GlueMLTransformNotFound: AlertSettings
    GlueMLTransformDenied: AlertSettings
    GlueMLTransformDown: AlertSettings
    GlueMLDataStale: StaleSettings
    GlueMLTransformsUnwatched: AlertSettings
    GlueMLRegionDown: RegionSettings
    GlueMLExporterDown: AlertSettings
    GlueMLExporterAbsent: AlertSettings
    GlueMLExporterWatchesNothing: AlertSettings
    GlueMLExporterCredentialsFailing: AlertSettings
    GlueMLExporterDiscoveryFailing: AlertSettings
    GlueMLExporterThrottled: ThrottledSettings
    GlueMLExporterCycleOverruns: OverrunSettings
    GlueMLExporterConfigReloadFailed: AlertSettings
    GlueMLExporterStateNotWritten: AlertSettings
    GlueMLExporterShardMissing: AlertSettings
    GlueMLExporterShardMismatch: AlertSettings


class Thresholds(_Section):
    """All settings, with the names that they have in `thresholds.toml`. The comments in that file explain them."""

    runbook_url: Url
    dashboard_url: Url
    status_url: Url
    joined_labels: list[Label]
    critical_task_types: list[TaskType]
    window: Duration
    unrecovered_at_most: Duration
    keep_firing_for: Duration
    selector: dict[Label, Pattern]
    alert_labels: dict[Label, str]
    alerts: Alerts


def default_values() -> dict[str, Any]:
    """Return the content of the file of the defaults."""
    return tomllib.loads(DEFAULTS.read_text(encoding="utf-8"))


def read_thresholds(path: Path | None) -> Thresholds:
    """Return the defaults, with the settings of a TOML file in their place. ``path`` None means only the defaults.

    A table of the file changes only the settings that it contains.

    Raises:
        ThresholdsError: the file cannot be read, is not TOML, or has a wrong or unknown setting.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8")) if path else {}
        return Thresholds.model_validate(_merged(default_values(), given))
    except ValidationError as error:
        raise ThresholdsError("\n".join(f"{path}: {_message(problem)}" for problem in error.errors())) from None
    except OSError as error:
        raise ThresholdsError(f"{path}: {error.strerror}; expected a TOML file with settings of the rules") from None
    except RecursionError:
        raise ThresholdsError(f"{path}: is nested too deeply") from None
    except ValueError as error:  # not TOML, not UTF-8, or a number with thousands of digits
        raise ThresholdsError(f"{path}: {error}") from None


def _message(problem: Mapping[str, Any]) -> str:
    """Return the line for one problem that pydantic has found."""
    *place, name = map(str, problem["loc"])
    text = problem["msg"].removeprefix("Value error, ")
    if name == "[key]":
        name = place.pop()
        text = "is not the name of a label; expected letters, digits and _, no digit first"
    elif problem["type"] in ("model_type", "dict_type"):
        text = "is not a table; expected settings in it"
    elif problem["type"] == "extra_forbidden":
        values = default_values()
        for key in place:
            values = values.get(key, {})
        near = get_close_matches(name, [*values, "enabled", "labels"] if place[:1] == ["alerts"] else values, n=1)
        text = f"is not a setting; did you mean {near[0]}?" if near else "is not a setting; see docs/alerts.md"
    return f"{'.'.join([*place, name])}: {text}"


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**values, **changes}
    for key in values.keys() & changes.keys():
        if isinstance(values[key], Mapping) and isinstance(changes[key], Mapping):
            merged[key] = _merged(values[key], changes[key])
    return merged
