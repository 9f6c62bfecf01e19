"""A command with full, stuck or closed standard streams, and with signals at its first and its last moment."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.support import EXPORTER, Process, fetch, free_port, run
from tests.system.staging import CREDENTIALS, Exporter, Samples, configuration, wait_for

pytestmark = pytest.mark.slow

SCENARIO = {"transforms": [{"name": "a", "id": "tfm-a"}]}

DROPPED = "glue_ml_exporter_log_messages_dropped_total"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""The environment of a process whose locale has only ASCII."""


@pytest.fixture(autouse=True)
def config_file(simulator, tmp_path):
    """Add an old run, and write the configuration to `config.yaml`, which is the default file of all commands."""
    simulator.world.add_run("tfm-a", status="FAILED", started=simulator.world.start - 60)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(configuration(simulator.url, ["tfm-a"])))


class StuckPipe:
    """A full pipe that nobody reads, until `read_until` reads it."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 4096)
        self.fill()

    def fill(self) -> None:
        """Write lines into the pipe until it is full. The process must have nothing more to write."""
        filler = os.open(f"/proc/self/fd/{self.writer}", os.O_WRONLY | os.O_NONBLOCK)
        try:
            while os.write(filler, b"\n" * 64):
                pass
        except BlockingIOError:
            pass
        finally:
            os.close(filler)

    def read_until(self, pattern: bytes) -> bytes:
        """Read until the pattern has come, and return all that was read."""
        read = b""
        alarm = threading.Timer(60, os.close, (self.writer,))
        alarm.start()
        while not re.search(pattern, read) and (new := os.read(self._reader, 65536)):
            read += new
        alarm.cancel()
        assert re.search(pattern, read), read
        return read

    def close(self) -> None:
        os.close(self._reader)
        os.close(self.writer)


@contextmanager
def stuck_exporter(folder, pipe):
    """Run the exporter with `pipe` as stderr, and yield its process and its address."""
    address = f"127.0.0.1:{free_port()}"
    command = (*EXPORTER, "serve", f"--web.listen-address={address}")
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), **CREDENTIALS}
    with subprocess.Popen(command, cwd=folder, env=environ, stderr=pipe.writer, stdin=subprocess.DEVNULL) as process:
        try:
            yield process, address
        finally:
            process.kill()


def test_a_log_that_nobody_reads_stops_nothing(simulator, tmp_path):
    """With a full pipe as stderr the exporter polls, answers and stops. Lost lines are counted and announced."""
    pipe = StuckPipe()
    with stuck_exporter(tmp_path, pipe) as (process, address):

        def value(name, **labels):
            try:
                return Samples(fetch(f"http://{address}/metrics").text).value(name, **labels)
            except OSError:
                return None

        wait_for(lambda: value("glue_ml_transform_up"), describe="the first poll succeeds")
        for _ in range(1200):
            simulator.world.add_run("tfm-a", status="SUCCEEDED")
        wait_for(lambda: value(DROPPED), describe="lines are dropped")
        polled = value("glue_ml_transform_last_successful_poll_timestamp_seconds")
        wait_for(lambda: value("glue_ml_transform_last_successful_poll_timestamp_seconds") > polled)
        assert value("glue_ml_transform_up") == 1
        assert fetch(f"http://{address}/-/healthy").status == 200
        lost = value(DROPPED)
        read = pipe.read_until(rb"were dropped, .*\n")
        assert f"dropped={lost:.0f}\n".encode() in read
        assert read.count(b'msg="run finished"') == 1200 - lost
        pipe.fill()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    pipe.close()


def test_an_error_that_nobody_reads_does_not_keep_the_process(tmp_path):
    """A command that has failed ends, although stderr is a full pipe that takes no message."""
    (tmp_path / "config.yaml").write_text("transforms: 1\n")
    pipe = StuckPipe()
    with stuck_exporter(tmp_path, pipe) as (process, _):
        assert process.wait(60) == 2
    pipe.close()


def shell(folder, redirection, *arguments, environ=None):
    """Run a command of the exporter to its end, with a redirection in the words of the shell."""
    environ = {**CREDENTIALS, **(environ or {})}
    return run("sh", "-c", f'exec "$@" {redirection}', "sh", *EXPORTER, *arguments, folder=folder, environ=environ)


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "<&- >&- 2>&-"])
def test_a_stderr_that_cannot_be_written_does_not_change_the_exit_code(redirection, tmp_path):
    """With a full or closed stderr the exporter serves, and SIGTERM ends it with exit code 0."""
    address = f"127.0.0.1:{free_port()}"
    command = ("sh", "-c", f'exec "$@" {redirection}', "sh", *EXPORTER, "serve", f"--web.listen-address={address}")
    with Process(*command, folder=tmp_path, environ=CREDENTIALS) as process:

        def lost():
            try:
                return Samples(fetch(f"http://{address}/metrics").text).value(DROPPED)
            except OSError:
                return None

        wait_for(lambda: lost() is not None, describe="the exporter answers")
        if redirection == "2>/dev/full":
            wait_for(lambda: lost() > 0, describe="the lost line is counted")
        else:
            assert lost() == 0
        process.send(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert (process.stdout, process.stderr) == ("", "")


COMMANDS = [
    ("--version",),
    ("--help",),
    ("completion", "bash"),
    ("check-config", "--live"),
    ("iam-policy",),
    ("once",),
    ("runs", "tfm-a"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_closed_streams_are_no_traceback(command, tmp_path):
    """A command whose stdin and stdout are closed does its work and discards its output."""
    done = shell(tmp_path, "<&- >&-", *command)
    assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_full_stdout_is_one_line(command, tmp_path):
    """A command that cannot write its output says so in one line, and exits 1."""
    done = shell(tmp_path, ">/dev/full", *command)
    assert done.stderr == "stdout: No space left on device\n"
    assert done.exit_code == 1


def wait_for_blocked_signals(process):
    """Wait for the first moment at which a process keeps signals until it can handle them."""

    def blocked():
        status = Path(f"/proc/{process.pid}/status").read_text()
        return int(re.search(r"^SigBlk:\s*(\w+)", status, re.MULTILINE)[1], 16) & 1 << signal.SIGHUP - 1

    wait_for(blocked, interval=0.001, describe=lambda: process.stderr)


@pytest.mark.parametrize("command", [("check-config",), ("once",), ("runs", "tfm-a")], ids=" ".join)
def test_an_interrupt_at_the_start_is_one_line(command, tmp_path):
    """Ctrl-C while a command loads its modules ends it with one line and exit code 130."""
    with Process(*EXPORTER, *command, folder=tmp_path, environ=CREDENTIALS) as process:
        wait_for_blocked_signals(process)
        process.send(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    assert (process.stdout, process.stderr) == ("", "interrupted\n")


@pytest.mark.parametrize(
    ("command", "number"), [("serve", signal.SIGTERM), ("demo", signal.SIGINT), ("simulate", signal.SIGTERM)]
)
def test_a_stop_at_the_start_of_a_server_is_silent(command, number, tmp_path):
    """A server that is stopped while it loads its modules ends with exit code 0."""
    with Process(*EXPORTER, command, folder=tmp_path, environ=CREDENTIALS) as process:
        wait_for_blocked_signals(process)
        process.send(number)
        assert process.wait(timeout=60) == 0
    assert (process.stdout, process.stderr) == ("", "")


def test_signals_at_the_first_and_at_the_last_moment(tmp_path):
    """SIGHUP right after the start reloads the configuration, and further SIGTERMs do not change the exit code."""
    with Exporter(tmp_path, None, "--log.format=json") as exporter:
        wait_for_blocked_signals(exporter)
        exporter.send(signal.SIGHUP)
        exporter.wait_for_output("configuration reloaded", timeout=60)
        while exporter.exit_code is None:
            exporter.send(signal.SIGTERM)
        assert exporter.exit_code == 0, exporter.stderr
    [listening] = [line for line in exporter.log() if line["msg"] == "listening"]
    assert (listening["transforms"], listening["accounts_and_regions"], listening["discovery_queries"]) == (1, 1, 0)
    assert listening["url"] == f"http://{exporter.address}/"


def test_an_ascii_locale_changes_no_page(tmp_path):
    """In a locale that has only ASCII, status page and transform page are served, and output has escapes."""
    address = f"127.0.0.1:{free_port()}"
    command = (*EXPORTER, "serve", f"--web.listen-address={address}")
    with Process(*command, folder=tmp_path, environ={**CREDENTIALS, **ASCII}) as process:
        process.wait_for_output("listening", timeout=60)
        assert fetch(f"http://{address}/").status == 200
        assert fetch(f"http://{address}/transforms/tfm-a").status == 200
    (tmp_path / "ä.yaml").write_text((tmp_path / "config.yaml").read_text())
    checked = shell(tmp_path, "", "check-config", "--config.file=ä.yaml", environ=ASCII)
    assert (checked.exit_code, checked.stderr) == (0, "")


def test_a_start_uses_its_external_url(tmp_path):
    """With --web.external-url the log shows this URL, and all paths also work below its path."""
    address, url = f"127.0.0.1:{free_port()}", "http://glue.example.com/ml"
    command = (*EXPORTER, "serve", f"--web.listen-address={address}", f"--web.external-url={url}")
    with Process(*command, folder=tmp_path, environ=CREDENTIALS) as process:
        process.wait_for_output(f"url={url}/", timeout=60)
        assert fetch(f"http://{address}/ml/-/healthy").status == 200
    done = run(*EXPORTER, "serve", "--web.external-url=http://a/metrics", folder=tmp_path, environ=CREDENTIALS)
    assert done.exit_code == 2
    [line] = done.stderr.splitlines()
    assert "--web.external-url: its path /metrics is that of a page" in line


@pytest.mark.parametrize("path", ["/transforms/x", "/-/healthy", "metrics"])
def test_a_telemetry_path_of_another_page_is_one_line(path, tmp_path):
    """A path of the metrics that is not a path, or is that of a page, is a usage error that names the flag."""
    done = run(*EXPORTER, "serve", f"--web.telemetry-path={path}", folder=tmp_path, environ=CREDENTIALS)
    assert done.exit_code == 2
    [line] = done.stderr.splitlines()
    assert f"--web.telemetry-path: {path!r} " in line


def test_a_start_without_threads_is_one_line(tmp_path):
    """If the system allows no threads, a start fails with one line that names the limits."""
    program = "import threading; threading.stack_size(1 << 47); from exporter.__main__ import run; run()"
    done = run(sys.executable, "-c", program, "serve", folder=tmp_path, environ=CREDENTIALS)
    assert done.exit_code == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("the system allows no more threads; ")
