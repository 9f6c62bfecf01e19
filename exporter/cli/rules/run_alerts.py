"""The alerts about task runs."""

from collections.abc import Iterable

from exporter.cli.rules.model import Alert
from exporter.cli.rules.recordings import (
    ACTIVE,
    DURATION_LIMIT,
    FAILURE,
    FINISHED,
    INTERVAL_LIMIT,
    P95,
    RATIO,
    REASON,
    SUCCESS,
    WATCHED_SINCE,
    named,
    seconds,
    series,
)
from exporter.cli.rules.texts import COUNT, DURATION, NAME, PERCENTAGE, TRANSFORM, TYPE
from exporter.config.thresholds import RunAlertSettings, Thresholds

_REASON = "{{ with $labels.reason }}: {{ . }}{{ end }}"
_IN_GRACE = "a later success, also within 15 minutes of the failure"


def run_alerts(t: Thresholds) -> Iterable[Alert]:
    """Yield the alerts about task runs."""
    yield from _failure_alerts(t)
    yield _no_success(t)
    yield from _duration_alerts(t)


def failure_ratio_alert(t: Thresholds) -> Alert:
    """Return the alert on the share of failed runs in a day."""
    ratio = t.alerts.GlueMLTaskRunFailureRatio
    return Alert(
        "GlueMLTaskRunFailureRatio",
        ratio,
        named(t, f"{RATIO}{_types(ratio)} > {ratio.ratio:g}"),
        f"{NAME}: many {TYPE} runs fail",
        f"{PERCENTAGE} of the {TYPE} runs of {TRANSFORM} within {ratio.window} failed or timed out.",
        "over 20 % of a day's runs failed or timed out, of at least 5",
        "within 4 minutes",
        "compare the reasons of the failed runs",
    )


def _types(settings: RunAlertSettings, *matchers: str) -> str:
    return f"{{{','.join([*matchers, _type_matcher(settings.task_types)])}}}"


def _type_matcher(types: Iterable[str]) -> str:
    return f'task_type=~"{"|".join(types)}"'


def _with_reason(expr: str) -> str:
    return f"{expr}\n* on (transform_id, task_type, status) group_left (reason)\n{REASON}"


def _failure_alerts(t: Thresholds) -> Iterable[Alert]:
    """Yield two alerts for FAILED and two for TIMEOUT. One alert counts runs, and the other compares timestamps."""
    for status, name, what, settings, since in (
        (
            "FAILED",
            "GlueMLTaskRunFailed",
            "failed",
            t.alerts.GlueMLTaskRunFailed,
            t.alerts.GlueMLTaskRunFailedSinceSuccess,
        ),
        (
            "TIMEOUT",
            "GlueMLTaskRunTimedOut",
            "timed out",
            t.alerts.GlueMLTaskRunTimedOut,
            t.alerts.GlueMLTaskRunTimedOutSinceSuccess,
        ),
    ):
        matcher = f'status="{status}"'
        yield Alert(
            name,
            settings,
            named(t, _with_reason(f"({FINISHED}{_types(settings, matcher)} > 0)")),
            f"{NAME}: {TYPE} {what}{_REASON}",
            f"{COUNT} {TYPE} run(s) of {TRANSFORM} {what} within {t.window}.",
            f"a run of any type ended in {status} within the last 15 minutes",
            "at once",
            "nothing at night; read the reason in the morning",
        )
        failure = f"{FAILURE}{{{matcher},{_type_matcher(t.critical_task_types)}}}"
        # The time of the failure is compared with the time since which the transform is watched, and not the reverse.
        # If the latter is missing, the alert must fire.
        unrecovered = f"""{failure} > time() - {seconds(t.unrecovered_at_most)}
unless on (transform_id, task_type)
{SUCCESS} >= on (transform_id, task_type) {failure}
unless on (transform_id, task_type)
{failure} < on (transform_id) group_left () {WATCHED_SINCE}"""
        yield Alert(
            f"{name}SinceSuccess",
            since,
            named(t, _with_reason(f"(\n{unrecovered}\n)")),
            f"{NAME}: {TYPE} {what}{_REASON} (no success since)",
            f"The {TYPE} run of {TRANSFORM} that {what} at"
            " {{ $value | humanizeTimestamp }} was not followed by a successful run.",
            f"the latest FIND_MATCHES run that ended in {status} was not followed by a success",
            "after 15 minutes",
            "read the reason, correct it, and start the run again",
            f"{_IN_GRACE}; a failure from before the exporter watched the transform",
        )


def _no_success(t: Thresholds) -> Alert:
    settings = t.alerts.GlueMLTaskRunNoSuccess
    types = _type_matcher(t.critical_task_types)
    started = series(t, "glue_ml_task_run_last_start_timestamp_seconds", types)
    expected = series(t, "glue_ml_transform_expected_interval_seconds")
    # The three parts: a success that is too old; no success although runs have been started for the whole time; and no
    # success of a transform of which one is expected, whether its runs are started or not.
    expr = f"""(
  time() - {SUCCESS}{{{types}}} > on (transform_id) group_left () {INTERVAL_LIMIT}
)
or
(
  time()
  - max by (transform_id, task_type) ({started} offset {settings.at_most})
  unless on (transform_id)
  {expected}
  unless on (transform_id, task_type)
  {SUCCESS}
  and on (transform_id)
  {series(t, "glue_ml_transform_last_successful_poll_timestamp_seconds")}
)
or
(
  label_replace(
    time() - {WATCHED_SINCE} > on (transform_id) max by (transform_id) ({expected}),
    "task_type", "FIND_MATCHES", "", ""
  )
  unless on (transform_id, task_type)
  {SUCCESS}
  and on (transform_id)
  {series(t, "glue_ml_transform_last_successful_poll_timestamp_seconds")}
)"""
    return Alert(
        "GlueMLTaskRunNoSuccess",
        settings,
        named(t, expr),
        f"{NAME}: no {TYPE} run has succeeded for {DURATION}",
        f"No {TYPE} run of {TRANSFORM} has succeeded for {DURATION}.",
        "no FIND_MATCHES run has succeeded for the expected interval of the transform, or for 7 days",
        "at once",
        "see whether runs are started at all",
    )


def _duration_alerts(t: Thresholds) -> Iterable[Alert]:
    active = t.alerts.GlueMLTaskRunActiveTooLong
    yield Alert(
        "GlueMLTaskRunActiveTooLong",
        active,
        named(t, f"{ACTIVE}{_types(active)} > on (transform_id) group_left () {DURATION_LIMIT}"),
        f"{NAME}: a {TYPE} run has been active for {DURATION}",
        f"A {TYPE} run of {TRANSFORM} started {DURATION} ago and has not ended.",
        "a run has been active for longer than the expected duration of the transform, or for over a day",
        "at once",
        "read the log of the run; cancel the run if it hangs",
        keeps_firing=True,
    )
    slow = t.alerts.GlueMLTaskRunSlow
    yield Alert(
        "GlueMLTaskRunSlow",
        slow,
        named(
            t,
            f"{ACTIVE}{_types(slow)}\n> on (transform_id, task_type)\n"
            f"clamp_min({slow.factor:g} * last_over_time({P95}[2h]), {seconds(slow.at_least)})",
        ),
        f"{NAME}: a {TYPE} run takes much longer than usual",
        f"A {TYPE} run of {TRANSFORM} has been active for {DURATION}. This is more than"
        f" {slow.factor:g} times the 95th percentile of its successful runs in the last 30 days.",
        "a run has been active for over 3 times the 95th percentile of the last 30 days, and for over 10 minutes",
        "at once",
        "see whether the run waits for capacity or works on more data",
        keeps_firing=True,
    )
