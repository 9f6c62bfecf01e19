import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts.generate import rule_files
from alerts.thresholds import Thresholds, read_thresholds
from exporter.config import load_config
from helm import generate
from helm.rules import THRESHOLDS, camel
from tests.ship.chart import CHART, SCENARIOS, Object, Rendered, private, run_template, scenario, template
from tests.ship.programs import call
from tests.support import ROOT, TOOLS, run, tool

pytestmark = pytest.mark.slow

MINIMAL: Object = yaml.safe_load(scenario("minimal").read_text())
RULES: Object = {**MINIMAL, "prometheusRule": {"enabled": True}}


@pytest.mark.parametrize("name", SCENARIOS)
def test_lints(name: str, tmp_path: Path) -> None:
    """Helm has nothing to object to in any scenario."""
    arguments = ("lint", "--strict", CHART, "--values", scenario(name))
    linted = call("helm", *arguments, folder=tmp_path, environ=private(tmp_path))
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_valid_objects(tmp_path: Path) -> None:
    """Kubernetes and the Prometheus operator know every object of every scenario and every field in it."""
    documents = "\n---\n".join(template(scenario(name)).text for name in SCENARIOS)
    assert check_objects(documents, tmp_path) == ""


def test_check_finds_mistakes(tmp_path: Path) -> None:
    """The check of the objects finds a mistyped field, in objects of Kubernetes and of the operator."""
    text = template(scenario("demo")).text
    for field in ("automountServiceAccountToken:", "scrapeTimeout:"):
        assert field in text
        text = text.replace(field, f"x{field}")
    found = check_objects(text, tmp_path)
    assert "xautomountServiceAccountToken" in found
    assert "xscrapeTimeout" in found


def check_objects(documents: str, folder: Path) -> str:
    """Give what is wrong with the documents, as the schemas see it."""
    tool("kubernetes-validate")
    (folder / "documents.yaml").write_text(documents)
    script = f'"$0" {ROOT}/tests/ship/check_objects.py 1.33 1.36 < documents.yaml'
    checked = run("sh", "-c", script, TOOLS / "shipping/bin/python", folder=folder, timeout=90)
    assert checked.exit_code == 0, checked.stderr
    return checked.stdout


def test_generated_files() -> None:
    """Versions, rules, dashboards, schema and README of the chart are what their sources say."""
    assert generate.main(["--check"]) == 0


def test_every_value_is_explained() -> None:
    """The README has a row for every value, or for the mapping that it stands in."""
    table = (CHART / "README.md").read_text()
    explained = set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE))
    leaves = list(paths(yaml.safe_load((CHART / "values.yaml").read_text()), ""))
    parents = [{leaf.rsplit(".", count)[0] for count in range(leaf.count(".") + 1)} for leaf in leaves]
    assert [leaf for leaf, above in zip(leaves, parents, strict=True) if not above & explained] == []


def paths(value: object, path: str) -> list[str]:
    """Give the paths of all leaves."""
    if isinstance(value, dict) and value:
        return [leaf for key, inner in value.items() for leaf in paths(inner, f"{path}.{key}".strip("."))]
    return [path]


class TestRefused:
    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({**MINIMAL, "serviceMonitr": {"enabled": True}}, "Additional property serviceMonitr is not allowed"),
            ({**MINIMAL, "serviceMonitor": {"intervall": "30s"}}, "Additional property intervall is not allowed"),
            ({"config": {**MINIMAL["config"], "polling": {"intervall": "30s"}}}, "intervall is not allowed"),
            ({**RULES, "prometheusRule": {"thresholds": {"window": "5 minutes"}}}, "Does not match pattern"),
            ({**MINIMAL, "logLevel": "loud"}, "logLevel must be one of"),
            ({}, "there is nothing to watch: set config.region"),
            ({**MINIMAL, "demo": {"enabled": True}}, "demo.enabled excludes config"),
            ({"config": {**MINIMAL["config"], "state": {"path": "/x"}}}, "config.state.path needs persistence.enabled"),
            ({**MINIMAL, "serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}, "scraped twice"),
        ],
    )
    def test_values(self, values: Object, message: str) -> None:
        """A mistyped value, or values that do not go together, are refused with a sentence that names them."""
        code, _, errors = run_template(values)
        assert code != 0
        assert message in errors


@pytest.mark.parametrize("name", SCENARIOS)
class TestEveryScenario:
    def test_hardened(self, name: str) -> None:
        """Every container runs as nobody in particular, with nothing to gain and nothing to write on."""
        rendered = template(scenario(name))
        for pod in (
            rendered.workload["spec"]["template"]["spec"],
            rendered.all("Pod")[0]["spec"] if rendered.all("Pod") else None,
        ):
            if pod is None:
                continue
            assert pod["automountServiceAccountToken"] is False
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["runAsUser"] == 10001
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            context = pod["containers"][0]["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}

    def test_selectors_never_change(self, name: str) -> None:
        """What nobody may change later is the same in every version of the chart, and selects the pod."""
        workload = template(scenario(name)).workload
        fixed = {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
        selector = workload["spec"]["selector"]["matchLabels"]
        assert set(selector) == fixed
        assert selector.items() <= workload["spec"]["template"]["metadata"]["labels"].items()
        for claim in workload["spec"].get("volumeClaimTemplates", []):
            assert set(claim["metadata"]["labels"]) == fixed

    def test_one_pod(self, name: str) -> None:
        """There is never a second pod, neither beside the first nor for a moment when it is replaced."""
        workload = template(scenario(name)).workload
        assert workload["spec"]["replicas"] == 1
        if workload["kind"] == "Deployment":
            assert workload["spec"]["strategy"] == {"type": "Recreate"}
        else:
            (claim,) = workload["spec"]["volumeClaimTemplates"]
            assert claim["spec"]["accessModes"] in (["ReadWriteOncePod"], ["ReadWriteOnce"])

    def test_configuration_loads(self, name: str) -> None:
        """The exporter takes the configuration that the chart writes, and keeps its state where the volume is."""
        rendered = template(scenario(name))
        mounts = {mount["name"]: mount["mountPath"] for mount in rendered.container["volumeMounts"]}
        for config_map in rendered.all("ConfigMap"):
            if text := config_map["data"].get("config.yaml"):
                config = load_config(text, source=name, environ={"EXTERNAL_ID": "abc"})
                assert config.state.path == (f"{mounts['state']}/state.db" if "state" in mounts else None)
                assert f"--config.file={mounts['config']}/config.yaml" in rendered.container["args"]

    def test_command_line(self, name: str) -> None:
        """The exporter takes every flag that the chart passes."""
        from exporter.arguments import parse  # noqa: PLC0415 - only this test needs the parser

        parse(template(scenario(name)).container["args"], {})


@pytest.mark.parametrize("page", [CHART / "README.md", ROOT / "docs/helm.md"], ids=lambda page: page.name)
def test_examples_render(page: Path) -> None:
    """Every values file and every `--set` in the documentation is one that the chart takes."""
    text = page.read_text()
    for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        template({**MINIMAL, **yaml.safe_load(block)})
    for setting in re.findall(r"--set (\S+)", text):
        assert setting == "demo.enabled=true"
    for scenario_file in re.findall(r"ci/([\w-]+)-values\.yaml", text):
        assert scenario_file in SCENARIOS


def test_image_reference() -> None:
    """A digest wins over a tag, and the global registry over the image's."""
    assert template(MINIMAL).container["image"] == "ghcr.io/glue-ml-exporter/glue-ml-exporter:0.1.0"
    everything = template(scenario("everything")).container["image"]
    assert everything == f"images.example.com/glue-ml-exporter/glue-ml-exporter@sha256:{'0123456789abcdef' * 4}"


def test_probes_follow_tls() -> None:
    """Probes ask over TLS where the exporter serves TLS, and only open the port where clients need a certificate."""
    assert template(MINIMAL).container["livenessProbe"]["httpGet"]["scheme"] == "HTTP"
    tls = template(scenario("tls"))
    assert tls.container["livenessProbe"]["httpGet"] == {"path": "/-/healthy", "port": "metrics", "scheme": "HTTPS"}
    assert tls.container["readinessProbe"]["httpGet"] == {"path": "/-/ready", "port": "metrics", "scheme": "HTTPS"}
    assert tls.one("ServiceMonitor")["spec"]["endpoints"][0]["scheme"] == "https"
    assert template(scenario("mtls")).container["livenessProbe"]["tcpSocket"] == {"port": "metrics"}


def test_web_configuration() -> None:
    """The web configuration reads the certificate from where the chart mounts it, beside what the user set."""
    rendered = template(scenario("tls"))
    secret = next(secret for secret in rendered.all("Secret") if secret["metadata"]["name"].endswith("-web"))
    web = yaml.safe_load(secret["stringData"]["web-config.yml"])
    mounts = {mount["name"]: mount["mountPath"] for mount in rendered.container["volumeMounts"]}
    tls = {"cert_file": f"{mounts['tls']}/tls.crt", "key_file": f"{mounts['tls']}/tls.key", "min_version": "TLS13"}
    assert web["tls_server_config"] == tls
    assert f"--web.config.file={mounts['web']}/web-config.yml" in rendered.container["args"]


class TestReload:
    def test_checksum_of_data_only(self) -> None:
        """With `configReload: restart` the pod is replaced when the configuration changes, not when the chart does."""

        def checksum(**values: Any) -> str:
            pod = template({**MINIMAL, "configReload": "restart", **values}).workload["spec"]["template"]
            text: str = pod["metadata"]["annotations"]["checksum/config"]
            return text

        other = {**MINIMAL["config"], "polling": {"interval": "2m"}}
        assert checksum() == checksum(commonLabels={"a": "b"})
        assert checksum() != checksum(config=other)

    def test_auto(self) -> None:
        """By default a changed configuration replaces no pod: the exporter looks itself."""
        one = template(MINIMAL).workload
        other = template({"config": {**MINIMAL["config"], "polling": {"interval": "2m"}}}).workload
        assert one == other
        assert "--config.enable-auto-reload" in one["spec"]["template"]["spec"]["containers"][0]["args"]


def test_stable_target() -> None:
    """A restart changes no label of the target, and `job` is what the rules look for."""
    for name, kind, key in (
        ("production", "ServiceMonitor", "endpoints"),
        ("mtls", "PodMonitor", "podMetricsEndpoints"),
    ):
        (endpoint,) = template(scenario(name)).one(kind)["spec"][key]
        assert {"targetLabel": "instance", "replacement": "monitoring/shop-glue-ml-exporter"} in endpoint["relabelings"]
        assert {"action": "labeldrop", "regex": "pod"} in endpoint["relabelings"]
        assert {"targetLabel": "job", "replacement": "glue-ml-exporter"} in endpoint["relabelings"]
        assert endpoint["honorLabels"] is False


class TestRules:
    def test_defaults(self) -> None:
        """The rules of the chart are those of alerts/ when no threshold is changed."""
        assert rules(template(RULES)) == generated(read_thresholds(THRESHOLDS))

    @pytest.mark.parametrize(
        "changed",
        [
            {"window": "1h", "job": "glue", "joined_labels": ["team", "cost_center"], "slow_factor": 2.5},
            {"no_success_for": "1d12h", "no_success_task_types": ["EVALUATION", "FIND_MATCHES"], "joined_labels": []},
            {
                "failure_ratio": 0.01,
                "failure_ratio_runs": 1000000,
                "slow_runs": 2000000,
                "overruns": 0,
                "dashboard_url": "https://g.example/d",
            },
        ],
    )
    def test_thresholds(self, changed: Object) -> None:
        """A threshold set as a value has the effect that it has in thresholds.toml."""
        values = {camel(name): value for name, value in changed.items()}
        rendered = template({**MINIMAL, "prometheusRule": {"enabled": True, "thresholds": values}})
        settings = tomllib.loads(THRESHOLDS.read_text())
        assert rules(rendered) == generated(Thresholds.model_validate({**settings, **changed}))

    def test_every_duration(self) -> None:
        """Every threshold that is a duration can be set, in whatever units."""
        settings = tomllib.loads(THRESHOLDS.read_text())
        changed = {name: "1h30m15s" for name, value in settings.items() if re.fullmatch(r"\d+[smhdw]", str(value))}
        assert len(changed) > 10
        values = {camel(name): value for name, value in changed.items()}
        rendered = template({**MINIMAL, "prometheusRule": {"enabled": True, "thresholds": values}})
        assert rules(rendered) == generated(Thresholds.model_validate({**settings, **changed}))

    def test_switches(self) -> None:
        """Groups and alerts can be left out, and every alert takes the labels that are asked for."""
        production = rules(template(scenario("production")))
        alerts = {rule["alert"]: rule for group in production for rule in group["rules"] if "alert" in rule}
        assert "GlueMLTransformNotReady" not in alerts
        assert alerts["GlueMLTaskRunFailed"]["labels"] == {"severity": "warning", "owner": "data-platform"}
        assert [group["name"] for group in rules(template(scenario("everything")))] == ["glue-ml-transforms"]

    def test_promtool(self, tmp_path: Path) -> None:
        """Prometheus takes the rules of every scenario that has some."""
        for name in ("production", "everything"):
            (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"groups": rules(template(scenario(name)))}))
            checked = run(tool("promtool", version="3"), "check", "rules", f"{name}.yaml", folder=tmp_path)
            assert checked.exit_code == 0, checked.stdout + checked.stderr


def rules(rendered: Rendered) -> list[Object]:
    """Give the groups of the PrometheusRule, by name."""
    groups: list[Object] = rendered.one("PrometheusRule")["spec"]["groups"]
    return sorted(groups, key=lambda group: str(group["name"]))


def generated(thresholds: Thresholds) -> list[Object]:
    """Give the groups that alerts/ has for the thresholds, by name."""
    groups = [group for text in rule_files(thresholds).values() for group in yaml.safe_load(text)["groups"]]
    return sorted(groups, key=lambda group: str(group["name"]))


def test_dashboards() -> None:
    """Every dashboard arrives unchanged in a ConfigMap that Grafana's sidecar finds."""
    maps = template(scenario("demo")).all("ConfigMap")
    arrived = {name: json.loads(text) for item in maps for name, text in item["data"].items()}
    assert arrived == {path.name: json.loads(path.read_text()) for path in (ROOT / "dashboards").glob("*.json")}
    assert all(item["metadata"]["labels"]["grafana_dashboard"] == "1" for item in maps)


def test_network_policy() -> None:
    """The demo reaches nobody; production reaches names, HTTPS and Pod Identity, and only scrapers reach it."""
    assert template(scenario("demo")).one("NetworkPolicy")["spec"]["egress"] == []
    spec = template(scenario("production")).one("NetworkPolicy")["spec"]
    assert [[port["port"] for port in rule["ports"]] for rule in spec["egress"]] == [[53, 53], [443], [80]]
    assert spec["ingress"][0]["from"][0]["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "monitoring"
    }


@pytest.mark.parametrize("name", SCENARIOS)
def test_notes(name: str, tmp_path: Path) -> None:
    """After an installation the user reads what to do next, with the names of this release."""
    chart = shutil.copytree(CHART, tmp_path / "chart")
    (chart / "templates/NOTES.txt").rename(chart / "notes")
    shown = 'kind: Notes\ntext: {{ tpl (.Files.Get "notes") . | quote }}\n'
    (chart / "templates/notes.yaml").write_text(shown)
    code, output, errors = run_template(scenario(name), chart)
    assert code == 0, errors
    text = Rendered(output).one("Notes")["text"]
    assert re.search(r"port-forward service/(shop-glue-ml-exporter|glue-metrics) \d+\n", text)
    assert "helm test --namespace monitoring shop" in text
    assert ("This is the demo" in text) == (name == "demo")
