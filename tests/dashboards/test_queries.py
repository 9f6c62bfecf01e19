"""A real Prometheus runs every query of every panel, with an exporter that polls a simulated Glue."""

import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from dashboards.overview import SHOWN
from exporter.simulator import Simulator
from exporter.simulator.scenario import load_scenario
from tests.dashboards.panels import DASHBOARDS, Target, filled, targets, variables
from tests.servers import Prometheus
from tests.support import fetch, wait_for
from tests.system.staging import FINISHED, Exporter, configuration

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STEP = 2
"""Step of the graphs in seconds; Grafana sets `$__interval` to it."""

WINDOWS = {"__rate_interval": "15s", "__range": "2m", "__interval": f"{STEP}s", "price": "0.44"}
EVERYTHING = {
    **dict.fromkeys(("job", "instance", "account", "region", "transform"), ".+"),
    **dict.fromkeys(("cluster", "namespace", "team"), ".*"),
}
ALERT = """
groups:
  - name: test
    rules:
      - alert: GlueMLTest
        expr: vector(1)
        labels: {severity: info, team: crm}
"""
HEALTHY = "tfm-c0570e45dedb0000000000000000000000000001"
PATIENCE = 90.0
"""Time until every kind of event has occurred in the demo, in seconds."""


def answer(
    server: Prometheus, target: Target, values: Mapping[str, str], *, step: int = STEP, span: int = 120
) -> list[dict[str, Any]]:
    """Run a query on Prometheus as Grafana does. Return the series, except those with NaN as their only value.

    A graph shows the last `span` seconds.
    """
    now = time.time()
    windows = {**WINDOWS, "__interval": f"{step}s"}
    parameters = {"query": filled(target.expr, {**EVERYTHING, **windows, **values})}
    if target.query["instant"]:
        path, parameters["time"] = "query", f"{now:.3f}"
    else:
        path = "query_range"
        # Grafana aligns the ends of a range to the step. The end here is the next one, so that the last samples count.
        end = math.ceil(now / step) * step
        parameters |= {"start": f"{end - span // step * step}", "end": f"{end}", "step": f"{step}"}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    url = f"http://{server.address}/api/v1/{path}"
    reply = fetch(url, method="POST", headers=form, body=urlencode(parameters).encode(), timeout=60)
    content = json.loads(reply.body)
    assert content["status"] == "success", f"{target}: {content}"
    found = content["data"]["result"]
    return [series for series in found if any(not math.isnan(value) for value in numbers(series))]


def numbers(series: Mapping[str, Any]) -> list[float]:
    return [float(value) for _, value in series.get("values") or [series["value"]]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Prometheus]]:
    """Yield both versions of Prometheus. They scrape an exporter with state and discovery, which polls the demo."""
    folder = tmp_path_factory.mktemp("demo")
    with ExitStack() as stack:
        simulator = stack.enter_context(Simulator("demo"))
        config = configuration(
            simulator.url,
            [
                {
                    "id": transform.id,
                    "labels": {"team": transform.tags["team"]},
                    "expected_interval": transform.tags.get("glue-ml/expected-interval"),
                    "expected_duration": transform.tags.get("glue-ml/expected-duration"),
                }
                for transform in load_scenario("demo").transforms
            ],
            {"interval": "1s"},
            discovery=[{"account": "default", "regions": ["eu-west-1"], "interval": "10s"}],
            state={"path": "state.db"},
        )
        exporter = stack.enter_context(Exporter(folder, config))
        labels = {"cluster": "main", "namespace": "monitoring"}
        scrape = {"static_configs": [{"targets": [exporter.address], "labels": labels}]}
        rules = folder / "rules.yaml"
        rules.write_text(ALERT)
        servers = [
            stack.enter_context(Prometheus(folder / version, scrape=scrape, version=version, rules=[rules]))
            for version in ("2", "3")
        ]
        for server in servers:
            server.wait_until_up()
        yield servers


def test_every_query_of_every_panel_returns_data(demo: list[Prometheus]) -> None:
    """Every panel of every dashboard has data in the demo, with both versions of Prometheus."""
    missing = {(server.address, str(target)): (server, target) for server in demo for target in targets()}

    def all_answered() -> bool:
        for key, (server, target) in list(missing.items()):
            if answer(server, target, {"transform": HEALTHY} if target.dashboard == "glue-ml-transform" else {}):
                del missing[key]
        return not missing

    wait_for(all_answered, timeout=PATIENCE, interval=1.0, describe=lambda: f"data for {sorted(missing)}")


def test_the_dashboard_of_a_transform_shows_only_the_selected_one(demo: list[Prometheus]) -> None:
    """If one transform is selected, its dashboard and the overview show only this transform."""
    server = demo[0]
    for target in targets():
        if "transform" in variables(target.dashboard):
            for series in answer(server, target, {"transform": HEALTHY}):
                assert series["metric"].get("transform_id", HEALTHY) == HEALTHY, str(target)
                assert series["metric"].get("transform_name", "customers-dedup") == "customers-dedup", str(target)


def test_the_variables_have_choices(demo: list[Prometheus]) -> None:
    """Every variable has values. A transform has its name as text and its id as value."""
    server = demo[1]
    for name in ("glue-ml-overview", "glue-ml-transform", "glue-ml-exporter"):
        for variable in variables(name).values():
            if variable["type"] == "query":
                match = re.fullmatch(r"(\w+)\((.*?)(?:, (\w+))?\)", variable["query"], re.DOTALL)
                assert match
                call, inner, label = match.groups()
                series = [one["metric"] for one in server.ask("query", query=filled(inner, EVERYTHING))["result"]]
                if call == "label_values":
                    assert {one[label] for one in series if label in one}, variable["name"]
                elif variable["name"] == "transform":
                    assert choices(series, variable["regex"])[HEALTHY] == "customers-dedup"
                else:
                    found = {"console": "eu-west-1.console.aws.amazon.com", "aws_region": "eu-west-1"}
                    assert set(choices(series, variable["regex"])) == {found[variable["name"]]}


def choices(series: list[dict[str, str]], regex: str) -> dict[str, str]:
    """Return value and text of each choice of a variable. `regex` extracts them from the text of a series."""
    pattern = regex.strip("/").replace("(?<", "(?P<")
    lines = ["{" + ",".join(f'{name}="{value}"' for name, value in one.items()) + "} 1 0" for one in series]
    found = [re.search(pattern, line) for line in lines]
    return {match["value"]: match.groupdict().get("text", "") for match in found if match}


def test_what_fails_now_has_its_reason_and_its_links(demo: list[Prometheus]) -> None:
    """The first table has the failing transform with reason, team and console, and the alerts that fire."""
    for server in demo:
        failing, alerts = (target for target in targets() if target.panel["title"] in {"Failing now", "Firing alerts"})
        found = wait_for(
            lambda server=server, failing=failing: [
                series["metric"]
                for series in answer(server, failing, {})
                if series["metric"]["transform_name"] == "suppliers-always-failing"
            ],
            timeout=PATIENCE,
            describe="suppliers-always-failing fails",
        )
        labels = {"status": "FAILED", "reason": "access_denied", "team": "procurement", "aws_region": "eu-west-1"}
        assert {**labels, "console": "eu-west-1.console.aws.amazon.com"}.items() <= found[0].items()
        [alert] = answer(server, alerts, {})
        assert alert["metric"]["alertname"] == "GlueMLTest"


def test_annotations_are_times_of_failures(demo: list[Prometheus]) -> None:
    """The value of an annotation is the end of a failed run, in milliseconds."""
    (annotation,) = DASHBOARDS["glue-ml-overview"]["annotations"]["list"]
    expr = filled(annotation["expr"], {**EVERYTHING, **WINDOWS})
    for server in demo:
        found = server.ask("query", query=expr)["result"]
        failed = server.ask("query", query="glue_ml_task_run_last_failure_timestamp_seconds")["result"]
        assert {one["metric"]["transform_id"] for one in found} == {one["metric"]["transform_id"] for one in failed}
        assert all(abs(float(one["value"][1]) / 1000 - time.time()) < 90 * 86400 for one in found)
        assert all(one["metric"]["reason"] for one in found)


def test_durations_have_exemplars_that_name_runs(demo: list[Prometheus]) -> None:
    """Prometheus returns exemplars for the heat maps, and each exemplar has the id of a run."""
    for server in demo:
        for target in (target for target in targets() if target.panel["type"] == "heatmap"):
            runs = wait_for(
                lambda server=server, target=target: exemplars(server, target), timeout=PATIENCE, describe=str(target)
            )
            assert all(run.startswith("tsk-") for run in runs)


def exemplars(server: Prometheus, target: Target) -> list[str]:
    """Return the run ids in the exemplars of a query."""
    now = time.time()
    query = filled(target.expr, {**EVERYTHING, **WINDOWS})
    found = server.ask("query_exemplars", query=query, start=f"{now - 300}", end=f"{now + 60}")
    return [exemplar["labels"]["task_run_id"] for series in found for exemplar in series["exemplars"]]


@pytest.mark.parametrize("transforms", [1, 300])
def test_the_overview_is_readable_and_its_counts_add_up(tmp_path: Path, transforms: int) -> None:
    """With 1 and with 300 transforms, only tables show all of them, and the steps of a graph add up to all runs."""
    ended = Counter[str]()
    with ExitStack() as stack:
        simulator = stack.enter_context(Simulator({"transforms": [{"name": "customers", "count": transforms}]}))
        ids = simulator.world.transform_ids()
        exporter = stack.enter_context(Exporter(tmp_path, configuration(simulator.url, ids, {"interval": "5s"})))
        scrape = {"static_configs": [{"targets": [exporter.address]}]}
        servers = [
            stack.enter_context(Prometheus(tmp_path / version, scrape=scrape, version=version, interval=2.0))
            for version in ("2", "3")
        ]
        for server in servers:
            known = f"count({FINISHED} == 0) / 20"
            wait_for(lambda server=server, known=known: server.number(known) == transforms, timeout=PATIENCE)
        for status in ("FAILED", "SUCCEEDED", "FAILED"):
            for transform_id in ids:
                simulator.world.add_run(transform_id, status=status)
            ended[status] += transforms
            for server in servers:
                total = partial(server.number, f"sum({FINISHED})")
                wait_for(lambda total=total: total() == ended.total(), timeout=PATIENCE, describe="runs are counted")
        for server in servers:
            check_overview(server, transforms)
            check_sums(server, ended)


def check_overview(server: Prometheus, transforms: int) -> None:
    """Check that tables have a row for each transform, and that other panels stay readable."""
    for target in (target for target in targets() if target.dashboard == "glue-ml-overview"):
        shown = answer(server, target, {})
        if target.panel["type"] != "table":
            assert len(shown) <= SHOWN, str(target)
        elif target.panel["title"] == "All transforms" and target.panel["targets"][0] is target.query:
            assert len(shown) == transforms, str(target)


def check_sums(server: Prometheus, ended: Mapping[str, int]) -> None:
    """Check that the steps of each panel that counts runs add up to the runs that ended, at every zoom."""
    for target in (target for target in targets() if target.dashboard == "glue-ml-overview"):
        for step in (10, 120):
            found = partial(answer, server, target, {"__range": "10m"}, step=step, span=600)
            if target.panel["title"] == "Finished runs":
                sums = {series["metric"]["status"]: sum(numbers(series)) for series in found()}
                assert {status: total for status, total in sums.items() if total} == ended, step
            elif target.panel["title"] == "Failed runs":
                assert [sum(numbers(series)) for series in found()] == [ended["FAILED"]], step
