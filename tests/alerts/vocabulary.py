"""The metrics, labels and label values of the exporter, and a search for unknown names in a PromQL expression.

The names are read from the code of the exporter. A misspelled name in rules or dashboards is therefore found.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from prometheus_client.metrics import MetricWrapperBase

from exporter.exposition.metrics import METRICS, TRANSFORM_STATUSES
from exporter.glue.error_table import REASONS
from exporter.model.task_run import STATUSES, TASK_TYPES
from exporter.telemetry import LOG_LEVELS, OPERATIONS, Telemetry

TARGET_LABELS = frozenset({"job", "instance", "namespace", "service", "cluster"})
"""The labels that Prometheus adds to every sample. It adds the last three labels only if it is configured to."""

VALUES: Mapping[str, frozenset[str]] = {
    "status": frozenset({*STATUSES, *TRANSFORM_STATUSES}),
    "task_type": frozenset(TASK_TYPES),
    "reason": frozenset(REASONS),
    "code": frozenset({"OK", *REASONS}),
    "operation": frozenset(OPERATIONS),
    "level": frozenset(LOG_LEVELS),
}
"""All possible values of the labels whose values are known."""

_TOKEN = re.compile(
    r"""
      (?P<space>\s+|\#[^\n]*)
    | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<range>\[[^\]]*\])
    | (?P<duration>(?:[0-9]+(?:ms|[smhdwy]))+)
    | (?P<number>[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)
    | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
    | (?P<variable>\$\{?[a-zA-Z_]+\}?)
    | (?P<sign>=~|!~|!=|==|<=|>=|[-+*/%^=<>(){},@])
    """,
    re.VERBOSE,
)
_LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
_AFTER_A_FUNCTION = {"(", "by", "without"}


@dataclass(frozen=True)
class Matcher:
    """`label operator "value"` between the braces after `metric`."""

    metric: str
    label: str
    value: str


@dataclass(frozen=True)
class Uses:
    """The names in one expression."""

    metrics: frozenset[str]
    matchers: tuple[Matcher, ...]
    grouped: frozenset[str]
    """The labels in the lists after by, without, on, ignoring and group_left."""


def tokens(expression: str) -> Iterator[tuple[str, str]]:
    """Yield the kind and text of each token. Raise ValueError if the text is not PromQL."""
    place = 0
    while place < len(expression):
        match = _TOKEN.match(expression, place)
        if match is None:
            raise ValueError(f"not PromQL at {expression[place : place + 20]!r}")
        if match.lastgroup != "space":
            yield str(match.lastgroup), match[0]
        place = match.end()


def uses(expression: str) -> Uses:
    """Find the names in an expression."""
    metrics: set[str] = set()
    matchers: list[Matcher] = []
    grouped: set[str] = set()
    found = [*tokens(expression), ("sign", "")]
    metric, inside, in_list = "", False, False
    for (kind, text), (_, following) in pairwise(found):
        if text in "{}" and kind == "sign":
            inside = text == "{"
        elif inside and kind == "name":
            label = text
        elif inside and kind == "string":
            matchers.append(Matcher(metric, label, text[1:-1]))
        elif in_list:
            in_list = text != ")"
            grouped |= {text} if kind == "name" else set()
        elif kind == "name" and text in _LISTS:
            in_list = following == "("
        elif kind == "name" and following not in _AFTER_A_FUNCTION and text.lower() not in _WORDS:
            metric = text
            metrics.add(metric)
        elif kind == "name" and following == "(":
            metric = ""
    return Uses(frozenset(metrics), tuple(matchers), frozenset(grouped))


@cache
def exposed() -> Mapping[str, frozenset[str]]:
    """Return the labels of every series that the exporter exposes, by the series' name."""
    series: dict[str, frozenset[str]] = {"up": TARGET_LABELS, "process_start_time_seconds": TARGET_LABELS}
    for metric in METRICS:
        series |= _names(metric.name, metric.kind, {"transform_id", "transform_name", *metric.labels})
    telemetry = Telemetry()
    telemetry.add_state_metrics()
    telemetry.add_web_config_metrics()
    for one in vars(telemetry).values():
        if isinstance(one, MetricWrapperBase):
            (family,) = one.describe()
            series |= _names(
                f"{family.name}_total" if family.type == "counter" else family.name, family.type, one._labelnames
            )
    for family in telemetry.registry.collect():
        for sample in family.samples:
            series.setdefault(sample.name, frozenset(sample.labels) | TARGET_LABELS)
    return series


def _names(name: str, kind: str, labels: Iterable[str]) -> dict[str, frozenset[str]]:
    own = frozenset(labels) | TARGET_LABELS
    if kind == "histogram":
        return {f"{name}_bucket": own | {"le"}, f"{name}_count": own, f"{name}_sum": own}
    return {name: own}


def problems(expression: str, known: Mapping[str, frozenset[str]]) -> list[str]:
    """Return every metric, label and label value in an expression that does not exist."""
    used = uses(expression)
    found = [f"metric {metric}" for metric in sorted(used.metrics) if metric not in known]
    for matcher in used.matchers:
        if matcher.metric in known and matcher.label not in known[matcher.metric]:
            found.append(f"label {matcher.label} of {matcher.metric}")
        if matcher.label in VALUES and "$" not in matcher.value:
            unknown = set(matcher.value.split("|")) - VALUES[matcher.label]
            found += [f"{matcher.label} {value!r}" for value in sorted(unknown)]
    labels = frozenset[str]().union(*(known.get(metric, frozenset()) for metric in used.metrics))
    return found + [f"label {label}" for label in sorted(used.grouped - labels)]
