"""Run the demo with the Prometheus and Alertmanager that are installed on this machine, and with the alerts loaded.

    python demo-stack/local.py [--exporter HOST:PORT] [--prometheus HOST:PORT] [--alertmanager HOST:PORT]

The programs get the configuration of the compose file, with addresses of this machine. Ctrl-C stops all programs.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
STOP_TIMEOUT = 5.0
"""Time from SIGTERM until a program is killed, in seconds."""


class MissingProgramError(Exception):
    """A program is not installed. The message says how to install it."""


def find(*names: str) -> str:
    """Return the path of the installed program with one of these names, or else of the copy that the tests use."""
    copies = [str(path) for path in sorted((ROOT / ".tools").glob("prometheus-*/usr/bin"), reverse=True)]
    for path in (None, *copies):
        for name in names:
            if program := shutil.which(name, path=path):
                return program
    raise MissingProgramError(f"{names[0]} is not installed: run `make tools`, or install it so that it is in PATH")


def prometheus_config(exporter: str, alertmanager: str) -> dict[str, Any]:
    """Return the demo's configuration of Prometheus, with these addresses and the rules in its own folder."""
    config: dict[str, Any] = yaml.safe_load((HERE / "prometheus.yml").read_text(encoding="utf-8"))
    config["rule_files"] = [f"rules/{Path(pattern).name}" for pattern in config["rule_files"]]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [exporter]}]
    config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [alertmanager]}]}]
    return config


class Running:
    """A program whose output goes to a file. The end of the `with` block stops it."""

    def __init__(self, folder: Path, name: str, *command: str) -> None:
        """Start the command in `folder`."""
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # noqa: S603 - programs that this script names

    @property
    def ended(self) -> bool:
        """Whether the program has ended."""
        return self._process.poll() is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def run(folder: Path, addresses: Mapping[str, str]) -> int:
    """Run all three programs until one ends (return 1) or until Ctrl-C (return 0)."""
    config = prometheus_config(addresses["exporter"], addresses["alertmanager"])
    rules = (sys.executable, "-m", "exporter", "rules", "--output=rules", f"--thresholds={HERE / 'thresholds.toml'}")
    subprocess.run(rules, cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - this package's own command
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    commands = {
        "exporter": (sys.executable, "-m", "exporter", "demo", f"--web.listen-address={addresses['exporter']}"),
        "alertmanager": (
            find("alertmanager", "prometheus-alertmanager"),
            f"--config.file={HERE / 'alertmanager.yml'}",
            "--storage.path=alertmanager",
            f"--web.listen-address={addresses['alertmanager']}",
            "--cluster.listen-address=",
        ),
        "prometheus": (
            find("prometheus"),
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=prometheus",
            f"--web.listen-address={addresses['prometheus']}",
            "--enable-feature=exemplar-storage",
        ),
    }
    with ExitStack() as stack:
        programs = [stack.enter_context(Running(folder, name, *command)) for name, command in commands.items()]
        print(greeting(addresses), flush=True)
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)  # waits until any program ends; Popen reaps it
        except KeyboardInterrupt:
            return 0
        for program in programs:
            if program.ended:
                print(
                    f"{program.name} has ended. The end of its log:\n{program.log.read_text()[-2000:]}", file=sys.stderr
                )
        return 1


def greeting(addresses: Mapping[str, str]) -> str:
    """Return the text with the addresses, which is printed at the start."""
    return f"""
Exporter:      http://{addresses["exporter"]}/metrics
Prometheus:    http://{addresses["prometheus"]}/
Alertmanager:  http://{addresses["alertmanager"]}/
Alerts, after 10 seconds (Debian's package of Alertmanager has no web page):
  amtool alert query --alertmanager.url=http://{addresses["alertmanager"]}

Ctrl-C stops everything."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--exporter", default="127.0.0.1:10210", metavar="HOST:PORT")
    parser.add_argument("--prometheus", default="127.0.0.1:9090", metavar="HOST:PORT")
    parser.add_argument("--alertmanager", default="127.0.0.1:9093", metavar="HOST:PORT")
    addresses = vars(parser.parse_args(arguments))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="glue-ml-exporter-demo-") as folder:
        try:
            return run(Path(folder), addresses)
        except (MissingProgramError, KeyboardInterrupt) as error:
            print(error, file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
