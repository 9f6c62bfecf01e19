"""Samples to lines, in the text format 0.0.4 and in OpenMetrics 1.0.0.

Sources: the Prometheus text format and the OpenMetrics 1.0 specification. Byte for byte what prometheus_client prints
for the same families, which a test compares; this is only faster, as everything that recurs is remembered. The two
formats share their sample lines; only headers, exemplars and ``_created`` lines differ.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

from exporter.counting.counters import Count, Exemplar, Histogram
from exporter.exposition.formats import TextFormat

Labels = tuple[tuple[str, str], ...]

MAX_EXEMPLAR_RUNES = 128
"""OpenMetrics 1.0: the label names and values of an exemplar, together, in characters."""

EOF = {TextFormat.TEXT: b"", TextFormat.OPENMETRICS: b"# EOF\n"}


class Line(NamedTuple):
    """One sample: what follows the family's name, labels, value, and the exemplar that OpenMetrics adds."""

    suffix: str
    labels: Labels
    value: float
    exemplar: Exemplar | None = None


def escape_label_value(value: str) -> str:
    """Return the value as it stands between quotes."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def label_text(labels: Iterable[tuple[str, str]]) -> str:
    """Return ``a="1",b="2"`` in the order of the names."""
    return ",".join(f'{name}="{escape_label_value(value)}"' for name, value in sorted(labels))


@lru_cache(maxsize=8192)
def number(value: float) -> str:
    """Return the value as Go prints it, except that zero has no sign."""
    return str(floatToGoString(value + 0.0))  # type: ignore[no-untyped-call] # prometheus_client leaves it untyped


HEADER_LINES = 2


def header(name: str, kind: str, documentation: str, text_format: TextFormat) -> bytes:
    """Return the HELP and TYPE lines of a family; ``name`` is without ``_total``."""
    documentation = documentation.replace("\\", r"\\").replace("\n", r"\n")
    if text_format is TextFormat.OPENMETRICS:
        documentation = documentation.replace('"', r"\"")
    elif kind == "counter":
        name += "_total"
    return f"# HELP {name} {documentation}\n# TYPE {name} {kind}\n".encode()


class Identity:
    """The labels that all series of one transform share, ready to be put behind a sample's own."""

    def __init__(self, labels: Labels) -> None:
        """Take the labels in the order of their names."""
        self.labels = labels
        self.text = label_text(labels)

    def text_with(self, own: Labels) -> str:
        """Return all labels, sorted by name as a whole."""
        if not own:
            return self.text
        if own[-1][0] < self.labels[0][0]:
            return f"{_own_text(own)},{self.text}"
        return label_text((*own, *self.labels))


_own_text = lru_cache(maxsize=8192)(label_text)


def sample_lines(name: str, lines: Iterable[Line], identity: Identity) -> tuple[bytes, bytes]:
    """Return the lines in the text format and in OpenMetrics; the same object twice if they do not differ."""
    text, openmetrics, differ = [], [], False
    for suffix, labels, value, exemplar in lines:
        line = f"{name}{suffix}{{{identity.text_with(labels)}}} {number(value)}"
        openmetrics.append(line + exemplar_text(exemplar) if exemplar else line)
        differ |= exemplar is not None
        if suffix == "_created":
            differ = True
        else:
            text.append(line)
    rendered = _joined(text)
    return rendered, _joined(openmetrics) if differ else rendered


def _joined(lines: list[str]) -> bytes:
    # A lone surrogate, which JSON can spell and UTF-8 cannot, becomes a question mark.
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def exemplar_text(exemplar: Exemplar) -> str:
    """Return the exemplar behind a sample, or nothing if its run id is too long for OpenMetrics."""
    if len("task_run_id") + len(exemplar.run_id) > MAX_EXEMPLAR_RUNES:
        return ""
    text = f' # {{task_run_id="{escape_label_value(exemplar.run_id)}"}} {number(exemplar.value)}'
    return text if exemplar.time is None else f"{text} {exemplar.time}"


def count_lines(labels: Labels, total: Count, created: float | None) -> Iterable[Line]:
    """Yield the lines of one counter; ``created`` in UTC seconds, None to leave it out."""
    yield Line("_total", labels, total.value, total.exemplar)
    if created is not None:
        yield Line("_created", labels, created)


def histogram_lines(
    labels: Labels, total: Histogram, bounds: tuple[float, ...], created: float | None
) -> Iterable[Line]:
    """Yield the lines of one histogram; ``created`` in UTC seconds, None to leave it out."""
    cumulative = 0
    for bound, count, exemplar in zip((*bounds, float("inf")), total.counts, total.exemplars, strict=True):
        cumulative += count
        yield Line("_bucket", (("le", number(bound)), *labels), cumulative, exemplar)
    yield Line("_count", labels, cumulative)
    yield Line("_sum", labels, total.sum)
    if created is not None:
        yield Line("_created", labels, created)


def render_metrics(metrics: Iterable[Metric], text_format: TextFormat) -> bytes:
    """Return families that prometheus_client has collected, without ``_created`` samples."""
    parts = []
    for metric in metrics:
        parts.append(header(metric.name, metric.type, metric.documentation, text_format))
        created = metric.name + "_created"
        lines = []
        for sample in metric.samples:
            if sample.name != created:
                labels = _own_text(tuple(sample.labels.items()))
                braces = f"{{{labels}}}" if labels else ""
                lines.append(f"{sample.name}{braces} {number(sample.value)}")
        parts.append(_joined(lines))
    return b"".join(parts)
