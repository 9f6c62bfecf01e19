"""The exporter counts the series of a scrape, and warns if a scrape has too many."""

import logging
from dataclasses import replace

import pytest

from exporter.config.settings import Config
from exporter.exposition.formats import Encoding, TextFormat
from exporter.exposition.metrics import METRICS
from tests.counting.world import DAY, Exporter, Run, World, configuration

DURATION = "glue_ml_task_run_duration_seconds"


def changed(config: Config, **metrics: object) -> Config:
    """Give the configuration with other values in its section `metrics`."""
    return replace(config, metrics=config.metrics.model_copy(update=metrics))


def scraped(exporter: Exporter) -> list[str]:
    """Scrape, including the exporter's own current metrics, and give the lines that are samples."""
    variant = (TextFormat.TEXT, Encoding.IDENTITY)
    exporter.exposition._own_metrics._texts.clear()
    exporter.exposition.publish()
    scrape = exporter.exposition.scrape(*variant) or exporter.exposition.prepare_scrape(*variant)
    scrape.sent()
    text = b"".join(scrape.chunks).decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


def value(lines: list[str], series: str) -> float:
    [found] = [line.rpartition(" ")[2] for line in lines if line.startswith(f"{series} ")]
    return float(found)


def test_the_number_of_series_is_shown_by_metric() -> None:
    """glue_ml_exporter_series counts the lines of each metric in the same scrape, and the other lines together."""
    world = World()
    exporter = Exporter(world, changed(configuration("tfm-a", "tfm-b"), drop=(DURATION,)))
    world.add(Run("tsk-0", world.now - DAY, world.now - DAY + 60))
    exporter.poll()
    exporter.poll("tfm-b")
    lines = scraped(exporter)
    own = [line for line in lines if not line.startswith(("glue_ml_task", "glue_ml_transform"))]
    for metric in METRICS:
        names = (metric.name, f"{metric.name}_bucket", f"{metric.name}_sum", f"{metric.name}_count")
        expected = sum(line.partition("{")[0] in names for line in lines)
        reported = f'glue_ml_exporter_series{{metric="{metric.name}"}}'
        if metric.name == DURATION:
            assert not [line for line in lines if line.startswith(reported)]
        else:
            assert value(lines, reported) == expected
    again = scraped(exporter)
    assert value(again, 'glue_ml_exporter_series{metric="exporter"}') == pytest.approx(len(own), abs=3)


def test_too_many_series_are_logged_once_with_the_largest_metric(caplog) -> None:
    """Above max_series one warning names the largest metric; below it again, one message says so."""
    caplog.set_level(logging.INFO)
    world = World()
    config = configuration("tfm-a", "tfm-b")
    exporter = Exporter(world, changed(config, max_series=100))
    exporter.poll()
    assert len(scraped(exporter)) > 100
    exporter.poll("tfm-b")
    total = len(scraped(exporter))
    scraped(exporter)
    assert value(scraped(exporter), "glue_ml_exporter_series_limit") == 100
    warnings = [record.msg for record in caplog.records if "max_series" in str(record.msg)]
    assert len(warnings) == 1
    assert warnings[0]["largest"] == "glue_ml_task_runs"
    assert warnings[0]["its_series"] == 35
    exporter.reload(changed(config, max_series=total + 50))
    scraped(exporter)
    exporter.reload(changed(config, max_series=None))
    assert caplog.text.count("no more series than metrics.max_series again") == 1
    assert value(scraped(exporter), "glue_ml_exporter_series_limit") == float("inf")
