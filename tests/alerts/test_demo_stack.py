import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.cli.options import ServeOptions, SimulateOptions
from exporter.cli.parser import parse
from exporter.cli.rules.files import rule_files
from exporter.config.settings import load_config
from exporter.config.thresholds import read_thresholds
from exporter.simulator.scenario import load_scenario
from tests.support import ROOT, Process, free_port, on_loopback_only, run, tool, wait_for

FOLDER = ROOT / "demo-stack"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def mounted(service: str) -> dict[str, Path]:
    """Return the files of this repository that a service mounts: {path in the container: file}."""
    volumes = [volume.split(":") for volume in SERVICES[service].get("volumes", ())]
    return {inside: (FOLDER / outside).resolve() for outside, inside, *_ in volumes if outside.startswith(".")}


def test_every_file_and_service_of_the_stack_exists() -> None:
    """Every file and service that the compose file uses exists, and every image is pinned."""
    assert set(SERVICES) == {"simulator", "exporter", "rules", "prometheus", "alertmanager", "grafana"}
    for name, service in SERVICES.items():
        assert all(path.exists() for path in mounted(name).values()), name
        assert set(service.get("depends_on", ())) <= set(SERVICES)
        if "build" in service:
            assert ((FOLDER / service["build"]).resolve() / "Dockerfile").is_file()
        else:
            assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name
        for volume in service.get("volumes", ()):
            assert volume.startswith(".") or volume.split(":", maxsplit=1)[0] in COMPOSE["volumes"]


def test_the_stack_is_not_open_to_other_machines() -> None:
    """Every published port of the stack is bound to the loopback address."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_commands_of_the_stack_start_the_exporter() -> None:
    """The commands of simulator and exporter are valid, and the exporter polls the simulator of the stack."""
    simulate = parse(SERVICES["simulator"]["command"], {})
    assert isinstance(simulate, SimulateOptions)
    assert simulate.listen_address == ("0.0.0.0", 10211)  # noqa: S104 - within the containers' network
    serve = parse(SERVICES["exporter"]["command"], {})
    assert isinstance(serve, ServeOptions)
    path = mounted("exporter")[serve.config_file]
    config = load_config(path.read_text(), source=str(path), environ={})
    assert config.endpoint_url == "http://simulator:10211"
    assert config.discovery[0].labels_from_tags == ("team",)
    assert "team" in load_scenario("demo").transforms[0].tags
    assert SERVICES["exporter"]["environment"]["AWS_ENDPOINT_URL_STS"] == config.endpoint_url
    assert str(Path(str(config.state.path)).parent) in {
        volume.split(":")[1] for volume in SERVICES["exporter"]["volumes"]
    }


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    """The provisioned data source is the stack's Prometheus, and the provisioned folder holds the dashboards."""
    mounts = mounted("grafana")
    provisioning = mounts["/etc/grafana/provisioning"]
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["exemplarTraceIdDestinations"][0]["name"] == "task_run_id"
    (provider,) = yaml.safe_load((provisioning / "dashboards/glue-ml.yml").read_text())["providers"]
    dashboards = mounts[provider["options"]["path"]]
    assert (dashboards / "glue-ml-overview.json").is_file()
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/glue-ml-overview.json"


@pytest.mark.slow
@pytest.mark.parametrize("version", ["2", "3"])
def test_prometheus_and_alertmanager_accept_their_configuration(version: str, tmp_path: Path) -> None:
    """Promtool accepts the stack's configuration of Prometheus and its rules. amtool accepts alertmanager.yml."""
    text = (FOLDER / "prometheus.yml").read_text()
    (tmp_path / "prometheus.yml").write_text(text.replace("/etc/prometheus/rules", str(tmp_path)))
    rules = rule_files(read_thresholds(FOLDER / "thresholds.toml"))
    for name, content in rules.items():
        (tmp_path / name).write_text(content)
    checked = run(tool("promtool", version=version), "check", "config", "prometheus.yml", folder=tmp_path)
    assert checked.exit_code == 0, checked.stderr
    assert checked.stdout.count("rules found") == len(rules)
    checked = run(tool("amtool", version=version), "check-config", FOLDER / "alertmanager.yml", folder=tmp_path)
    assert checked.exit_code == 0, checked.stderr


ROUTES = {
    "procurement": {"severity": "critical", "team": "procurement"},
    "pager": {"severity": "critical", "team": "finance"},
    "chat": {"severity": "warning", "team": "procurement"},
    "nobody": {"severity": "info"},
}
"""The receivers of the demo, each with labels of an alert that goes to it."""


@pytest.mark.slow
@pytest.mark.parametrize("receiver", ROUTES)
def test_alerts_are_routed_by_severity_and_team(receiver: str, tmp_path: Path) -> None:
    """Critical alerts go to the pager of the team or to the common one, warnings to the chat, and infos to nobody."""
    labels = [f"{name}={value}" for name, value in ROUTES[receiver].items()]
    file = f"--config.file={FOLDER / 'alertmanager.yml'}"
    routed = run(tool("amtool"), "config", "routes", "test", file, *labels, folder=tmp_path)
    assert routed.stdout.strip() == receiver


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_local_demo_sends_an_alert_to_every_receiver_and_stays_on_loopback(tmp_path: Path) -> None:
    """Where only the loopback interface exists, the demo sends an alert to each receiver. SIGINT stops all programs."""
    tool("prometheus")
    environ = {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    command = on_loopback_only(sys.executable, FOLDER / "local.py")
    with Process(*command, folder=tmp_path, environ=environ) as demo:
        demo.wait_for_output("amtool alert query --alertmanager.url=http://127.0.0.1:9093")

        def received() -> dict[str, set[str]]:
            assert demo.exit_code is None, demo.stderr
            inside = ("nsenter", "--preserve-credentials", "--user", "--net", f"--target={demo.pid}")
            fetched = run(*inside, "curl", "-s", "http://127.0.0.1:9093/api/v2/alerts", folder=tmp_path)
            alerts = json.loads(fetched.stdout or "[]")
            names = {name: set[str]() for name in ROUTES}
            for alert in alerts:
                for receiver in alert["receivers"]:
                    names[receiver["name"]].add(alert["labels"]["alertname"])
            return names

        def every_receiver_has_one() -> bool:
            names = received()
            return all(names.values()) and "GlueMLTaskRunFailedSinceSuccess" in names["procurement"]

        wait_for(every_receiver_has_one, timeout=150, interval=1, describe=lambda: f"{received()} {demo.stderr}")
        assert "GlueMLTaskRunActiveTooLong" in received()["chat"]
        os.kill(demo.pid, signal.SIGINT)
        assert demo.wait(timeout=30) == 0
    assert list(tmp_path.glob("glue-ml-exporter-demo-*")) == []


@pytest.mark.slow
def test_a_demo_that_cannot_start_prints_the_reason(tmp_path: Path) -> None:
    """If a program of the local demo exits at once, the command prints its output and fails."""
    tool("prometheus")
    flags = [
        "--exporter=127.0.0.1:1",
        f"--prometheus=127.0.0.1:{free_port()}",
        f"--alertmanager=nonsense:{free_port()}",
    ]
    ended = run(sys.executable, FOLDER / "local.py", *flags, folder=tmp_path, environ={"PYTHONPATH": str(ROOT)})
    assert ended.exit_code == 1
    assert re.search("(alertmanager|exporter) has ended. The end of its log:\n.+", ended.stderr)
