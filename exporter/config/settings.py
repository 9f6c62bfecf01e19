"""YAML text to a `Config`: checked, complete, frozen; or a `ConfigError` with every mistake and its place."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

from exporter.config import schema
from exporter.config.document import ConfigError, Document, Problem, composed
from exporter.config.durations import format_duration
from exporter.config.schema import MASK, File


@dataclass(frozen=True, slots=True)
class Account:
    """One set of AWS credentials; without role and profile these are the ambient ones."""

    name: str
    role_arn: str | None
    external_id: str | None = field(repr=False)
    profile: str | None
    endpoint_url: str | None


@dataclass(frozen=True, slots=True)
class Transform:
    """One configured transform, its region and account already resolved."""

    id: str
    name: str | None
    region: str
    account: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DiscoverySettings:
    """Where to look for transforms, and which ones to take; `interval` in seconds."""

    account: str
    regions: tuple[str, ...]
    tags: Mapping[str, str]
    name: str | None
    interval: float
    labels_from_tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Polling:
    """How often, how far back and how hard Glue is asked; durations in seconds."""

    interval: float
    idle_interval: float | None
    """That of transforms in which nothing happens; None where it is the same."""
    lookback: float
    overlap: float
    resync_interval: float
    concurrency: int
    page_size: int
    request_timeout: float
    max_attempts: int
    requests_per_second: float
    stale_after: float


@dataclass(frozen=True, slots=True)
class Metrics:
    """How counted runs are shown; `execution_buckets` are ascending seconds without +Inf."""

    execution_buckets: tuple[float, ...]
    birth_scrapes: int
    birth_timeout: float
    created_timestamps: bool
    drop: tuple[str, ...]
    drop_statuses: tuple[str, ...]
    max_series: int | None


@dataclass(frozen=True, slots=True)
class Web:
    """What the web server offers beside metrics."""

    status_page: bool


@dataclass(frozen=True, slots=True)
class State:
    """Where counters survive a restart; without a path they do not."""

    path: str | None


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration with every default filled in.

    `accounts` is never empty; every account named in `transforms` and `discovery` is among them.
    """

    region: str | None
    endpoint_url: str | None
    accounts: tuple[Account, ...]
    transforms: tuple[Transform, ...]
    discovery: tuple[DiscoverySettings, ...]
    polling: Polling
    transform_details: bool
    metrics: Metrics
    web: Web
    state: State


def read_config(path: Path, *, environ: Mapping[str, str]) -> Config:
    """Return the configuration in the file `path`; see `load_config`.

    Raises:
        ConfigError: also when the file cannot be read or is not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(str(path), (Problem("", None, None, f"cannot be read: {error.strerror}"),)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), (Problem("", None, None, f"is not UTF-8 at byte {error.start}"),)) from error
    return load_config(text, source=str(path), environ=environ)


def load_config(text: str, *, source: str, environ: Mapping[str, str]) -> Config:
    """Return the configuration that the YAML `text` describes.

    Args:
        text: what the file holds.
        source: the name of the file, for messages.
        environ: for `${NAME}`, and AWS_REGION or AWS_DEFAULT_REGION when the text gives no region.

    Raises:
        ConfigError: with all mistakes at once.
    """
    document = Document(composed(text, source), environ)
    file = document.checked()
    if document.problems:
        raise ConfigError(source, tuple(sorted(document.problems, key=lambda p: (p.line or 0, p.column or 0))))
    return _resolved(file)


def _resolved(file: File) -> Config:
    """Return the configuration that a file without problems describes, with what it leaves to defaults filled in."""
    return Config(
        region=file.region,
        endpoint_url=file.endpoint_url,
        accounts=tuple(_account(entry) for entry in schema.accounts_of(file)),
        transforms=tuple(
            Transform(
                **entry.model_dump()
                | {"account": schema.account_of(file, entry), "region": entry.region or file.region}
            )
            for entry in file.transforms
        ),
        discovery=tuple(
            DiscoverySettings(
                **entry.model_dump()
                | {"account": schema.account_of(file, entry), "regions": entry.regions or (file.region,)}
            )
            for entry in file.discovery
        ),
        polling=Polling(**file.polling.model_dump()),
        transform_details=file.transform_details,
        metrics=Metrics(**file.metrics.model_dump()),
        web=Web(**file.web.model_dump()),
        state=State(**file.state.model_dump()),
    )


def _account(entry: schema.AccountEntry) -> Account:
    external_id = entry.external_id.get_secret_value() if entry.external_id else None
    return Account(**entry.model_dump() | {"external_id": external_id})


def masked_yaml(config: Config) -> str:
    """Return the effective configuration as YAML: every default filled in, secrets masked.

    Loaded again (with the external ids put back) it gives an equal `Config`.
    """
    return yaml.safe_dump(
        _plain(asdict(config)), sort_keys=False, allow_unicode=True, default_flow_style=None, width=120
    )


def _plain(value: object, key: str = "") -> object:
    """Return `value`, found under `key`, in the form that the file has it in."""
    if isinstance(value, dict):
        return {name: _plain(inner, name) for name, inner in value.items()}
    if isinstance(value, tuple):
        return [_plain(item, key) for item in value]
    if key == "external_id" and value:
        return MASK
    if isinstance(value, float) and key != "requests_per_second":
        return format_duration(value)
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    return value.replace("$", "$$") if isinstance(value, str) else value
