import json
import tomllib
from pathlib import Path

import pytest
import yaml

from exporter.cli.dashboards.files import dashboard_files
from exporter.cli.rules.files import rule_files
from exporter.config.thresholds import DEFAULTS, Thresholds, read_thresholds
from helm.rules import camel
from tests.ship.chart import MINIMAL, Object, Rendered, scenario, template
from tests.support import ROOT, run, tool

pytestmark = pytest.mark.slow


def with_camel_case(settings: Object) -> Object:
    """Return settings with the names that they have in the values of the chart."""
    return {
        camel(name): with_camel_case(value) if isinstance(value, dict) and name not in ("selector", "labels") else value
        for name, value in settings.items()
    }


class TestRules:
    def test_defaults(self) -> None:
        """With default values, the rules of the chart are equal to those of the command."""
        assert rules(template({**MINIMAL, "prometheusRule": {"enabled": True}})) == generated(read_thresholds(None))

    @pytest.mark.parametrize(
        "toml",
        [
            """
window = "1h"
joined_labels = ["team", "cost_center"]
critical_task_types = ["EVALUATION", "FIND_MATCHES"]
runbook_url = "https://wiki.example/glue/"
dashboard_url = "https://g.example/d/"
status_url = "https://glue.example/"
selector = {job = "glue", namespace = "a|b", team = "crm"}
alert_labels = {severity = "page", owner = "data"}
[alerts]
GlueMLTaskRunSlow = {factor = 2.5, runs = 2000000, enabled = true, severity = "info"}
GlueMLTaskRunFailed = {task_types = ["EVALUATION"], labels = {severity = "ticket"}, for = "1m"}
GlueMLTransformDown = {enabled = false}
""",
            """
runbook_url = ""
joined_labels = []
critical_task_types = []
keep_firing_for = "1h30m15s"
unrecovered_at_most = "1h30m15s"
[alerts]
GlueMLTaskRunFailureRatio = {ratio = 0.01, runs = 1000000, window = "1h30m15s"}
GlueMLTaskRunNoSuccess = {at_most = "1d12h"}
GlueMLTaskRunActiveTooLong = {at_most = "1h30m15s"}
GlueMLDataStale = {age = "1h30m15s", for = "1h30m15s"}
GlueMLRegionDown = {transforms = 7, ratio = 0.25}
GlueMLExporterCycleOverruns = {overruns = 0}
""",
        ],
    )
    def test_settings(self, toml: str, tmp_path: Path) -> None:
        """A setting has the same effect as a value of the chart and in a file of settings."""
        (tmp_path / "mine.toml").write_text(toml)
        values = with_camel_case(tomllib.loads(toml))
        assert rules(template({**MINIMAL, "prometheusRule": {"enabled": True, **values}})) == generated(
            read_thresholds(tmp_path / "mine.toml")
        )

    def test_the_chart_has_every_setting_with_its_default(self) -> None:
        """The values of the chart have the settings of thresholds.toml, and only a few more."""
        values = yaml.safe_load((ROOT / "helm/glue-ml-exporter/values.yaml").read_text())["prometheusRule"]
        settings = tomllib.loads(DEFAULTS.read_text())
        for alert in settings["alerts"].values():
            alert |= {"enabled": True, "labels": {}}
        own = ("enabled", "namespace", "labels")
        assert {name: value for name, value in values.items() if name not in own} == with_camel_case(settings)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"window": "5 minutes"},
            {"selector": {"job": 'a"b'}},
            {"alerts": {"GlueMLTransformDwn": {"enabled": False}}},
            {"alerts": {"GlueMLTransformDown": {"for": "soon"}}},
            {"alerts": {"GlueMLTransformDown": {"labels": {"a b": "c"}}}},
            {"alerts": {"GlueMLTaskRunFailed": {"taskTypes": ["FIND"]}}},
            {"alerts": {"GlueMLRegionDown": {"ratio": 50}}},
        ],
    )
    def test_wrong_settings(self, wrong: Object) -> None:
        """Helm refuses a wrong value of a setting, and names it."""
        with pytest.raises(AssertionError, match=next(iter(wrong))):
            template({**MINIMAL, "prometheusRule": wrong})

    def test_no_key_is_rendered_twice(self) -> None:
        """If all alerts get a severity, each alert has it once and instead of its own."""
        groups = rules(template(scenario("everything")))
        severities = {rule["labels"]["severity"] for group in groups for rule in group["rules"] if "alert" in rule}
        assert severities == {"page"}

    def test_switches(self) -> None:
        """Values can turn alerts off, and can add labels to every alert."""
        production = rules(template(scenario("production")))
        alerts = {rule["alert"]: rule for group in production for rule in group["rules"] if "alert" in rule}
        assert "GlueMLTransformNotReady" not in alerts
        assert alerts["GlueMLTaskRunFailed"]["labels"] == {"severity": "warning", "owner": "data-platform"}

    def test_promtool(self, tmp_path: Path) -> None:
        """Prometheus accepts the rules of every scenario that has rules."""
        for name in ("production", "everything"):
            (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"groups": rules(template(scenario(name)))}))
            checked = run(tool("promtool", version="3"), "check", "rules", f"{name}.yaml", folder=tmp_path)
            assert checked.exit_code == 0, checked.stdout + checked.stderr


def rules(rendered: Rendered) -> list[Object]:
    """Return the groups of the PrometheusRule, by name."""
    groups: list[Object] = rendered.one("PrometheusRule")["spec"]["groups"]
    return sorted(groups, key=lambda group: str(group["name"]))


def generated(thresholds: Thresholds) -> list[Object]:
    """Return the groups that the command writes, by name."""
    groups = [group for text in rule_files(thresholds).values() for group in yaml.safe_load(text)["groups"]]
    return sorted(groups, key=lambda group: str(group["name"]))


def test_dashboards() -> None:
    """Every dashboard arrives unchanged in a ConfigMap that Grafana's sidecar finds."""
    maps = template(scenario("demo")).all("ConfigMap")
    arrived = {name: json.loads(text) for item in maps for name, text in item["data"].items()}
    assert arrived == {name: json.loads(content) for name, content in dashboard_files().items()}
    assert all(item["metadata"]["labels"]["grafana_dashboard"] == "1" for item in maps)
