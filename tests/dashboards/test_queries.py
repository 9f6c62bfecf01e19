"""A real Prometheus runs every query of every panel, with an exporter that polls a simulated Glue."""

import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from dashboards.overview import SHOWN
from exporter.simulator import Simulator
from tests.dashboards.panels import Target, filled, targets, variables
from tests.servers import Prometheus
from tests.support import fetch, wait_for
from tests.system.staging import Exporter, configuration

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WINDOWS = {"__rate_interval": "15s", "__range": "2m"}
EVERYTHING = {"job": ".+", "instance": ".+", "account": ".+", "region": ".+", "transform": ".+", "aws_region": ".+"}
HEALTHY = "tfm-c0570e45dedb0000000000000000000000000001"
PATIENCE = 90.0
"""Time until every kind of event has occurred in the demo, in seconds."""

TRANSFORMS = 300


def answer(server: Prometheus, target: Target, values: Mapping[str, str]) -> list[dict[str, Any]]:
    """Run a query on Prometheus as Grafana does. Return the series, except those with NaN as their only value."""
    now = time.time()
    parameters = {"query": filled(target.expr, {**EVERYTHING, **WINDOWS, **values})}
    if target.query["instant"]:
        path, parameters["time"] = "query", f"{now:.3f}"
    else:
        path, span = "query_range", {"start": f"{now - 120:.3f}", "end": f"{now:.3f}", "step": "2"}
        parameters |= span
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
            [HEALTHY],
            {"interval": "1s"},
            discovery=[{"account": "default", "regions": ["eu-west-1"], "interval": "10s"}],
            state={"path": "state.db"},
        )
        exporter = stack.enter_context(Exporter(folder, config))
        scrape = {"static_configs": [{"targets": [exporter.address]}]}
        servers = [
            stack.enter_context(Prometheus(folder / version, scrape=scrape, version=version)) for version in ("2", "3")
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
                match = re.fullmatch(r"(\w+)\((.*?)(?:, (\w+))?\)", variable["query"])
                assert match
                call, inner, label = match.groups()
                series = [one["metric"] for one in server.ask("query", query=filled(inner, EVERYTHING))["result"]]
                if call == "label_values":
                    assert {one[label] for one in series}, variable["name"]
                else:
                    assert choices(series, variable["regex"])[HEALTHY] == "customers-dedup"


def choices(series: list[dict[str, str]], regex: str) -> dict[str, str]:
    """Return value and text of each choice of a variable. `regex` extracts them from the text of a series."""
    pattern = regex.strip("/").replace("(?<", "(?P<")
    lines = ["{" + ",".join(f'{name}="{value}"' for name, value in one.items()) + "} 1 0" for one in series]
    found = [re.search(pattern, line) for line in lines]
    return {match["value"]: match["text"] for match in found if match}


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


def test_the_overview_is_readable_with_three_hundred_transforms(tmp_path: Path) -> None:
    """With 300 transforms, only the table shows all of them; the other panels stay readable."""
    task = {"every": "1m", "history_runs": 2, "duration": "20s", "waiting": "2s", "outcomes": {"FAILED": 0.5}}
    scenario = {
        "acceleration": 10,
        "transforms": [{"name": "customers", "count": TRANSFORMS, "history": "1h", "tasks": {"FIND_MATCHES": task}}],
    }
    with Simulator(scenario) as simulator:
        config = configuration(simulator.url, simulator.world.transform_ids(), {"interval": "5s"})
        with Exporter(tmp_path, config) as exporter:
            scrape = {"static_configs": [{"targets": [exporter.address]}]}
            with Prometheus(tmp_path / "prometheus", scrape=scrape, version="3", interval=2.0) as server:
                failed = "count(count by (transform_id) (glue_ml_task_runs_finished_total > 0))"
                wait_for(lambda: server.number(failed) > TRANSFORMS / 2, timeout=PATIENCE, describe="runs finish")
                overview = [target for target in targets() if target.dashboard == "glue-ml-overview"]
                failing = server.ask(
                    "query", query="group by (transform_id) (glue_ml_task_run_last_failure_timestamp_seconds)"
                )
                have_failed = {series["metric"]["transform_id"] for series in failing["result"]}
                for target in overview:
                    shown = answer(server, target, {})
                    series = len(shown)
                    if target.panel["type"] == "state-timeline":
                        assert {one["metric"]["transform_id"] for one in shown} < have_failed
                    if target.panel["type"] != "table":
                        assert 0 < series <= SHOWN, str(target)
                    elif target.panel["targets"][0] is target.query:
                        assert series == TRANSFORMS
