"""Read the committed dashboards: their panels, queries and variables."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.support import ROOT

FOLDER = ROOT / "exporter/cli/dashboards"
DASHBOARDS: Mapping[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}


@dataclass(frozen=True)
class Target:
    """One query of a panel."""

    dashboard: str
    panel: Mapping[str, Any]
    query: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.panel['title']} {self.query['refId']}"

    @property
    def expr(self) -> str:
        """The PromQL of the query, with Grafana's variables."""
        expr: str = self.query["expr"]
        return expr


def panels(dashboard: str) -> list[dict[str, Any]]:
    """Return the panels of a dashboard without the rows that group them."""
    return [panel for panel in DASHBOARDS[dashboard]["panels"] if panel["type"] != "row"]


def targets() -> list[Target]:
    """Return every query of every panel."""
    return [Target(name, panel, query) for name in DASHBOARDS for panel in panels(name) for query in panel["targets"]]


def variables(dashboard: str) -> dict[str, dict[str, Any]]:
    """Return the variables of a dashboard by their names."""
    return {variable["name"]: variable for variable in DASHBOARDS[dashboard]["templating"]["list"]}


def filled(text: str, values: Mapping[str, str]) -> str:
    """Replace `$name` and `${name}` in a query by values. `$1` of `label_replace` stays, as in Grafana."""
    return re.sub(r"\$\{?([A-Za-z_]\w*)\}?", lambda match: values[match[1]], text)
