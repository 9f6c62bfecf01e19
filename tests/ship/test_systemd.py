import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.simulator import Simulator
from tests.ship.programs import call, environment
from tests.support import EXPORTER, ROOT, TOOLS, Process, free_port, run, tool, wait_for, wait_for_answer

pytestmark = pytest.mark.slow

UNITS = ROOT / "packaging/systemd"
WORST_EXPOSURE = 15
"""The maximum exposure in tenths, the unit of `systemd-analyze security --threshold`. It is in docs/install.md too."""


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, in which the path of the exporter is replaced by a program that exists on this machine."""
    for path in UNITS.iterdir():
        text = path.read_text().replace("/opt/glue-ml-exporter/bin/glue-ml-exporter", sys.executable)
        (tmp_path / path.name).write_text(text)
    return tmp_path


def analyze(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return call("systemd-analyze", *arguments, folder=folder, environ={"SYSTEMD_UNIT_PATH": f"{folder}:"})


def test_units_verify(units: Path) -> None:
    """The systemd of Debian accepts the units."""
    names = ("glue-ml-exporter.service", "glue-ml-exporter.socket")
    verified = analyze("verify", "--man=no", *(units / name for name in names), folder=units)
    ours = [line for line in (verified.stdout + verified.stderr).splitlines() if "glue-ml-exporter" in line]
    assert ours == []


@pytest.mark.parametrize("kind", ["service", "socket"])
def test_drop_ins_of_the_documentation(kind: str, units: Path) -> None:
    """Systemd accepts the drop-ins for the units in the documentation."""
    name = f"glue-ml-exporter.{kind}"
    page = (ROOT / "docs/install.md").read_text()
    (change,) = re.findall(rf"^```ini\n# systemctl edit {name}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    folder = units / f"{name}.d"
    folder.mkdir()
    (folder / "override.conf").write_text(change)
    verified = analyze("verify", "--man=no", units / name, folder=units)
    assert [line for line in (verified.stdout + verified.stderr).splitlines() if "glue-ml-exporter" in line] == []


def test_exposure(units: Path) -> None:
    """`systemd-analyze security` gives an exposure of at most the documented figure."""
    service = units / "glue-ml-exporter.service"
    checked = analyze("security", "--offline=yes", f"--threshold={WORST_EXPOSURE}", service, folder=units)
    assert checked.returncode == 0, checked.stdout
    match = re.search(r"Overall exposure level for glue-ml-exporter.service: ([\d.]+)", checked.stdout)
    assert match is not None
    assert f"exposure {match[1]}" in (ROOT / "docs/install.md").read_text()


def test_verification_can_fail(units: Path) -> None:
    """The verification fails for a misspelled directive."""
    service = units / "glue-ml-exporter.service"
    service.write_text(service.read_text().replace("ProtectClock=", "ProtectClok="))
    assert "ProtectClok" in analyze("verify", "--man=no", service, folder=units).stderr


def test_socket_activation(tmp_path: Path) -> None:
    """The exporter serves on the socket that systemd opened, and ignores its listen addresses."""
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


class TestConfined:
    def directives(self, name: str) -> list[str]:
        """Return the values of a directive of the unit, in order."""
        return re.findall(rf"^{name}=(.*)$", (UNITS / "glue-ml-exporter.service").read_text(), re.MULTILINE)

    def allowed_calls(self, folder: Path) -> set[str]:
        """Return the system calls that the unit allows."""
        listed = analyze("syscall-filter", folder=folder).stdout
        groups: dict[str, list[str]] = {}
        for line in listed.splitlines():
            if line.startswith("@"):
                group = groups.setdefault(line.strip(), [])
            elif line.startswith("    ") and not line.strip().startswith("#"):
                group.append(line.strip())

        def calls(name: str) -> set[str]:
            return {call for member in groups[name] for call in calls(member)} if name in groups else {name}

        allowed: set[str] = set()
        for names in self.directives("SystemCallFilter"):
            named = {call for name in names.removeprefix("~").split() for call in calls(name)}
            allowed = allowed - named if names.startswith("~") else allowed | named
        return allowed

    def confined(self, folder: Path, *program: str | Path) -> tuple[str | Path, ...]:
        """Return the command that runs a program with the restrictions of the unit."""
        (families,) = self.directives("RestrictAddressFamilies")
        numbers = ",".join(str(int(getattr(socket, family))) for family in families.split())
        (library,) = TOOLS.glob("systemd/usr/lib/*-linux-gnu/libseccomp.so.2")
        calls = ",".join(sorted(self.allowed_calls(folder)))
        return (sys.executable, ROOT / "tests/ship/confined.py", library, calls, numbers, *program)

    def test_the_exporter_works_under_the_restrictions(self, tmp_path: Path) -> None:
        """The exporter can poll, write its state and serve with the system calls and sockets that the unit allows."""
        environ = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "PYTHONPATH": str(ROOT)}
        with Simulator("demo") as simulator:
            (tmp_path / "config.yaml").write_text(
                f"region: eu-west-1\nendpoint_url: {simulator.url}\nstate: {{path: {tmp_path}/state.db}}\n"
                f"polling: {{interval: 1s}}\ntransforms: [{', '.join(simulator.world.transform_ids())}]\n"
            )
            serve = (*EXPORTER, "serve", "--config.file=config.yaml", "--web.listen-address=127.0.0.1:0")
            with Process(*self.confined(tmp_path, *serve), folder=tmp_path, environ=environ) as exporter:
                address = exporter.wait_for_output(r"addresses=(\S+)", timeout=30)[1]
                wait_for_answer(f"http://{address}/-/ready", timeout=30)

                def body() -> str:
                    return wait_for_answer(f"http://{address}/metrics").text

                wait_for(lambda: re.search(r"^glue_ml_transform_up\{.*\} 1(\.0)?$", body(), re.MULTILINE), timeout=30)
                assert "\nprocess_start_time_seconds " in body()
                exporter.send(signal.SIGTERM)
                assert exporter.wait() == 0
            assert "level=error" not in exporter.stderr
            assert (tmp_path / "state.db").stat().st_size > 0

    def test_the_restrictions_have_an_effect(self, tmp_path: Path) -> None:
        """Under the same restrictions a chown and a raw socket fail, because the unit denies them."""
        for attempt in ("os.chown('.', 0, 0)", "socket.socket(socket.AF_PACKET)", "os.setpriority(0, 0, 5)"):
            code = f"import os, socket\n{attempt}"
            tried = run(*self.confined(tmp_path, sys.executable, "-c", code), folder=tmp_path)
            assert tried.exit_code == 1
            assert "PermissionError" in tried.stderr
