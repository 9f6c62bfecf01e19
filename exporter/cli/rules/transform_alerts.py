"""The alerts about transforms: their quality, and whether the exporter can see them."""

from collections.abc import Iterable

from exporter.cli.rules.model import Alert
from exporter.cli.rules.recordings import (
    AGE,
    AGE_LIMIT,
    DENIED,
    ERROR,
    LANE_DOWN,
    LANE_REFUSED,
    NOT_FOUND,
    UNWATCHED,
    named,
    series,
    unless_lane_in_trouble,
)
from exporter.cli.rules.texts import COUNT, DURATION, INSTANCE, LANE, NAME, PERCENTAGE, TRANSFORM
from exporter.config.thresholds import Thresholds

_LANE_ALERTS = "GlueMLRegionDown, GlueMLExporterCredentialsFailing"


def transform_alerts(t: Thresholds) -> Iterable[Alert]:
    """Yield the alerts about transforms."""
    yield _not_ready(t)
    yield from _poll_alerts(t)


def watching_alerts(t: Thresholds) -> Iterable[Alert]:
    """Yield the alerts about many transforms together that nobody sees now."""
    yield _unwatched(t)
    yield _region_down(t)


def quality_alerts(t: Thresholds) -> Iterable[Alert]:
    """Yield the alerts on a quality that is lower than a few days ago."""
    for quality, settings in (
        ("precision", t.alerts.GlueMLPrecisionDropped),
        ("recall", t.alerts.GlueMLRecallDropped),
    ):
        metric = series(t, f"glue_ml_transform_{quality}_ratio")
        yield Alert(
            f"GlueML{quality.title()}Dropped",
            settings,
            named(
                t,
                f"max by (transform_id) (max_over_time({metric}[{settings.window}]))\n"
                f"- max by (transform_id) ({metric})\n> {settings.drop:g}",
            ),
            f"{NAME}: the {quality} has dropped",
            f"The {quality} of {TRANSFORM} is {PERCENTAGE} points below its best within {settings.window}.",
            f"the {quality} is 0.05 below its best of 7 days",
            "within 4 minutes",
            "compare the labels of the last training with earlier ones",
            keeps_firing=True,
        )


def _not_ready(t: Thresholds) -> Alert:
    ready, is_ready = t.alerts.GlueMLTransformNotReady, series(t, "glue_ml_transform_status", 'status="READY"')
    return Alert(
        "GlueMLTransformNotReady",
        ready,
        named(t, f"max by (transform_id) ({is_ready}) == 0"),
        f"{NAME} is not READY",
        f"{TRANSFORM} has not been READY for {ready.held_for}. It cannot find matches until it is.",
        "the transform has not been READY for an hour",
        "after 1 hour",
        "train the transform, or see why its training failed",
        keeps_firing=True,
    )


def _poll_alerts(t: Thresholds) -> Iterable[Alert]:
    missing = t.alerts.GlueMLTransformNotFound
    yield Alert(
        "GlueMLTransformNotFound",
        missing,
        unless_lane_in_trouble(t, named(t, f'{ERROR}{{reason="{NOT_FOUND}"}}')),
        f"{NAME} does not exist in Glue",
        f"Glue has had no transform {TRANSFORM} for {missing.held_for}. Remove it from the configuration, or correct"
        " its id, its account or its region.",
        "Glue answers that the transform does not exist",
        "after 10 minutes",
        "remove the transform from the configuration",
        _LANE_ALERTS,
        keeps_firing=True,
    )
    denied = t.alerts.GlueMLTransformDenied
    # An error without an operation was raised before AWS was asked. The label is then empty.
    action = '{{ if eq $labels.operation "AssumeRole" }}sts{{ else }}glue{{ end }}:{{ $labels.operation }}'
    yield Alert(
        "GlueMLTransformDenied",
        denied,
        unless_lane_in_trouble(t, named(t, f'{ERROR}{{reason="{DENIED}"}}')),
        f"{NAME}: AWS denies {action}",
        f"AWS has denied {action} for {TRANSFORM} for {denied.held_for}. Failed runs of the transform raise no"
        " alert now.",
        "AWS denies the polls of this transform, and not those of all transforms of the account and region",
        "after 10 minutes",
        "allow the action that the summary names",
        _LANE_ALERTS,
        keeps_firing=True,
    )
    down = t.alerts.GlueMLTransformDown
    own_alert = f'{ERROR}{{reason=~"{DENIED}|{NOT_FOUND}"}}'
    yield Alert(
        "GlueMLTransformDown",
        down,
        unless_lane_in_trouble(
            t,
            named(
                t,
                f"{AGE} > on (transform_id) 2 / 3 * {AGE_LIMIT}\nand on (transform_id)\n"
                f"max by (transform_id) ({series(t, 'glue_ml_transform_up')}) == 0\n"
                f"unless on (transform_id)\n{own_alert}",
            ),
        ),
        f"{NAME} cannot be polled",
        f"Every poll of {TRANSFORM} has failed for {DURATION}. The log of the exporter names the reason.",
        "every poll of the transform has failed for 10 minutes, and for at least two polling intervals",
        "after 10 minutes",
        "read the reason on the status page",
        f"{_LANE_ALERTS}, GlueMLTransformDenied, GlueMLTransformNotFound",
        keeps_firing=True,
    )
    stale = t.alerts.GlueMLDataStale
    yield Alert(
        "GlueMLDataStale",
        stale,
        unless_lane_in_trouble(
            t, named(t, f"{AGE} > on (transform_id) {AGE_LIMIT}\nunless on (transform_id)\n{own_alert}")
        ),
        f"{NAME}: the data is out of date",
        f"{TRANSFORM} was last polled successfully {DURATION} ago, or never since it is watched. Failed runs raise no"
        " alert now.",
        "the last successful poll was over 15 minutes and over three polling intervals ago, or there never was one",
        "18 minutes after the last successful poll",
        "read the reason on the status page; see whether polls hang",
        f"{_LANE_ALERTS}, GlueMLTransformDenied, GlueMLTransformNotFound",
        keeps_firing=True,
    )


def _unwatched(t: Thresholds) -> Alert:
    """Return the alert on transforms that were watched and are watched by no exporter now.

    A transform that left by configuration or discovery leaves an exporter that is still up: the same instance, or in
    Kubernetes the same service after a rollout. If that exporter has restarted since, and cannot search for transforms,
    then it has not removed the transform but forgotten it.
    """
    settings = t.alerts.GlueMLTransformsUnwatched
    up = series(t, "up")
    release = "namespace, service, job"
    labels = ", ".join((release, "instance", "aws_account", "aws_region", *t.joined_labels))
    shards = series(t, "glue_ml_exporter_shards")
    return Alert(
        "GlueMLTransformsUnwatched",
        settings,
        f"""count by ({labels}) (
  (
    {UNWATCHED}
    unless on ({release})
    {series(t, "up", 'service!=""')} == 1
    unless on (job, instance)
    {up} == 1
  )
  or
  (
    {UNWATCHED} < on ({release}) group_left () max by ({release}) ({series(t, "process_start_time_seconds")})
    and on ({release}, aws_account, aws_region)
    {series(t, "glue_ml_exporter_discovery_up")} == 0
  )
)
unless on ({release})
max by ({release}) ({shards}) > count by ({release}) ({series(t, "glue_ml_exporter_shard_info")})
unless on ()
absent({up} == 1)""",
        f"{COUNT} transforms of {LANE} are not watched any more",
        f"{COUNT} transforms of {LANE} were watched by the exporter {INSTANCE}, which is gone, and no other exporter"
        " watches them. Failed runs of these transforms raise no alert now.",
        "transforms were watched within the last day, and their exporter is gone; not if the exporter has removed them",
        "after 10 minutes",
        "start the exporter that the label `instance` names",
        "GlueMLExporterAbsent, GlueMLExporterShardMissing",
    )


def _region_down(t: Thresholds) -> Alert:
    settings = t.alerts.GlueMLRegionDown
    return Alert(
        "GlueMLRegionDown",
        settings,
        f"{LANE_DOWN} > {settings.ratio:g}\nunless on (aws_account, aws_region)\n{LANE_REFUSED}",
        f"Glue cannot be polled in {LANE}",
        f"{PERCENTAGE} of the transforms of {LANE} have been down for {settings.held_for}. Failed runs raise no alert"
        " now. The alerts about single transforms of this account and region are silent meanwhile.",
        "over half of the transforms of an account and region are down, of at least 3",
        "after 10 minutes; 20 minutes if polls hang",
        "look at the AWS Health Dashboard and at the network of the exporter",
        "GlueMLExporterCredentialsFailing",
        keeps_firing=True,
    )
