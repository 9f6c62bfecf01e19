"""Writes the rule files for Prometheus."""

from pathlib import Path
from typing import Any

import yaml

from exporter.cli.options import RulesOptions
from exporter.cli.output.folder import write_files
from exporter.cli.rules.groups import groups
from exporter.cli.rules.model import Alert, Group, Recording
from exporter.config.thresholds import AlertSettings, Thresholds, read_thresholds

HEADER = "# Made by `glue-ml-exporter rules`. To change a rule, change its settings in a file for --thresholds.\n"


class _Dumper(yaml.SafeDumper):
    """Writes strings of several lines as YAML blocks, and never replaces a repeated value by an alias."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is the base class's
        """Return True, so that PyYAML writes repeated values in full."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def write_rules(options: RulesOptions) -> int:
    """Write the rule files to the folder that the options name, which is created if necessary; return 0.

    Raises:
        ThresholdsError: the file of settings cannot be used.
        OSError: the folder cannot be written.
    """
    thresholds = read_thresholds(Path(options.thresholds) if options.thresholds else None)
    write_files(Path(options.output), rule_files(thresholds))
    return 0


def rule_files(thresholds: Thresholds) -> dict[str, str]:
    """Return the content of each rule file, by its name."""
    return {
        f"{group.name}.yaml": HEADER + as_yaml({"groups": [group_as_data(group, thresholds)]})
        for group in groups(thresholds)
    }


def as_yaml(data: object) -> str:
    """Return rules as YAML. An expression of several lines is a block, and a long line is not folded."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=10000, allow_unicode=True)


def group_as_data(group: Group, thresholds: Thresholds) -> dict[str, Any]:
    """Return a group as Prometheus reads it."""
    return {
        "name": group.name,
        **({"interval": group.interval} if group.interval else {}),
        "rules": [
            rule_as_data(rule, group, thresholds)
            for rule in group.rules
            if isinstance(rule, Recording) or rule.settings.enabled
        ],
    }


def rule_as_data(rule: Recording | Alert, group: Group, t: Thresholds) -> dict[str, Any]:
    """Return a rule as Prometheus reads it."""
    if isinstance(rule, Recording):
        return {"record": rule.name, "expr": rule.expr}
    links = {
        "runbook_url": f"{t.runbook_url}/{rule.name}.md" if t.runbook_url else "",
        "dashboard_url": f"{t.dashboard_url}/{group.dashboard}" if t.dashboard_url else "",
        "status_url": f"{t.status_url}/{group.page}" if t.status_url else "",
    }
    return {
        "alert": rule.name,
        "expr": rule.expr,
        "for": rule.settings.held_for,
        **({"keep_firing_for": t.keep_firing_for} if rule.keeps_firing else {}),
        "labels": labels(rule.settings, t),
        "annotations": {
            "summary": rule.summary,
            "description": rule.description,
            **{name: link for name, link in links.items() if link},
        },
    }


def labels(settings: AlertSettings, thresholds: Thresholds) -> dict[str, str]:
    """Return the labels of an alert. The labels of all alerts replace its severity, and its own labels replace both."""
    return {"severity": settings.severity, **thresholds.alert_labels, **settings.labels}
