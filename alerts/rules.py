"""The recording and alerting rules, as data made from `Thresholds`.

The rules follow three principles (`docs/alerts.md` explains them to users):

- `max by (transform_id, ...)` merges the replicas of the exporter, and the instances before and after a restart. A sum
  would count a run once for each replica. An alert about a transform has no label `instance`, so that both servers of a
  Prometheus pair raise the same alert.
- A join adds the labels that name the transform in the last step. It reads one recorded series per transform, which
  also exists during gaps in the scrapes. The join therefore works if two replicas disagree about a label, if the
  exporter is down, and if relabelling drops the info series.
- A timestamp only increases. Its maximum over the window is therefore correct during a gap in the scrapes. An alert on
  a current value keeps firing during a gap, until the alert about the exporter itself fires.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from alerts.thresholds import Thresholds
from exporter.config.durations import parse_duration
from exporter.glue.error_table import CREDENTIAL_REASONS

IDENTITY = ("transform_name", "aws_account", "aws_region")
"""Labels of `glue_ml_transform_info` on every alert about a transform. The configured labels are added to them."""

REFUSED = tuple(sorted(CREDENTIAL_REASONS | {"AccessDeniedException", "InvalidSignatureException", "RequestExpired"}))
"""The reasons of `glue_ml_exporter_poll_errors_total` with which AWS refuses the exporter's credentials."""

THROTTLED = "ThrottlingException"

REMEMBERED = "1d"
"""Time in the past within which the last successful poll is searched, if no poll has succeeded since a restart."""

INFO = "transform:glue_ml_transform_info:latest"
FINISHED = "transform_task_type_status:glue_ml_task_runs_finished:increase"
RATIO = "transform_task_type:glue_ml_task_runs_finished:failure_ratio"
SUCCESS = "transform_task_type:glue_ml_task_run_last_success_timestamp_seconds:max"
FAILURE = "transform_task_type_status:glue_ml_task_run_last_failure_timestamp_seconds:max"
ACTIVE = "transform_task_type:glue_ml_task_run_active_seconds:max"
P95 = "transform_task_type:glue_ml_task_run_duration_seconds:p95"


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording rule."""

    name: str
    expr: str


@dataclass(frozen=True, slots=True)
class Alert:
    """An alerting rule. `summary` and `description` are templates of Prometheus; the links are added to them."""

    name: str
    expr: str
    severity: Literal["critical", "warning", "info"]
    summary: str
    description: str
    held_for: str = ""
    """Time for which the expression must be true before the alert fires. Empty: the first evaluation fires it."""
    kept_for: str = ""
    """Time for which the alert keeps firing after the expression became false. Empty: the alert resolves at once."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that Prometheus evaluates one after the other; `dashboard` is the path of the link in their alerts."""

    name: str
    dashboard: str
    rules: tuple[Recording | Alert, ...]


def groups(thresholds: Thresholds) -> tuple[Group, ...]:
    """Return all groups of rules."""
    variables = "&".join(
        f"var-{name}={{{{ $labels.{label} | urlquery }}}}"
        for name, label in (("account", "aws_account"), ("region", "aws_region"), ("transform", "transform_id"))
    )
    return (
        Group(
            "glue-ml-transforms",
            f"glue-ml-transform?{variables}",
            (
                *_recordings(thresholds),
                *_failure_alerts(thresholds),
                *_run_alerts(thresholds),
                *_transform_alerts(thresholds),
            ),
        ),
        Group("glue-ml-exporter", "glue-ml-exporter", tuple(_exporter_alerts(thresholds))),
    )


def _seconds(duration: str) -> str:
    return f"{parse_duration(duration):.0f}"


def _recordings(t: Thresholds) -> Iterable[Recording]:
    labels = ", ".join(("transform_id", *IDENTITY, *t.joined_labels))
    yield Recording(
        INFO,
        f"""topk by (transform_id) (1, max by ({labels}) (glue_ml_transform_info))
or on (transform_id)
topk by (transform_id) (1, max by ({labels}) (last_over_time(glue_ml_transform_info[{t.window}])))
or on (transform_id)
topk by (transform_id) (1, group by (transform_id, transform_name) (glue_ml_transform_up))""",
    )
    yield Recording(
        FINISHED,
        "max by (transform_id, task_type, status)"
        f' (increase(glue_ml_task_runs_finished_total{{status=~"FAILED|TIMEOUT"}}[{t.window}]))',
    )
    yield Recording(
        FAILURE,
        "max by (transform_id, task_type, status)"
        f" (max_over_time(glue_ml_task_run_last_failure_timestamp_seconds[{t.window}]))",
    )
    yield Recording(
        SUCCESS,
        "max by (transform_id, task_type)"
        f" (max_over_time(glue_ml_task_run_last_success_timestamp_seconds[{t.window}]))",
    )
    yield Recording(
        ACTIVE,
        "time() - max by (transform_id, task_type) (glue_ml_task_run_oldest_active_start_timestamp_seconds)",
    )
    yield Recording(
        P95,
        f"""histogram_quantile(
  0.95,
  max by (transform_id, task_type, le) (glue_ml_task_run_duration_seconds_bucket{{status="SUCCEEDED"}})
)
and on (transform_id, task_type)
max by (transform_id, task_type) (glue_ml_task_run_duration_seconds_count{{status="SUCCEEDED"}}) >= {t.slow_runs}""",
    )
    yield Recording(RATIO, _failure_ratio(t))


def _failure_ratio(t: Thresholds) -> str:
    """Return the share of failed runs among all finished runs except the stopped runs.

    A sum over replicas is correct here, because it multiplies the failed runs and all runs by the same number.
    """
    window = t.failure_ratio_window
    ended = f'glue_ml_task_runs_finished_total{{status=~"SUCCEEDED|FAILED|TIMEOUT"}}[{window}]'
    return f"""sum by (transform_id, task_type) (
  increase(glue_ml_task_runs_finished_total{{status=~"FAILED|TIMEOUT"}}[{window}])
)
/
(sum by (transform_id, task_type) (increase({ended})) > 0)
and on (transform_id, task_type)
max by (transform_id, task_type) (sum without (status) (increase({ended}))) >= {t.failure_ratio_runs}"""


def _named(t: Thresholds, expr: str) -> str:
    """Return the expression with the labels that name the transforms, such as `transform_name`."""
    indented = "\n".join(f"  {line}" for line in expr.splitlines())
    labels = ", ".join((*IDENTITY, *t.joined_labels))
    return f"(\n{indented}\n)\n* on (transform_id) group_left ({labels})\n{INFO}"


_TYPE = "{{ $labels.task_type }}"
_NAME = "{{ $labels.transform_name }}"
_TRANSFORM = f"{_NAME} ({{{{ $labels.transform_id }}}}, {{{{ $labels.aws_account }}}} {{{{ $labels.aws_region }}}})"
_INSTANCE = "{{ $labels.instance }}"
_JOB = "{{ $labels.job }}"
_LANE = "{{ $labels.aws_account }} {{ $labels.aws_region }}"
_COUNT = '{{ $value | printf "%.0f" }}'
_DURATION = "{{ $value | humanizeDuration }}"
_PERCENTAGE = "{{ $value | humanizePercentage }}"


def _failure_alerts(t: Thresholds) -> Iterable[Alert]:
    """Yield two alerts for FAILED and two for TIMEOUT. One alert counts runs, and the other compares timestamps."""
    for status, name, what in (
        ("FAILED", "GlueMLTaskRunFailed", "failed"),
        ("TIMEOUT", "GlueMLTaskRunTimedOut", "timed out"),
    ):
        yield Alert(
            name,
            _named(t, f'{FINISHED}{{status="{status}"}} > 0'),
            "warning",
            f"A {_TYPE} run of {_NAME} {what}.",
            f"{_COUNT} {_TYPE} run(s) of {_TRANSFORM} {what} within {t.window}.",
        )
        yield Alert(
            f"{name}SinceSuccess",
            _named(
                t,
                f"""{FAILURE}{{status="{status}"}} > time() - {_seconds(t.unrecovered_at_most)}
unless on (transform_id, task_type)
{SUCCESS} >= on (transform_id, task_type) {FAILURE}{{status="{status}"}}""",
            ),
            "critical",
            f"{_NAME} has had no successful {_TYPE} run since one {what}.",
            f"The {_TYPE} run of {_TRANSFORM} that {what} at"
            " {{ $value | humanizeTimestamp }} was not followed by a successful run.",
        )


def _run_alerts(t: Thresholds) -> Iterable[Alert]:
    types = "|".join(t.no_success_task_types)
    yield Alert(
        "GlueMLTaskRunNoSuccess",
        _named(
            t,
            f"""time() - {SUCCESS}{{task_type=~"{types}"}} > {_seconds(t.no_success_for)}
or
(
  time()
  - max by (transform_id, task_type) (
    glue_ml_task_run_last_start_timestamp_seconds{{task_type=~"{types}"}} offset {t.no_success_for}
  )
  unless on (transform_id, task_type)
  {SUCCESS}
  and on (transform_id)
  glue_ml_transform_last_successful_poll_timestamp_seconds
)""",
        ),
        "warning",
        f"{_NAME} has had no successful {_TYPE} run for {t.no_success_for}.",
        f"No {_TYPE} run of {_TRANSFORM} has succeeded for {_DURATION}.",
    )
    yield Alert(
        "GlueMLTaskRunActiveTooLong",
        _named(t, f"{ACTIVE} > {_seconds(t.active_for)}"),
        "warning",
        f"A {_TYPE} run of {_NAME} has been active for over {t.active_for}.",
        f"A {_TYPE} run of {_TRANSFORM} started {_DURATION} ago and has not ended.",
        kept_for=t.exporter_down_for,
    )
    yield Alert(
        "GlueMLTaskRunSlow",
        _named(
            t,
            f"{ACTIVE}\n> on (transform_id, task_type)\n"
            f"clamp_min({t.slow_factor:g} * {P95}, {_seconds(t.slow_at_least)})",
        ),
        "warning",
        f"A {_TYPE} run of {_NAME} takes much longer than usual.",
        f"A {_TYPE} run of {_TRANSFORM} has been active for {_DURATION}. This is more than"
        f" {t.slow_factor:g} times the 95th percentile of its successful runs.",
        kept_for=t.exporter_down_for,
    )
    yield Alert(
        "GlueMLTaskRunFailureRatio",
        _named(t, f"{RATIO} > {t.failure_ratio:g}"),
        "warning",
        f"Many {_TYPE} runs of {_NAME} fail.",
        f"{_PERCENTAGE} of the {_TYPE} runs of {_TRANSFORM} within {t.failure_ratio_window} failed or timed out.",
    )


def _transform_alerts(t: Thresholds) -> Iterable[Alert]:
    for quality in ("precision", "recall"):
        metric = f"glue_ml_transform_{quality}_ratio"
        yield Alert(
            f"GlueML{quality.title()}Dropped",
            _named(
                t,
                f"max by (transform_id) (max_over_time({metric}[{t.quality_window}]))\n"
                f"- max by (transform_id) ({metric})\n> {t.quality_drop:g}",
            ),
            "warning",
            f"The {quality} of {_NAME} has dropped.",
            f"The {quality} of {_TRANSFORM} is {_PERCENTAGE} points below its best within {t.quality_window}.",
            kept_for=t.exporter_down_for,
        )
    yield Alert(
        "GlueMLTransformNotReady",
        _named(t, 'max by (transform_id) (glue_ml_transform_status{status="READY"}) == 0'),
        "info",
        f"{_NAME} is not READY.",
        f"{_TRANSFORM} has not been READY for {t.not_ready_for}. It cannot find matches until it is.",
        t.not_ready_for,
        t.exporter_down_for,
    )
    yield Alert(
        "GlueMLTransformDown",
        _named(t, "max by (transform_id) (glue_ml_transform_up) == 0"),
        "warning",
        f"{_NAME} cannot be polled.",
        f"Every poll of {_TRANSFORM} has failed for {t.transform_down_for}. The log of the exporter names the reason.",
        t.transform_down_for,
        t.exporter_down_for,
    )
    yield Alert(
        "GlueMLDataStale",
        _named(
            t,
            f"""time() - max by (transform_id) (
  max_over_time(glue_ml_transform_last_successful_poll_timestamp_seconds[{REMEMBERED}])
) > {_seconds(t.data_age)}
and on (transform_id)
glue_ml_transform_info""",
        ),
        "critical",
        f"The data about {_NAME} is out of date.",
        f"{_TRANSFORM} was last polled successfully {_DURATION} ago. Failed runs raise no alert now.",
        kept_for=t.exporter_down_for,
    )


def _exporter_alerts(t: Thresholds) -> Iterable[Alert]:
    yield Alert(
        "GlueMLExporterDown",
        f'up{{job="{t.job}"}} == 0',
        "warning",
        f"The exporter {_INSTANCE} cannot be scraped.",
        f"Every scrape of the exporter {_INSTANCE} has failed for {t.exporter_down_for}.",
        t.exporter_down_for,
    )
    yield Alert(
        "GlueMLExporterAbsent",
        f'absent(up{{job="{t.job}"}} == 1)',
        "critical",
        "No Glue ML exporter is up.",
        f"Prometheus has scraped no exporter of job {t.job} for {t.exporter_down_for}. Failed runs raise no alert now.",
        t.exporter_down_for,
    )
    yield Alert(
        "GlueMLExporterCredentialsFailing",
        "max by (aws_account, aws_region, reason) (\n"
        f'  increase(glue_ml_exporter_poll_errors_total{{reason=~"{"|".join(REFUSED)}"}}[{t.error_window}])\n) > 0',
        "critical",
        f"AWS refuses the exporter's credentials for {_LANE}.",
        f"Polls of {_LANE} have been refused with {{{{ $labels.reason }}}} for {t.error_for}.",
        t.error_for,
    )
    yield Alert(
        "GlueMLExporterDiscoveryFailing",
        "max by (aws_account, aws_region) (glue_ml_exporter_discovery_up) == 0",
        "warning",
        f"The exporter cannot search for transforms in {_LANE}.",
        f"Every search for transforms in {_LANE} has failed for {t.error_for}. New transforms are not monitored.",
        t.error_for,
        t.exporter_down_for,
    )
    yield Alert(
        "GlueMLExporterWatchesNothing",
        f'absent(glue_ml_transform_info)\nand on ()\nup{{job="{t.job}"}} == 1',
        "critical",
        "The Glue ML exporter monitors no transform.",
        f"No exporter of job {t.job} has monitored a transform for {t.exporter_down_for}. Failed runs raise no alert"
        " now.",
        t.exporter_down_for,
    )
    requests = "glue_ml_exporter_api_requests_total"
    yield Alert(
        "GlueMLExporterThrottled",
        f"""sum by (aws_account, aws_region) (rate({requests}{{code="{THROTTLED}"}}[{t.window}]))
/
sum by (aws_account, aws_region) (rate({requests}[{t.window}]))
> {t.throttled_ratio:g}""",
        "warning",
        f"AWS throttles the exporter in {_LANE}.",
        f"{_PERCENTAGE} of the requests to {_LANE} have been throttled for {t.throttled_for}.",
        t.throttled_for,
    )
    yield Alert(
        "GlueMLExporterCycleOverruns",
        f"round(increase(glue_ml_exporter_poll_cycle_overruns_total[{t.overruns_window}])) > {t.overruns}",
        "warning",
        f"The exporter {_INSTANCE} needs longer than the polling interval for its polls.",
        f"{_COUNT} poll cycles of the exporter {_INSTANCE} within {t.overruns_window} took longer"
        " than the polling interval.",
    )
    yield Alert(
        "GlueMLExporterConfigReloadFailed",
        "max_over_time(glue_ml_exporter_config_last_reload_successful[5m]) == 0\n"
        "or max_over_time(glue_ml_exporter_web_config_last_reload_successful[5m]) == 0",
        "warning",
        f"The exporter {_INSTANCE} could not load its configuration.",
        f"The exporter {_INSTANCE} has run with its old configuration for {t.reload_failed_for}, because the new"
        " one has errors.",
        t.reload_failed_for,
    )
    yield Alert(
        "GlueMLExporterStateNotWritten",
        f"increase(glue_ml_exporter_state_write_errors_total[{t.error_window}]) > 0",
        "critical",
        f"The exporter {_INSTANCE} cannot write its state file.",
        f"Writes to the state file of the exporter {_INSTANCE} have failed for {t.error_for}. Its counters do not"
        " increase until a write succeeds.",
        t.error_for,
    )
    yield from _shard_alerts(t)


def _shard_alerts(t: Thresholds) -> Iterable[Alert]:
    """Yield the alerts on missing and on duplicate shards of one job. An exporter without sharding is shard 0 of 1.

    In Kubernetes, all releases of the chart have the same job. The label `service` separates them.
    """
    shards = "glue_ml_exporter_shard_info"
    held = f"count by (namespace, service, job, index) ({shards})"
    yield Alert(
        "GlueMLExporterShardMissing",
        f"""max by (namespace, service, job) (glue_ml_exporter_shards)
- count by (namespace, service, job) ({held})
> 0""",
        "critical",
        "A shard of the exporter is missing.",
        f"{_COUNT} of the shards of job {_JOB} could not be scraped for {t.shard_missing_for}. Failed runs of"
        " their transforms raise no alert now.",
        t.shard_missing_for,
    )
    yield Alert(
        "GlueMLExporterShardMismatch",
        f"""count by (namespace, service, job) (count by (namespace, service, job, count) ({shards})) > 1
or
max by (namespace, service, job) ({held}) > min by (namespace, service, job) ({held})""",
        "critical",
        "The shards of the exporter contradict each other.",
        f"For {t.shard_mismatch_for} the exporters of job {_JOB} have disagreed on the number of shards, or one"
        " shard has run more often than another. Some transforms are monitored twice or not at all.",
        t.shard_mismatch_for,
    )
