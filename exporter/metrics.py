"""The table of metrics about Glue: what each is called, what it means, and how it is read off a transform.

Names and meanings are promises (`docs/metrics.md` is made from this table). What the exporter tells of itself is in
`telemetry`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from exporter.births import Births
from exporter.facts import Latest, View
from exporter.runs import STATUSES, TASK_TYPES
from exporter.targets import Details, Target
from exporter.textformat import Identity, Labels, Line, count_lines, histogram_lines
from exporter.totals import FIRST_SERIES, Count, Histogram, Series
from exporter.totals import Family as CountingFamily

TRANSFORM_STATUSES = ("NOT_READY", "READY", "DELETING")

LAST_POLL = "As of the last poll."

Part = Literal["identity", "poll", "runs", "times", "counters", "details"]
"""What a family is read off; a family is rendered again only when its part has changed."""


@dataclass(frozen=True, slots=True)
class Poll:
    """How the polls of a transform go; UTC seconds."""

    up: bool
    tried: float
    succeeded: float | None
    duration: float
    trouble: str = ""
    """Why it is not up, for people: the reason, and what AWS said."""


def shown_name(target: Target, details: Details | None) -> str:
    """Return the configured name, else the one that Glue knows, else the id."""
    return target.name or (details.name if details else "") or target.id


@dataclass(frozen=True, slots=True)
class Picture:
    """All that is shown of one transform, at one moment."""

    target: Target
    account_id: str
    poll: Poll | None
    """None before the first poll; what an earlier process left is shown already then."""
    view: View | None
    """None before the first good poll, and again when it is too long ago."""
    latest: Mapping[str, Latest]
    counting: bool
    """Whether there are counters: after the first good poll, of this process or an earlier one."""
    births: Births
    bounds: tuple[float, ...]
    created: bool
    details: Details | None

    @property
    def name(self) -> str:
        """The name by which the transform is shown."""
        return shown_name(self.target, self.details)

    @property
    def identity(self) -> Identity:
        """The labels on every series of the transform."""
        return Identity((("transform_id", self.target.id), ("transform_name", self.name)))


@dataclass(frozen=True, slots=True)
class Metric:
    """One family of the exposition."""

    name: str
    """As it is exposed; a counter's ends in ``_total``."""
    kind: Literal["gauge", "counter", "histogram"]
    documentation: str
    labels: tuple[str, ...]
    """Beside ``transform_id`` and ``transform_name``."""
    part: Part
    lines: Callable[[Picture], Iterable[Line]]

    @property
    def family(self) -> str:
        """The name without ``_total``, as OpenMetrics calls the family."""
        return self.name.removesuffix("_total")

    @property
    def help(self) -> str:
        """The HELP text: an exporter that serves what it has polled says so there."""
        return f"{self.documentation} {LAST_POLL}"


def _labels(task_type: str, status: str = "") -> Labels:
    return (("status", status), ("task_type", task_type)) if status else (("task_type", task_type),)


def _task_runs(picture: Picture) -> Iterable[Line]:
    if picture.view is not None:
        for (task_type, status), count in picture.view.runs.items():
            yield Line("", _labels(task_type, status), count)


def _oldest_active(picture: Picture) -> Iterable[Line]:
    if picture.view is not None:
        for task_type, started in picture.view.oldest_active.items():
            yield Line("", _labels(task_type), started)


def _latest_status(picture: Picture) -> Iterable[Line]:
    if picture.view is None:
        return
    for task_type, latest in picture.view.latest.items():
        if latest.status is not None:
            known = STATUSES if latest.status in STATUSES else (*STATUSES, latest.status)
            for status in known:
                yield Line("", _labels(task_type, status), status == latest.status)


def _latest_execution(picture: Picture) -> Iterable[Line]:
    if picture.view is not None:
        for task_type, latest in picture.view.latest.items():
            if latest.execution is not None:
                yield Line("", _labels(task_type), latest.execution)


def _last_start(picture: Picture) -> Iterable[Line]:
    return _times(picture, lambda latest: latest.start)


def _last_success(picture: Picture) -> Iterable[Line]:
    return _times(picture, lambda latest: latest.success)


def _last_failure(picture: Picture) -> Iterable[Line]:
    yield from _times(picture, lambda latest: latest.failed, "FAILED")
    yield from _times(picture, lambda latest: latest.timeout, "TIMEOUT")


def _times(picture: Picture, time_of: Callable[[Latest], float | None], status: str = "") -> Iterable[Line]:
    for task_type, latest in picture.latest.items():
        time = time_of(latest)
        if time is not None:
            yield Line("", _labels(task_type, status), time)


def _series_of(picture: Picture, family: CountingFamily) -> list[Series]:
    """Return the family's series: those that exist from the first poll, then the later ones."""
    if not picture.counting:
        return []
    later = [series for series in picture.births.served if series.family == family and series not in FIRST_SERIES]
    return [series for series in _FIRST_IN_ORDER if series.family == family] + sorted(later)


_FIRST_IN_ORDER = sorted(FIRST_SERIES, key=lambda series: (TASK_TYPES.index(series.task_type), series.status))


def _counts(family: CountingFamily) -> Callable[[Picture], Iterable[Line]]:
    def lines(picture: Picture) -> Iterable[Line]:
        for series in _series_of(picture, family):
            total = picture.births.served.get(series)
            created = picture.births.created(series) if picture.created else None
            count = total if isinstance(total, Count) else Count()
            yield from count_lines(_labels(series.task_type, series.status), count, created)

    return lines


def _histograms(family: CountingFamily) -> Callable[[Picture], Iterable[Line]]:
    def lines(picture: Picture) -> Iterable[Line]:
        for series in _series_of(picture, family):
            total = picture.births.served[series]
            created = picture.births.created(series) if picture.created else None
            if isinstance(total, Histogram):
                yield from histogram_lines(_labels(series.task_type, series.status), total, picture.bounds, created)

    return lines


def _info(picture: Picture) -> Iterable[Line]:
    details = picture.details or Details()
    labels = {
        **picture.target.labels,
        "aws_account": picture.target.lane.account,
        "aws_account_id": picture.account_id,
        "aws_region": picture.target.lane.region,
        "transform_type": details.transform_type,
        "glue_version": details.glue_version,
        "worker_type": details.worker_type,
    }
    yield Line("", tuple(sorted(labels.items())), 1)


def _transform_status(picture: Picture) -> Iterable[Line]:
    status = picture.details.status if picture.details and picture.view else ""
    if status:
        for known in TRANSFORM_STATUSES:
            yield Line("", (("status", known),), known == status)


def _detail(fact: Callable[[Details], float | None]) -> Callable[[Picture], Iterable[Line]]:
    def lines(picture: Picture) -> Iterable[Line]:
        value = fact(picture.details) if picture.details and picture.view else None
        if value is not None:
            yield Line("", (), value)

    return lines


def _poll_fact(fact: Callable[[Poll], float | None]) -> Callable[[Picture], Iterable[Line]]:
    def lines(picture: Picture) -> Iterable[Line]:
        value = fact(picture.poll) if picture.poll else None
        if value is not None:
            yield Line("", (), value)

    return lines


METRICS: tuple[Metric, ...] = (
    Metric(
        "glue_ml_task_runs",
        "gauge",
        "Task runs started within the lookback, by their present status.",
        ("task_type", "status"),
        "runs",
        _task_runs,
    ),
    Metric(
        "glue_ml_task_runs_started_total",
        "counter",
        "Task runs seen to start.",
        ("task_type",),
        "counters",
        _counts("started"),
    ),
    Metric(
        "glue_ml_task_runs_finished_total",
        "counter",
        "Task runs seen to finish, each exactly once.",
        ("task_type", "status"),
        "counters",
        _counts("finished"),
    ),
    Metric(
        "glue_ml_task_run_execution_seconds",
        "histogram",
        "ExecutionTime of each finished task run: the time for which it consumed resources.",
        ("task_type", "status"),
        "counters",
        _histograms("execution"),
    ),
    Metric(
        "glue_ml_task_run_duration_seconds",
        "histogram",
        "Time from StartedOn to CompletedOn of each finished task run, waiting included.",
        ("task_type", "status"),
        "counters",
        _histograms("duration"),
    ),
    Metric(
        "glue_ml_task_run_last_start_timestamp_seconds",
        "gauge",
        "StartedOn of the latest task run.",
        ("task_type",),
        "times",
        _last_start,
    ),
    Metric(
        "glue_ml_task_run_last_success_timestamp_seconds",
        "gauge",
        "CompletedOn of the latest task run that SUCCEEDED.",
        ("task_type",),
        "times",
        _last_success,
    ),
    Metric(
        "glue_ml_task_run_last_failure_timestamp_seconds",
        "gauge",
        "CompletedOn of the latest task run that FAILED, and of the latest that ended in TIMEOUT.",
        ("task_type", "status"),
        "times",
        _last_failure,
    ),
    Metric(
        "glue_ml_task_run_latest_status",
        "gauge",
        "1 for the status of the task run started last, 0 for the others.",
        ("task_type", "status"),
        "runs",
        _latest_status,
    ),
    Metric(
        "glue_ml_task_run_latest_execution_seconds",
        "gauge",
        "ExecutionTime of the task run finished last.",
        ("task_type",),
        "runs",
        _latest_execution,
    ),
    Metric(
        "glue_ml_task_run_oldest_active_start_timestamp_seconds",
        "gauge",
        "StartedOn of the oldest unfinished task run.",
        ("task_type",),
        "runs",
        _oldest_active,
    ),
    Metric(
        "glue_ml_transform_info",
        "gauge",
        "A constant 1, labelled with what is known about the transform; to be joined with group_left.",
        ("aws_account", "aws_account_id", "aws_region", "transform_type", "glue_version", "worker_type"),
        "identity",
        _info,
    ),
    Metric(
        "glue_ml_transform_status",
        "gauge",
        "1 for the present status of the transform, 0 for the others.",
        ("status",),
        "details",
        _transform_status,
    ),
    Metric(
        "glue_ml_transform_training_labels",
        "gauge",
        "Labels that the transform can be trained with (LabelCount).",
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
        "glue_ml_transform_up",
        "gauge",
        "Whether the last poll of this transform succeeded.",
        (),
        "poll",
        _poll_fact(lambda poll: poll.up),
    ),
    Metric(
        "glue_ml_transform_last_poll_timestamp_seconds",
        "gauge",
        "When this transform was last polled, whether that succeeded or not.",
        (),
        "poll",
        _poll_fact(lambda poll: poll.tried),
    ),
    Metric(
        "glue_ml_transform_last_successful_poll_timestamp_seconds",
        "gauge",
        "When a poll of this transform last succeeded: the age of its data.",
        (),
        "poll",
        _poll_fact(lambda poll: poll.succeeded),
    ),
    Metric(
        "glue_ml_transform_poll_duration_seconds",
        "gauge",
        "How long the last poll of this transform took.",
        (),
        "poll",
        _poll_fact(lambda poll: poll.duration),
    ),
)
