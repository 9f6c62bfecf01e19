import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.cli.service_manager import ServiceManager
from exporter.polling.scheduler import LONGEST_SILENCE, Scheduler
from exporter.polling.timetable import Job
from exporter.simulator import Simulator
from tests.ship.programs import call, environment
from tests.support import EXPORTER, ROOT, TOOLS, Process, fetch, free_port, run, tool, wait_for, wait_for_answer
from tests.web.serving import Clock, serving

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


class TestNotify:
    """The messages to a service manager, received at a real Unix socket."""

    @pytest.fixture
    def messages(self, tmp_path: Path) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(str(tmp_path / "notify"))
            receiver.settimeout(30)
            yield receiver

    def test_the_exporter_reports_that_it_listens_works_and_stops(
        self, messages: socket.socket, tmp_path: Path
    ) -> None:
        """The first message says that the exporter listens, the next feed the watchdog, the last says that it stops."""
        (tmp_path / "config.yaml").write_text("region: eu-west-1\ntransforms: [tfm-0123456789abcdef]\n")
        serve = (*EXPORTER, "serve", "--config.file=config.yaml", "--web.listen-address=127.0.0.1:0")
        environ = {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "60000000",
            "AWS_EC2_METADATA_DISABLED": "true",
            "PYTHONPATH": str(ROOT),
        }
        with Process(*serve, folder=tmp_path, environ=environ) as exporter:
            assert messages.recv(100) == b"READY=1"
            address = exporter.wait_for_output(r"addresses=(\S+)", timeout=30)[1]
            assert fetch(f"http://{address}/-/healthy").status == 200
            assert [messages.recv(100) for _ in range(2)] == [b"WATCHDOG=1"] * 2
            exporter.send(signal.SIGTERM)
            assert exporter.wait() == 0
            messages.settimeout(0)
            rest = list(iter(lambda: _received(messages), b""))
            assert rest[-1] == b"STOPPING=1"
            assert set(rest[:-1]) <= {b"WATCHDOG=1"}

    def test_the_watchdog_starves_when_polls_no_longer_end(self, messages: socket.socket, tmp_path: Path) -> None:
        """A poll that is stuck lets /-/healthy fail, and then the watchdog gets no message from the web server."""
        stop = threading.Event()
        hanging, clock = threading.Event(), Clock()
        scheduler = Scheduler(
            interval=60, idle_interval=None, threads_per_lane=1, on_cycle=lambda *_: None, clock=clock
        )
        manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1"})
        seconds: list[bool] = []

        def on_second() -> None:
            manager.feed_watchdog(lambda: scheduler.alive)
            seconds.append(scheduler.alive)

        def work() -> bool:
            hanging.set()
            return stop.wait(60)

        scheduler.add(Job(work, lane="lane", offset=0.0))
        threading.Thread(target=scheduler.run, args=(stop,), daemon=True).start()
        try:
            assert hanging.wait(30)
            with serving(on_second=on_second):
                assert messages.recv(100) == b"WATCHDOG=1"
                clock.now = LONGEST_SILENCE + 1
                wait_for(lambda: seconds and not seconds[-1], timeout=30)
                messages.settimeout(0)
                list(iter(lambda: _received(messages), b""))
                seen = len(seconds)
                wait_for(lambda: len(seconds) > seen + 1, timeout=30)
                assert _received(messages) == b""
        finally:
            stop.set()

    @pytest.mark.parametrize(
        "environ", [{}, {"NOTIFY_SOCKET": "/nowhere"}, {"NOTIFY_SOCKET": "@glue-ml-exporter-nobody"}]
    )
    def test_no_message_raises(self, environ: dict[str, str]) -> None:
        """Without systemd, and with a socket that nobody reads, the exporter goes on."""
        manager = ServiceManager({**environ, "WATCHDOG_USEC": "1"})
        manager.ready()
        manager.feed_watchdog(lambda: True)
        manager.stopping()

    def test_a_full_socket_does_not_block(self, messages: socket.socket, tmp_path: Path) -> None:
        """If systemd does not read its socket, messages are lost and the event loop goes on."""
        manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        for _ in range(1000):
            manager.ready()
        messages.settimeout(0)
        assert len(list(iter(lambda: _received(messages), b""))) < 1000

    def test_the_watchdog_of_another_process_is_not_fed(self, messages: socket.socket, tmp_path: Path) -> None:
        """With a WATCHDOG_PID of another process, nothing is sent (sd_watchdog_enabled(3))."""
        manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"})
        manager.feed_watchdog(lambda: True)
        manager.ready()
        assert messages.recv(100) == b"READY=1"


def _received(receiver: socket.socket) -> bytes:
    """Return the next message; empty if there is none."""
    try:
        return receiver.recv(100)
    except BlockingIOError:
        return b""


@pytest.mark.parametrize("config", [None, "region: [", "region: eu-west-1\ntransforms: [tfm-a]\nintervall: 1s\n"])
def test_a_wrong_configuration_is_not_restarted(config: str | None, tmp_path: Path) -> None:
    """`serve` exits with a code after which the unit does not restart it, if its configuration is missing or wrong."""
    if config is not None:
        (tmp_path / "config.yaml").write_text(config)
    ended = run(*EXPORTER, "serve", folder=tmp_path, environ={"PYTHONPATH": str(ROOT)})
    prevented = re.findall(
        r"^RestartPreventExitStatus=(\d+)$", (UNITS / "glue-ml-exporter.service").read_text(), re.MULTILINE
    )
    assert prevented == [str(ended.exit_code)]
    assert ended.stderr.startswith("config.yaml:")


def test_memory_limit() -> None:
    """The unit's memory is more than the largest exporter of docs/capacity.md needs, and the page states it."""
    (limit,) = re.findall(r"^MemoryMax=(\d+)G$", (UNITS / "glue-ml-exporter.service").read_text(), re.MULTILINE)
    page = (ROOT / "docs/capacity.md").read_text()
    (company,) = re.findall(r"10,000 . 110 kB = ([\d.]+) GB", page)
    (scan,) = re.findall(r"first scan of 1,000,000 runs took (\d+) MB more", page)
    assert float(company) + int(scan) / 1000 < int(limit)
    assert f"limits the memory to {limit} GB" in page
