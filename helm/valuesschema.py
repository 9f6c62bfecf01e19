"""The JSON schema of the chart's values: the keys and types of `values.yaml`, and the allowed values of some keys.

Unknown keys are errors. Therefore Helm reports a misspelled key.
"""

from collections.abc import Mapping
from typing import Any, TypeGuard, get_args

import yaml
from pydantic import BaseModel

from exporter.config import schema
from exporter.logs import FORMATS, LEVELS
from exporter.model.shard import MAX_SHARDS
from exporter.model.task_run import TASK_TYPES

Schema = dict[str, Any]

DURATION = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d|w|y))+$"}
COUNT = {"type": "integer", "minimum": 0}
NAMES = {"type": "array", "items": {"type": "string", "minLength": 1}}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
OBJECTS = {"type": "array", "items": {"type": "object"}}
RESOURCES = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"cpu": {"type": ["string", "number"]}, "memory": {"type": ["string", "integer"]}},
}
TYPES = {bool: "boolean", str: "string", int: "integer", float: "number", list: "array"}
LABEL = "^[a-zA-Z_][a-zA-Z0-9_]*$"
LABELS = {"type": "object", "propertyNames": {"pattern": LABEL}, "additionalProperties": {"type": "string"}}
URL = {"type": "string", "pattern": r"""^(https?://[^\s"'#{}]+)?$"""}
SPECIAL: Mapping[str, Schema] = {
    "image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    # Unknown keys are allowed here. If this chart is part of a larger chart, other charts read the same section.
    "global": {"type": "object", "properties": {"imageRegistry": {"type": "string"}}},
    "shards": {"type": "integer", "minimum": 1, "maximum": MAX_SHARDS},
    "configReload": {"enum": ["auto", "restart"]},
    "logLevel": {"enum": list(LEVELS)},
    "logFormat": {"enum": list(FORMATS)},
    "persistence.whenDeleted": {"enum": ["Retain", "Delete"]},
    "persistence.accessModes": {
        "type": "array",
        "items": {"enum": ["ReadWriteOncePod", "ReadWriteOnce"]},
        "minItems": 1,
    },
    "service.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    "service.ipFamilyPolicy": {"enum": ["", "SingleStack", "PreferDualStack", "RequireDualStack"]},
    "service.ipFamilies": {"type": "array", "items": {"enum": ["IPv4", "IPv6"]}, "maxItems": 2, "uniqueItems": True},
    "web.telemetryPath": {"type": "string", "pattern": r"^/[A-Za-z0-9._~/-]+$"},
    "web.externalUrl": {"type": "string", "pattern": r"^(https?://[^\s/@?#{}]+(/[A-Za-z0-9._~-]+)*/?)?$"},
    "ingress.hosts": NAMES,
    "ingress.tls": {
        "type": "array",
        "items": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"hosts": NAMES, "secretName": {"type": "string"}},
        },
    },
    "httpRoute.parentRefs": OBJECTS,
    "httpRoute.hostnames": NAMES,
    "hostAliases": {
        "type": "array",
        "items": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"ip": {"type": "string"}, "hostnames": NAMES},
            "required": ["ip", "hostnames"],
        },
    },
    "dnsPolicy": {"enum": ["", "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]},
    "dnsConfig": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"nameservers": NAMES, "searches": NAMES, "options": OBJECTS},
    },
    "probes.startup": {
        "type": "object",
        "additionalProperties": False,
        "properties": dict.fromkeys(
            ("initialDelaySeconds", "periodSeconds", "timeoutSeconds", "failureThreshold"), COUNT
        ),
    },
    "workloadAnnotations": TEXTS,
    "testPod.annotations": TEXTS,
    "testPod.labels": TEXTS,
    "httpRoute.annotations": TEXTS,
    "monitoringOperator": {"enum": ["prometheus", "victoriametrics"]},
    "serviceMonitor.targetLabels": NAMES,
    "serviceMonitor.scrapeProtocols": {
        "type": "array",
        "items": {
            "enum": ["OpenMetricsText1.0.0", "OpenMetricsText0.0.1", "PrometheusText1.0.0", "PrometheusText0.0.4"]
        },
        "uniqueItems": True,
    },
    "serviceMonitor.proxyUrl": {"type": "string", "pattern": r"^(https?://[^\s]+)?$"},
    "podDisruptionBudget.unhealthyPodEvictionPolicy": {"enum": ["AlwaysAllow", "IfHealthyBudget"]},
    "verticalPodAutoscaler.updateMode": {"enum": ["Off", "Initial", "Recreate", "InPlaceOrRecreate"]},
    "verticalPodAutoscaler.minAllowed": RESOURCES,
    "verticalPodAutoscaler.maxAllowed": RESOURCES,
    "webConfig.scheme": {"enum": ["", "http", "https"]},
    "serviceMonitor.interval": DURATION,
    "serviceMonitor.scrapeTimeout": DURATION,
    "serviceMonitor.sampleLimit": COUNT,
    "serviceMonitor.labelLimit": COUNT,
    "serviceMonitor.labelNameLengthLimit": COUNT,
    "serviceMonitor.labelValueLengthLimit": COUNT,
    "podDisruptionBudget.maxUnavailable": {"type": ["integer", "string"]},
    "prometheusRule.runbookUrl": URL,
    "prometheusRule.dashboardUrl": URL,
    "prometheusRule.statusUrl": URL,
    "prometheusRule.joinedLabels": {"type": "array", "items": {"type": "string", "pattern": LABEL}},
    "prometheusRule.criticalTaskTypes": {"type": "array", "items": {"enum": list(TASK_TYPES)}},
    "prometheusRule.selector": {
        "type": "object",
        "propertyNames": {"pattern": LABEL},
        "additionalProperties": {"type": "string", "pattern": r"""^[^"'\\\s{}]+$"""},
    },
    "prometheusRule.window": DURATION,
    "prometheusRule.unrecoveredAtMost": DURATION,
    "prometheusRule.keepFiringFor": DURATION,
    "prometheusRule.alertLabels": LABELS,
    "prometheusRule.alerts.GlueMLTaskRunSlow.factor": {"type": "number", "exclusiveMinimum": 1},
}
FROM_HELM: Mapping[str, Schema] = {"enabled": {"type": "boolean"}, "exports": {"type": "object"}}
"""Keys that a larger chart may have here for Helm: its `condition` and its `import-values`."""
ANCHORS: Schema = {"^x-": {}}
"""Keys that hold anchors of YAML, here and in the configuration of the exporter."""
OPEN = {
    "podSecurityContext",
    "securityContext",
    "dashboards.labels",
    "dashboards.grafanaOperator.instanceSelector",
}
"""Mappings with keys that Kubernetes defines. They accept every key. Mappings that are empty by default do so too."""


def values_schema(values: str) -> Schema:
    """Return the JSON schema (draft 7) for the content of a `values.yaml`."""
    root = _of(yaml.safe_load(values), "")
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart glue-ml-exporter",
        **root,
        "properties": {**root["properties"], **FROM_HELM},
        "patternProperties": ANCHORS,
    }


def _of(value: object, path: str) -> Schema:
    if path in SPECIAL:
        return dict(SPECIAL[path])
    if path.startswith("prometheusRule.alerts.") and path.count(".") == 3:
        return _alert_setting(value, path.rpartition(".")[2])
    if path == "config":
        return {**_config(schema.File), "patternProperties": ANCHORS}
    if isinstance(value, dict):
        if not value or path in OPEN:
            return {"type": "object"}
        properties = {key: _of(inner, f"{path}.{key}".strip(".")) for key, inner in value.items()}
        return {"type": "object", "additionalProperties": False, "properties": properties}
    return {"type": TYPES[type(value)]}


def _alert_setting(value: object, name: str) -> Schema:
    """Return the schema of a setting of an alert, for example of `for` or of a threshold."""
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, dict):
        return dict(LABELS)
    if isinstance(value, list):
        return {"type": "array", "items": {"enum": list(TASK_TYPES)}}
    if isinstance(value, str):
        return {"type": "string", "pattern": "^[a-zA-Z0-9_-]+$"} if name == "severity" else dict(DURATION)
    # A share is below 1, and may be given as a whole number in YAML only by mistake.
    limits = {"exclusiveMinimum": 0, "exclusiveMaximum": 1} if isinstance(value, float) else {"minimum": 0}
    return {"type": TYPES[type(value)], **limits}


def _config(model: type[BaseModel]) -> Schema:
    """Return the schema of a section of the exporter's configuration: only its keys. The exporter checks the values."""
    properties = {name: _part(field.annotation) for name, field in model.model_fields.items()}
    return {"type": ["object", "null"], "additionalProperties": False, "properties": properties}


def _part(annotation: object) -> Schema:
    models = [part for part in (annotation, *get_args(annotation)) if _is_model(part)]
    if not models:
        return {}
    if models[0] is annotation:
        return _config(models[0])
    return {"type": ["array", "null"], "items": {"anyOf": [{"type": "string"}, _config(models[0])]}}


def _is_model(part: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(part, type) and issubclass(part, BaseModel)
