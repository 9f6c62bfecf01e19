"""The exporter as a process, its configuration, and the samples that it serves."""

import json
import random
import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests import support
from tests.servers import Labels, Track
from tests.support import EXPORTER, Process, fetch

wait_for = partial(support.wait_for, timeout=60.0)
"""Longer waits than in other tests, because several processes run and the machine may be busy."""

TASK_TYPES = ("EVALUATION", "LABELING_SET_GENERATION", "IMPORT_LABELS", "EXPORT_LABELS", "FIND_MATCHES")
FINAL_STATUSES = ("STOPPED", "SUCCEEDED", "FAILED", "TIMEOUT")
STATUSES = ("STARTING", "RUNNING", "STOPPING", *FINAL_STATUSES)

OPENMETRICS = "application/openmetrics-text; version=1.0.0"

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIATEST",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_EC2_METADATA_DISABLED": "true",
}

FINISHED = "glue_ml_task_runs_finished_total"
STARTED = "glue_ml_task_runs_started_total"

Cell = tuple[str, str]
"""(task type, status)"""


def seeded_random(seed: int) -> random.Random:
    """Return random numbers that are the same in every run of the test."""
    return random.Random(seed)  # noqa: S311 - not used for secrets


def steady_port() -> int:
    """Return a free port that no outgoing connection uses, so that a restarted program can listen on it again."""
    for port in random.sample(range(10_300, 32_000), 200):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port in 200 tries")


def configuration(
    glue: str, transforms: Iterable[str | Mapping[str, Any]], polling: Mapping[str, Any] | None = None, **sections: Any
) -> dict[str, Any]:
    """Return a configuration that polls `glue` ten times a second, with `polling` and the other sections added.

    A new series is held for a second, which is longer than the scrape interval of the tests' servers.
    """
    fast = {"interval": "100ms", "requests_per_second": 1000, "max_attempts": 1}
    return {
        "region": "eu-west-1",
        "endpoint_url": glue,
        "transforms": list(transforms),
        "polling": {**fast, **(polling or {})},
        **sections,
        "metrics": {"initial_hold": "1s", **sections.get("metrics", {})},
    }


class Samples:
    """The samples of one exposition."""

    def __init__(self, text: str, *, openmetrics: bool = False) -> None:
        parse = parse_openmetrics if openmetrics else parse_text
        self.families = list(parse(text))
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
        }

    def select(self, name: str, **labels: str) -> dict[Labels, float]:
        """Return the samples with this name and these labels: {all labels of the sample: value}."""
        wanted = labels.items()
        return {its: value for (one, its), value in self._values.items() if one == name and wanted <= set(its)}

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of the only sample with this name and these labels; None if there is none."""
        found = self.select(name, **labels)
        assert len(found) < 2, f"several samples {name} with {labels}"
        return next(iter(found.values()), None)

    def cells(self, name: str, **labels: str) -> dict[Cell, float]:
        """Return the values of the samples with this name and these labels, by task type and status."""
        return {cell_of(its): value for its, value in self.select(name, **labels).items()}


def cell_of(labels: Labels) -> Cell:
    """Return a sample's task type and status; the status is empty if the sample has none."""
    its = dict(labels)
    return its["task_type"], its.get("status", "")


class Exporter(Process):
    """`glue-ml-exporter serve` in its own process, with its configuration in a file.

    Its working directory is `folder`, so relative paths in the configuration start there. It listens on a free port
    unless `port` is given.
    """

    def __init__(
        self, folder: Path, config: Mapping[str, Any] | None, *flags: str, port: int = 0, file: str = "config.yaml"
    ) -> None:
        self.config_file = folder / file
        if config is not None:
            self.configure(config)
        listen = f"--web.listen-address=127.0.0.1:{port}"
        command = (*EXPORTER, "serve", f"--config.file={file}", listen, *flags)
        super().__init__(*command, folder=folder, environ=CREDENTIALS)

    def configure(self, config: Mapping[str, Any]) -> None:
        """Replace the configuration file. The exporter does not reload it."""
        new = self.config_file.with_suffix(".new")
        new.write_text(yaml.safe_dump(dict(config)))
        new.replace(self.config_file)

    @cached_property
    def address(self) -> str:
        """The address as host:port. Waits until the exporter listens."""
        return self.wait_for_output(r"msg\W+listening\W.*addresses\W+([\d.:]+)", timeout=60)[1]

    def url(self, path: str = "/metrics") -> str:
        """Return the URL of a page of the exporter."""
        return f"http://{self.address}{path}"

    def metrics(self) -> Samples:
        """Scrape the exporter once in the text format 0.0.4, and return the samples."""
        return Samples(fetch(self.url()).text)

    def wait_for_value(self, wanted: float | None, name: str, *, timeout: float = 60.0, **labels: str) -> Samples:
        """Scrape until the sample with this name and these labels has the value; None means no sample."""

        def scraped() -> Samples | None:
            nonlocal samples
            samples = self.metrics()
            return samples if samples.value(name, **labels) == wanted else None

        samples: Samples | None = None
        return wait_for(
            scraped,
            timeout=timeout,
            describe=lambda: f"{name}{labels} is {wanted}; it is {samples and samples.value(name, **labels)}",
        )

    def wait_for_polls(self, transform_id: str, count: int = 1) -> None:
        """Wait until `count` more polls of a transform have succeeded or failed; 0 waits for the first poll."""
        name = "glue_ml_transform_last_poll_timestamp_seconds"
        wait_for(lambda: self.metrics().value(name, transform_id=transform_id), describe=f"a poll of {transform_id}")
        for number in range(count):
            before = self.metrics().value(name, transform_id=transform_id)
            wait_for(
                lambda before=before: self.metrics().value(name, transform_id=transform_id) != before,
                describe=f"poll {number + 1} of {count}",
            )

    def log(self) -> list[dict[str, Any]]:
        """Return the lines that the exporter has logged. It must run with --log.format=json."""
        return [json.loads(line) for line in self.stderr.split("\n")[:-1]]


def increases(tracks: Iterable[Track]) -> Counter[Cell]:
    """Return the increase of the counters by task type and status, summed over all other labels, without zeros."""
    total: Counter[Cell] = Counter()
    for track in tracks:
        total[cell_of(track.labels)] += round(track.increase)
    return +total
