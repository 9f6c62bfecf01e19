import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from exporter.web.config import WebConfig
from helm import generate
from tests.ship.chart import CHART, MINIMAL, SCENARIOS, Object, Rendered, private, run_template, scenario, template
from tests.ship.programs import call
from tests.support import EXPORTER, ROOT, TOOLS, Process, run, tool
from tests.web.serving import serving

pytestmark = pytest.mark.slow

STATEFUL: Object = {**MINIMAL, "persistence": {"enabled": True}}


@pytest.mark.parametrize("name", SCENARIOS)
def test_lints(name: str, tmp_path: Path) -> None:
    """`helm lint` passes for every scenario."""
    arguments = ("lint", "--strict", CHART, "--values", scenario(name))
    linted = call("helm", *arguments, folder=tmp_path, environ=private(tmp_path))
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_valid_objects(tmp_path: Path) -> None:
    """Every scenario is valid for the oldest and newest Kubernetes and the operator. A misspelled field is invalid."""
    good = [item for name in SCENARIOS for item in template(scenario(name)).objects]
    bad = template(scenario("demo")).text
    for field in ("automountServiceAccountToken:", "scrapeTimeout:"):
        assert field in bad
        bad = bad.replace(field, f"x{field}")
    tool("kubernetes-validate")
    (tmp_path / "list.json").write_text(json.dumps([*good, *Rendered(bad).objects]))
    script = f'"$0" {ROOT}/tests/ship/check_objects.py 1.29 1.37 < list.json'
    checked = run("sh", "-c", script, TOOLS / "shipping/bin/python", folder=tmp_path, timeout=90)
    assert checked.exit_code == 0, checked.stderr
    assert "xautomountServiceAccountToken" in checked.stdout
    assert "xscrapeTimeout" in checked.stdout
    numbers = [int(number) for number in re.findall(r"^document (\d+), ", checked.stdout, re.MULTILINE)]
    assert min(numbers) >= len(good), checked.stdout


def test_generated_files() -> None:
    """Versions, rules, dashboards, schema and README of the chart are up to date with their sources."""
    assert generate.main(["--check"]) == 0


def test_every_value_is_explained() -> None:
    """The README has a row for every value, or for the mapping that contains it."""
    table = (CHART / "README.md").read_text()
    explained = set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE))
    leaves = list(paths(yaml.safe_load((CHART / "values.yaml").read_text()), ""))
    parents = [{leaf.rsplit(".", count)[0] for count in range(leaf.count(".") + 1)} for leaf in leaves]
    assert [leaf for leaf, above in zip(leaves, parents, strict=True) if not above & explained] == []


def paths(value: object, path: str) -> list[str]:
    """Return the paths of all values that are not mappings."""
    if isinstance(value, dict) and value:
        return [leaf for key, inner in value.items() for leaf in paths(inner, f"{path}.{key}".strip("."))]
    return [path]


MISTYPED: list[tuple[Object, str]] = [
    ({"enabled": "yes"}, "enabled: Invalid type"),
    ({"exports": []}, "exports: Invalid type"),
    ({"xanchors": {}}, "Additional property xanchors is not allowed"),
    ({"web": {"telemetryPath": "metrics"}}, "web.telemetryPath: Does not match pattern"),
    ({"web": {"externalUrl": "monitoring.example.com/glue"}}, "web.externalUrl: Does not match pattern"),
    (
        {"extraArgs": ["--web.telemetry-path=/m"]},
        "extraArgs sets --web.telemetry-path, which the chart sets: use web.telem",
    ),
    ({"env": [{"name": "GLUE_ML_EXPORTER_WEB_TELEMETRY_PATH", "value": "/m"}]}, "which the chart sets: use web.telem"),
    ({"env": [{"name": "GLUE_ML_EXPORTER_CONFIG_FILE", "value": "/m"}]}, "which the chart sets: use config"),
    ({"aws": {"existingSecretName": "a"}}, "existingSecretName is not allowed"),
    ({"persistence": {"existingClaim": "a"}}, "persistence.existingClaim needs persistence.enabled=true"),
    ({"shards": 2, "persistence": {"enabled": True, "existingClaim": "a"}}, "existingClaim excludes shards"),
    ({"workloadAnnotations": {"a": 1}}, "workloadAnnotations.a: Invalid type"),
    ({"dnsPolicy": "Cluster"}, "dnsPolicy must be one of"),
    ({"dnsConfig": {"nameserver": ["10.0.0.1"]}}, "nameserver is not allowed"),
    ({"hostAliases": [{"ip": "10.0.0.1", "hostNames": ["a"]}]}, "hostNames is not allowed"),
    ({"probes": {"startup": {"period": 5}}}, "period is not allowed"),
    ({"service": {"ipFamilyPolicy": "DualStack"}}, "service.ipFamilyPolicy must be one of"),
    ({"service": {"ipFamilies": ["ipv6"]}}, "service.ipFamilies.0 must be one of"),
    ({"ingress": {"enabled": True}}, "ingress.enabled needs ingress.hosts"),
    ({"ingress": {"host": "a.example.com"}}, "Additional property host is not allowed"),
    ({"ingress": {"tls": [{"secret": "a"}]}}, "secret is not allowed"),
    ({"httpRoute": {"enabled": True}}, "httpRoute.enabled needs httpRoute.parentRefs"),
    ({"httpRoute": {"hostname": "a"}}, "hostname is not allowed"),
    ({"monitoringOperator": "victoria"}, "monitoringOperator must be one of"),
    ({"monitoringOperator": "victoriametrics", "serviceMonitor": {"labelLimit": 9}}, "labelLimit has no effect"),
    (
        {"serviceMonitor": {"enabled": True}, "prometheusRule": {"selector": {"job": "glue-.+"}}},
        "prometheusRule.selector.job is also the job of the targets",
    ),
    (
        {"podMonitor": {"enabled": True}, "prometheusRule": {"selector": {"job": None}}},
        "prometheusRule.selector.job is also the job of the targets",
    ),
    ({"serviceMonitor": {"jobLabel": 1}}, "serviceMonitor.jobLabel: Invalid type"),
    ({"serviceMonitor": {"targetLabels": "team"}}, "serviceMonitor.targetLabels: Invalid type"),
    ({"serviceMonitor": {"scrapeProtocols": ["OpenMetrics"]}}, "serviceMonitor.scrapeProtocols.0 must be one of"),
    ({"serviceMonitor": {"proxyUrl": "proxy:3128"}}, "serviceMonitor.proxyUrl: Does not match pattern"),
    ({"serviceMonitor": {"authorization": "token"}}, "serviceMonitor.authorization: Invalid type"),
    ({"podDisruptionBudget": {"unhealthyPodEvictionPolicy": "Always"}}, "unhealthyPodEvictionPolicy must be one of"),
    ({"verticalPodAutoscaler": {"updateMode": "Auto"}}, "updateMode must be one of"),
    ({"verticalPodAutoscaler": {"maxAllowed": {"ram": "1Gi"}}}, "ram is not allowed"),
    ({"testPod": {"labels": {"a": True}}}, "testPod.labels.a: Invalid type"),
]
"""Values that are wrong when they are added to the smallest right ones, and a part of the error."""


class TestRefused:
    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({**MINIMAL, "serviceMonitr": {"enabled": True}}, "Additional property serviceMonitr is not allowed"),
            ({**MINIMAL, "serviceMonitor": {"intervall": "30s"}}, "Additional property intervall is not allowed"),
            ({"config": {**MINIMAL["config"], "polling": {"intervall": "30s"}}}, "intervall is not allowed"),
            ({**MINIMAL, "prometheusRule": {"window": "5 minutes"}}, "Does not match pattern"),
            ({**MINIMAL, "logLevel": "loud"}, "logLevel must be one of"),
            ({}, "there is nothing to watch: set config.region"),
            ({**MINIMAL, "demo": {"enabled": True}}, "demo.enabled excludes config"),
            ({"config": {**MINIMAL["config"], "state": {"path": "/x"}}}, "config.state.path needs persistence.enabled"),
            ({**STATEFUL, "config": {**MINIMAL["config"], "state": {"path": "/x"}}}, "/x, which is not on the volume"),
            ({**MINIMAL, "shards": 0}, "Must be greater than or equal to 1"),
            ({"demo": {"enabled": True}, "shards": 2}, "demo.enabled excludes config, existingConfig, persistence and"),
            ({**MINIMAL, "global": {"imageRegistry": 1}}, "global.imageRegistry: Invalid type"),
            *(({**MINIMAL, **values}, message) for values, message in MISTYPED),
            ({**MINIMAL, "serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}, "scraped twice"),
        ],
    )
    def test_values(self, values: Object, message: str) -> None:
        """Misspelled, invalid and contradictory values give an error with their names."""
        code, _, errors = run_template(values)
        assert code != 0
        assert message in errors


@pytest.mark.parametrize("name", SCENARIOS)
class TestEveryScenario:
    def test_hardened(self, name: str) -> None:
        """Every container runs without root, without capabilities and with a read-only root file system."""
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
        """The immutable selector is the same in every version of the chart, and selects the pod."""
        workload = template(scenario(name)).workload
        fixed = {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
        selector = workload["spec"]["selector"]["matchLabels"]
        assert set(selector) == fixed
        assert selector.items() <= workload["spec"]["template"]["metadata"]["labels"].items()
        for claim in workload["spec"].get("volumeClaimTemplates", []):
            assert set(claim["metadata"]["labels"]) == fixed

    def test_one_writer(self, name: str) -> None:
        """Two pods never poll the same transforms or mount the same volume, even while a pod is replaced."""
        rendered = template(scenario(name))
        count = rendered.workload["spec"]["replicas"]
        assert (f"--shard.count={count}" in rendered.container["args"]) == (count > 1)
        claims = rendered.workload["spec"].get("volumeClaimTemplates", []) + rendered.all("PersistentVolumeClaim")
        assert all(claim["spec"]["accessModes"] == ["ReadWriteOnce"] for claim in claims)

    def test_configuration_loads(self, name: str, tmp_path: Path) -> None:
        """`check-config` accepts the configuration in the chart's ConfigMap, and the state file is on the volume."""
        rendered = template(scenario(name))
        mounts = {mount["name"]: mount["mountPath"] for mount in rendered.container["volumeMounts"]}
        for config_map in rendered.all("ConfigMap"):
            if text := config_map["data"].get("config.yaml"):
                (tmp_path / "config.yaml").write_text(text)
                environ = {"PYTHONPATH": str(ROOT), "EXTERNAL_ID": "abc", "GLUE_ML_EXPORTER_CONFIG_FILE": "config.yaml"}
                checked = run(*EXPORTER, "check-config", folder=tmp_path, environ=environ)
                assert checked.exit_code == 0, checked.stderr
                state = yaml.safe_load(text).get("state", {}).get("path")
                assert state == (f"{mounts['state']}/state.db" if "state" in mounts else None)
                variable = {"name": "GLUE_ML_EXPORTER_CONFIG_FILE", "value": f"{mounts['config']}/config.yaml"}
                assert variable in rendered.container["env"]

    def test_command_line(self, name: str) -> None:
        """The exporter accepts every flag that the chart passes."""
        from exporter.cli.parser import parse  # noqa: PLC0415 - only this test needs the parser

        container = template(scenario(name)).container
        parse(container["args"], {item["name"]: str(item.get("value")) for item in container.get("env", [])})


@pytest.mark.parametrize(
    "page",
    [CHART / "README.md", ROOT / "docs/helm.md", ROOT / "docs/kubernetes-platforms.md"],
    ids=lambda page: page.name,
)
def test_examples_render(page: Path) -> None:
    """Every values file and every `--set` in the documentation is accepted by the chart."""
    text = page.read_text()
    for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        template({**MINIMAL, **yaml.safe_load(block)})
    for setting in re.findall(r"--set (\S+)", text):
        assert setting == "demo.enabled=true"
    for scenario_file in re.findall(r"ci/([\w-]+)-values\.yaml", text):
        assert scenario_file in SCENARIOS


def test_image_reference() -> None:
    """A digest overrides a tag, and the global registry overrides the registry of the image."""
    assert template(MINIMAL).container["image"] == "ghcr.io/glue-ml-exporter/glue-ml-exporter:0.1.0"
    everything = template(scenario("everything")).container["image"]
    bare = {**MINIMAL, "image": {"registry": "", "repository": "mirror.example.com/glue", "tag": "1"}}
    assert template(bare).container["image"] == "mirror.example.com/glue:1"
    assert everything == f"images.example.com/glue-ml-exporter/glue-ml-exporter@sha256:{'0123456789abcdef' * 4}"


def test_anchors() -> None:
    """Keys `x-...` hold anchors, beside the other values and in the configuration."""
    rendered = template({**MINIMAL, "x-a": 1, "config": {**MINIMAL["config"], "x-labels": {"team": "data"}}})
    assert yaml.safe_load(rendered.one("ConfigMap")["data"]["config.yaml"])["x-labels"] == {"team": "data"}


def test_probes_follow_tls() -> None:
    """Probes use TLS if the exporter uses TLS. If clients need a certificate, probes only open the port."""
    assert template(MINIMAL).container["livenessProbe"]["httpGet"]["scheme"] == "HTTP"
    tls = template(scenario("tls"))
    assert tls.container["livenessProbe"]["httpGet"] == {"path": "/-/healthy", "port": "metrics", "scheme": "HTTPS"}
    assert tls.container["readinessProbe"]["httpGet"] == {"path": "/-/ready", "port": "metrics", "scheme": "HTTPS"}
    assert tls.one("ServiceMonitor")["spec"]["endpoints"][0]["scheme"] == "https"
    tls = {"cert_file": "c", "key_file": "k", "client_auth_type": "RequireAndVerifyClientCert"}
    for values in (scenario("mtls"), {**MINIMAL, "webConfig": {"content": {"tls_server_config": tls}}}):
        mutual = template(values)
        assert mutual.container["livenessProbe"]["tcpSocket"] == {"port": "metrics"}
        assert mutual.all("Pod") == []


def test_web_configuration(tmp_path: Path) -> None:
    """The web configuration names the path at which the chart mounts the certificate, and the exporter accepts it."""
    rendered = template(scenario("tls"))
    secret = next(secret for secret in rendered.all("Secret") if secret["metadata"]["name"].endswith("-web"))
    web = yaml.safe_load(secret["stringData"]["web-config.yml"])
    mounts = {mount["name"]: mount["mountPath"] for mount in rendered.container["volumeMounts"]}
    tls = {"cert_file": f"{mounts['tls']}/tls.crt", "key_file": f"{mounts['tls']}/tls.key", "min_version": "TLS13"}
    assert web["tls_server_config"] == tls
    assert f"--web.config.file={mounts['web']}/web-config.yml" in rendered.container["args"]
    certificate = trustme.CA().issue_cert("glue-ml-exporter.monitoring.svc")
    certificate.private_key_pem.write_to_path(tmp_path / "tls.key")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    (tmp_path / "web-config.yml").write_text(
        secret["stringData"]["web-config.yml"].replace(mounts["tls"], str(tmp_path))
    )
    loaded = WebConfig(tmp_path / "web-config.yml").current
    assert loaded.tls is not None
    assert set(loaded.users) == {"prometheus"}


class TestReload:
    def test_checksum_of_data_only(self) -> None:
        """With `configReload: restart`, a changed configuration replaces the pod. A changed chart does not."""

        def checksum(**values: Any) -> str:
            pod = template({**MINIMAL, "configReload": "restart", **values}).workload["spec"]["template"]
            text: str = pod["metadata"]["annotations"]["checksum/config"]
            return text

        other = {**MINIMAL["config"], "polling": {"interval": "2m"}}
        assert checksum() == checksum(commonLabels={"a": "b"})
        assert checksum() != checksum(config=other)

    def test_auto(self) -> None:
        """By default a changed configuration does not replace the pod, because the exporter reloads the file."""
        one = template(MINIMAL).workload
        other = template({"config": {**MINIMAL["config"], "polling": {"interval": "2m"}}}).workload
        assert one == other
        assert "--config.enable-auto-reload" in one["spec"]["template"]["spec"]["containers"][0]["args"]


def test_stable_target() -> None:
    """The labels of the target are the same after a restart, and `job` has the value that the rules use."""
    for name, kind, key, relabelings in (
        ("demo", "ServiceMonitor", "endpoints", "relabelings"),
        ("production", "ServiceMonitor", "endpoints", "relabelings"),
        ("mtls", "PodMonitor", "podMetricsEndpoints", "relabelings"),
        ("victoriametrics", "VMServiceScrape", "endpoints", "relabelConfigs"),
        ("vmpods", "VMPodScrape", "podMetricsEndpoints", "relabelConfigs"),
    ):
        (endpoint,) = template(scenario(name)).one(kind)["spec"][key]
        assert endpoint[relabelings][:3] == [
            {"sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": "instance", "replacement": "monitoring/$1"},
            {"action": "labeldrop", "regex": "pod"},
            {"targetLabel": "job", "replacement": "glue-ml-exporter"},
        ]
        assert endpoint["honorLabels"] is False


def test_pods_have_the_label_of_the_service() -> None:
    """A target that is found by its pod has the label `service` of a target that is found by its Service."""
    for name, kind, relabelings in (
        ("mtls", "PodMonitor", "relabelings"),
        ("vmpods", "VMPodScrape", "relabelConfigs"),
    ):
        rendered = template(scenario(name))
        (endpoint,) = rendered.one(kind)["spec"]["podMetricsEndpoints"]
        names = [rule["replacement"] for rule in endpoint[relabelings] if rule.get("targetLabel") == "service"]
        (service,) = [
            service["metadata"]["name"]
            for service in rendered.all("Service")
            if service["metadata"]["labels"]["app.kubernetes.io/component"] == "metrics"
        ]
        assert names == [service], name


def test_scraped_once() -> None:
    """The ServiceMonitor selects only one of the two Services of a StatefulSet."""
    rendered = template(scenario("production"))
    selector = rendered.one("ServiceMonitor")["spec"]["selector"]["matchLabels"].items()
    services = rendered.all("Service")
    assert len(services) == 2
    assert [
        service["metadata"]["name"] for service in services if selector <= service["metadata"]["labels"].items()
    ] == ["shop-glue-ml-exporter"]
    assert rendered.workload["spec"]["serviceName"] == "shop-glue-ml-exporter-pods"


def test_limits_of_a_scrape() -> None:
    """A scrape has exactly the limits in the values."""
    limits = {"sampleLimit": 500000, "labelLimit": 40, "labelNameLengthLimit": 200, "labelValueLengthLimit": 1000}
    assert limits.items() <= template(scenario("everything")).one("ServiceMonitor")["spec"].items()
    assert not limits.keys() & template(scenario("tls")).one("ServiceMonitor")["spec"].keys()


class TestShards:
    @pytest.mark.parametrize("persistence", [False, True])
    def test_pods(self, persistence: bool) -> None:
        """Shards are the pods of a StatefulSet with stable names. With persistence each pod has its own volume."""
        rendered = template({**MINIMAL, "shards": 3, "persistence": {"enabled": persistence}})
        spec = rendered.one("StatefulSet")["spec"]
        assert spec["replicas"] == 3
        assert "--shard.count=3" in rendered.container["args"]
        assert ("volumeClaimTemplates" in spec) == persistence

    def test_spread(self) -> None:
        """A topology constraint without a selector selects the pods of this release."""
        constraint = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
        own = {"labelSelector": {"matchLabels": {"a": "b"}}}
        rendered = template({**MINIMAL, "shards": 2, "topologySpreadConstraints": [constraint, {**constraint, **own}]})
        selector = rendered.workload["spec"]["selector"]
        spread = rendered.workload["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert spread == [{**constraint, "labelSelector": selector}, {**constraint, **own}]


def test_inside_another_chart(tmp_path: Path) -> None:
    """The chart can be part of another chart, under another name, with all that Helm itself puts into its values."""
    umbrella = tmp_path / "umbrella"
    shutil.copytree(CHART, umbrella / "charts/glue-ml-exporter")
    dependency = {
        "name": "glue-ml-exporter",
        "version": ">=0.0.0",
        "alias": "glue",
        "condition": "glue.enabled",
        "import-values": ["data"],
    }
    chart = {"apiVersion": "v2", "name": "umbrella", "version": "1.0.0", "dependencies": [dependency]}
    (umbrella / "Chart.yaml").write_text(json.dumps(chart))
    values: Object = {
        "global": {"imageRegistry": "images.example.com", "stage": "prod"},
        "glue": {**MINIMAL, "enabled": True, "exports": {"data": {"port": 10210}}, "x-labels": {"team": "data"}},
    }
    code, output, errors = run_template(values, umbrella)
    assert code == 0, errors
    assert Rendered(output).container["image"].startswith("images.example.com/")
    assert Rendered(output).workload["metadata"]["name"] == "shop-glue"
    values["glue"]["enabled"] = False
    code, output, errors = run_template(values, umbrella)
    assert (code, output.strip(), errors) == (0, "", "")


class TestScrape:
    def test_openmetrics_first(self) -> None:
        """Prometheus asks for OpenMetrics first, which has the exemplars, unless the values say otherwise."""
        spec = template(scenario("demo")).one("ServiceMonitor")["spec"]
        assert spec["scrapeProtocols"] == ["OpenMetricsText1.0.0", "PrometheusText0.0.4"]
        assert template(scenario("everything")).one("ServiceMonitor")["spec"]["scrapeProtocols"] == [
            "PrometheusText0.0.4"
        ]
        values = {**MINIMAL, "serviceMonitor": {"enabled": True, "scrapeProtocols": []}}
        assert "scrapeProtocols" not in template(values).one("ServiceMonitor")["spec"]

    def test_labels_of_the_target(self) -> None:
        """With `jobLabel` the operator sets `job`, and the chart does not; `targetLabels` are copied."""
        spec = template(scenario("everything")).one("ServiceMonitor")["spec"]
        assert (spec["jobLabel"], spec["targetLabels"]) == ("app.kubernetes.io/name", ["team"])
        assert not [item for item in spec["endpoints"][0]["relabelings"] if item.get("targetLabel") == "job"]
        pods = template({**MINIMAL, "podMonitor": {"enabled": True}, "serviceMonitor": {"targetLabels": ["team"]}})
        assert pods.one("PodMonitor")["spec"]["podTargetLabels"] == ["team"]

    def test_telemetry_path(self) -> None:
        """The exporter, the monitor and `helm test` use the same path of the metrics."""
        rendered = template(scenario("everything"))
        assert "--web.telemetry-path=/glue-metrics" in rendered.container["args"]
        (endpoint,) = rendered.one("ServiceMonitor")["spec"]["endpoints"]
        assert endpoint["path"] == rendered.one("Pod")["spec"]["containers"][0]["args"][-1] == "/glue-metrics"

    def test_same_rules_for_both_operators(self) -> None:
        """A VMRule has the groups of the PrometheusRule, with links to the page behind the ingress."""
        values = {**MINIMAL, "prometheusRule": {"enabled": True, "statusUrl": "https://monitoring.example.com/glue-ml"}}
        rules = template(scenario("victoriametrics")).one("VMRule")["spec"]
        assert rules == template(values).one("PrometheusRule")["spec"]
        assert "status_url: https://monitoring.example.com/glue-ml/transforms/" in yaml.safe_dump(rules, width=1000)


class TestPages:
    def test_hosts_of_an_ingress(self) -> None:
        """An Ingress can have several hosts, each with the same path."""
        spec = template(scenario("everything")).one("Ingress")["spec"]
        assert [rule["host"] for rule in spec["rules"]] == ["glue.example.com", "monitoring.example.com"]
        assert spec["tls"] == [{"hosts": ["glue.example.com"], "secretName": "glue-tls"}]
        assert {rule["http"]["paths"][0]["path"] for rule in spec["rules"]} == {"/"}

    def test_path(self) -> None:
        """The path of the external URL is the path of the Ingress and of the HTTPRoute, and the exporter knows it."""
        rendered = template(scenario("victoriametrics"))
        assert "--web.external-url=https://monitoring.example.com/glue-ml/" in rendered.container["args"]
        (rule,) = rendered.one("HTTPRoute")["spec"]["rules"]
        assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/glue-ml"}}]
        assert rule["backendRefs"] == [{"name": "shop-glue-ml-exporter", "port": 10210}]
        ingress = {"enabled": True, "hosts": ["a.example.com"]}
        rendered = template({**MINIMAL, "ingress": ingress, "web": {"externalUrl": "https://a.example.com/glue"}})
        (rule,) = rendered.one("Ingress")["spec"]["rules"]
        assert rule["http"]["paths"][0]["path"] == "/glue"


class TestVolume:
    def test_turning_persistence_on(self) -> None:
        """Persistence of one pod changes only the template of the pod, so the old pod ends before the new starts."""
        before, after = template(MINIMAL).workload, template(STATEFUL).workload
        assert before.pop("spec").keys() == after["spec"].keys()
        after.pop("spec")
        assert before == after

    def test_claim(self) -> None:
        """The claim of one pod is an object of the release, which can be resized, and stays when the release goes."""
        rendered = template({**MINIMAL, "persistence": {"enabled": True, "size": "2Gi", "annotations": {"a": "b"}}})
        claim = rendered.one("PersistentVolumeClaim")
        assert claim["spec"] == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}
        assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep", "a": "b"}
        volumes = rendered.workload["spec"]["template"]["spec"]["volumes"]
        name = claim["metadata"]["name"]
        assert {"name": "state", "persistentVolumeClaim": {"claimName": name}} in volumes
        # The StatefulSet of several shards names the claim of its first pod so.
        assert name == f"state-{rendered.workload['metadata']['name']}-0"
        deleted = template(scenario("mtls")).one("PersistentVolumeClaim")
        assert "annotations" not in deleted["metadata"]

    def test_existing_claim(self) -> None:
        """A claim that exists is mounted, and no other is created."""
        rendered = template(scenario("victoriametrics"))
        assert rendered.all("PersistentVolumeClaim") == []
        volumes = rendered.workload["spec"]["template"]["spec"]["volumes"]
        assert {"name": "state", "persistentVolumeClaim": {"claimName": "glue-state"}} in volumes


def test_openshift() -> None:
    """On OpenShift, and with `null`, no user is fixed, so that the namespace sets it. The rest stays hardened."""
    hardened = {
        "runAsNonRoot": True,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    without = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
    for rendered in (
        template(MINIMAL, "--api-versions=security.openshift.io/v1"),
        template({**MINIMAL, "podSecurityContext": without}),
    ):
        assert rendered.workload["spec"]["template"]["spec"]["securityContext"] == hardened
        assert rendered.one("Pod")["spec"]["securityContext"] == hardened


def test_mesh() -> None:
    """Services say their protocol, and the test pod can leave the mesh or not exist."""
    for name, protocol in (("minimal", "http"), ("tls", "https")):
        ports = [port for service in template(scenario(name)).all("Service") for port in service["spec"]["ports"]]
        assert [port["appProtocol"] for port in ports] == [protocol, protocol]
    metadata = template(scenario("everything")).one("Pod")["metadata"]
    assert metadata["labels"]["sidecar.istio.io/inject"] == "false"
    assert metadata["annotations"]["linkerd.io/inject"] == "disabled"
    assert template(scenario("vmpods")).all("Pod") == []


def test_ip_families() -> None:
    """Both Services have the families of the values, and the exporter listens on all addresses of both families."""
    rendered = template(scenario("everything"))
    families = {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"]}
    assert all(families.items() <= service["spec"].items() for service in rendered.all("Service"))
    assert "--web.listen-address=:10210" in rendered.container["args"]


def test_keys_in_a_secret() -> None:
    """The Secret with AWS keys becomes the variables of AWS; a session token is optional."""
    variables = {item["name"]: item.get("valueFrom") for item in template(scenario("everything")).container["env"]}
    assert variables["AWS_ACCESS_KEY_ID"] == {"secretKeyRef": {"name": "aws-keys", "key": "access_key"}}
    assert variables["AWS_SECRET_ACCESS_KEY"] == {"secretKeyRef": {"name": "aws-keys", "key": "secret_key"}}
    token = {"secretKeyRef": {"name": "aws-keys", "key": "security_token", "optional": True}}
    assert variables["AWS_SESSION_TOKEN"] == token


def test_network_policy() -> None:
    """The demo may not send traffic. In production, only DNS, HTTPS and Pod Identity are allowed, and only Prometheus
    and the test pod reach the exporter.
    """  # noqa: D205 - one summary
    assert template(scenario("demo")).one("NetworkPolicy")["spec"]["egress"] == []
    spec = template(scenario("production")).one("NetworkPolicy")["spec"]
    assert [[port["port"] for port in rule["ports"]] for rule in spec["egress"]] == [[53, 53], [443], [80]]
    prometheus, tester = spec["ingress"][0]["from"]
    assert prometheus["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    labels = template(scenario("production")).one("Pod")["metadata"]["labels"]
    assert tester["podSelector"]["matchLabels"].items() <= labels.items()


def test_helm_test(tmp_path: Path) -> None:
    """`helm test` succeeds with a running exporter, and fails if another server answers at the address."""
    (container,) = template(MINIMAL).one("Pod")["spec"]["containers"]
    assert container["command"][1:] == ["-c"]
    script, url, path = container["args"]
    assert url == "http://shop-glue-ml-exporter:10210"
    with Process(*EXPORTER, "demo", "--web.listen-address=127.0.0.1:0", folder=tmp_path) as exporter:
        address = exporter.wait_for_output(r"addresses=(\S+)", timeout=30)[1]
        tested = run(sys.executable, "-c", script, f"http://{address}", path, folder=tmp_path)
        assert (tested.exit_code, tested.stderr) == (0, "")
        assert re.search(r"^ready; \d{3,} lines of metrics$", tested.stdout, re.MULTILINE)
    with serving() as other:
        tested = run(sys.executable, "-c", script, f"http://127.0.0.1:{other.port}", path, folder=tmp_path)
        assert (tested.exit_code, tested.stderr) == (1, "these are not our metrics: up 1\n\n")


@pytest.mark.parametrize("name", SCENARIOS)
def test_notes(name: str, tmp_path: Path) -> None:
    """The notes after an installation give the next steps with the names of this release."""
    chart = shutil.copytree(CHART, tmp_path / "chart")
    (chart / "templates/NOTES.txt").rename(chart / "notes")
    shown = 'kind: Notes\ntext: {{ tpl (.Files.Get "notes") . | quote }}\n'
    (chart / "templates/notes.yaml").write_text(shown)
    code, output, errors = run_template(scenario(name), chart)
    assert code == 0, errors
    text = Rendered(output).one("Notes")["text"]
    assert re.search(r"port-forward service/(shop-glue-ml-exporter|glue-metrics) \d+\n", text)
    assert ("helm test --namespace monitoring shop" in text) == (name not in ("mtls", "vmpods"))
    assert ("This is the demo" in text) == (name in ("demo", "vmpods"))
    assert ("The API server refuses later changes" in text) == (
        name in ("mtls", "production", "shards", "victoriametrics")
    )
