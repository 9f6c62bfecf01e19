"""An upgrade of the chart changes no field that the API server refuses to change."""

import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.ship.chart import CHART, SCENARIOS, Rendered, run_template, scenario, template
from tests.ship.immutable import immutable
from tests.support import ROOT

pytestmark = pytest.mark.slow

GOLDEN = ROOT / "tests/ship/immutable.yaml"


def test_immutable_fields_are_recorded() -> None:
    """The immutable fields of every scenario are those on record."""
    current = {name: immutable(template(scenario(name))) for name in SCENARIOS}
    assert current == yaml.safe_load(GOLDEN.read_text()), "see tests/ship/immutable.py"


def test_upgrade_from_the_last_release(tmp_path: Path) -> None:
    """Every scenario of the last release can be upgraded to this chart, or the changelog says that it cannot."""
    found = subprocess.run(
        ["git", "describe", "--tags", "--abbrev=0", "--match", "v*"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if found.returncode != 0:
        return  # Before the first release nobody has an older chart to upgrade from.
    archive = tmp_path / "chart.tar"
    command = ["git", "archive", "--output", str(archive), found.stdout.strip(), str(CHART.relative_to(ROOT))]
    subprocess.run(command, cwd=ROOT, check=True)
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    unreleased = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1]
    if not re.search(r"^- BREAKING: .*\bchart\b", unreleased, re.MULTILINE | re.IGNORECASE):
        assert refused_upgrades(tmp_path / CHART.relative_to(ROOT), CHART) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("podManagementPolicy: Parallel", "podManagementPolicy: OrderedReady", "StatefulSet shop-glue-ml-exporter"),
        ("accessModes:", "volumeMode: Block\naccessModes:", "PersistentVolumeClaim state-shop-glue-ml-exporter-0"),
        ("state-%s-0", "%s-state", "PersistentVolumeClaim state-shop-glue-ml-exporter-0"),
    ],
)
def test_a_refused_change_is_found(old: str, new: str, problem: str, tmp_path: Path) -> None:
    """A changed or renamed immutable part of the chart is found, with the name of its object."""
    changed = shutil.copytree(CHART, tmp_path / "changed")
    for path in (changed / "templates").glob("*"):
        if path.is_file():
            path.write_text(path.read_text().replace(old, new))
    assert refused_upgrades(CHART, changed, only="production") == [f"production: {problem}"]


def refused_upgrades(old: Path, new: Path, only: str = "*") -> list[str]:
    """Return each scenario of the old chart and the object in it whose upgrade to the new chart is refused."""
    problems = []
    for values in sorted((old / "ci").glob(f"{only}-values.yaml")):
        name = values.name.removesuffix("-values.yaml")
        code, before, errors = run_template(values, old)
        assert code == 0, errors
        code, after, _ = run_template(values, new)
        if code != 0:
            problems.append(f"{name}: values are refused")
            continue
        upgraded = immutable(Rendered(after))
        problems += [
            f"{name}: {item}" for item, spec in immutable(Rendered(before)).items() if upgraded.get(item) != spec
        ]
    return problems
