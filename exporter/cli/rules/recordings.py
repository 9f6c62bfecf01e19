"""The recording rules, and the parts that the expressions of several alerts share.

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

from exporter.cli.rules.model import Recording
from exporter.config.durations import parse_duration
from exporter.config.thresholds import Thresholds
from exporter.glue.error_table import CREDENTIAL_REASONS

IDENTITY = ("transform_name", "aws_account", "aws_region")
"""Labels of `glue_ml_transform_info` on every alert about a transform. The configured labels are added to them."""

DENIED = "AccessDeniedException"
NOT_FOUND = "EntityNotFoundException"
REFUSED = tuple(sorted(CREDENTIAL_REASONS | {DENIED, "InvalidSignatureException", "RequestExpired"}))
"""The reasons of a failed poll with which AWS refuses the exporter's credentials."""

REMEMBERED = "1d"
"""Time for which the rules remember a transform that is not scraped any more, and its last successful poll."""

USUAL = "30d"
"""The time over which durations of runs are usual."""

MINUTES = "4m"
"""The interval of the rules that read a day or more of raw samples. Shorter than the 5 minutes after which Prometheus
no longer shows a sample, so that their alerts and recorded series have no gaps."""

HOUR = "1h"
"""The interval of the rules that record increases of an hour. Each run is part of exactly one of these increases."""

INFO = "transform:glue_ml_transform_info:latest"
WATCHED_SINCE = "transform:glue_ml_transform_watched_since_timestamp_seconds:min"
INTERVAL_LIMIT = "transform:glue_ml_transform_expected_interval_seconds:limit"
DURATION_LIMIT = "transform:glue_ml_transform_expected_duration_seconds:limit"
AGE = "transform:glue_ml_transform_data_age_seconds:min"
AGE_LIMIT = "transform:glue_ml_transform_data_age_seconds:limit"
ERROR = "transform:glue_ml_transform_last_poll_error_info:latest"
UNWATCHED = "transform:glue_ml_transform_last_poll_timestamp_seconds:unwatched"
LANE_DOWN = "account_region:glue_ml_transform_up:down_ratio"
LANE_REFUSED = "account_region:glue_ml_transform_up:refused"
FINISHED = "transform_task_type_status:glue_ml_task_runs_finished:increase"
FAILURE = "transform_task_type_status:glue_ml_task_run_last_failure_timestamp_seconds:max"
REASON = "transform_task_type_status:glue_ml_task_run_last_failure_info:latest"
SUCCESS = "transform_task_type:glue_ml_task_run_last_success_timestamp_seconds:max"
ACTIVE = "transform_task_type:glue_ml_task_run_active_seconds:max"
RATIO = "transform_task_type:glue_ml_task_runs_finished:failure_ratio"
DURATIONS = "transform_task_type_le:glue_ml_task_run_duration_seconds_bucket:increase1h"
P95 = "transform_task_type:glue_ml_task_run_duration_seconds:p95_30d"
DPU_SECONDS = "glue_ml:task_run_dpu_seconds:increase1h"


_ANY = ['__name__!=""']
"""The matcher of all series, for settings that select by labels of the transforms alone."""


def seconds(duration: str) -> str:
    """Return a Prometheus duration as a number of seconds for PromQL."""
    return f"{parse_duration(duration):.0f}"


def series(t: Thresholds, name: str, *matchers: str) -> str:
    """Return a selector of the series ``name`` of the selected exporters, with further matchers."""
    own = [f'{label}=~"{value}"' for label, value in sorted(t.selector.items()) if label not in t.joined_labels]
    return f"{name}{{{','.join([*(own or _ANY), *matchers])}}}"


def info(t: Thresholds) -> str:
    """Return a selector of `glue_ml_transform_info` for the selected transforms."""
    own = (f'{label}=~"{value}"' for label, value in sorted(t.selector.items()) if label in t.joined_labels)
    return series(t, "glue_ml_transform_info", *own)


def join_labels(t: Thresholds) -> str:
    """Return the labels that alerts about transforms get from `INFO`, as a list in PromQL."""
    return ", ".join((*IDENTITY, *t.joined_labels))


def indented(expr: str) -> str:
    """Return the expression with two spaces before each line."""
    return "\n".join(f"  {line}" for line in expr.splitlines())


def named(t: Thresholds, expr: str) -> str:
    """Return the expression with the labels that name the transforms, such as `transform_name`."""
    return f"(\n{indented(expr)}\n)\n* on (transform_id) group_left ({join_labels(t)})\n{INFO}"


def poll_interval(t: Thresholds) -> str:
    """Return the expression for the polling interval of each exporter, in seconds."""
    return f"max by (job, instance) ({series(t, 'glue_ml_exporter_poll_interval_seconds')})"


def unless_lane_in_trouble(t: Thresholds, expr: str) -> str:
    """Return the expression without the accounts and regions that are or were a moment ago down or refused as a whole.

    The moment lasts for `window`. After an outage transforms recover one after the other, and the last ones must not
    raise alerts of their own when fewer than the required share is still down.
    """
    return f"""{expr}
unless on (aws_account, aws_region)
(
  max_over_time({LANE_DOWN}[{t.window}]) > {t.alerts.GlueMLRegionDown.ratio:g}
  or
  max_over_time({LANE_REFUSED}[{t.window}])
)"""


def transform_recordings(t: Thresholds) -> Iterable[Recording]:
    """Yield the rules that are evaluated before the alerts about transforms."""
    yield from _identity(t)
    yield from _runs(t)
    yield from _expectations(t)
    yield from _polls(t)
    yield from _lanes(t)


def _identity(t: Thresholds) -> Iterable[Recording]:
    labels = f"transform_id, {join_labels(t)}"
    up = series(t, "glue_ml_transform_up")
    yield Recording(
        INFO,
        f"""topk by (transform_id) (1, max by ({labels}) ({info(t)}))
or on (transform_id)
topk by (transform_id) (1, max by ({labels}) (last_over_time({info(t)}[{REMEMBERED}])))
or on (transform_id)
topk by (transform_id) (
  1,
  group by (transform_id, transform_name) (last_over_time({up}[{REMEMBERED}]))
  unless on (transform_id) last_over_time({series(t, "glue_ml_transform_info")}[{REMEMBERED}])
)""",
    )
    # The series reads its own earlier samples. A process without state begins anew after a restart, and the time since
    # which the transform is watched must not.
    yield Recording(
        WATCHED_SINCE,
        f"""min by (transform_id) (
  min_over_time({series(t, "glue_ml_transform_watched_since_timestamp_seconds")}[{t.window}])
  or
  min_over_time({WATCHED_SINCE}[{REMEMBERED}])
)
and on (transform_id)
{INFO}""",
    )


def _runs(t: Thresholds) -> Iterable[Recording]:
    finished = series(t, "glue_ml_task_runs_finished_total", 'status=~"FAILED|TIMEOUT"')
    yield Recording(FINISHED, f"max by (transform_id, task_type, status) (increase({finished}[{t.window}]))")
    failure = series(t, "glue_ml_task_run_last_failure_timestamp_seconds")
    yield Recording(FAILURE, f"max by (transform_id, task_type, status) (max_over_time({failure}[{t.window}]))")
    reason = series(t, "glue_ml_task_run_last_failure_info")
    by_reason = "max by (transform_id, task_type, status, reason)"
    yield Recording(
        REASON,
        f"""topk by (transform_id, task_type, status) (1, {by_reason} ({reason}))
or on (transform_id, task_type, status)
topk by (transform_id, task_type, status) (1, {by_reason} (last_over_time({reason}[{t.window}])))
or on (transform_id, task_type, status)
group by (transform_id, task_type, status) ({FAILURE})
or on (transform_id, task_type, status)
group by (transform_id, task_type, status) ({FINISHED})""",
    )
    success = series(t, "glue_ml_task_run_last_success_timestamp_seconds")
    yield Recording(SUCCESS, f"max by (transform_id, task_type) (max_over_time({success}[{t.window}]))")
    active = series(t, "glue_ml_task_run_oldest_active_start_timestamp_seconds")
    yield Recording(ACTIVE, f"time() - max by (transform_id, task_type) ({active})")


def _failure_ratio(t: Thresholds) -> str:
    """Return the share of failed runs among all finished runs except the stopped runs.

    A sum over replicas is correct here, because it multiplies the failed runs and all runs by the same number.
    """
    settings = t.alerts.GlueMLTaskRunFailureRatio
    failed = series(t, "glue_ml_task_runs_finished_total", 'status=~"FAILED|TIMEOUT"')
    ended = series(t, "glue_ml_task_runs_finished_total", 'status=~"SUCCEEDED|FAILED|TIMEOUT"')
    return f"""sum by (transform_id, task_type) (increase({failed}[{settings.window}]))
/
(sum by (transform_id, task_type) (increase({ended}[{settings.window}])) > 0)
and on (transform_id, task_type)
max by (transform_id, task_type) (sum without (status) (increase({ended}[{settings.window}]))) >= {settings.runs}"""


def recordings_of_days(t: Thresholds) -> Iterable[Recording]:
    """Yield the rules that read a day of raw samples of the counters, which costs too much at each evaluation."""
    yield Recording(RATIO, _failure_ratio(t))


def _expectations(t: Thresholds) -> Iterable[Recording]:
    """Yield the limits of each transform: as expected of this transform, else the global threshold."""
    for name, metric, at_most in (
        (INTERVAL_LIMIT, "glue_ml_transform_expected_interval_seconds", t.alerts.GlueMLTaskRunNoSuccess.at_most),
        (DURATION_LIMIT, "glue_ml_transform_expected_duration_seconds", t.alerts.GlueMLTaskRunActiveTooLong.at_most),
    ):
        yield Recording(
            name,
            f"max by (transform_id) (last_over_time({series(t, metric)}[{t.window}]))\n"
            f"or on (transform_id)\ngroup by (transform_id) ({INFO}) * {seconds(at_most)}",
        )


def _polls(t: Thresholds) -> Iterable[Recording]:
    up = series(t, "glue_ml_transform_up")
    succeeded = series(t, "glue_ml_transform_last_successful_poll_timestamp_seconds")
    # If no poll has ever succeeded, the data is as old as the time since which the transform is watched.
    yield Recording(
        AGE,
        f"""time() - (
  max by (transform_id) (max_over_time({succeeded}[{REMEMBERED}]))
  or on (transform_id)
  {WATCHED_SINCE}
)
and on (transform_id)
({up} or {series(t, "glue_ml_transform_info")})""",
    )
    age = seconds(t.alerts.GlueMLDataStale.age)
    yield Recording(
        AGE_LIMIT,
        f"""clamp_min(
  3 * max by (transform_id) (
    group by (transform_id, job, instance) ({up})
    * on (job, instance) group_left ()
    {poll_interval(t)}
  ),
  {age}
)
or on (transform_id)
group by (transform_id) ({AGE}) * {age}""",
    )
    error = series(t, "glue_ml_transform_last_poll_error_info")
    yield Recording(
        ERROR,
        f"""topk by (transform_id) (1, group by (transform_id, reason, operation) ({error}))
and on (transform_id)
max by (transform_id) ({up}) == 0""",
    )
    polled = series(t, "glue_ml_transform_last_poll_timestamp_seconds")
    yield Recording(
        UNWATCHED,
        f"""(
  max by (transform_id, namespace, service, job, instance) (max_over_time({polled}[{REMEMBERED}]))
  unless on (transform_id)
  ({polled} or {series(t, "glue_ml_transform_info")})
)
* on (transform_id) group_left ({join_labels(t)})
{INFO}""",
    )


def _lanes(t: Thresholds) -> Iterable[Recording]:
    """Yield the rules on all transforms of an account and region together.

    A transform counts as down before its own alerts fire: at once if its polls fail, and if they hang after two of the
    three intervals of GlueMLDataStale. Polls are spread over one interval, so every transform is counted before the
    alert of the first one could fire.
    """
    up = f"max by (transform_id) ({series(t, 'glue_ml_transform_up')})"
    lane = "* on (transform_id) group_left (aws_account, aws_region)"
    yield Recording(
        LANE_DOWN,
        f"""count by (aws_account, aws_region) (
  (
    ({up} == 0 or on (transform_id) {AGE} > on (transform_id) 2 / 3 * {AGE_LIMIT})
    unless on (transform_id)
    {ERROR}{{reason="{NOT_FOUND}"}}
  )
  * 0 {lane.replace("*", "+", 1)} {INFO}
)
/
(count by (aws_account, aws_region) ({up} {lane} {INFO}) >= {t.alerts.GlueMLRegionDown.transforms})""",
    )
    yield Recording(
        LANE_REFUSED,
        f"""group by (aws_account, aws_region, reason) (
  topk by (aws_account, aws_region) (
    1,
    count by (aws_account, aws_region, reason) ({ERROR}{{reason=~"{"|".join(REFUSED)}"}} {lane} {INFO})
  )
)
and on (aws_account, aws_region)
count by (aws_account, aws_region) ({ERROR}{{reason=~"{"|".join(REFUSED)}"}} {lane} {INFO})
>= on (aws_account, aws_region)
count by (aws_account, aws_region) ({up} {lane} {INFO})""",
    )


def hourly_recordings(t: Thresholds) -> Iterable[Recording]:
    """Yield the rules of the group that is evaluated once an hour: usual durations, and what runs have cost.

    The counters may start at 0 after each restart, so a quantile of their present values would forget. The increases
    of each hour stay in Prometheus. Hours without a run are left out.
    """
    duration = "glue_ml_task_run_duration_seconds_bucket"
    buckets = series(t, duration, 'status="SUCCEEDED"')
    count = series(t, duration, 'status="SUCCEEDED"', 'le="+Inf"')
    yield Recording(
        DURATIONS,
        f"""max by (transform_id, task_type, le) (round(increase({buckets}[{HOUR}])))
and on (transform_id, task_type)
max by (transform_id, task_type) (round(increase({count}[{HOUR}]))) > 0""",
    )
    yield Recording(
        P95,
        f"""histogram_quantile(0.95, sum_over_time({DURATIONS}[{USUAL}]))
and on (transform_id, task_type)
sum_over_time({DURATIONS}{{le="+Inf"}}[{USUAL}]) >= {t.alerts.GlueMLTaskRunSlow.runs}""",
    )
    execution = series(t, "glue_ml_task_run_execution_seconds_sum")
    capacity = series(t, "glue_ml_transform_capacity_dpus")
    yield Recording(
        DPU_SECONDS,
        f"""(max by (transform_id, task_type, status) (increase({execution}[{HOUR}])) > 0)
* on (transform_id) group_left ()
max by (transform_id) (last_over_time({capacity}[{HOUR}]))""",
    )
