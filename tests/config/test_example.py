from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

from exporter.config.settings import load_config, schema

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
ENTRIES = {"accounts": schema.Account, "transforms": schema.TransformEntry, "discovery": schema.DiscoveryEntry}
SECTIONS = ("polling", "metrics", "web", "state")


@pytest.fixture
def text() -> str:
    return EXAMPLE.read_text(encoding="utf-8")


def keys_of(model: type[BaseModel], place: str = "") -> Iterator[str]:
    """Yield the path of every key of the model, with `[]` for the items of a list."""
    for key, field in model.model_fields.items():
        yield f"{place}{key}"
        inner = get_args(field.annotation)[0] if get_args(field.annotation) else field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from keys_of(inner, f"{place}{key}.")


def keys_in(values: object, place: str = "") -> Iterator[str]:
    for item in values if isinstance(values, list) else [values]:
        if isinstance(item, Mapping):
            for key, value in item.items():
                yield f"{place}{key}"
                yield from keys_in(value, f"{place}{key}.")


def test_every_key_is_shown(text: str) -> None:
    """The example has every key of the schema, and loads."""
    shown = set(keys_in(yaml.safe_load(text)))
    known = set(keys_of(schema.File))
    assert "polling.interval" in known
    assert "accounts.external_id" in known
    # The example must have the default, which is an empty list, so the keys of an item are in the comment.
    assert known - shown == {"metrics.failure_reasons.name", "metrics.failure_reasons.pattern"}
    assert 'failure_reasons: []         # reasons before the built-in ones, e.g. [{name: locked, pattern: "' in text
    load_config(text, source="config.example.yaml", environ={})


def test_every_default_is_true(text: str) -> None:
    """Each value in the example is the default, so that the example without this key has the same meaning."""
    example = load_config(text, source="config.example.yaml", environ={})
    bare = load_config("region: eu-west-1\ntransforms: [tfm-1]\ndiscovery: [{}]", source="bare", environ={})
    for section in (*SECTIONS, "endpoint_url", "transform_details"):
        assert getattr(example, section) == getattr(bare, section)
    assert example.discovery[0].interval == bare.discovery[0].interval


def test_every_key_is_explained(text: str) -> None:
    """Every key has a comment, except a few keys with a clear name."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    bare = [line.split(":")[0].strip(" -") for line in lines if "#" not in line and not line.endswith(":")]
    assert set(bare) <= {"name", "role_arn", "id", "regions", "request_timeout"}
