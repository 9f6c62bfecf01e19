"""Processes of `glue-ml-exporter serve` for companies of several sizes. They poll the simulator and are scraped.

A company has accounts with one role each, regions in each account, and transforms in each region. Discovery finds the
transforms.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from bench.client import OPENMETRICS, Scraper
from bench.measure import peak_bytes
from bench.servers import CREDENTIALS, HOST, Server
from exporter.simulator import Simulator

REGIONS = ("eu-west-1", "eu-central-1", "us-east-1", "us-west-2")
RUNS = 10
_START_TIMEOUT = 60.0
_POLL_TIMEOUT = 600.0
_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class Company:
    """The number of accounts, regions per account, transforms per region, and runs per transform."""

    accounts: int
    regions: int
    per_lane: int
    runs: int = RUNS
    rate: float = 5.0
    """Calls per second in each region."""

    @property
    def transforms(self) -> int:
        """The number of all transforms."""
        return self.accounts * self.regions * self.per_lane

    def scenario(self) -> dict[str, object]:
        """Return the scenario for the simulator: transforms with a history and without new runs."""
        tasks = {"FIND_MATCHES": {"history_runs": self.runs, "outcomes": {"FAILED": 0.1}}}
        alike = {"count": self.per_lane, "history": "25d", "labels": 500, "tasks": tasks}
        lanes = [(account, region) for account in range(self.accounts) for region in REGIONS[: self.regions]]
        return {
            "default_account": _account_id(0),
            "transforms": [
                {"name": f"dedup-{account}-{region}-", "account": _account_id(account), "region": region, **alike}
                for account, region in lanes
            ],
        }

    def config(self, glue: str, interval: float, folder: Path) -> dict[str, object]:
        """Return the exporter's configuration; `interval` in seconds, `folder` for the state file."""
        names = [f"account-{account}" for account in range(self.accounts)]
        roles = [f"arn:aws:iam::{_account_id(account)}:role/glue-ml-exporter" for account in range(self.accounts)]
        return {
            "endpoint_url": glue,
            "accounts": [{"name": name, "role_arn": role} for name, role in zip(names, roles, strict=True)],
            "discovery": [{"account": name, "regions": list(REGIONS[: self.regions])} for name in names],
            "polling": {"interval": f"{interval:.0f}s", "requests_per_second": self.rate},
            "state": {"path": str(folder / f"{self.transforms}.db")},
        }


def _account_id(number: int) -> str:
    return f"{100_000_000_000 + number}"


def serve_simulator(port: Connection, company: Company) -> None:
    """Run the simulator for a company; for `servers.served`."""
    with Simulator(company.scenario()) as simulator:
        port.send(int(simulator.url.rpartition(":")[2]))
        signal.pause()


class Exporter:
    """A running exporter."""

    def __init__(self, company: Company, port: int, pid: int) -> None:
        self.company = company
        self.port, self.pid = port, pid
        self._server = Server(port, pid)
        self._scraper = Scraper(port, OPENMETRICS)
        self._scraping = threading.Lock()
        self.scrape_seconds: list[float] = []
        self.text = ""
        self.sent = 0

    def scrape(self) -> str:
        """Scrape as Prometheus does, keep the text in `text`, and return it."""
        with self._scraping:
            began = time.perf_counter()
            body = self._scraper.scrape()
            self.scrape_seconds.append(time.perf_counter() - began)
            self.sent, self.text = len(body), zlib.decompress(body, wbits=31).decode()
            return self.text

    def polls(self) -> float:
        """Return the number of GetMLTaskRuns requests so far."""
        counts = re.findall(r'requests_total\{[^}]*operation="GetMLTaskRuns"[^}]*\} (\S+)', self.scrape())
        return sum(map(float, counts))

    def wait_for_polls(self, per_transform: int, pause: float) -> None:
        """Wait for an average of ``per_transform`` polls of each transform; check every ``pause`` seconds.

        Raises TimeoutError after ten minutes.
        """
        deadline = time.monotonic() + _POLL_TIMEOUT
        while self.polls() < per_transform * self.company.transforms:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the exporter has not polled each transform {per_transform} times")
            time.sleep(pause)

    def cpu_seconds(self) -> float:
        """Return the CPU seconds that the exporter's process has used so far."""
        return self._server.cpu_seconds()

    def peak(self) -> int:
        """Return the largest resident memory of the exporter's process so far, in bytes."""
        return peak_bytes(self._server.pid)


@contextmanager
def exporting(company: Company, glue_port: int, interval: float, folder: Path, *options: str) -> Iterator[Exporter]:
    """Run an exporter for a company until the `with` block ends; `options` are more options for its command line."""
    url = f"http://{HOST}:{glue_port}"
    config, output = folder / f"{company.transforms}.yaml", folder / f"{company.transforms}.log"
    config.write_text(json.dumps(company.config(url, interval, folder)), encoding="utf-8")
    command = [sys.executable, "-m", "exporter", "serve", "--config.file", str(config)]
    with output.open("wb") as log:
        process = subprocess.Popen(
            [*command, *options, f"--web.listen-address={HOST}:0"],
            env={**os.environ, **CREDENTIALS, "AWS_ENDPOINT_URL_STS": url},
            stdout=log,
            stderr=log,
        )
    try:
        yield Exporter(company, _port(output), process.pid)
    finally:
        process.terminate()
        process.wait()


def _port(output: Path) -> int:
    """Return the port in the log of an exporter."""
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        logged = re.search(rf"addresses=\S*{HOST}:(\d+)", output.read_text())
        if logged is not None:
            return int(logged[1])
        time.sleep(_PAUSE)
    raise TimeoutError(f"the exporter does not listen: {output.read_text()[-1000:]}")


@contextmanager
def scraped(exporters: list[Exporter], interval: float) -> Iterator[None]:
    """Scrape the exporters one after the other every ``interval`` seconds, until the `with` block ends."""
    ended = threading.Event()

    def scrape() -> None:
        while not ended.wait(interval):
            for exporter in exporters:
                exporter.scrape()

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
