import re
import sys
from pathlib import Path

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
    uses = re.findall(r"uses: (.*)", text)
    assert uses
    assert [use for use in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use)] == []
    assert yaml.safe_load(text)["permissions"] in ({}, {"contents": "read"})


def test_version_in_one_place() -> None:
    """Only the package contains the version. Chart, wheel and image read the version from the package."""
    chart = yaml.safe_load((ROOT / "helm/glue-ml-exporter/Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    assert __version__ not in (ROOT / "pyproject.toml").read_text()
    assert __version__ not in (ROOT / "Dockerfile").read_text()


def test_licences(tmp_path: Path) -> None:
    """The list of licences has every locked dependency. Each licence is known and allows redistribution."""
    checked = run(sys.executable, ROOT / "packaging/licences.py", "--check", folder=tmp_path)
    assert checked.exit_code == 0, checked.stderr
    stated = re.findall(r"^\| ([\w.-]+) \| (.+) \|$", (ROOT / "docs/contribute/licences.md").read_text(), re.MULTILINE)[
        1:
    ]
    free = re.compile(r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|0BSD|Unlicense")
    assert [entry for entry in stated if not free.search(entry[1])] == []
