"""Runs the exporter in this process, against a simulator over HTTP, and reads what it serves."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from exporter.config.settings import load_config
from exporter.exposition.formats import Encoding, TextFormat
from exporter.model.shard import Shard
from exporter.service import Service
from exporter.simulator import Simulator
from exporter.telemetry import Telemetry
from tests import support

REGION = "eu-west-1"

wait_for = partial(support.wait_for, timeout=30.0)
"""A longer deadline than in other tests, because everything runs in one process and the machine may be busy."""


@contextmanager
def no_threads() -> Iterator[None]:
    """Make every start of a thread fail."""
    threading.stack_size(1 << 47)  # larger than the address space
    try:
        yield
    finally:
        threading.stack_size(0)


Samples = dict[str, list[tuple[dict[str, str], float]]]


class Running:
    """A service that polls, its configuration, and its metrics. Without another setting it holds no new series."""

    def __init__(self, config: Mapping[str, Any], shard: Shard | None = None) -> None:
        self.config: dict[str, Any] = dict(config)
        self.service = Service(self._load, Telemetry(process=False), shard)

    def _load(self):
        metrics = {"initial_hold": "0s"} | self.config.get("metrics", {})
        return load_config(yaml.safe_dump(self.config | {"metrics": metrics}), source="test", environ={})

    def reload(self, **changes: Any) -> str | None:
        """Replace these sections of the configuration and reload it."""
        self.config |= changes
        return self.service.reload()

    def scrape(self) -> str:
        """Scrape the text format in the same way as the web server."""
        scrape = self.service.scrape(TextFormat.TEXT, Encoding.IDENTITY)
        scrape = scrape or self.service.prepare_scrape(TextFormat.TEXT, Encoding.IDENTITY)
        text = b"".join(scrape.chunks).decode()
        scrape.sent()
        return text

    def samples(self) -> Samples:
        """Scrape, and return labels and value of every sample, by name."""
        found: Samples = {}
        for family in text_string_to_metric_families(self.scrape()):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found

    def value(self, name: str, **labels: str) -> float | None:
        """Return the sum of the samples with these labels; None if there are none."""
        matching = [value for its_labels, value in self.samples().get(name, []) if labels.items() <= its_labels.items()]
        return sum(matching) if matching else None

    def errors(self, **labels: str) -> dict[str, float]:
        """Return the number of failed polls by reason, without zeros."""
        found: dict[str, float] = {}
        for its_labels, value in self.samples().get("glue_ml_exporter_poll_errors_total", []):
            if value and labels.items() <= its_labels.items():
                found[its_labels["reason"]] = found.get(its_labels["reason"], 0) + value
        return found

    def up(self, transform_id: str) -> float | None:
        """Return 1 if the last poll of a transform succeeded, 0 if it failed, None before the first poll."""
        return self.value("glue_ml_transform_up", transform_id=transform_id)

    def monitored_ids(self) -> set[str]:
        """Return the ids of the transforms that have any series."""
        return {
            labels["transform_id"]
            for samples in self.samples().values()
            for labels, _ in samples
            if "transform_id" in labels
        }

    def wait_until_up(self, *transform_ids: str, timeout: float = 30.0) -> None:
        """Wait until the last poll of each of these transforms has succeeded."""
        wait_for(
            lambda: all(self.up(transform_id) == 1 for transform_id in transform_ids),
            timeout=timeout,
            describe=lambda: f"up: {transform_ids}\n{self.scrape()[-6000:]}",
        )


@contextmanager
def running(simulator: Simulator | None = None, *, shard: Shard | None = None, **config: Any) -> Iterator[Running]:
    """Run the exporter with this configuration. By default the interval is short and requests are not retried."""
    polling = {"interval": "100ms", "stale_after": "1m", "max_attempts": "1", "requests_per_second": "1000"}
    defaults: dict[str, Any] = {"region": REGION}
    if simulator is not None:
        defaults["endpoint_url"] = simulator.url
    wanted = {**defaults, **config, "polling": {**polling, **config.get("polling", {})}}
    exporter = Running(_text(wanted), shard)
    exporter.service.start()
    try:
        yield exporter
    finally:
        exporter.service.stop()


def _text(value: Any) -> Any:
    """Return the data with all numbers as text, as the reader of the configuration expects them."""
    if isinstance(value, dict):
        return {key: _text(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_text(inner) for inner in value]
    return str(value).lower() if isinstance(value, bool) else value if value is None else str(value)


def polled_times(exporter: Running, transform_id: str) -> float:
    """Return the time of the last successful poll of a transform in epoch seconds; 0 before the first."""
    return exporter.value("glue_ml_transform_last_successful_poll_timestamp_seconds", transform_id=transform_id) or 0.0


def keeps_polling(exporter: Running, transform_id: str, *, times: int = 3, timeout: float = 30.0) -> None:
    """Wait for `times` more successful polls of a transform."""
    for _ in range(times):
        before = polled_times(exporter, transform_id)
        wait_for(lambda before=before: polled_times(exporter, transform_id) > before, timeout=timeout)


def write_credentials(path: Path, **profiles: str) -> None:
    """Write a shared credentials file with these access key ids, by profile."""
    lines = [
        line
        for profile, key in profiles.items()
        for line in (f"[{profile}]", f"aws_access_key_id = {key}", "aws_secret_access_key = none")
    ]
    path.write_text("\n".join(lines) + "\n")


def gaps(times: list[float]) -> list[float]:
    """Return the differences between consecutive times."""
    return [later - sooner for sooner, later in pairwise(times)]
