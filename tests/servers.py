"""Prometheus and Alertmanager as real processes, and the webhook that Alertmanager calls."""

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from tests.support import Process, fetch, tool, wait_for, wait_for_answer

START = 60.0
"""The time in seconds that a server may take to start on a busy machine."""

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Track:
    """The raw samples of one series in Prometheus: (time in epoch seconds, value), in the order of time."""

    labels: Labels
    points: tuple[tuple[float, float], ...]

    @property
    def increase(self) -> float:
        """The increase of the counter from its first to its last sample. A decrease counts as a reset to 0."""
        values = [value for _, value in self.points]
        return sum(after - before if after >= before else after for before, after in pairwise(values))

    @property
    def falls(self) -> int:
        """The number of decreases, which Prometheus treats as counter resets."""
        values = [value for _, value in self.points]
        return sum(after < before for before, after in pairwise(values))


class Server(Process):
    """A server of the Prometheus project, which logs the address that it listens on."""

    @cached_property
    def address(self) -> str:
        """The address as host:port. Waits until the server is ready."""
        address = self.wait_for_output(r'msg="Listening on".* address=([\d.:]+)', timeout=START)[1]
        wait_for_answer(f"http://{address}/-/ready", timeout=START)
        return address


class Prometheus(Server):
    """A real Prometheus with one scrape job, which scrapes and evaluates rules every `interval` seconds.

    `scrape` has further settings of the job (targets, TLS, passwords). Without it the last `point_at` sets the targets.
    `replica` is an external label that the alerts drop, as in an HA pair. It also changes the offset in the interval at
    which the server scrapes. `version` is the major version, `alertmanager` an address.
    """

    def __init__(
        self,
        folder: Path,
        *,
        version: str | None = None,
        interval: float = 1.0,
        scrape: Mapping[str, Any] | None = None,
        rules: Sequence[Path] = (),
        alertmanager: str = "",
        replica: str = "a",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._targets = folder / "targets.json"
        self.point_at({})
        period = f"{round(interval * 1000)}ms"
        config: dict[str, Any] = {
            "global": {
                "scrape_interval": period,
                "scrape_timeout": period,
                "evaluation_interval": period,
                "external_labels": {"prometheus_replica": replica},
            },
            "rule_files": [str(pattern) for pattern in rules],
            "scrape_configs": [
                {"job_name": "glue-ml-exporter", **(scrape or {"file_sd_configs": [{"files": [self._targets.name]}]})},
            ],
        }
        if alertmanager:
            config["alerting"] = {
                "alert_relabel_configs": [{"action": "labeldrop", "regex": "prometheus_replica"}],
                "alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}],
            }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        super().__init__(
            tool("prometheus", version=version),
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--web.listen-address=127.0.0.1:0",
            "--enable-feature=exemplar-storage",
            folder=folder,
        )

    def point_at(self, targets: Mapping[str, str]) -> None:
        """Scrape these addresses from now on, each under its `instance` label."""
        groups = [{"targets": [address], "labels": {"instance": label}} for label, address in targets.items()]
        new = self._targets.with_suffix(".new")
        new.write_text(json.dumps(groups))
        new.replace(self._targets)

    def ask(self, path: str, **parameters: str) -> Any:
        """Call the HTTP API of the server, and return the `data` of the answer."""
        query = "&".join(f"{name}={quote(value)}" for name, value in parameters.items())
        answer = fetch(f"http://{self.address}/api/v1/{path}?{query}")
        content = json.loads(answer.body)
        assert content["status"] == "success", content
        return content["data"]

    def number(self, promql: str) -> float:
        """Return the value of an expression with at most one series; 0 if it has none."""
        result = self.ask("query", query=promql)["result"]
        assert len(result) < 2, result
        return float(result[0]["value"][1]) if result else 0.0

    def tracks(self, selector: str) -> list[Track]:
        """Return the raw samples of the last ten minutes of all series that match the selector."""
        result = self.ask("query", query=f"{selector}[10m]")["result"]
        return [
            Track(
                frozenset((name, value) for name, value in series["metric"].items() if name != "__name__"),
                tuple((float(time), float(value)) for time, value in series["values"]),
            )
            for series in result
        ]

    def scrapes(self, instance: str) -> list[tuple[float, bool]]:
        """Return start (epoch seconds) and success of each scrape of a target so far."""
        return [
            (time, value == 1) for track in self.tracks(f'up{{instance="{instance}"}}') for time, value in track.points
        ]

    def wait_for_scrapes(self, instance: str, count: int = 1, *, timeout: float = START) -> None:
        """Wait for `count` more successful scrapes of a target."""
        before = self.good_scrapes(instance)
        wait_for(
            lambda: self.good_scrapes(instance) >= before + count,
            timeout=timeout,
            describe=lambda: f"{count} scrapes of {instance}; {self.ask('targets')['activeTargets']}",
        )

    def good_scrapes(self, instance: str) -> int:
        """Return the number of successful scrapes of a target so far."""
        return sum(good for _, good in self.scrapes(instance))

    def wait_until_up(self, scrapes: int = 3) -> None:
        """Wait for `scrapes` successful scrapes of every target."""
        wait_for(
            lambda: self.number(f"min(sum_over_time(up[5m])) >= {scrapes}"),
            timeout=START,
            describe=lambda: self.ask("targets")["activeTargets"],
        )

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        return {series["metric"]["alertname"] for series in self.alerts("firing")}

    def alerts(self, state: str) -> list[dict[str, Any]]:
        """Return the series of the alerts in this state."""
        found: list[dict[str, Any]] = self.ask("query", query=f'ALERTS{{alertstate="{state}"}}')["result"]
        return found


class Alertmanager(Server):
    """A real Alertmanager that posts all notifications to one webhook, grouped by transform."""

    def __init__(self, folder: Path, webhook: str) -> None:
        config = {
            "route": {
                "receiver": "webhook",
                "group_by": ["transform_id"],
                "group_wait": "100ms",
                "group_interval": "500ms",
                "repeat_interval": "1h",
            },
            "receivers": [{"name": "webhook", "webhook_configs": [{"url": webhook, "send_resolved": True}]}],
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
        super().__init__(
            tool("prometheus-alertmanager"),
            "--config.file=alertmanager.yml",
            "--storage.path=data",
            "--web.listen-address=127.0.0.1:0",
            "--cluster.listen-address=",
            folder=folder,
        )


@dataclass(frozen=True)
class Notification:
    """A message from Alertmanager, and the time of its arrival (epoch seconds)."""

    time: float
    payload: Mapping[str, Any]

    def alert(self, name: str, status: str) -> dict[str, Any] | None:
        """Return the alert with this name and status; None if there is none."""
        named = (one for one in self.payload["alerts"] if one["labels"]["alertname"] == name)
        return next((one for one in named if one["status"] == status), None)


@dataclass
class Webhook:
    """A webhook that keeps every notification that it receives."""

    url: str
    notifications: list[Notification] = field(default_factory=list)

    def wait_for(self, name: str, status: str, *, timeout: float = START) -> tuple[Notification, dict[str, Any]]:
        """Wait for a notification that has an alert with this name and status, and return both."""

        def arrived() -> tuple[Notification, dict[str, Any]] | None:
            for notification in list(self.notifications):
                if alert := notification.alert(name, status):
                    return notification, alert
            return None

        return wait_for(arrived, timeout=timeout, describe=lambda: f"{name} {status} among {self.notifications}")


@contextmanager
def run_webhook() -> Iterator[Webhook]:
    """Yield a webhook that listens until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            now = time.time()
            payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            one.notifications.append(Notification(now, payload))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        one = Webhook(f"http://127.0.0.1:{server.server_address[1]}/")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield one
        finally:
            server.shutdown()
            thread.join()
