"""What is left out of a scrape, and how many series are in it."""

import logging
from dataclasses import replace

import pytest

from exporter.config.schema import DROPPABLE_METRICS, NEVER_DROPPED
from exporter.config.settings import Config
from exporter.counting.counters import Count
from exporter.counting.latest import GaugeValues, LatestRun
from exporter.counting.run_kinds import KNOWN_KINDS
from exporter.exposition.filters import SeriesFilter
from exporter.exposition.formats import Encoding, TextFormat
from exporter.exposition.metrics import METRICS
from tests.counting.world import DAY, EXECUTION, FINISHED, Exporter, Prometheus, Run, World, by_cell, configuration
from tests.exposition.snapshots import EXECUTION as EXECUTION_SERIES
from tests.exposition.snapshots import FAILED, body, exposition, observed, snapshot

DURATION = "glue_ml_task_run_duration_seconds"


def leaving_out(*metrics: str, statuses: tuple[str, ...] = ()) -> SeriesFilter:
    return SeriesFilter(frozenset(metrics), frozenset(statuses))


def busy_exposition():
    exposed = exposition()
    facts = {"FIND_MATCHES": LatestRun(start=1.0, run=1, status="FAILED", failed=2.0, finish=2.0, execution=1.0)}
    busy = snapshot(gauge_values=GaugeValues(dict.fromkeys(KNOWN_KINDS, 1), facts, {}), latest=facts)
    exposed.update(busy, {FAILED: Count(3), EXECUTION_SERIES: observed(4.0, 5.0)})
    return exposed


def families(text: str) -> dict[str, list[str]]:
    """Give the lines of each family, its header included."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            lines = found.setdefault(line.split()[2], [])
        lines.append(line)
    return found


def test_what_can_be_left_out_is_what_there_is() -> None:
    """Every metric about Glue can be left out, except the one that all others are joined with."""
    assert set(DROPPABLE_METRICS) == {metric.name for metric in METRICS} - {NEVER_DROPPED}


@pytest.mark.parametrize("text_format", TextFormat)
def test_a_metric_that_is_left_out_is_gone_and_nothing_else_is_touched(text_format: TextFormat) -> None:
    """Without a metric its header and samples are gone, and all other lines are the same, byte for byte."""
    exposed = busy_exposition()
    before = families(body(exposed, text_format))
    assert exposed.filter_series(leaving_out(EXECUTION), None) is False
    after = families(body(exposed, text_format))
    del before[EXECUTION]
    assert after == before
    assert exposed.filter_series(SeriesFilter(), None) is True
    assert EXECUTION in families(body(exposed, text_format))


def test_a_status_that_is_left_out_is_gone_from_every_metric_of_runs() -> None:
    """Without a status no line has it as a label; all others are there, and so is the status of the transform."""
    exposed = busy_exposition()
    before = body(exposed).splitlines()
    exposed.filter_series(leaving_out(statuses=("FAILED", "STARTING")), None)
    after = body(exposed).splitlines()
    gone = [line for line in before if 'status="FAILED"' in line or 'status="STARTING"' in line]
    assert len(gone) > 20
    assert after == [line for line in before if line not in gone]


def without(config: Config, *metrics: str) -> Config:
    return replace(config, metrics=config.metrics.model_copy(update={"drop": metrics}))


def test_what_is_left_out_is_counted_and_comes_back_at_a_value_that_is_seen_before_it_moves(tmp_path) -> None:
    """A counter that is shown again tells what was counted meanwhile, and what finishes next is seen by increase()."""
    world = World()
    config = configuration("tfm-a", "tfm-b")
    exporter, prometheus = Exporter(world, config, tmp_path / "state.db"), Prometheus()

    def see() -> None:
        prometheus.take("one", exporter.scrape())

    def end(status: str) -> None:
        world.now += 60
        world.add(Run(f"tsk-{world.now}", world.now - 1, world.now, status=status))
        exporter.poll()

    exporter.poll()
    exporter.poll("tfm-b")
    see()
    exporter.reload(without(config, FINISHED))
    end("FAILED")
    see()
    assert not by_cell(prometheus.increase(FINISHED))
    assert prometheus.increase("glue_ml_task_runs_started_total")
    exporter.reload(config)
    end("FAILED")
    see()
    see()
    assert exporter.totals() == {("FIND_MATCHES", "FAILED"): 2}
    assert by_cell(prometheus.increase(FINISHED)) == {("FIND_MATCHES", "FAILED"): 2}
    assert not prometheus.falls()
    exporter.close()


def test_a_counter_born_while_it_is_left_out_is_born_again_when_it_is_shown() -> None:
    """What first moved unseen is shown at what it was then, and the next finish moves it after a scrape."""
    world = World()
    config = configuration("tfm-a")
    exporter, prometheus = Exporter(world, without(config, EXECUTION)), Prometheus()
    exporter.poll()
    for _ in range(3):
        world.now += 60
        world.add(Run(f"tsk-{world.now}", world.now - 1, world.now, execution=5.0))
        exporter.poll()
        prometheus.take("one", exporter.scrape())
    exporter.reload(config)
    world.now += 60
    world.add(Run("tsk-new", world.now - 1, world.now, execution=5.0))
    exporter.poll()
    first, second = exporter.scrape(), exporter.scrape()
    count = ("SUCCEEDED", "FIND_MATCHES")
    assert first.of(f"{EXECUTION}_count")[count] == 3
    assert second.of(f"{EXECUTION}_count")[count] == 4


def test_the_other_series_have_no_gap_when_the_selection_changes() -> None:
    """Every scrape around a change has every series that is left in neither out, at the value that it had."""
    world = World()
    config = configuration("tfm-a")
    exporter = Exporter(world, config)
    world.add(Run("tsk-0", world.now - DAY, world.now - DAY + 60, execution=5.0))
    exporter.poll()
    exporter.scrape()
    before = exporter.scrape().values
    for changed in (without(config, DURATION, "glue_ml_task_runs"), config):
        exporter.reload(changed)
        during = exporter.scrape().values
        left = {key: value for key, value in before.items() if key.partition("{")[0] != "glue_ml_task_runs"}
        assert left.items() <= during.items()


# -- how many there are -----------------------------------------------------------------------------------------------


def scraped(exporter: Exporter) -> list[str]:
    """Scrape, with the exporter's own metrics as they are now, and give the lines that are samples."""
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


def test_the_exporter_tells_how_many_series_each_metric_has() -> None:
    """glue_ml_exporter_series has for each metric as many as the same scrape has lines, and the rest under exporter."""
    world = World()
    exporter = Exporter(world, without(configuration("tfm-a", "tfm-b"), DURATION))
    world.add(Run("tsk-0", world.now - DAY, world.now - DAY + 60))
    exporter.poll()
    exporter.poll("tfm-b")
    lines = scraped(exporter)
    own = [line for line in lines if not line.startswith(("glue_ml_task", "glue_ml_transform"))]
    for metric in METRICS:
        names = (metric.name, f"{metric.name}_bucket", f"{metric.name}_sum", f"{metric.name}_count")
        expected = sum(line.partition("{")[0] in names for line in lines)
        told = f'glue_ml_exporter_series{{metric="{metric.name}"}}'
        if metric.name == DURATION:
            assert not [line for line in lines if line.startswith(told)]
        else:
            assert value(lines, told) == expected
    again = scraped(exporter)
    assert value(again, 'glue_ml_exporter_series{metric="exporter"}') == pytest.approx(len(own), abs=3)


def limited(config: Config, most: int | None) -> Config:
    return replace(config, metrics=config.metrics.model_copy(update={"max_series": most}))


def test_too_many_series_are_told_once_with_the_largest_metric_and_so_is_their_end(caplog) -> None:
    """Above max_series the log warns once and names the largest metric; all are served; the end is told too."""
    caplog.set_level(logging.INFO)
    world = World()
    config = configuration("tfm-a", "tfm-b")
    exporter = Exporter(world, limited(config, 100))
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
    exporter.reload(limited(config, total + 50))
    scraped(exporter)
    exporter.reload(limited(config, None))
    assert caplog.text.count("no more series than metrics.max_series again") == 1
    assert value(scraped(exporter), "glue_ml_exporter_series_limit") == float("inf")
