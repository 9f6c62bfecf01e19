import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ship.programs import call, environment
from tests.support import EXPORTER, ROOT, Process, free_port, tool, wait_for_answer

pytestmark = pytest.mark.slow

UNITS = ROOT / "packaging/systemd"
WORST_EXPOSURE = 15
"""Tenths, as `systemd-analyze security --threshold` counts; docs/install.md states the figure."""


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with a program that this machine has."""
    for path in UNITS.iterdir():
        text = path.read_text().replace("/opt/glue-ml-exporter/bin/glue-ml-exporter", sys.executable)
        (tmp_path / path.name).write_text(text)
    return tmp_path


def analyze(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return call("systemd-analyze", *arguments, folder=folder, environ={"SYSTEMD_UNIT_PATH": f"{folder}:"})


def test_units_verify(units: Path) -> None:
    """The systemd of Debian finds nothing wrong with the units."""
    names = ("glue-ml-exporter.service", "glue-ml-exporter.socket")
    verified = analyze("verify", "--man=no", *(units / name for name in names), folder=units)
    ours = [line for line in (verified.stdout + verified.stderr).splitlines() if "glue-ml-exporter" in line]
    assert ours == []


def test_exposure(units: Path) -> None:
    """The service is exposed no more than the documentation says, by systemd's own measure."""
    service = units / "glue-ml-exporter.service"
    judged = analyze("security", "--offline=yes", f"--threshold={WORST_EXPOSURE}", service, folder=units)
    assert judged.returncode == 0, judged.stdout
    match = re.search(r"Overall exposure level for glue-ml-exporter.service: ([\d.]+)", judged.stdout)
    assert match is not None
    assert f"exposure {match[1]}" in (ROOT / "docs/install.md").read_text()


def test_verification_can_fail(units: Path) -> None:
    """A mistyped directive is found."""
    service = units / "glue-ml-exporter.service"
    service.write_text(service.read_text().replace("ProtectClock=", "ProtectClok="))
    assert "ProtectClok" in analyze("verify", "--man=no", service, folder=units).stderr


def test_socket_activation(tmp_path: Path) -> None:
    """The exporter serves on the socket that systemd opened, whatever its own flags say."""
    port = free_port()
    activate = tool("systemd-socket-activate")
    command = (activate, f"--listen=127.0.0.1:{port}", "--setenv=PYTHONPATH", *EXPORTER, "demo")
    environ = {**environment(activate), "PYTHONPATH": str(ROOT)}
    with Process(*command, folder=tmp_path, environ=environ) as exporter:
        exporter.wait_for_output("Listening on")
        wait_for_answer(f"http://127.0.0.1:{port}/-/ready")
        assert f"addresses=127.0.0.1:{port}" in exporter.stderr
        exporter.send(signal.SIGTERM)
        assert exporter.wait() == 0
