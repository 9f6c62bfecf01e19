"""The alerts about the exporter and its way to AWS."""

from collections.abc import Callable, Iterable

from exporter.cli.rules.model import Alert
from exporter.cli.rules.recordings import LANE_REFUSED, poll_interval, series, unless_lane_in_trouble
from exporter.cli.rules.texts import COUNT, INSTANCE, JOB, LANE, PERCENTAGE
from exporter.config.thresholds import Thresholds

THROTTLED = "ThrottlingException"


def exporter_alerts(t: Thresholds) -> Iterable[Alert]:
    """Yield the alerts about the exporter."""
    yield from _scrape_alerts(t)
    yield from _aws_alerts(t)
    yield from _process_alerts(t)
    yield from _shard_alerts(t)


def _by_interval(t: Thresholds, expr: Callable[[str], str], windows: tuple[str, str, str], on: str) -> str:
    """Return an expression whose window follows the polling interval.

    A range in PromQL is a constant. Therefore the expression is written for three windows: for polling intervals up to
    5 minutes, up to 20 minutes, and longer ones. An exporter that does not expose its interval gets the first window.

    Args:
        t: the settings.
        expr: returns the expression for a window.
        windows: the three windows.
        on: the labels that the expression and the polling interval have in common.
    """
    interval = poll_interval(t) if on else f"max({poll_interval(t)})"
    short, middle, long = (expr(window) for window in windows)
    return f"""({short} unless on ({on}) {interval} > 300)
or
({middle} and on ({on}) {interval} > 300 unless on ({on}) {interval} > 1200)
or
({long} and on ({on}) {interval} > 1200)"""


def _scrape_alerts(t: Thresholds) -> Iterable[Alert]:
    up, alerts = series(t, "up"), t.alerts
    down = alerts.GlueMLExporterDown
    yield Alert(
        "GlueMLExporterDown",
        down,
        f"{up} == 0",
        f"The exporter {INSTANCE} cannot be scraped",
        f"Every scrape of the exporter {INSTANCE} has failed for {down.held_for}.",
        "one instance cannot be scraped",
        "after 5 minutes",
        "see whether the process runs, and read its log",
    )
    absent = alerts.GlueMLExporterAbsent
    yield Alert(
        "GlueMLExporterAbsent",
        absent,
        f"absent({up} == 1)",
        "No Glue ML exporter is up",
        f"Prometheus has scraped no Glue ML exporter for {absent.held_for}. Failed runs raise no alert now.",
        "no instance at all can be scraped",
        "after 10 minutes",
        "start the exporter",
    )
    nothing = alerts.GlueMLExporterWatchesNothing
    yield Alert(
        "GlueMLExporterWatchesNothing",
        nothing,
        f"absent({series(t, 'glue_ml_transform_info')} or {series(t, 'glue_ml_transform_up')})\nand on ()\n{up} == 1",
        "The Glue ML exporter monitors no transform",
        f"No Glue ML exporter has monitored a transform for {nothing.held_for}. Failed runs raise no alert now.",
        "exporters are up, and watch no transform",
        "after 10 minutes",
        "compare the configuration with the transforms in Glue",
    )


def _aws_alerts(t: Thresholds) -> Iterable[Alert]:
    failing = t.alerts.GlueMLExporterCredentialsFailing
    yield Alert(
        "GlueMLExporterCredentialsFailing",
        failing,
        LANE_REFUSED,
        f"AWS refuses the exporter's credentials for {LANE}: {{{{ $labels.reason }}}}",
        f"AWS has refused every poll of {LANE} for {failing.held_for}, most of them with {{{{ $labels.reason }}}}."
        " Failed runs raise no alert now.",
        "AWS refuses the credentials or the permissions of every poll of an account and region",
        "after 10 minutes",
        "see the reason; renew the credentials or correct the policy",
        keeps_firing=True,
    )
    discovery = t.alerts.GlueMLExporterDiscoveryFailing
    lane = "aws_account, aws_region"
    yield Alert(
        "GlueMLExporterDiscoveryFailing",
        discovery,
        unless_lane_in_trouble(t, f"max by ({lane}) ({series(t, 'glue_ml_exporter_discovery_up')}) == 0"),
        f"The exporter cannot search for transforms in {LANE}",
        f"Every search for transforms in {LANE} has failed for {discovery.held_for}. New transforms are not monitored.",
        "every search for transforms in an account and region fails",
        "after 10 minutes",
        "read the log of the exporter; allow glue:ListMLTransforms and glue:GetTags",
        "GlueMLRegionDown, GlueMLExporterCredentialsFailing",
        keeps_firing=True,
    )
    throttled = t.alerts.GlueMLExporterThrottled
    requests = "glue_ml_exporter_api_requests_total"
    refused, all_requests = series(t, requests, f'code="{THROTTLED}"'), series(t, requests)
    yield Alert(
        "GlueMLExporterThrottled",
        throttled,
        _by_interval(
            t,
            lambda window: (
                f"sum by ({lane}) (increase({refused}[{window}]))"
                f" / sum by ({lane}) (increase({all_requests}[{window}])) > {throttled.ratio:g}"
            ),
            (t.window, "1h", "6h"),
            "",
        ),
        f"AWS throttles the exporter in {LANE}",
        f"{PERCENTAGE} of the requests to {LANE} have been throttled for {throttled.held_for}.",
        "over 10 % of the requests are throttled",
        "after 15 minutes",
        "lengthen `polling.interval`, or find the other user of the quota",
    )


def _process_alerts(t: Thresholds) -> Iterable[Alert]:
    overruns = t.alerts.GlueMLExporterCycleOverruns
    counter = series(t, "glue_ml_exporter_poll_cycle_overruns_total")
    yield Alert(
        "GlueMLExporterCycleOverruns",
        overruns,
        _by_interval(
            t,
            lambda window: f"round(increase({counter}[{window}])) > {overruns.overruns}",
            ("30m", "2h", "1d"),
            "job, instance",
        ),
        f"The exporter {INSTANCE} needs longer than the polling interval for its polls",
        f"{COUNT} of the last poll cycles of the exporter {INSTANCE} took longer than the polling interval.",
        "more than 2 poll cycles in 30 minutes took longer than the interval; a longer window for long intervals",
        "at once",
        "see whether AWS is slow; lengthen `polling.interval`, or use shards",
    )
    reload = t.alerts.GlueMLExporterConfigReloadFailed
    yield Alert(
        "GlueMLExporterConfigReloadFailed",
        reload,
        f"max_over_time({series(t, 'glue_ml_exporter_config_last_reload_successful')}[5m]) == 0\n"
        f"or max_over_time({series(t, 'glue_ml_exporter_web_config_last_reload_successful')}[5m]) == 0",
        f"The exporter {INSTANCE} could not load its configuration",
        f"The exporter {INSTANCE} has run with its old configuration for {reload.held_for}, because the new"
        " one has errors.",
        "the configuration cannot be loaded",
        "after 10 minutes",
        "run `glue-ml-exporter check-config`",
    )
    errors = series(t, "glue_ml_exporter_state_write_errors_total")
    yield Alert(
        "GlueMLExporterStateNotWritten",
        t.alerts.GlueMLExporterStateNotWritten,
        _by_interval(
            t,
            lambda window: (
                f"increase({errors}[{window}]) > 0"
                f" and on (job, instance) increase({errors}[{window}] offset {window}) > 0"
            ),
            ("10m", "40m", "6h"),
            "job, instance",
        ),
        f"The exporter {INSTANCE} cannot write its state file",
        f"Writes to the state file of the exporter {INSTANCE} fail again and again. Its counters do not"
        " increase until a write succeeds.",
        "writes to the state file fail in two windows of 10 minutes, one after the other; longer for long intervals",
        "after 10 minutes",
        "see whether the disk is full or read-only",
    )


def _shard_alerts(t: Thresholds) -> Iterable[Alert]:
    """Yield the alerts on missing and on duplicate shards of one job. An exporter without sharding is shard 0 of 1.

    In Kubernetes, all releases of the chart have the same job. The label `service` separates them.
    """
    shards = series(t, "glue_ml_exporter_shard_info")
    held = f"count by (namespace, service, job, index) ({shards})"
    missing = t.alerts.GlueMLExporterShardMissing
    yield Alert(
        "GlueMLExporterShardMissing",
        missing,
        f"""max by (namespace, service, job) ({series(t, "glue_ml_exporter_shards")})
- count by (namespace, service, job) ({held})
> 0""",
        "A shard of the exporter is missing",
        f"{COUNT} of the shards of job {JOB} could not be scraped for {missing.held_for}. Failed runs of"
        " their transforms raise no alert now.",
        "one of several shards cannot be scraped",
        "after 10 minutes",
        "start the exporter with the missing number",
    )
    mismatch = t.alerts.GlueMLExporterShardMismatch
    yield Alert(
        "GlueMLExporterShardMismatch",
        mismatch,
        f"""count by (namespace, service, job) (count by (namespace, service, job, count) ({shards})) > 1
or
max by (namespace, service, job) ({held}) > min by (namespace, service, job) ({held})""",
        "The shards of the exporter contradict each other",
        f"For {mismatch.held_for} the exporters of job {JOB} have disagreed on the number of shards, or one"
        " shard has run more often than another. Some transforms are monitored twice or not at all.",
        "shards disagree on their number, or one runs more often than another",
        "after 15 minutes",
        "compare the flags --shard.count and --shard.index of all exporters",
    )
