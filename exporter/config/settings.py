"""Turns YAML text into a checked, complete and frozen `Config`, or raises `ConfigError` with every mistake."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic_core import to_jsonable_python

from exporter.config import schema
from exporter.config.document import Document, read_text
from exporter.config.durations import format_duration
from exporter.config.schema import Account, File, Metrics, Polling, State, Web
from exporter.model.redaction import MASK


@dataclass(frozen=True, slots=True)
class Transform:
    """One configured transform, with its region and its account."""

    id: str
    name: str | None
    region: str
    account: str
    labels: Mapping[str, str]
    expected_interval: float | None
    expected_duration: float | None


@dataclass(frozen=True, slots=True)
class DiscoverySettings:
    """The account, the regions and the filters of a search for transforms, repeated every `interval` seconds."""

    account: str
    regions: tuple[str, ...]
    tags: Mapping[str, str]
    name: str | None
    interval: float
    labels_from_tags: tuple[str, ...]
    expected_interval_tag: str | None
    expected_duration_tag: str | None

    @property
    def tags_to_read(self) -> frozenset[str]:
        """The keys of the tags that must be read with GetTags. A tag in ``tags`` has the value of the filter."""
        expected = (self.expected_interval_tag, self.expected_duration_tag)
        return frozenset((*self.labels_from_tags, *(key for key in expected if key))) - self.tags.keys()


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration with all defaults.

    `accounts` has at least one item, and contains every account that `transforms` and `discovery` use.
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
    """Return the configuration in the file `path`, as `load_config` does.

    Raises:
        ConfigError: as `load_config`, and if the file cannot be read or is not UTF-8.
    """
    return load_config(read_text(path), source=str(path), environ=environ)


def load_config(text: str, *, source: str, environ: Mapping[str, str]) -> Config:
    """Return the configuration in the YAML `text`.

    Args:
        text: the content of the file.
        source: the name of the file, for messages.
        environ: the variables for `${NAME}`. If `text` has no region, AWS_REGION or AWS_DEFAULT_REGION is used.

    Raises:
        ConfigError: with all mistakes at once.
    """
    document = Document(text, source, environ=environ, secrets={"external_id"})
    for key in [key for key in document.values if key.startswith("x-")]:
        del document.values[key]  # a place for anchors, as in files of Docker Compose
    if not document.values.get("region"):
        document.values["region"] = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    file = document.validated(File, schema.contradictions)
    document.raise_problems()
    return _resolved(file)


def _resolved(file: File) -> Config:
    """Return the configuration of a checked file. Missing accounts and regions are set to their defaults."""
    return Config(
        region=file.region,
        endpoint_url=file.endpoint_url,
        accounts=schema.accounts_of(file),
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
        polling=file.polling,
        transform_details=file.transform_details,
        metrics=file.metrics,
        web=file.web,
        state=file.state,
    )


def masked_yaml(config: Config) -> str:
    """Return the configuration as YAML, with all defaults and masked secrets.

    If the masks are replaced by the secrets, `load_config` returns an equal `Config` for this text.
    """
    content = _as_written(to_jsonable_python(config))
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def _as_written(value: object, key: str = "") -> object:
    """Return the value of `key` as it is written in a file: durations as text, secrets masked, `$` as `$$`."""
    if isinstance(value, dict):
        return {name: _as_written(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_as_written(item, key) for item in value]
    if key == "external_id" and value:
        return MASK
    if isinstance(value, float) and key != "requests_per_second":
        return format_duration(value)
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    return value.replace("$", "$$") if isinstance(value, str) else value
