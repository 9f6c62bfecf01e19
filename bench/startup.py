"""The start of commands that print a text: CPU time against a bare interpreter."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.measure import in_turns
from bench.tables import Row, at_most, seconds

TITLE = "Start: commands that print a text"
NOTE = (
    "CPU time, user and system, of a process from its start to its end; the median of the rounds.\n"
    "A bare interpreter is `python -c pass`. The configuration has one transform."
)

_COMMANDS = (
    ("--version", 0.15),
    ("--help", 0.15),
    ("completion bash", 0.15),
    ("check-config", 0.35),
    ("iam-policy", 0.35),
)
"""The arguments of each command, and the maximum CPU seconds of the command."""


def run(*, quick: bool) -> Iterator[Row]:
    """Yield a row for each command."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.yaml").write_text("region: eu-west-1\ntransforms: [tfm-0123456789abcdef]\n")
        contestants = {
            arguments: partial(_cpu_seconds, folder, "-m", "exporter", *arguments.split()) for arguments, _ in _COMMANDS
        }
        times = in_turns(1 if quick else 15, bare=partial(_cpu_seconds, folder, "-c", "pass"), **contestants)
    for arguments, limit in _COMMANDS:
        absolute = f"{times[arguments] / times['bare']:.1f} times a bare interpreter, {seconds(times['bare'])}"
        yield Row(f"glue-ml-exporter {arguments}", times[arguments], absolute, at_most(limit), unit="s")


def _cpu_seconds(folder: Path, *arguments: str) -> float:
    """Run the interpreter in the folder and discard its output. Return its CPU seconds."""
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen((sys.executable, *arguments), cwd=folder, env=environ, stdout=subprocess.DEVNULL)
    # Popen.wait is not used, because it does not return the resource usage of the process.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime
