"""The tools and parsers of Prometheus read the text of /metrics."""

import subprocess

import pytest

from exporter.exposition.metrics import METRICS
from exporter.simulator import Simulator
from exporter.telemetry import Telemetry
from tests.support import fetch, tool
from tests.system.staging import (
    FINAL_STATUSES,
    FINISHED,
    OPENMETRICS,
    TASK_TYPES,
    Exporter,
    Samples,
    configuration,
    wait_for,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Yield an exporter with every metric, all task types, all final statuses, and a name with special characters."""
    folder = tmp_path_factory.mktemp("served")
    with Simulator() as simulator:
        world = simulator.world
        [busy] = world.add_transform(
            {"name": 'quo"te\\back\nline', "id": "tfm-busy", "labels": 7, "quality": {"f1": 0.5}}
        )
        opened = [(t, s, world.add_run(busy, t)) for t in TASK_TYPES for s in FINAL_STATUSES]
        config = configuration(simulator.url, world.transform_ids(), state={"path": "state.db"})
        with Exporter(folder, config, "--web.disable-exporter-metrics") as exporter:
            exporter.wait_for_polls(busy, 1)
            for _, status, run_id in opened:
                world.finish_run(busy, run_id, status)
            counted = {(task_type, status): 1 for task_type, status, _ in opened}
            wait_for(lambda: exporter.metrics().cells(FINISHED, transform_id=busy) == counted)
            buckets = "glue_ml_task_run_duration_seconds_count"
            wait_for(lambda: exporter.metrics().cells(buckets, transform_id=busy) == counted)
            yield exporter


def text_of(exporter, accept="text/plain"):
    """Return the exposition in the requested format."""
    return fetch(exporter.url(), headers={"Accept": accept}).text


@pytest.mark.parametrize("version", ["2", "3"])
def test_promtool_accepts_our_metrics(served, version):
    """`promtool check metrics` of Prometheus 2 and 3 exits 0 and prints nothing."""
    command = [tool("promtool", version=version), "check", "metrics"]
    done = subprocess.run(command, input=text_of(served).encode(), capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_promtool_rejects_a_counter_without_total(served):
    """Promtool reports a counter whose name does not end in _total. An empty output therefore means correct metrics."""
    text = text_of(served).replace("glue_ml_task_runs_finished_total", "glue_ml_task_runs_finished")
    done = subprocess.run([tool("promtool"), "check", "metrics"], input=text.encode(), capture_output=True, check=False)
    assert b"glue_ml_task_runs_finished" in done.stderr + done.stdout
    assert done.returncode != 0


def test_both_formats_hold_the_same_series(served):
    """Both texts can be parsed and have the same series about Glue. In OpenMetrics, finished runs are exemplars."""
    classic = Samples(text_of(served))
    modern = Samples(text_of(served, OPENMETRICS), openmetrics=True)
    for metric in METRICS:
        names = [metric.name] if metric.kind != "histogram" else [f"{metric.name}{end}" for end in HISTOGRAM_ENDS]
        for name in names:
            # The other transforms of the simulator are left out, because they can change between the two scrapes.
            assert classic.select(name, **BUSY).keys() == modern.select(name, **BUSY).keys(), name
    [finished] = [family for family in modern.families if f"{family.name}_total" == FINISHED]
    exemplars = [sample.exemplar for sample in finished.samples if sample.value]
    assert len(exemplars) >= 20
    assert all(exemplar and exemplar.labels["task_run_id"] and exemplar.timestamp for exemplar in exemplars)


BUSY = {"transform_id": "tfm-busy"}
HISTOGRAM_ENDS = ("_bucket", "_count", "_sum")


def test_every_family_served_is_in_the_tables_and_every_family_in_the_tables_is_served(served):
    """/metrics has exactly the families of `metrics.METRICS` and `Telemetry`, each with its type and HELP."""
    telemetry = Telemetry(process=False)
    telemetry.add_state_metrics()
    wanted = {metric.name.removesuffix("_total"): metric.kind for metric in METRICS}
    wanted |= {family.name: family.type for family in telemetry.registry.collect()}
    for text, openmetrics in ((text_of(served), False), (text_of(served, OPENMETRICS), True)):
        families = Samples(text, openmetrics=openmetrics).families
        assert {family.name: family.type for family in families} == wanted
        assert len(families) == len(wanted)
        assert all(family.documentation for family in families)


def test_a_hostile_name_stays_within_its_label(served):
    """A parser returns quotes, backslashes and line ends in the name of a transform unchanged."""
    for accept in ("text/plain", OPENMETRICS):
        samples = Samples(text_of(served, accept), openmetrics=accept == OPENMETRICS)
        assert samples.value("glue_ml_transform_up", transform_name='quo"te\\back\nline', transform_id="tfm-busy") == 1
