"""What a page goes through on its way: Prometheus with the shipped rules, Alertmanager, and the webhook at its end."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.support import ROOT, Process, tool, wait_for, wait_for_answer
from tests.system import staging

RULES = ROOT / "alerts" / "glue-ml-*.yaml"
JOB = "glue-ml-exporter"
START = 60.0
"""Seconds that a server may take to start on a machine that has much else to do."""


class Prometheus(staging.Prometheus):
    """A real Prometheus with the shipped rules, which scrapes and evaluates every `interval` seconds.

    `scrape` is put into its scrape job (targets, TLS, passwords), `replica` is the label that an HA pair drops.
    """

    def __init__(
        self,
        folder: Path,
        scrape: Mapping[str, Any],
        *,
        version: str,
        alertmanager: str = "",
        interval: float = 1.0,
        replica: str = "a",
        rules: bool = True,
    ) -> None:
        period = f"{round(interval * 1000)}ms"
        config: dict[str, Any] = {
            "global": {
                "scrape_interval": period,
                "scrape_timeout": period,
                "evaluation_interval": period,
                "external_labels": {"prometheus_replica": replica},
            },
            "rule_files": [str(RULES)] if rules else [],
            "scrape_configs": [{"job_name": JOB, **scrape}],
        }
        if alertmanager:
            config["alerting"] = {
                "alert_relabel_configs": [{"action": "labeldrop", "regex": "prometheus_replica"}],
                "alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}],
            }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        Process.__init__(
            self,
            tool("prometheus", version=version),
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--web.listen-address=127.0.0.1:0",
            "--enable-feature=exemplar-storage",
            folder=folder,
        )

    @cached_property
    def address(self) -> str:
        """Where it listens, as host:port; waits until it is ready."""
        address = self.wait_for_output(r'msg="Listening on".* address=([\d.:]+)', timeout=START)[1]
        wait_for_answer(f"http://{address}/-/ready", timeout=START)
        return address

    def wait_until_up(self, scrapes: int = 3) -> None:
        """Wait for that many good scrapes of every target."""
        wait_for(
            lambda: self.number(f"min(sum_over_time(up[5m])) >= {scrapes}"),
            timeout=START,
            describe=lambda: self.ask("targets")["activeTargets"],
        )

    def firing(self) -> set[str]:
        """Give the names of the alerts that fire."""
        return {series["metric"]["alertname"] for series in self.alerts("firing")}

    def alerts(self, state: str) -> list[dict[str, Any]]:
        """Give the series of the alerts in this state."""
        found: list[dict[str, Any]] = self.ask("query", query=f'ALERTS{{alertstate="{state}"}}')["result"]
        return found


class Alertmanager(Process):
    """A real Alertmanager that posts everything to one webhook, grouped by transform."""

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

    @cached_property
    def address(self) -> str:
        """Where it listens, as host:port; waits until it is ready."""
        address = self.wait_for_output(r'msg="Listening on".* address=([\d.:]+)', timeout=START)[1]
        wait_for_answer(f"http://{address}/-/ready", timeout=START)
        return address


@dataclass(frozen=True)
class Notification:
    """What Alertmanager posted, and when it came (epoch seconds)."""

    time: float
    payload: Mapping[str, Any]

    def alert(self, name: str, status: str) -> dict[str, Any] | None:
        """Give its alert of this name and status."""
        named = (one for one in self.payload["alerts"] if one["labels"]["alertname"] == name)
        return next((one for one in named if one["status"] == status), None)


@dataclass
class Pager:
    """The webhook: keeps what was posted."""

    url: str
    notifications: list[Notification] = field(default_factory=list)

    def wait_for(self, name: str, status: str, *, timeout: float = START) -> tuple[Notification, dict[str, Any]]:
        """Wait for a notification with an alert of this name and status, and give both."""

        def arrived() -> tuple[Notification, dict[str, Any]] | None:
            for notification in list(self.notifications):
                if alert := notification.alert(name, status):
                    return notification, alert
            return None

        return wait_for(arrived, timeout=timeout, describe=lambda: f"{name} {status} among {self.notifications}")


@contextmanager
def pager() -> Iterator[Pager]:
    """Give a webhook that listens while the body runs."""

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
        one = Pager(f"http://127.0.0.1:{server.server_address[1]}/")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield one
        finally:
            server.shutdown()
            thread.join()
