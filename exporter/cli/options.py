"""The options of each command. `parser` returns the options, and the command gets them.

A field is named for its flag or operand (`--config.file` is `config_file`). Durations are in seconds.
"""

from dataclasses import dataclass

from exporter.config.parsing import Address
from exporter.config.timestamps import PointInTime


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """`serve`: run the exporter."""

    config_file: str
    config_enable_auto_reload: bool
    config_auto_reload_interval: float
    web_listen_address: tuple[Address, ...]
    web_telemetry_path: str
    web_external_url: str | None
    web_config_file: str | None
    web_max_requests: int
    web_enable_lifecycle: bool
    web_disable_exporter_metrics: bool
    shard_index: int | None
    shard_count: int
    log_level: str
    log_format: str


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """`demo`: run the exporter against the embedded simulator."""

    web_listen_address: tuple[Address, ...]
    scenario: str | None
    log_level: str
    log_format: str


@dataclass(frozen=True, slots=True)
class SimulateOptions:
    """`simulate`: run the simulator alone."""

    listen_address: Address
    scenario: str | None
    log_level: str
    log_format: str


@dataclass(frozen=True, slots=True)
class OnceOptions:
    """`once`: poll once and print the metrics."""

    config_file: str
    output: str | None
    with_state: bool
    log_level: str
    log_format: str


@dataclass(frozen=True, slots=True)
class CheckConfigOptions:
    """`check-config`: validate the configuration."""

    config_file: str
    web_config_file: str | None
    live: bool


@dataclass(frozen=True, slots=True)
class RunsOptions:
    """`runs`: show runs. Type, status and sort column have the values of GetMLTaskRuns."""

    transforms: tuple[str, ...]
    config_file: str | None
    all: bool
    region: str | None
    endpoint_url: str | None
    type: str | None
    status: str | None
    started_after: PointInTime | None
    started_before: PointInTime | None
    sort: str
    descending: bool
    limit: int | None
    output: str
    follow: bool
    exit_code: bool


@dataclass(frozen=True, slots=True)
class TransformsOptions:
    """`transforms`: list transforms."""

    config_file: str | None
    discover: bool
    region: str | None
    endpoint_url: str | None
    output: str


@dataclass(frozen=True, slots=True)
class HelpOptions:
    """`help`: print the help of a command; of the whole program if `command` is None."""

    command: str | None


@dataclass(frozen=True, slots=True)
class VersionOptions:
    """`version`: print the version."""


@dataclass(frozen=True, slots=True)
class IamPolicyOptions:
    """`iam-policy`: print the least-privilege IAM policy, and with `for_` the trust policy of the role."""

    config_file: str
    output: str
    for_: str | None


@dataclass(frozen=True, slots=True)
class DashboardsOptions:
    """`dashboards`: write the Grafana dashboards to a folder."""

    output: str


@dataclass(frozen=True, slots=True)
class RulesOptions:
    """`rules`: write the rules for Prometheus."""

    output: str
    thresholds: str | None


@dataclass(frozen=True, slots=True)
class CompletionOptions:
    """`completion`: print the completion script of a shell, or the words that the script asks for."""

    shell: str
    config_file: str | None


Options = (
    ServeOptions
    | DemoOptions
    | SimulateOptions
    | RunsOptions
    | TransformsOptions
    | OnceOptions
    | CheckConfigOptions
    | IamPolicyOptions
    | RulesOptions
    | DashboardsOptions
    | CompletionOptions
    | HelpOptions
    | VersionOptions
)
