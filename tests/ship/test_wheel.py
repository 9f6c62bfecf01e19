import signal
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from exporter import __version__
from tests.support import ROOT, Process, run, wait_for_answer

pytestmark = pytest.mark.slow


def build(target: str, folder: Path) -> Path:
    """Build the wheel or sdist of the repository and give its path."""
    script = f'cd "{ROOT}" && "{sys.executable}" -m hatchling build --target {target} --directory "{folder}/dist"'
    built = run("sh", "-c", script, folder=folder, timeout=60)
    assert built.exit_code == 0, built.stderr
    (path,) = (folder / "dist").iterdir()
    return path


@pytest.mark.timeout(300)
def test_wheel_runs_in_an_empty_environment(tmp_path: Path) -> None:
    """The wheel and what the lock names, in an environment with nothing else, run the demo."""
    wheel = build("wheel", tmp_path)
    assert wheel.name == f"glue_ml_exporter-{__version__}-py3-none-any.whl"
    environment = tmp_path / "environment"
    assert run(sys.executable, "-m", "venv", environment, folder=tmp_path, timeout=60).exit_code == 0
    lock = ("--require-hashes", "--only-binary", ":all:", "-r", ROOT / "locks/runtime.txt")
    for arguments in (lock, ("--no-index", "--no-deps", wheel)):
        installed = pip(environment, *arguments, folder=tmp_path)
        assert installed.exit_code == 0, installed.stderr
    checked = run(environment / "bin/pip", "check", folder=tmp_path)
    assert checked.exit_code == 0, checked.stdout
    demo = (environment / "bin/glue-ml-exporter", "demo", "--web.listen-address=127.0.0.1:0")
    with Process(*demo, folder=tmp_path) as exporter:
        address = exporter.wait_for_output(r"addresses=(\S+)", timeout=30)[1]
        wait_for_answer(f"http://{address}/-/ready")
        assert "\nglue_ml_task_runs_finished_total{" in wait_for_answer(f"http://{address}/metrics").text
        exporter.send(signal.SIGTERM)
        assert exporter.wait() == 0


def pip(environment: Path, *arguments: str | Path, folder: Path) -> Process:
    """Install something, with this machine's settings of pip."""
    import os  # noqa: PLC0415 - the one place that looks at the machine's own settings

    settings = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or "proxy" in name.lower()}
    install = (environment / "bin/python", "-m", "pip", "install", "--quiet")
    return run(*install, *arguments, folder=folder, environ=settings, timeout=180)


def test_wheel_contents(tmp_path: Path) -> None:
    """The wheel has the package, its type marker and the licence, and no tests."""
    with zipfile.ZipFile(build("wheel", tmp_path)) as wheel:
        names = set(wheel.namelist())
        metadata = wheel.read(f"glue_ml_exporter-{__version__}.dist-info/METADATA").decode()
    assert {"exporter/cli.py", "exporter/py.typed"} <= names
    assert f"glue_ml_exporter-{__version__}.dist-info/licenses/LICENSE" in names
    assert not [name for name in names if not name.startswith(("exporter/", "glue_ml_exporter-"))]
    assert "License-Expression: Apache-2.0" in metadata


def test_sdist_contents(tmp_path: Path) -> None:
    """The sdist has what the wheel is built from, and its tests."""
    with tarfile.open(build("sdist", tmp_path)) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"exporter/cli.py", "tests/support.py", "LICENSE", "README.md", "pyproject.toml"} <= names
