"""Check Kubernetes objects against the schemas of the API. Run this program with the Python of `.tools/shipping`.

    check_objects.py KUBERNETES_VERSION ... < list.json

It prints one line for each mistake. Unknown fields and kinds without a schema are mistakes.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
from cloudcoil.models.prometheus_operator import v1
from pydantic import ValidationError

MONITORING = {"ServiceMonitor": v1.ServiceMonitor, "PodMonitor": v1.PodMonitor, "PrometheusRule": v1.PrometheusRule}
SPECS: dict[tuple[str, str], dict[str, Any]] = {
    ("grafana.integreatly.org/v1beta1", "GrafanaDashboard"): {
        "allowCrossNamespaceImport": bool,
        "instanceSelector": {"matchLabels": dict},
        "configMapRef": {"name": str, "key": str},
    },
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): {
        "parentRefs": [{"name": str, "namespace": str, "sectionName": str}],
        "hostnames": [str],
        "rules": [
            {"matches": [{"path": {"type": str, "value": str}}], "backendRefs": [{"name": str, "port": int}]},
        ],
    },
    ("autoscaling.k8s.io/v1", "VerticalPodAutoscaler"): {
        "targetRef": {"apiVersion": str, "kind": str, "name": str},
        "updatePolicy": {"updateMode": str},
        "resourcePolicy": {"containerPolicies": [{"containerName": str, "minAllowed": dict, "maxAllowed": dict}]},
    },
}
"""The fields that the chart uses of kinds whose operators publish no schema in a Python package."""
SCRAPE = {
    "port": str,
    "path": str,
    "scheme": str,
    "interval": str,
    "scrapeTimeout": str,
    "honorLabels": bool,
    "proxyURL": str,
    "relabelConfigs": [{"sourceLabels": [str], "targetLabel": str, "replacement": str, "action": str, "regex": str}],
    "metricRelabelConfigs": [{"sourceLabels": [str], "action": str, "regex": str}],
    "tlsConfig": {"serverName": str, "ca": {"secret": {"name": str, "key": str}}},
    "authorization": {"credentials": {"name": str, "key": str}},
}
SELECTION = {
    "namespaceSelector": {"matchNames": [str]},
    "selector": {"matchLabels": dict},
    "jobLabel": str,
    "podTargetLabels": [str],
    "sampleLimit": int,
}
RULE = {
    "record": str,
    "alert": str,
    "expr": str,
    "for": str,
    "keep_firing_for": str,
    "labels": dict,
    "annotations": dict,
}
VICTORIA = "operator.victoriametrics.com/v1beta1"
SPECS[VICTORIA, "VMServiceScrape"] = {**SELECTION, "targetLabels": [str], "endpoints": [SCRAPE]}
SPECS[VICTORIA, "VMPodScrape"] = {**SELECTION, "podMetricsEndpoints": [SCRAPE]}
SPECS[VICTORIA, "VMRule"] = {"groups": [{"name": str, "interval": str, "rules": [RULE]}]}


def problems(document: dict[str, Any], version: str) -> Iterator[str]:
    """Yield a text for each mistake in an object."""
    api, kind = document["apiVersion"], document["kind"]
    if api == "monitoring.coreos.com/v1":
        yield from _monitoring_problems(document)
    elif (api, kind) in SPECS:
        yield from _unknown(document["spec"], SPECS[api, kind], "spec")
    else:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{'.'.join(map(str, error.path))}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError:
            yield "no schema for this kind"


def _unknown(value: Any, allowed: Any, path: str) -> Iterator[str]:
    """Yield the path of each field that is not in `allowed`, or has another type there."""
    if isinstance(allowed, dict) and isinstance(value, dict):
        for key, inner in value.items():
            yield from _unknown(inner, allowed.get(key), f"{path}.{key}")
    elif isinstance(allowed, list) and isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unknown(inner, allowed[0], f"{path}[{index}]")
    elif not isinstance(allowed, type) or not isinstance(value, allowed):
        yield path


def _monitoring_problems(document: dict[str, Any]) -> Iterator[str]:
    """Yield a text for each field that the types of the Prometheus operator refuse or do not have."""
    try:
        read = MONITORING[document["kind"]].model_validate(document)
    except ValidationError as error:
        yield str(error).replace("\n", " ")
        return
    understood = read.model_dump(by_alias=True, exclude_unset=True, mode="json")
    yield from (f"unknown or changed: {path}" for path in _differences(document, understood, ""))


def _differences(given: Any, understood: Any, path: str) -> Iterator[str]:
    if isinstance(given, dict) and isinstance(understood, dict):
        for key, value in given.items():
            yield from _differences(value, understood.get(key), f"{path}.{key}")
    elif isinstance(given, list) and isinstance(understood, list) and len(given) == len(understood):
        for index, (one, other) in enumerate(zip(given, understood, strict=True)):
            yield from _differences(one, other, f"{path}[{index}]")
    elif given != understood:
        yield path


if __name__ == "__main__":
    for number, document in enumerate(json.load(sys.stdin)):
        for version in sys.argv[1:]:
            for problem in problems(document, version):
                print(f"document {number}, {document['kind']} {document['metadata']['name']}, {version}: {problem}")
