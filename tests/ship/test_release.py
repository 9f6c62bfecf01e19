import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter import __version__
from tests.ship.programs import call
from tests.support import ROOT, run

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.mark.slow
def test_workflows_lint(tmp_path: Path) -> None:
    """Actionlint and zizmor accept the workflows."""
    linted = call("actionlint", *WORKFLOWS, folder=tmp_path)
    assert linted.returncode == 0, linted.stdout
    checked = call("zizmor", "--offline", "--no-progress", "--persona=regular", ROOT / ".github", folder=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned(path: Path) -> None:
    """Every action is pinned to a full commit, with its version in a comment. Only single jobs have permissions."""
    text = path.read_text()
    uses = [use for use in re.findall(r"uses: (.*)", text) if not use.startswith("./.github/workflows/")]
    assert uses
    assert [use for use in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use)] == []
    assert yaml.safe_load(text)["permissions"] in ({}, {"contents": "read"})


def test_version_in_one_place() -> None:
    """Only the package contains the version. Chart, wheel and image read the version from the package."""
    chart = yaml.safe_load((ROOT / "helm/glue-ml-exporter/Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    assert __version__ not in (ROOT / "pyproject.toml").read_text()
    assert __version__ not in (ROOT / "Dockerfile").read_text()


def needs(jobs: dict[str, Any], name: str) -> set[str]:
    """Return the jobs that must succeed before a job begins."""
    direct = jobs[name].get("needs", [])
    named = {direct} if isinstance(direct, str) else set(direct)
    return named.union(*(needs(jobs, one) for one in named))


def test_only_what_has_passed_is_published() -> None:
    """Each job of a release that may write waits for the tests. An image gets its tags after it was run and scanned."""
    jobs = workflow("release")["jobs"]
    assert jobs["test"]["uses"] == "./.github/workflows/test.yml"
    writers = {name for name, job in jobs.items() if {"write"} & set(job.get("permissions", {}).values())}
    assert {"image", "publish", "release"} <= writers
    assert [name for name in writers if not {"test", "chart"} <= needs(jobs, name)] == []
    steps = workflow("publish-image")["jobs"]["image"]["steps"]
    pushed = next(step for step in steps if step.get("id") == "push")
    assert "push-by-digest=true" in pushed["with"]["outputs"]
    assert "tags" not in pushed["with"]
    order = [
        steps.index(step)
        for word in ("run as", "scan", "sign", "give")
        for step in steps
        if step.get("name", "").startswith(word)
    ]
    assert len(order) == 4
    assert order == sorted(order)
    assert order[-1] == len(steps) - 1


def test_images_are_rebuilt_and_charts_installed() -> None:
    """A schedule rebuilds the last release on a new base, and never replaces the tag of a release."""
    rebuild = workflow("rebuild")
    assert rebuild[True]["schedule"]  # YAML reads the key `on` as true
    assert rebuild["jobs"]["image"]["uses"] == workflow("release")["jobs"]["image"]["uses"]
    (script,) = (step["run"] for step in rebuild["jobs"]["last-release"]["steps"] if "run" in step)
    assert 'echo "tags=$version-$(date --utc +%Y%m%d) ${version%.*}"' in script


def test_values_of_the_chart_job(tmp_path: Path) -> None:
    """The chart accepts the values that the chart job installs, and makes a StatefulSet with volumes of them."""
    steps = workflow("chart")["jobs"]["install"]["steps"]
    (script,) = (step["run"] for step in steps if "cat > values.yaml" in step.get("run", ""))
    values, _ = script.split("cat > values.yaml <<'END'\n")[1].split("\nEND\n", 1)
    (tmp_path / "values.yaml").write_text(values)
    chart = ROOT / "helm/glue-ml-exporter"
    crds = "--api-versions=monitoring.coreos.com/v1"
    rendered = call("helm", "template", "real", chart, "--values=values.yaml", crds, folder=tmp_path)
    assert rendered.returncode == 0, rendered.stderr
    found = {item["kind"]: item for item in yaml.safe_load_all(rendered.stdout) if item}
    assert {"StatefulSet", "ServiceMonitor", "PrometheusRule"} <= found.keys()
    assert found["StatefulSet"]["spec"]["volumeClaimTemplates"]


@pytest.mark.parametrize("ecosystem", ["github-actions", "docker", "docker-compose", "pip"])
def test_dependabot(ecosystem: str) -> None:
    """Dependabot updates actions, the base image, the demo stack and the locked packages; its folders exist."""
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    (update,) = (one for one in updates if one["package-ecosystem"] == ecosystem)
    for folder in update.get("directories", [update.get("directory")]):
        assert (ROOT / folder.lstrip("/")).is_dir()


def workflow(name: str) -> dict[Any, Any]:
    """Return a workflow."""
    loaded: dict[Any, Any] = yaml.safe_load((ROOT / f".github/workflows/{name}.yml").read_text())
    return loaded


def test_licences(tmp_path: Path) -> None:
    """The list of licences has every locked dependency. Each licence is known and allows redistribution."""
    checked = run(sys.executable, ROOT / "packaging/licences.py", "--check", folder=tmp_path)
    assert checked.exit_code == 0, checked.stderr
    stated = re.findall(r"^\| ([\w.-]+) \| (.+) \|$", (ROOT / "docs/contribute/licences.md").read_text(), re.MULTILINE)[
        1:
    ]
    free = re.compile(r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|0BSD|Unlicense")
    assert [entry for entry in stated if not free.search(entry[1])] == []
