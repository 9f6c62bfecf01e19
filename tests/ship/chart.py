"""The rendered chart."""

import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.ship.programs import call
from tests.support import ROOT

CHART = ROOT / "helm/glue-ml-exporter"
SCENARIOS = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))

Object = dict[str, Any]
MINIMAL: Object = yaml.safe_load((CHART / "ci/minimal-values.yaml").read_text())


class Rendered:
    """The objects of a release."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.objects: list[Object] = [document for document in yaml.load_all(text, Loader=StrictLoader) if document]

    def all(self, kind: str) -> list[Object]:
        """Return all objects of a kind."""
        return [item for item in self.objects if item["kind"] == kind]

    def one(self, kind: str) -> Object:
        """Return the only object of a kind."""
        (item,) = self.all(kind)
        return item

    @property
    def workload(self) -> Object:
        """The StatefulSet."""
        return self.one("StatefulSet")

    @property
    def container(self) -> Object:
        """The exporter's container."""
        container: Object = self.workload["spec"]["template"]["spec"]["containers"][0]
        return container


class StrictLoader(yaml.CSafeLoader):
    """A YAML loader that refuses a duplicate key, as the API server does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Read a mapping."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"duplicate key in {keys}{node.start_mark}"
        return super().construct_mapping(node, deep=deep)


def scenario(name: str) -> Path:
    """Return the path of the values file of a scenario."""
    return CHART / f"ci/{name}-values.yaml"


def template(values: Path | Object, *flags: str) -> Rendered:
    """Render the chart as the release `shop` in the namespace `monitoring`; raise AssertionError if Helm fails."""
    return _render(values, *flags) if isinstance(values, dict) else _render_once(values)


@functools.cache
def _render_once(values: Path) -> Rendered:
    return _render(values)


def _render(values: Path | Object, *flags: str) -> Rendered:
    code, output, errors = run_template(values, CHART, *flags)
    assert code == 0, errors
    return Rendered(output)


def run_template(values: Path | Object, chart: Path = CHART, *flags: str) -> tuple[int, str, str]:
    """Run `helm template` with further flags, and return its exit code, stdout and stderr."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if isinstance(values, dict):
            (folder / "values.yaml").write_text(yaml.safe_dump(values))
            values = folder / "values.yaml"
        arguments: Sequence[str | Path] = (
            "template", "shop", chart, "--namespace=monitoring", "--kube-version=1.33.0", "--values", values, *flags
        )  # fmt: skip
        done = call("helm", *arguments, folder=folder, environ=private(folder))
    return done.returncode, done.stdout, done.stderr


def private(folder: Path) -> dict[str, str]:
    """Return an environment in which Helm keeps all its files in `folder`."""
    return {f"HELM_{kind}_HOME": str(folder / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
