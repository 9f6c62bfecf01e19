"""Tools that many tests use: waiting with a deadline, the command as a process, outside programs, HTTP.

There are no fakes here. A fake is defined in the test file that passes it in.
"""

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / ".tools"
EXPORTER = (sys.executable, "-m", "exporter")

T = TypeVar("T")


def wait_for(
    condition: Callable[[], T | None],
    *,
    timeout: float = 10.0,
    describe: str | Callable[[], object] = "",
    interval: float = 0.02,
) -> T:
    """Call `condition` every `interval` seconds until its result is truthy, and return the result.

    After `timeout` seconds it raises AssertionError with `describe`. If `describe` is a function, the message is its
    result, for instance the log of a process. This is the only place in the tests that sleeps.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() >= deadline:
            what = describe() if callable(describe) else describe
            raise AssertionError(f"not within {timeout:g} s: {what or condition}; last value: {value!r}")
        time.sleep(interval)
    return value


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago, for programs that do not report a port they chose."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def tool(name: str, *, version: str | None = None) -> Path:
    """Return the path of an outside program that `make test` installs into `.tools/`. Skip the test if it is missing.

    `version` is the major version of the Prometheus that the program came with ("2" or "3": prometheus, promtool,
    prometheus-alertmanager, amtool); without it, the newest. Under CI=true a skip is a failure (see conftest.py).
    """
    folders = sorted(TOOLS.glob(f"*-{version}" if version else "*"), reverse=True)
    for folder in folders:
        for place in ("usr/bin", "usr/sbin", "bin"):
            if (program := folder / place / name).is_file():
                return program
    wanted = name if version is None else f"{name} {version}"
    pytest.skip(f"{wanted} is not in .tools/: run `make tools` and read what it says")


@dataclass(frozen=True)
class Answer:
    """The answer of an HTTP server; header names are case-insensitive."""

    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        """The body as UTF-8 text."""
        return self.body.decode()


def fetch(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout: float = 10.0,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """Send one HTTP request without a proxy, and return the answer with any status. Raises OSError without an answer.

    The body is returned as it was sent, without decompression.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls))
    request = urllib.request.Request(url, data=body, headers=dict(headers or {}), method=method)  # noqa: S310 - tests name their own URLs
    try:
        response = opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        return Answer(response.status, response.headers, response.read())


def wait_for_answer(url: str, *, status: int = 200, timeout: float = 10.0) -> Answer:
    """Request `url` until the answer has this `status`, and return it. AssertionError after `timeout` seconds."""

    def answer() -> Answer | None:
        try:
            got = fetch(url)
        except OSError:
            return None
        return got if got.status == status else None

    return wait_for(answer, timeout=timeout, describe=f"{url} answers {status}")


class Process:
    r"""A program in its own process, which is killed with its children at the end of the `with` block.

    Takes the command line, a folder and extra environment variables. The folder is the working directory and HOME, and
    stdout and stderr are files in it, so that no pipe can fill up. Only PATH is inherited from the environment: no
    credentials, proxies or settings of the machine. Example::

        with Process(*EXPORTER, "serve", "--web.listen-address=127.0.0.1:0", folder=tmp_path) as exporter:
            address = exporter.wait_for_output(r"address=(\S+)")[1]
            exporter.send(signal.SIGTERM)
            assert exporter.wait() == 0
    """

    def __init__(self, *command: str | Path, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self._stdout = _empty_file(folder, "stdout-")
        self._stderr = _empty_file(folder, "stderr-")
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self._popen = subprocess.Popen(
                command,
                cwd=folder,
                env={"PATH": os.environ["PATH"], "HOME": str(folder), **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its process group."""
        return self._popen.pid

    @property
    def stdout(self) -> str:
        """The output of the process on stdout so far."""
        return self._stdout.read_text(errors="backslashreplace")

    @property
    def stderr(self) -> str:
        """The output of the process on stderr so far, where the exporter writes its log."""
        return self._stderr.read_text(errors="backslashreplace")

    @property
    def exit_code(self) -> int | None:
        """The exit code, or the negative number of the signal that ended the process; None while it runs."""
        return self._popen.poll()

    def wait_for_output(self, pattern: str, *, timeout: float = 10.0) -> re.Match[str]:
        """Wait until a line of stdout or stderr matches the regular expression, and return the first match.

        AssertionError with the whole output after `timeout` seconds, or when the process ends without a match.
        """

        def match() -> re.Match[str] | None:
            ended = self.exit_code is not None
            output = f"{self.stderr}\n{self.stdout}"
            found = re.search(pattern, output, re.MULTILINE)
            if ended and not found:
                raise AssertionError(f"exit code {self.exit_code} without {pattern!r} in:\n{output}")
            return found

        return wait_for(match, timeout=timeout, describe=lambda: f"{pattern!r} in:\n{self.stderr}\n{self.stdout}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, not to its children."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """Kill the process and all its children with SIGKILL, and wait for the end. Does nothing if it has ended."""
        if self._popen.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()

    def wait(self, *, timeout: float = 10.0) -> int:
        """Wait for the end, and return the exit code. AssertionError with its log after `timeout` seconds."""
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout:g} s:\n{self.stderr}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()


def run(*command: str | Path, folder: Path, environ: Mapping[str, str] | None = None, timeout: float = 30.0) -> Process:
    """Run a program to its end, and return it with its exit code and output. AssertionError after `timeout` seconds."""
    with Process(*command, folder=folder, environ=environ) as process:
        process.wait(timeout=timeout)
    return process


def on_loopback_only(
    *command: str | Path, more: Sequence[str] = (), script: str = 'exec "$@"'
) -> tuple[str | Path, ...]:
    """Return a command that runs `command` in a network namespace with only the loopback interface.

    `more` has further flags of unshare, and `script` runs inside before `command`. The test is skipped where the kernel
    does not allow namespaces to this user, as in some containers. Under CI=true the skip is a failure.
    """
    isolated = ("unshare", "--map-root-user", "--net", *more)
    if subprocess.run([*isolated, "true"], capture_output=True, check=False).returncode:
        pytest.skip("the kernel allows this user no network namespaces")
    return (*isolated, "sh", "-ec", f"ip link set lo up\n{script}", "sh", *command)


def _empty_file(folder: Path, prefix: str) -> Path:
    descriptor, path = tempfile.mkstemp(prefix=prefix, suffix=".log", dir=folder)
    os.close(descriptor)
    return Path(path)
