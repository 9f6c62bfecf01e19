"""The filter of the configuration leaves series out of a scrape, and a reload can change it."""

from dataclasses import replace

import pytest

from exporter.config.schema import DROPPABLE_METRICS, NEVER_DROPPED, Metrics
from exporter.config.settings import Config
from exporter.counting.counters import Count
from exporter.counting.latest import GaugeValues, LatestRun
from exporter.counting.run_kinds import KNOWN_KINDS
from exporter.exposition.formats import TextFormat
from exporter.exposition.metrics import METRICS
from tests.counting.world import DAY, EXECUTION, FINISHED, Exporter, Prometheus, Run, World, by_kind, configuration
from tests.exposition.snapshots import EXECUTION as EXECUTION_SERIES
from tests.exposition.snapshots import FAILED, body, exposition, observed, snapshot

DURATION = "glue_ml_task_run_duration_seconds"


def leaving_out(*metrics: str, statuses: tuple[str, ...] = ()) -> Metrics:
    return Metrics(drop=metrics, drop_statuses=statuses)


def busy_exposition():
    exposed = exposition()
    facts = {"FIND_MATCHES": LatestRun(start=1.0, run=1, status="FAILED", failed=2.0, finish=2.0, execution=1.0)}
    busy = snapshot(gauge_values=GaugeValues(dict.fromkeys(KNOWN_KINDS, 1), facts, {}), latest=facts)
    exposed.update(busy, {FAILED: Count(3), EXECUTION_SERIES: observed(4.0, 5.0)})
    return exposed


def families(text: str) -> dict[str, list[str]]:
    """Give the lines of each metric, including its header."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            lines = found.setdefault(line.split()[2], [])
        lines.append(line)
    return found


def test_every_metric_but_info_can_be_left_out() -> None:
    """Every metric about Glue can be left out, except the info metric, because queries join the others with it."""
    assert set(DROPPABLE_METRICS) == {metric.name for metric in METRICS} - {NEVER_DROPPED}


@pytest.mark.parametrize("text_format", TextFormat)
def test_leaving_out_a_metric_changes_no_other_line(text_format: TextFormat) -> None:
    """The header and samples of the metric are missing, and all other lines are the same, byte for byte."""
    exposed = busy_exposition()
    before = families(body(exposed, text_format))
    assert exposed.configure(leaving_out(EXECUTION)) is False
    after = families(body(exposed, text_format))
    del before[EXECUTION]
    assert after == before
    assert exposed.configure(leaving_out()) is True
    assert EXECUTION in families(body(exposed, text_format))


def test_leaving_out_a_status_of_runs_removes_its_lines_from_every_metric() -> None:
    """No line has the status of runs as a label; all other lines stay, including the status of the transform."""
    exposed = busy_exposition()
    before = body(exposed).splitlines()
    exposed.configure(leaving_out(statuses=("FAILED", "STARTING")))
    after = body(exposed).splitlines()
    gone = [line for line in before if 'status="FAILED"' in line or 'status="STARTING"' in line]
    assert len(gone) > 20
    assert after == [line for line in before if line not in gone]


def without(config: Config, *metrics: str) -> Config:
    return replace(config, metrics=config.metrics.model_copy(update={"drop": metrics}))


def test_a_counter_that_is_shown_again_includes_the_runs_that_finished_meanwhile(tmp_path) -> None:
    """The value includes runs that finished while the counter was left out; increase() counts the next run."""
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
    assert not by_kind(prometheus.increase(FINISHED))
    assert prometheus.increase("glue_ml_task_runs_started_total")
    exporter.reload(config)
    end("FAILED")
    see()
    see()
    assert exporter.totals() == {("FIND_MATCHES", "FAILED"): 2}
    assert by_kind(prometheus.increase(FINISHED)) == {("FIND_MATCHES", "FAILED"): 2}
    assert not prometheus.falls()
    exporter.close()


def test_a_counter_that_was_added_while_it_was_left_out_is_held_when_it_is_shown() -> None:
    """The first scrape shows the value from before the reload, and the second scrape includes the next run."""
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


def test_a_histogram_that_was_created_while_its_status_was_left_out_starts_at_its_present_value() -> None:
    """Runs that finished while `drop_statuses` had their status are in no `increase()`, and later runs are."""
    world = World()
    config = configuration("tfm-a")
    left_out = replace(config, metrics=config.metrics.model_copy(update={"drop_statuses": ("FAILED",)}))
    exporter, prometheus = Exporter(world, left_out), Prometheus()

    def see(ended: int) -> None:
        for number in range(ended):
            world.now += 60
            world.add(Run(f"tsk-{world.now}", world.now - 1, world.now, status="FAILED", execution=float(number)))
        exporter.poll()
        for _ in range(2):
            prometheus.take("one", exporter.scrape())

    see(0)
    see(3)
    exporter.reload(config)
    see(2)
    for name in (FINISHED, f"{EXECUTION}_count"):
        assert exporter.scrape().of(name)["FAILED", "FIND_MATCHES"] == 5
        assert sum(prometheus.increase(name).values()) == 2
    assert not prometheus.falls()


def test_the_other_series_have_no_gap_when_the_filter_changes() -> None:
    """After a change of the filter a scrape has all series that pass both filters, at the same values."""
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
