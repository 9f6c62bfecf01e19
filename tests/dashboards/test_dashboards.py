import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.generate import built_dashboards, main
from dashboards.parts import STATUS_COLOURS
from exporter.cli.rules.files import rule_files
from exporter.config.durations import parse_duration
from exporter.config.thresholds import read_thresholds
from exporter.model.task_run import STATUSES
from tests.alerts.vocabulary import exposed, problems
from tests.dashboards.panels import DASHBOARDS, FOLDER, Target, filled, panels, targets, variables

TIMES = {"__rate_interval": "1m", "__range": "1h", "__interval": "30s"}
KNOWN_UNITS = {"s", "short", "bytes", "percentunit", "reqps", "currencyUSD", "dateTimeFromNow", "h"}

OF_TRANSFORMS = {"transform_id", "transform_name", "task_type", "status", "reason", "aws_account", "aws_region", "team"}
ALERT_LABELS = frozenset(OF_TRANSFORMS | {"alertname", "alertstate", "severity"})
ADDED = {
    "glue_ml_transform_info": exposed()["glue_ml_transform_info"] | {"team", "console"},
    "ALERTS": ALERT_LABELS,
    "ALERTS_FOR_STATE": ALERT_LABELS,
}
"""Series of Prometheus itself, and labels that come from the configuration or are computed in a query."""

every_dashboard = pytest.mark.parametrize("name", sorted(DASHBOARDS))
every_query = pytest.mark.parametrize("target", targets(), ids=str)


def plain(target: Target) -> str:
    """Return a query's PromQL with a value for each variable of its dashboard."""
    return filled(target.expr, TIMES | dict.fromkeys(variables(target.dashboard), ".+") | {"price": "0.44"})


def known() -> dict[str, frozenset[str]]:
    """Return the labels of every series that a query may use."""
    return {**exposed(), **ADDED}


def test_the_committed_dashboards_are_up_to_date() -> None:
    """The dashboards in the repository are equal to the files that `make generate` writes."""
    assert main(["--check"]) == 0
    assert {path.name for path in FOLDER.glob("*.json")} == set(built_dashboards())


def test_a_dashboard_that_was_edited_by_hand_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dashboard that differs from its code fails the check, and `generate` corrects it."""
    for path in FOLDER.glob("*.json"):
        shutil.copy(path, tmp_path)
    edited = tmp_path / "glue-ml-exporter.json"
    edited.write_text(edited.read_text().replace('"refresh": "1m"', '"refresh": "5s"'))
    assert main(["--output", str(tmp_path), "--check"]) == 1
    assert "glue-ml-exporter.json is out of date; run: make generate" in capsys.readouterr().err
    assert main(["--output", str(tmp_path)]) == 0
    assert main(["--output", str(tmp_path), "--check"]) == 0


@every_query
def test_every_metric_label_and_value_in_a_query_exists(target: Target) -> None:
    """The exporter has every metric, label and known label value in a panel."""
    assert problems(plain(target), known()) == []


def test_a_misspelled_name_in_a_query_is_found() -> None:
    """A misspelled label or metric in a panel is reported."""
    target = next(target for target in targets() if "task_type" in target.expr)
    for right, wrong in (("task_type", "task_typ"), ("glue_ml_task_run", "glue_ml_task_rum")):
        misspelled = Target(target.dashboard, target.panel, {"expr": target.expr.replace(right, wrong)})
        assert problems(plain(misspelled), known())


@every_dashboard
def test_every_variable_reads_an_existing_metric_and_label(name: str) -> None:
    """Every variable is filled from a metric and a label that the exporter has."""
    for variable in variables(name).values():
        if variable["type"] == "query":
            call = re.fullmatch(r"(label_values|query_result)\((.*?)(?:, (\w+))?\)", variable["query"], re.DOTALL)
            assert call, variable["query"]
            expression = filled(call[2], dict.fromkeys(variables(name), ".+"))
            assert problems(expression, known()) == []
            assert call[3] is None or call[3] in known()[expression.partition("{")[0]]


@every_dashboard
def test_a_dashboard_can_be_provisioned_and_linked_to(name: str) -> None:
    """A dashboard is read-only and has a title, a description and a tag. Its uid is the file name, and id is empty."""
    dashboard = DASHBOARDS[name]
    assert dashboard["uid"] == name
    assert len(name) <= 40
    assert dashboard["title"].startswith("Glue ML / ")
    assert dashboard["description"].endswith(".")
    assert dashboard["tags"] == ["glue-ml"]
    assert dashboard.get("id") is None
    assert dashboard["editable"] is False
    assert dashboard["schemaVersion"] >= 41
    links = {link["title"]: link for link in dashboard["links"]}
    assert links["Glue ML"]["tags"] == ["glue-ml"]
    assert links["Glue ML"]["includeVars"]
    assert links["Glue ML"]["keepTime"]


def test_the_dashboard_of_a_transform_links_to_its_pages() -> None:
    """The dashboard of one transform links to its status page, and to Glue and CloudWatch in its own partition."""
    links = {link["title"]: link.get("url", "") for link in DASHBOARDS["glue-ml-transform"]["links"]}
    values = {"aws_region": "cn-north-1", "console": "cn-north-1.console.amazonaws.cn", "transform": "tfm-1"}
    assert filled(links["Status page of the exporter"], {**values, "status_page": "https://x"}) == (
        "https://x/transforms/tfm-1"
    )
    assert filled(links["Glue console"], values) == (
        "https://cn-north-1.console.amazonaws.cn/glue/home?region=cn-north-1"
    )
    assert links["CloudWatch logs"].startswith(
        "https://${console}/cloudwatch/home?region=${aws_region}#logsV2:log-groups"
    )
    assert {"aws_region", "console", "status_page"} <= set(variables("glue-ml-transform"))


@every_dashboard
def test_every_dashboard_has_its_variables(name: str) -> None:
    """Each dashboard selects clusters, namespaces, accounts and regions. Two select teams and transforms."""
    found = variables(name)
    names = list(found)
    assert names[:5] == ["datasource", "cluster", "namespace", "account", "region"]
    assert ({"team", "transform"} <= set(names)) == (name != "glue-ml-exporter")
    assert found["datasource"]["type"] == "datasource"
    assert found["datasource"]["query"] == "prometheus"
    for variable in found.values():
        assert variable["label"]
        if variable["type"] == "textbox":
            assert variable["description"]
        elif variable["type"] == "query":
            assert variable["datasource"]["uid"] == "${datasource}"
            assert variable["refresh"] == 2, "on every change of the time range"
            assert variable["includeAll"] == variable["multi"]
            optional_label = variable["name"] in {"cluster", "namespace", "team"}
            every = ".*" if optional_label else ".+"
            of_others_too = variable["name"] == "job"
            assert variable.get("allValue") == (every if variable["multi"] and not of_others_too else None)


@every_dashboard
def test_every_panel_has_its_texts_and_settings(name: str) -> None:
    """Each panel has a number, texts, a unit, thresholds and the selected data source, and says what no data means."""
    numbers = Counter(panel["id"] for panel in DASHBOARDS[name]["panels"])
    assert numbers == Counter(range(1, len(DASHBOARDS[name]["panels"]) + 1))
    for panel in panels(name):
        assert panel["title"], panel["id"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in KNOWN_UNITS, panel["title"]
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
        assert panel["targets"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["noValue"].endswith("."), panel["title"]
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"]), panel["title"]


@every_dashboard
def test_the_panels_do_not_overlap(name: str) -> None:
    """The panels of a dashboard do not overlap, and are not wider than the dashboard."""
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARDS[name]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for cell in ((x, y) for x in range(place["x"], place["x"] + place["w"]) for y in rows_of(place)):
            assert cell not in taken, f"{panel['title']} overlaps {taken[cell]}"
            taken[cell] = panel["title"]


def rows_of(place: dict[str, Any]) -> range:
    return range(place["y"], place["y"] + place["h"])


@every_query
def test_a_query_has_a_legend_and_a_range_that_grafana_recommends(target: Target) -> None:
    """Each query has a legend. Rates use $__rate_interval, counts in steps use $__interval, choices use $__range."""
    assert target.query["legendFormat"]
    windows = set(re.findall(r"(\w+)\((?:\w+)(?:\{[^}]*\})?\[([^\]]+)\]", target.expr))
    assert windows <= {
        ("rate", "$__rate_interval"),
        ("last_over_time", "$__interval"),
        ("min_over_time", "$__interval"),
        ("increase", "$__range"),
    }
    assert target.query["instant"] != target.query["range"]


def test_common_metrics_are_selected_by_job() -> None:
    """If other programs have a metric too, its queries select the jobs of this exporter."""
    common = [target for target in targets() if re.search(r"\b(up|process_\w+)\{", target.expr)]
    assert len(common) >= 4
    for target in common:
        assert 'job=~"$job"' in re.findall(r"\b(?:up|process_\w+)\{(.*?)\}", target.expr)[0], str(target)
    assert "allValue" not in variables("glue-ml-exporter")["job"], "only jobs with the exporter's series"


def test_the_overview_links_to_the_dashboard_of_each_transform() -> None:
    """A transform in the overview links to its dashboard, with the same data source and time range."""
    leads = {
        panel["title"]: link["url"]
        for panel in panels("glue-ml-overview")
        for link in [
            *panel["fieldConfig"]["defaults"].get("links", ()),
            *(
                link
                for override in panel["fieldConfig"]["overrides"]
                for one in override["properties"]
                if one["id"] == "links"
                for link in one["value"]
                if link["title"] == "Show the transform"
            ),
        ]
    }
    tables = {"Failing now", "Firing alerts", "All transforms"}
    assert set(leads) == {"Latest status", "Failed runs by transform", "Longest without success"} | tables
    for title, url in leads.items():
        place = "${__data.fields.transform_id}" if title in tables else "${__field.labels.transform_id}"
        assert url == f"/d/glue-ml-transform?${{datasource:queryparam}}&var-transform={place}&${{__url_time_range}}"
        (panel,) = (one for one in panels("glue-ml-overview") if one["title"] == title)
        assert "transform_id" in panel["targets"][0]["expr"]


def test_the_link_of_every_alert_names_a_dashboard_and_its_variables() -> None:
    """An alert's link names the uid of a dashboard, and sets only variables of that dashboard."""
    thresholds = read_thresholds(None).model_copy(update={"dashboard_url": "https://grafana.example.com/d"})
    files = [yaml.safe_load(content) for content in rule_files(thresholds).values()]
    rules = [rule for file in files for group in file["groups"] for rule in group["rules"] if "alert" in rule]
    assert len(rules) > 20
    for rule in rules:
        uid, _, choices = rule["annotations"]["dashboard_url"].rpartition("/")[2].partition("?")
        assert uid in DASHBOARDS, rule["alert"]
        assert set(re.findall(r"var-(\w+)=", choices)) <= set(variables(uid)), rule["alert"]


@every_query
def test_a_counter_is_never_shown_raw(target: Target) -> None:
    """Queries use counters only within functions, and as the two ends of a step."""
    counter = r"\b\w+_(?:total|bucket|sum)\{[^}]*\}"
    before = rf"{counter} offset \$__interval"
    functions = rf"(?:rate|increase|last_over_time|min_over_time)\({counter}\["
    bare = re.sub(rf"{functions}|\({counter} and {before}\)|\({before} and {counter}\)|{before}", "", target.expr)
    assert not re.findall(counter, bare) or "histogram_quantile(" in target.expr


def test_failing_comes_first_and_ids_take_no_place() -> None:
    """The overview begins with what fails now. Tables hide the ids that their links need."""
    first, second = panels("glue-ml-overview")[:2]
    assert (first["title"], second["title"]) == ("Failing now", "Firing alerts")
    for name in DASHBOARDS:
        for panel in (one for one in panels(name) if one["type"] == "table"):
            hidden = {
                override["matcher"]["options"]
                for override in panel["fieldConfig"]["overrides"]
                for one in override["properties"]
                if one == {"id": "custom.hidden", "value": True}
            }
            shown = set(panel["transformations"][1]["options"]["indexByName"]) - hidden
            assert not shown & {"transform_id", "console"}, panel["title"]


def test_failures_are_annotations() -> None:
    """Two dashboards mark the time of each last failure, with its transform and its reason."""
    for name in ("glue-ml-overview", "glue-ml-transform"):
        (annotation,) = DASHBOARDS[name]["annotations"]["list"]
        assert annotation["useValueForTime"] is True
        assert annotation["datasource"]["uid"] == "${datasource}"
        shown = set(re.findall(r"\{\{(\w+)\}\}", annotation["titleFormat"] + annotation["textFormat"]))
        assert shown == {"transform_name", "task_type", "status", "reason"}
        expression = filled(annotation["expr"], dict.fromkeys(variables(name), ".+"))
        assert problems(expression, known()) == []


def test_colours_change_at_the_thresholds_of_the_alerts() -> None:
    """Times are red from the threshold of their alert on."""
    limits = read_thresholds(None).alerts
    success = parse_duration(limits.GlueMLTaskRunNoSuccess.at_most)
    red = {
        panel["title"]: step["value"]
        for name in DASHBOARDS
        for panel in panels(name)
        for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        if step["color"] == "red"
    }
    assert red["Longest in flight"] == parse_duration(limits.GlueMLTaskRunActiveTooLong.at_most)
    assert red["Since last success"] == red["Longest without success"] == success
    assert red["Age of the data"] == red["Oldest data"] == parse_duration(limits.GlueMLDataStale.age)


@every_query
def test_the_query_keeps_the_labels_of_its_legend(target: Target) -> None:
    """The result of a query has every label that the legend uses."""
    shown = set(re.findall(r"\{\{(\w+)\}\}", target.query["legendFormat"]))
    assert shown <= set(re.findall(r"\w+", target.expr))


def test_durations_are_heatmaps_with_exemplars() -> None:
    """Durations are heat maps. The heat maps, the finished runs and the percentiles request exemplars."""
    asking = {str(target): target.panel["type"] for target in targets() if target.query["exemplar"]}
    assert [name for name, kind in asking.items() if kind == "heatmap"] == [
        "glue-ml-transform: Duration of the runs A",
        "glue-ml-transform: Execution time of the runs A",
    ]
    assert any("Finished runs" in name for name in asking)


def test_the_timeline_has_every_status() -> None:
    """The timeline has a text and a colour for every status that Glue documents."""
    assert tuple(STATUS_COLOURS) == STATUSES
    assert len(set(STATUS_COLOURS.values())) == len(STATUSES)
    for name in ("glue-ml-overview", "glue-ml-transform"):
        (timeline,) = (panel for panel in panels(name) if panel["type"] == "state-timeline")
        mapped = timeline["fieldConfig"]["defaults"]["mappings"][0]["options"]
        assert [mapped[str(number)]["text"] for number in range(1, 8)] == list(STATUSES)
        for number, status in enumerate(STATUSES, 1):
            assert (
                f'{number} * glue_ml_task_run_latest_status{{transform_id=~"$transform",status="{status}"}}'
                in (timeline["targets"][0]["expr"])
            )
