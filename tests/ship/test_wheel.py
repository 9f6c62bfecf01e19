import hashlib
import json
import os
import re
import signal
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from exporter import __version__
from exporter.cli.dashboards.files import dashboard_files
from exporter.cli.rules.files import rule_files
from exporter.config.thresholds import read_thresholds
from tests.support import ROOT, Process, run, tool, wait_for_answer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def build(target: str, source: Path, folder: Path) -> Path:
    """Build the wheel or sdist of a source tree into a folder, and return its path."""
    script = f'cd "{source}" && "{sys.executable}" -m hatchling build --target {target} --directory "{folder}/{target}"'
    built = run("sh", "-c", script, folder=folder, timeout=60)
    assert built.exit_code == 0, built.stderr
    (path,) = (folder / target).iterdir()
    return path


def pip(*arguments: str | Path, folder: Path) -> Process:
    """Run pip with the settings of this machine."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or "proxy" in name.lower()}
    return run(sys.executable, "-m", "pip", *arguments, folder=folder, environ=settings, timeout=180)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `pip install .` builds in a clone, built without downloads."""
    folder = tmp_path_factory.mktemp("wheel")
    offline = ("--no-deps", "--no-index", "--no-build-isolation")
    built = pip("wheel", "--quiet", *offline, "--wheel-dir", folder, ROOT, folder=folder)
    assert built.exit_code == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_environment(wheel: Path, tmp_path: Path) -> None:
    """The demo runs with only the wheel and the locked packages. The bill of materials lists exactly these packages."""
    made = run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", folder=tmp_path, timeout=60)
    assert made.exit_code == 0, made.stderr
    python = tmp_path / "venv/bin/python"
    lock = ("--require-hashes", "--only-binary", ":all:", "-r", ROOT / "locks/runtime.txt")
    for arguments in (lock, ("--no-index", "--no-deps", wheel)):
        installed = pip("--python", python, "install", "--quiet", "--no-compile", *arguments, folder=tmp_path)
        assert installed.exit_code == 0, installed.stderr
    checked = pip("--python", python, "check", folder=tmp_path)
    assert checked.exit_code == 0, checked.stdout
    check_demo(python.with_name("glue-ml-exporter"), tmp_path)
    check_dashboards(python.with_name("glue-ml-exporter"), tmp_path)
    check_rules(python.with_name("glue-ml-exporter"), tmp_path)
    check_bill(python, tmp_path)


def check_demo(command: Path, folder: Path) -> None:
    """Check that the demo serves metrics, and stops on SIGTERM."""
    with Process(command, "demo", "--web.listen-address=127.0.0.1:0", folder=folder) as exporter:
        address = exporter.wait_for_output(r"addresses=(\S+)", timeout=30)[1]
        wait_for_answer(f"http://{address}/-/ready")
        assert "\nglue_ml_task_runs_finished_total{" in wait_for_answer(f"http://{address}/metrics").text
        exporter.send(signal.SIGTERM)
        assert exporter.wait() == 0


def check_dashboards(command: Path, folder: Path) -> None:
    """Check that the command writes the dashboards, without the library that made them."""
    written = run(command, "dashboards", "--output=new/grafana", folder=folder)
    assert written.exit_code == 0, written.stderr
    assert set(written.stdout.split()) == {f"new/grafana/{name}" for name in dashboard_files()}
    assert {path.name: path.read_text() for path in (folder / "new/grafana").iterdir()} == dashboard_files()


def check_rules(command: Path, folder: Path) -> None:
    """Check that the command writes the rules with the default settings, which are part of the package."""
    written = run(command, "rules", "--output=new/rules", folder=folder)
    assert written.exit_code == 0, written.stderr
    assert {path.name: path.read_text() for path in (folder / "new/rules").iterdir()} == rule_files(
        read_thresholds(None)
    )


def check_bill(python: Path, folder: Path) -> None:
    """Check that the bill of materials names exactly the locked packages, each with a licence."""
    tool("cyclonedx-py")
    written = run(ROOT / "packaging/sbom", python, folder / "sbom.json", folder=folder, timeout=90)
    assert written.exit_code == 0, written.stderr
    bill = json.loads((folder / "sbom.json").read_text())
    product = bill["metadata"]["component"]
    assert (product["name"], product["version"], product["type"]) == ("glue-ml-exporter", __version__, "application")
    locked = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", (ROOT / "locks/runtime.txt").read_text(), re.MULTILINE))
    named = {item["name"].lower().replace("_", "-"): item for item in bill["components"]}
    assert {name: item["version"] for name, item in named.items()} == locked
    assert [name for name, item in named.items() if not item.get("licenses")] == []


def test_wheel_contents(wheel: Path) -> None:
    """The wheel has the package, its type marker and the licence, but no tests."""
    assert wheel.name == f"glue_ml_exporter-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"glue_ml_exporter-{__version__}.dist-info/METADATA").decode()
    assert {"exporter/cli/dispatch.py", "exporter/statuspage/templates/page.css"} <= names
    assert f"glue_ml_exporter-{__version__}.dist-info/licenses/LICENSE" in names
    assert not [name for name in names if not name.startswith(("exporter/", "glue_ml_exporter-"))]
    assert "License-Expression: Apache-2.0" in metadata


def test_sdist(wheel: Path, tmp_path: Path) -> None:
    """The sdist has all files that the tests read, and builds the same wheel as the repository."""
    with tarfile.open(build("sdist", ROOT, tmp_path)) as sdist:
        names = {name.partition("/")[2].partition("/")[0] for name in sdist.getnames()}
        sdist.extractall(tmp_path, filter="data")
    source = tmp_path / f"glue_ml_exporter-{__version__}"
    parts = {"alerts", "bench", "dashboards", "docs", "exporter", "helm", "locks", "packaging", "tests"}
    assert parts | {"Dockerfile", "LICENSE", "Makefile", "README.md", "pyproject.toml"} <= names
    assert not names & {".tools", ".venv", "dist", ".git"}
    again = build("wheel", source, tmp_path)
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(wheel.read_bytes()).digest()
