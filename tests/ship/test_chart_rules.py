import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from alerts.generate import rule_files
from alerts.thresholds import Thresholds, read_thresholds
from exporter.cli.dashboards.files import dashboard_files
from helm.rules import THRESHOLDS, camel
from tests.ship.chart import MINIMAL, Object, Rendered, scenario, template
from tests.support import run, tool

pytestmark = pytest.mark.slow

RULES: Object = {**MINIMAL, "prometheusRule": {"enabled": True}}


class TestRules:
    def test_defaults(self) -> None:
        """With default thresholds, the rules of the chart are equal to the rules in alerts/."""
        assert rules(template(RULES)) == generated(read_thresholds(THRESHOLDS))

    @pytest.mark.parametrize(
        "changed",
        [
            {"window": "1h", "job": "glue", "joined_labels": ["team", "cost_center"], "slow_factor": 2.5},
            {"no_success_for": "1d12h", "no_success_task_types": ["EVALUATION", "FIND_MATCHES"], "joined_labels": []},
            {
                "failure_ratio": 0.01,
                "failure_ratio_runs": 1000000,
                "slow_runs": 2000000,
                "overruns": 0,
                "dashboard_url": "https://g.example/d",
            },
        ],
    )
    def test_thresholds(self, changed: Object) -> None:
        """A threshold has the same effect as a value of the chart and in thresholds.toml."""
        values = {camel(name): value for name, value in changed.items()}
        rendered = template({**MINIMAL, "prometheusRule": {"enabled": True, "thresholds": values}})
        settings = tomllib.loads(THRESHOLDS.read_text())
        assert rules(rendered) == generated(Thresholds.model_validate({**settings, **changed}))

    def test_every_duration(self) -> None:
        """Every threshold that is a duration accepts all units."""
        settings = tomllib.loads(THRESHOLDS.read_text())
        changed = {name: "1h30m15s" for name, value in settings.items() if re.fullmatch(r"\d+[smhdw]", str(value))}
        assert len(changed) > 10
        values = {camel(name): value for name, value in changed.items()}
        rendered = template({**MINIMAL, "prometheusRule": {"enabled": True, "thresholds": values}})
        assert rules(rendered) == generated(Thresholds.model_validate({**settings, **changed}))

    def test_switches(self) -> None:
        """Values can remove groups and alerts, and can add labels to every alert."""
        production = rules(template(scenario("production")))
        alerts = {rule["alert"]: rule for group in production for rule in group["rules"] if "alert" in rule}
        assert "GlueMLTransformNotReady" not in alerts
        assert alerts["GlueMLTaskRunFailed"]["labels"] == {"severity": "warning", "owner": "data-platform"}
        assert [group["name"] for group in rules(template(scenario("everything")))] == ["glue-ml-transforms"]

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
    """Return the groups that alerts/ has for the thresholds, by name."""
    groups = [group for text in rule_files(thresholds).values() for group in yaml.safe_load(text)["groups"]]
    return sorted(groups, key=lambda group: str(group["name"]))


def test_dashboards() -> None:
    """Every dashboard arrives unchanged in a ConfigMap that Grafana's sidecar finds."""
    maps = template(scenario("demo")).all("ConfigMap")
    arrived = {name: json.loads(text) for item in maps for name, text in item["data"].items()}
    assert arrived == {name: json.loads(content) for name, content in dashboard_files().items()}
    assert all(item["metadata"]["labels"]["grafana_dashboard"] == "1" for item in maps)
