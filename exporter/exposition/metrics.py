"""The table of metrics about Glue, with the function that returns the samples of a metric for a snapshot.

Names and meanings are promises to users; `docs/metrics.md` is generated from this table. The metrics about the exporter
itself are in `telemetry`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from exporter.counting.counters import FIRST_SERIES, Count, Histogram, Series
from exporter.counting.counters import Family as CountingFamily
from exporter.counting.latest import LatestRun
from exporter.exposition.snapshot import Part, PollResult, TransformSnapshot
from exporter.exposition.text_format import Labels, Sample, counter_samples, histogram_samples
from exporter.model.task_run import STATUSES, TASK_TYPES
from exporter.model.transform import Details

TRANSFORM_STATUSES = ("NOT_READY", "READY", "DELETING")

LAST_POLL = "As of the last poll."
"""The end of every HELP text. A scrape shows the values of the last poll, not the values at the time of the scrape."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric about Glue."""

    name: str
    """The name in queries. The name of a counter ends in ``_total``."""
    kind: Literal["gauge", "counter", "histogram"]
    documentation: str
    labels: tuple[str, ...]
    """The labels in addition to ``transform_id`` and ``transform_name``."""
    part: Part
    """The part of a snapshot that it shows."""
    samples: Callable[[TransformSnapshot], Iterable[Sample]]

    @property
    def family(self) -> str:
        """The name of the metric family in OpenMetrics, which is without ``_total``."""
        return self.name.removesuffix("_total")

    @property
    def help(self) -> str:
        """The HELP text."""
        return f"{self.documentation} {LAST_POLL}"


def _labels(task_type: str, status: str = "") -> Labels:
    return (("status", status), ("task_type", task_type)) if status else (("task_type", task_type),)


def _task_runs(snapshot: TransformSnapshot) -> Iterable[Sample]:
    if snapshot.gauge_values is not None:
        for (task_type, status), count in snapshot.gauge_values.runs.items():
            yield Sample("", _labels(task_type, status), count)


def _oldest_active(snapshot: TransformSnapshot) -> Iterable[Sample]:
    if snapshot.gauge_values is not None:
        for task_type, started in snapshot.gauge_values.oldest_active.items():
            yield Sample("", _labels(task_type), started)


def _latest_status(snapshot: TransformSnapshot) -> Iterable[Sample]:
    if snapshot.gauge_values is None:
        return
    for task_type, latest in snapshot.gauge_values.latest.items():
        if latest.status is not None:
            known = STATUSES if latest.status in STATUSES else (*STATUSES, latest.status)
            for status in known:
                yield Sample("", _labels(task_type, status), status == latest.status)


def _latest_execution(snapshot: TransformSnapshot) -> Iterable[Sample]:
    if snapshot.gauge_values is not None:
        for task_type, latest in snapshot.gauge_values.latest.items():
            if latest.execution is not None:
                yield Sample("", _labels(task_type), latest.execution)


def _last_start(snapshot: TransformSnapshot) -> Iterable[Sample]:
    return _times(snapshot, lambda latest: latest.start)


def _last_success(snapshot: TransformSnapshot) -> Iterable[Sample]:
    return _times(snapshot, lambda latest: latest.success)


def _last_failure(snapshot: TransformSnapshot) -> Iterable[Sample]:
    yield from _times(snapshot, lambda latest: latest.failed, "FAILED")
    yield from _times(snapshot, lambda latest: latest.timeout, "TIMEOUT")


def _last_failure_info(snapshot: TransformSnapshot) -> Iterable[Sample]:
    for task_type, latest in snapshot.latest.items():
        failures = (("FAILED", latest.failed, latest.failed_error), ("TIMEOUT", latest.timeout, latest.timeout_error))
        for status, time, error in failures:
            if time is not None:
                reason = snapshot.failure_reasons.reason_of(status, error)
                yield Sample("", (("reason", reason), *_labels(task_type, status)), 1)


def _times(
    snapshot: TransformSnapshot, time_of: Callable[[LatestRun], float | None], status: str = ""
) -> Iterable[Sample]:
    for task_type, latest in snapshot.latest.items():
        time = time_of(latest)
        if time is not None:
            yield Sample("", _labels(task_type, status), time)


def _series_of(snapshot: TransformSnapshot, family: CountingFamily) -> list[Series]:
    """Return the series of a family: first the series that exist from the first poll on, then all later series."""
    if not snapshot.has_baseline:
        return []
    later = [
        series for series in snapshot.initial_values.served if series.family == family and series not in FIRST_SERIES
    ]
    return [series for series in _FIRST_IN_ORDER if series.family == family] + sorted(later)


_FIRST_IN_ORDER = sorted(FIRST_SERIES, key=lambda series: (TASK_TYPES.index(series.task_type), series.status))


def _counts(family: CountingFamily) -> Callable[[TransformSnapshot], Iterable[Sample]]:
    def samples(snapshot: TransformSnapshot) -> Iterable[Sample]:
        for series in _series_of(snapshot, family):
            total = snapshot.initial_values.served.get(series)
            created = snapshot.initial_values.created(series) if snapshot.created else None
            count = total if isinstance(total, Count) else Count()
            yield from counter_samples(_labels(series.task_type, series.status), count, created)

    return samples


def _histograms(family: CountingFamily) -> Callable[[TransformSnapshot], Iterable[Sample]]:
    def samples(snapshot: TransformSnapshot) -> Iterable[Sample]:
        for series in _series_of(snapshot, family):
            total = snapshot.initial_values.served[series]
            created = snapshot.initial_values.created(series) if snapshot.created else None
            if isinstance(total, Histogram):
                yield from histogram_samples(_labels(series.task_type, series.status), total, snapshot.bounds, created)

    return samples


def _info(snapshot: TransformSnapshot) -> Iterable[Sample]:
    details = snapshot.details or Details()
    labels = {
        **snapshot.target.labels,
        "aws_account": snapshot.target.lane.account,
        "aws_account_id": snapshot.account_id,
        "aws_region": snapshot.target.lane.region,
        "transform_type": details.transform_type,
        "glue_version": details.glue_version,
        "worker_type": details.worker_type,
    }
    yield Sample("", tuple(sorted(labels.items())), 1)


def _transform_status(snapshot: TransformSnapshot) -> Iterable[Sample]:
    status = snapshot.details.status if snapshot.details and snapshot.gauge_values else ""
    if status:
        for known in TRANSFORM_STATUSES:
            yield Sample("", (("status", known),), known == status)


def _single(value_of: Callable[[TransformSnapshot], float | None]) -> Callable[[TransformSnapshot], Iterable[Sample]]:
    """Return the function for a metric without further labels; None means no sample."""

    def samples(snapshot: TransformSnapshot) -> Iterable[Sample]:
        value = value_of(snapshot)
        if value is not None:
            yield Sample("", (), value)

    return samples


def _detail(value_of: Callable[[Details], float | None]) -> Callable[[TransformSnapshot], Iterable[Sample]]:
    return _single(lambda snapshot: value_of(snapshot.details) if snapshot.details and snapshot.gauge_values else None)


def _poll(value_of: Callable[[PollResult], float | None]) -> Callable[[TransformSnapshot], Iterable[Sample]]:
    return _single(lambda snapshot: value_of(snapshot.poll) if snapshot.poll else None)


def _last_poll_error(snapshot: TransformSnapshot) -> Iterable[Sample]:
    if snapshot.poll and snapshot.poll.reason:
        yield Sample("", (("operation", snapshot.poll.operation), ("reason", snapshot.poll.reason)), 1)


METRICS: tuple[Metric, ...] = (
    Metric(
        "glue_ml_task_runs",
        "gauge",
        "Number of task runs that started within the lookback, by current status.",
        ("task_type", "status"),
        "runs",
        _task_runs,
    ),
    Metric(
        "glue_ml_task_runs_started_total",
        "counter",
        "Number of task runs that the exporter has seen start.",
        ("task_type",),
        "counters",
        _counts("started"),
    ),
    Metric(
        "glue_ml_task_runs_finished_total",
        "counter",
        "Number of task runs that the exporter has seen finish; each run is counted once, under its final status.",
        ("task_type", "status"),
        "counters",
        _counts("finished"),
    ),
    Metric(
        "glue_ml_task_run_execution_seconds",
        "histogram",
        "ExecutionTime of finished task runs: the time during which a run consumed resources.",
        ("task_type", "status"),
        "counters",
        _histograms("execution"),
    ),
    Metric(
        "glue_ml_task_run_duration_seconds",
        "histogram",
        "Time from StartedOn to CompletedOn of finished task runs, including the time that a run waited.",
        ("task_type", "status"),
        "counters",
        _histograms("duration"),
    ),
    Metric(
        "glue_ml_task_run_last_start_timestamp_seconds",
        "gauge",
        "StartedOn of the task run that started last.",
        ("task_type",),
        "times",
        _last_start,
    ),
    Metric(
        "glue_ml_task_run_last_success_timestamp_seconds",
        "gauge",
        "CompletedOn of the last task run that SUCCEEDED.",
        ("task_type",),
        "times",
        _last_success,
    ),
    Metric(
        "glue_ml_task_run_last_failure_timestamp_seconds",
        "gauge",
        "CompletedOn of the last task run that FAILED, and of the last one that ended in TIMEOUT.",
        ("task_type", "status"),
        "times",
        _last_failure,
    ),
    Metric(
        "glue_ml_task_run_last_failure_info",
        "gauge",
        "Constant 1, with the reason of the last task run that FAILED, and of the last one that ended in TIMEOUT.",
        ("task_type", "status", "reason"),
        "times",
        _last_failure_info,
    ),
    Metric(
        "glue_ml_task_run_latest_status",
        "gauge",
        "1 for the status of the task run that started last, 0 for every other status.",
        ("task_type", "status"),
        "runs",
        _latest_status,
    ),
    Metric(
        "glue_ml_task_run_latest_execution_seconds",
        "gauge",
        "ExecutionTime of the task run that finished last.",
        ("task_type",),
        "runs",
        _latest_execution,
    ),
    Metric(
        "glue_ml_task_run_oldest_active_start_timestamp_seconds",
        "gauge",
        "StartedOn of the oldest task run that has not finished.",
        ("task_type",),
        "runs",
        _oldest_active,
    ),
    Metric(
        "glue_ml_transform_info",
        "gauge",
        "Constant 1, with labels that describe the transform; join it to other metrics with group_left.",
        ("aws_account", "aws_account_id", "aws_region", "transform_type", "glue_version", "worker_type"),
        "identity",
        _info,
    ),
    Metric(
        "glue_ml_transform_expected_interval_seconds",
        "gauge",
        "Time within which a task run of the transform should succeed, from the configuration or a tag.",
        (),
        "identity",
        _single(lambda snapshot: snapshot.target.expected_interval),
    ),
    Metric(
        "glue_ml_transform_expected_duration_seconds",
        "gauge",
        "Time for which no task run of the transform should be active, from the configuration or a tag.",
        (),
        "identity",
        _single(lambda snapshot: snapshot.target.expected_duration),
    ),
    Metric(
        "glue_ml_transform_status",
        "gauge",
        "1 for the current status of the transform, 0 for every other status.",
        ("status",),
        "details",
        _transform_status,
    ),
    Metric(
        "glue_ml_transform_training_labels",
        "gauge",
        "Number of labels that are available to train the transform (LabelCount).",
        (),
        "details",
        _detail(lambda details: details.label_count),
    ),
    Metric(
        "glue_ml_transform_precision_ratio",
        "gauge",
        "Precision of the trained transform.",
        (),
        "details",
        _detail(lambda details: details.precision),
    ),
    Metric(
        "glue_ml_transform_recall_ratio",
        "gauge",
        "Recall of the trained transform.",
        (),
        "details",
        _detail(lambda details: details.recall),
    ),
    Metric(
        "glue_ml_transform_f1_ratio",
        "gauge",
        "F1 score of the trained transform.",
        (),
        "details",
        _detail(lambda details: details.f1),
    ),
    Metric(
        "glue_ml_transform_area_under_pr_curve_ratio",
        "gauge",
        "Area under the precision-recall curve of the trained transform.",
        (),
        "details",
        _detail(lambda details: details.area_under_pr_curve),
    ),
    Metric(
        "glue_ml_transform_capacity_dpus",
        "gauge",
        "DPUs that a task run of the transform may use: MaxCapacity, or the DPUs of WorkerType times NumberOfWorkers.",
        (),
        "details",
        _detail(lambda details: details.capacity),
    ),
    Metric(
        "glue_ml_transform_watched_since_timestamp_seconds",
        "gauge",
        "Time at which the exporter began to look at this transform. Runs that completed earlier are not counted.",
        (),
        "times",
        _single(lambda snapshot: snapshot.watched_since),
    ),
    Metric(
        "glue_ml_transform_up",
        "gauge",
        "1 if the last poll of this transform succeeded, 0 if it failed.",
        (),
        "poll",
        _poll(lambda poll: poll.up),
    ),
    Metric(
        "glue_ml_transform_last_poll_timestamp_seconds",
        "gauge",
        "Time of the last poll of this transform, whether it succeeded or failed.",
        (),
        "poll",
        _poll(lambda poll: poll.tried),
    ),
    Metric(
        "glue_ml_transform_last_successful_poll_timestamp_seconds",
        "gauge",
        "Time of the last successful poll of this transform: its data is from then.",
        (),
        "poll",
        _single(lambda snapshot: snapshot.poll.succeeded if snapshot.poll else snapshot.restored_success),
    ),
    Metric(
        "glue_ml_transform_poll_duration_seconds",
        "gauge",
        "Duration of the last poll of this transform.",
        (),
        "poll",
        _poll(lambda poll: poll.duration),
    ),
    Metric(
        "glue_ml_transform_last_poll_error_info",
        "gauge",
        "Constant 1 if the last poll of this transform failed, with the reason and with the operation that AWS answered"
        " with an error; without the operation if AWS did not answer.",
        ("reason", "operation"),
        "poll",
        _last_poll_error,
    ),
)
