"""A run fails in a simulated Glue, and Prometheus and Alertmanager send the alert to a webhook."""

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import trustme
import yaml

from exporter.cli.rules.files import rule_files
from exporter.config.thresholds import read_thresholds
from exporter.simulator import Simulator
from tests.servers import START, Alertmanager, Prometheus, Webhook, run_webhook
from tests.support import ROOT, fetch, wait_for
from tests.system.staging import Exporter, configuration, steady_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ID = "tfm-0123456789abcdef0123456789abcdef01234567"
SETTINGS = """
dashboard_url = "https://grafana.example.com/d"
status_url = "https://glue-ml.example.com"
[alerts]
GlueMLTaskRunFailedSinceSuccess = { for = "1s" }
"""
RUNBOOKS = "https://github.com/glue-ml-exporter/glue-ml-exporter/blob/main/"
BOTH_FORMS = ("GlueMLTaskRunFailed", "GlueMLTaskRunFailedSinceSuccess")


SUCCEEDED = {"type": "FIND_MATCHES", "status": "SUCCEEDED", "started": "-2h", "completed": "-1h"}
SCENARIO = {"transforms": [{"name": "customers-dedup", "id": ID, "runs": [SUCCEEDED]}]}


@pytest.fixture
def webhook_server() -> Iterator[Webhook]:
    with run_webhook() as one:
        yield one


@pytest.fixture
def alertmanager(webhook_server: Webhook, tmp_path: Path) -> Iterator[str]:
    """Yield the address of an Alertmanager that sends alerts to the webhook."""
    with Alertmanager(tmp_path / "alertmanager", webhook_server.url) as one:
        yield one.address


def write_rules(folder: Path) -> Path:
    """Write rules with links, and without the time in which a retry may succeed; return the pattern of the files."""
    (folder / "thresholds.toml").write_text(SETTINGS)
    (folder / "rules").mkdir()
    for name, content in rule_files(read_thresholds(folder / "thresholds.toml")).items():
        (folder / "rules" / name).write_text(content)
    return folder / "rules" / "*.yaml"


def settings(simulator: Simulator, **sections: Any) -> dict[str, Any]:
    """Return a configuration that polls twice a second; the transform belongs to a team."""
    return configuration(simulator.url, [{"id": ID, "labels": {"team": "crm"}}], {"interval": "500ms"}, **sections)


def static(address: str) -> dict[str, Any]:
    return {"static_configs": [{"targets": [address]}]}


def end_a_run(simulator: Simulator, status: str) -> float:
    """Start and end one run; return the time of its end in epoch seconds."""
    run = simulator.world.start_run(ID, "FIND_MATCHES")
    fields = {"ErrorString": "Access Denied (Service: Amazon S3; Status Code: 403)"} if status == "FAILED" else {}
    simulator.world.finish_run(ID, run, status, fields=fields)
    return time.time()


def report(capfd: pytest.CaptureFixture[str], what: str, seconds: float) -> None:
    """Print a measurement to the terminal or the log of CI. Without `capfd.disabled`, pytest would hide it."""
    with capfd.disabled():
        print(f"\n{what}: {seconds:.2f} s", file=sys.stderr, flush=True)


def failure_alerts(webhook_server: Webhook) -> set[tuple[str, str]]:
    """Return name and start of each alert about a failure. Other alerts are ignored, as load may cause them."""
    alerts = (alert for notification in webhook_server.notifications for alert in notification.payload["alerts"])
    found = {(alert["labels"]["alertname"], alert["startsAt"]) for alert in alerts}
    return {(name, begun) for name, begun in found if name in BOTH_FORMS}


def assert_names_the_transform(alert: Mapping[str, Any], exporter: str) -> None:
    """Assert that the alert names the run's transform, account and region, and has links to runbook and dashboard."""
    labels, annotations = alert["labels"], alert["annotations"]
    assert labels["transform_name"] == "customers-dedup"
    assert labels["transform_id"] == ID
    assert (labels["task_type"], labels["status"]) == ("FIND_MATCHES", "FAILED")
    assert (labels["aws_account"], labels["aws_region"], labels["team"]) == ("default", "eu-west-1", "crm")
    assert exporter not in str(labels)
    assert "customers-dedup" in annotations["summary"]
    assert ID in annotations["description"]
    assert annotations["dashboard_url"] == (
        f"https://grafana.example.com/d/glue-ml-transform?var-account=default&var-region=eu-west-1&var-transform={ID}"
    )
    assert annotations["status_url"] == f"https://glue-ml.example.com/transforms/{ID}"
    assert labels["reason"] == "access_denied"
    assert annotations["summary"].startswith("customers-dedup: FIND_MATCHES failed: access_denied")
    runbook = ROOT / annotations["runbook_url"].removeprefix(RUNBOOKS)
    assert runbook.read_text().startswith(f"# {labels['alertname']}\n")


def test_a_failed_run_sends_one_alert_and_a_later_success_resolves_it(
    simulator: Simulator, webhook_server: Webhook, alertmanager: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """If two Prometheus servers report a failure, one alert with names and links is sent. A success resolves it."""
    rules = write_rules(tmp_path)
    with ExitStack() as stack:
        exporter = stack.enter_context(Exporter(tmp_path, settings(simulator, metrics={"initial_hold": "5s"})))
        pair = [
            stack.enter_context(
                Prometheus(
                    tmp_path / version,
                    scrape=static(exporter.address),
                    rules=[rules],
                    version=version,
                    alertmanager=alertmanager,
                    replica=version,
                )
            )
            for version in ("2", "3")
        ]
        for server in pair:
            server.wait_until_up()
        assert failure_alerts(webhook_server) == set()

        failed_at = end_a_run(simulator, "FAILED")
        received = {name: webhook_server.wait_for(name, "firing") for name in BOTH_FORMS}
        report(capfd, "from failure to webhook", min(notice.time for notice, _ in received.values()) - failed_at)
        for notification, alert in received.values():
            assert_names_the_transform(alert, exporter.address)
            assert notification.payload["groupLabels"] == {"transform_id": ID}
        for server in pair:
            wait_for(lambda server=server: server.firing() >= set(BOTH_FORMS), timeout=START, describe=server.firing)

        succeeded_at = end_a_run(simulator, "SUCCEEDED")
        notification, alert = webhook_server.wait_for("GlueMLTaskRunFailedSinceSuccess", "resolved")
        report(capfd, "from success to resolved", notification.time - succeeded_at)
        assert alert["labels"]["transform_name"] == "customers-dedup"
        for server in pair:
            wait_for(
                lambda server=server: server.firing().intersection(BOTH_FORMS) == {"GlueMLTaskRunFailed"},
                timeout=START,
                describe=server.firing,
            )
    for notification in webhook_server.notifications:
        names = Counter(alert["labels"]["alertname"] for alert in notification.payload["alerts"])
        assert set(names.values()) == {1}, "both servers raise the same alert"


def test_a_failed_run_sends_an_alert_with_tls_and_a_password(
    simulator: Simulator, webhook_server: Webhook, alertmanager: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Alerts also fire and resolve if scrapes use TLS and basic authentication."""
    rules = write_rules(tmp_path)
    authority, password = trustme.CA(), "correct horse battery staple"
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    web = {
        "tls_server_config": {"cert_file": "cert.pem", "key_file": "key.pem"},
        "basic_auth_users": {"prometheus": hashed},
    }
    (tmp_path / "web.yml").write_text(yaml.safe_dump(web))
    with Exporter(tmp_path, settings(simulator), "--web.config.file=web.yml") as exporter:
        scrape = {
            **static(exporter.address),
            "scheme": "https",
            "tls_config": {"ca_file": str(tmp_path / "ca.pem")},
            "basic_auth": {"username": "prometheus", "password": password},
        }
        with Prometheus(
            tmp_path / "prometheus", scrape=scrape, rules=[rules], version="3", alertmanager=alertmanager
        ) as prometheus:
            prometheus.wait_until_up()
            with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
                fetch(f"https://{exporter.address}/metrics")

            failed_at = end_a_run(simulator, "FAILED")
            notification, alert = webhook_server.wait_for("GlueMLTaskRunFailedSinceSuccess", "firing")
            report(capfd, "from failure to webhook, with TLS and password", notification.time - failed_at)
            assert_names_the_transform(alert, exporter.address)
            assert_names_the_transform(webhook_server.wait_for("GlueMLTaskRunFailed", "firing")[1], exporter.address)

            end_a_run(simulator, "SUCCEEDED")
            webhook_server.wait_for("GlueMLTaskRunFailedSinceSuccess", "resolved")


def test_a_failure_during_an_outage_sends_alerts_after_the_restart(
    simulator: Simulator, webhook_server: Webhook, alertmanager: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A failure during an outage raises both alerts after the restart. A second kill does not change the alerts."""
    rules = write_rules(tmp_path)
    port, config = steady_port(), settings(simulator, state={"path": "state.db"})
    scrape = static(f"127.0.0.1:{port}")
    with Prometheus(
        tmp_path / "prometheus", scrape=scrape, rules=[rules], version="3", alertmanager=alertmanager
    ) as prometheus:
        with Exporter(tmp_path, config, port=port):
            prometheus.wait_until_up()
        wait_for(lambda: prometheus.number("up") == 0, timeout=START, describe="a scrape fails")

        end_a_run(simulator, "FAILED")
        restarted_at = time.time()
        with Exporter(tmp_path, config, port=port) as exporter:
            received = {name: webhook_server.wait_for(name, "firing") for name in BOTH_FORMS}
            report(capfd, "from restart to webhook, after kill -9", received[BOTH_FORMS[0]][0].time - restarted_at)
            for _, alert in received.values():
                assert_names_the_transform(alert, exporter.address)
        wait_for(lambda: prometheus.number("up") == 0, timeout=START, describe="a scrape fails")

        evaluations = "count_over_time(transform:glue_ml_transform_info:latest[5m])"
        before = prometheus.number(evaluations)
        wait_for(
            lambda: prometheus.number(evaluations) >= before + 3,
            timeout=START,
            describe="rules evaluated without an exporter",
        )
        with Exporter(tmp_path, config, port=port):
            prometheus.wait_until_up(int(prometheus.number("sum_over_time(up[5m])")) + 3)
            assert not any(one.alert(name, "resolved") for one in webhook_server.notifications for name in BOTH_FORMS)
            assert sorted(name for name, _ in failure_alerts(webhook_server)) == sorted(BOTH_FORMS)

            end_a_run(simulator, "SUCCEEDED")
            webhook_server.wait_for("GlueMLTaskRunFailedSinceSuccess", "resolved")
