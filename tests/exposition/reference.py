"""The promised metrics, rendered by prometheus_client as a reference for the tests. This module has no tests."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import exposition as text
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.samples import Exemplar as ClientExemplar
from prometheus_client.utils import floatToGoString

from exporter.counting.counters import Count, Exemplar, Histogram, Series
from exporter.exposition.formats import TextFormat
from exporter.exposition.metrics import METRICS
from exporter.exposition.snapshot import TransformSnapshot
from exporter.model.task_run import FINAL_STATUSES, STATUSES, TASK_TYPES

HELP = {metric.name: metric.help for metric in METRICS}
ORDER = [metric.name for metric in METRICS]

Sample = tuple[dict[str, str], float]


class Families:
    """A registry that has only `collect`, the method that prometheus_client calls to render metrics."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self.families = list(families)

    def collect(self) -> list[Metric]:
        return self.families


def rendered(snapshots: list[TransformSnapshot], text_format: TextFormat) -> str:
    """Give the text that prometheus_client prints for these snapshots."""
    if text_format is TextFormat.OPENMETRICS:
        return openmetrics.generate_latest(Families(families(snapshots, created=True))).decode()
    return text.generate_latest(Families(families(snapshots, created=False))).decode()


def families(snapshots: list[TransformSnapshot], *, created: bool) -> Iterator[Metric]:
    """Yield the metrics in order; `created` adds the `_created` samples of snapshots that have this option on."""
    for name in ORDER:
        if name.endswith("_total"):
            yield counters(name, snapshots, created=created)
        elif name in ("glue_ml_task_run_execution_seconds", "glue_ml_task_run_duration_seconds"):
            yield histograms(name, snapshots, created=created)
        else:
            yield gauges(name, snapshots)


def identity(snapshot: TransformSnapshot) -> dict[str, str]:
    target, details = snapshot.target, snapshot.details
    known = details.name if details is not None else ""
    return {"transform_id": target.id, "transform_name": target.name or known or target.id}


def gauges(name: str, snapshots: list[TransformSnapshot]) -> Metric:
    family = GaugeMetricFamily(name, HELP[name])
    for snapshot in snapshots:
        for labels, value in gauge_samples(name, snapshot):
            family.add_sample(name, labels | identity(snapshot), value)
    return family


def gauge_samples(name: str, snapshot: TransformSnapshot) -> Iterator[Sample]:
    view, details, poll = snapshot.gauge_values, snapshot.details, snapshot.poll
    short = name.removeprefix("glue_ml_")
    if short == "transform_info":
        yield info(snapshot), 1
    elif short == "transform_last_poll_error_info":
        if poll is not None and poll.reason:
            yield {"reason": poll.reason, "operation": poll.operation}, 1
    elif short == "task_run_last_failure_info":
        yield from failure_infos(snapshot)
    elif short.startswith("transform_expected_"):
        expected = getattr(snapshot.target, short.removeprefix("transform_").removesuffix("_seconds"))
        if expected is not None:
            yield {}, expected
    elif short.startswith("task_run_last_"):
        yield from times(short, snapshot)
    elif short.startswith(("transform_up", "transform_last_", "transform_poll_")):
        facts = {} if poll is None else poll_facts(poll)
        if facts.get(short) is not None:
            yield {}, facts[short]
    elif short == "transform_watched_since_timestamp_seconds":
        if snapshot.watched_since is not None:
            yield {}, snapshot.watched_since
    elif view is None:
        return
    elif short == "task_runs":
        yield from ((run_kind(*key), count) for key, count in view.runs.items())
    elif short == "task_run_latest_status":
        for task_type, latest in view.latest.items():
            if latest.status is not None:
                for status in dict.fromkeys((*STATUSES, latest.status)):
                    yield run_kind(task_type, status), float(status == latest.status)
    elif short == "task_run_latest_execution_seconds":
        yield from (
            (run_kind(t), latest.execution) for t, latest in view.latest.items() if latest.execution is not None
        )
    elif short == "task_run_oldest_active_start_timestamp_seconds":
        yield from ((run_kind(task_type), start) for task_type, start in view.oldest_active.items())
    elif details is None:
        return
    elif short == "transform_status":
        if details.status:
            for status in ("NOT_READY", "READY", "DELETING"):
                yield {"status": status}, float(status == details.status)
    else:
        fact = {
            "transform_training_labels": details.label_count,
            "transform_precision_ratio": details.precision,
            "transform_recall_ratio": details.recall,
            "transform_f1_ratio": details.f1,
            "transform_area_under_pr_curve_ratio": details.area_under_pr_curve,
            "transform_capacity_dpus": details.capacity,
        }[short]
        if fact is not None:
            yield {}, fact


def poll_facts(poll: Any) -> Mapping[str, float | None]:
    return {
        "transform_up": poll.up,
        "transform_last_poll_timestamp_seconds": poll.tried,
        "transform_last_successful_poll_timestamp_seconds": poll.succeeded,
        "transform_poll_duration_seconds": poll.duration,
    }


def info(snapshot: TransformSnapshot) -> dict[str, str]:
    target, details = snapshot.target, snapshot.details
    return {
        **target.labels,
        "aws_account": target.lane.account,
        "aws_account_id": snapshot.account_id,
        "aws_region": target.lane.region,
        "transform_type": details.transform_type if details else "",
        "glue_version": details.glue_version if details else "",
        "worker_type": details.worker_type if details else "",
    }


def times(short: str, snapshot: TransformSnapshot) -> Iterator[Sample]:
    outcomes = {
        "task_run_last_start_timestamp_seconds": [("start", "")],
        "task_run_last_success_timestamp_seconds": [("success", "")],
        "task_run_last_failure_timestamp_seconds": [("failed", "FAILED"), ("timeout", "TIMEOUT")],
    }[short]
    for fact, status in outcomes:
        for task_type, latest in snapshot.latest.items():
            if getattr(latest, fact) is not None:
                yield run_kind(task_type, status), getattr(latest, fact)


def failure_infos(snapshot: TransformSnapshot) -> Iterator[Sample]:
    for task_type, latest in snapshot.latest.items():
        for status in ("FAILED", "TIMEOUT"):
            if getattr(latest, status.lower()) is not None:
                reason = snapshot.failure_reasons.reason_of(status, getattr(latest, f"{status.lower()}_error"))
                yield run_kind(task_type, status) | {"reason": reason}, 1


def run_kind(task_type: str, status: str = "") -> dict[str, str]:
    return {"task_type": task_type} | ({"status": status} if status else {})


def served_series(snapshot: TransformSnapshot, family: str) -> list[Series]:
    if not snapshot.has_baseline:
        return []
    first = {
        "started": [Series("started", task_type, "") for task_type in TASK_TYPES],
        "finished": [Series("finished", t, status) for t in TASK_TYPES for status in sorted(FINAL_STATUSES)],
    }.get(family, [])
    return first + sorted(s for s in snapshot.initial_values.served if s.family == family and s not in first)


def client_exemplar(exemplar: Exemplar | None) -> ClientExemplar | None:
    if exemplar is None or len("task_run_id" + exemplar.run_id) > 128:
        return None
    return ClientExemplar({"task_run_id": exemplar.run_id}, exemplar.value, exemplar.time)


def counters(name: str, snapshots: list[TransformSnapshot], *, created: bool) -> Metric:
    kind = name.removeprefix("glue_ml_task_runs_").removesuffix("_total")
    family = CounterMetricFamily(name, HELP[name])
    for snapshot in snapshots:
        for series in served_series(snapshot, kind):
            total = snapshot.initial_values.served.get(series, Count())
            labels = run_kind(series.task_type, series.status) | identity(snapshot)
            family.add_sample(name, labels, total.value, exemplar=client_exemplar(total.exemplar))
            if created and snapshot.created:
                family.add_sample(f"{family.name}_created", labels, snapshot.initial_values.created(series))
    return family


def histograms(name: str, snapshots: list[TransformSnapshot], *, created: bool) -> Metric:
    kind = name.removeprefix("glue_ml_task_run_").removesuffix("_seconds")
    family = HistogramMetricFamily(name, HELP[name], labels=("task_type", "status", "transform_id", "transform_name"))
    for snapshot in snapshots:
        for series in served_series(snapshot, kind):
            labels = run_kind(series.task_type, series.status) | identity(snapshot)
            histogram = snapshot.initial_values.served[series]
            assert isinstance(histogram, Histogram)
            family.add_metric(tuple(labels.values()), buckets(histogram, snapshot.bounds), histogram.sum)
            if created and snapshot.created:
                family.add_sample(f"{name}_created", labels, snapshot.initial_values.created(series))
    return family


def buckets(histogram: Histogram, bounds: tuple[float, ...]) -> list[Any]:
    found, cumulative = [], 0
    for bound, count, exemplar in zip((*bounds, float("inf")), histogram.counts, histogram.exemplars, strict=True):
        cumulative += count
        found.append([floatToGoString(bound), cumulative, client_exemplar(exemplar)])
    return found
