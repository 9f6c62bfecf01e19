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
GRAFANA = {"allowCrossNamespaceImport": bool, "instanceSelector": dict, "configMapRef": dict}
"""The fields of a GrafanaDashboard that the chart uses. The operator publishes no schema in a Python package."""


def problems(document: dict[str, Any], version: str) -> Iterator[str]:
    """Yield a text for each mistake in an object."""
    api, kind = document["apiVersion"], document["kind"]
    if api == "monitoring.coreos.com/v1":
        yield from _monitoring_problems(document)
    elif (api, kind) == ("grafana.integreatly.org/v1beta1", "GrafanaDashboard"):
        for key, value in document["spec"].items():
            if not isinstance(value, GRAFANA.get(key, ())):
                yield f"spec.{key}"
    else:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{'.'.join(map(str, error.path))}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError:
            yield "no schema for this kind"


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
