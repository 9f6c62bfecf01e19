"""All groups of rules, in the order of their evaluation."""

from exporter.cli.rules.exporter_alerts import exporter_alerts
from exporter.cli.rules.model import Group
from exporter.cli.rules.recordings import HOUR, MINUTES, hourly_recordings, recordings_of_days, transform_recordings
from exporter.cli.rules.run_alerts import failure_ratio_alert, run_alerts
from exporter.cli.rules.transform_alerts import quality_alerts, transform_alerts, watching_alerts
from exporter.config.thresholds import Thresholds

_VARIABLES = "&".join(
    f"var-{name}={{{{ $labels.{label} | urlquery }}}}"
    for name, label in (("account", "aws_account"), ("region", "aws_region"), ("transform", "transform_id"))
)


def groups(thresholds: Thresholds) -> tuple[Group, ...]:
    """Return all groups of rules."""
    dashboard, page = f"glue-ml-transform?{_VARIABLES}", "transforms/{{ $labels.transform_id | urlquery }}"
    return (
        Group(
            "glue-ml-transforms",
            (*transform_recordings(thresholds), *run_alerts(thresholds), *transform_alerts(thresholds)),
            dashboard,
            page,
        ),
        Group(
            "glue-ml-days",
            (*recordings_of_days(thresholds), failure_ratio_alert(thresholds), *quality_alerts(thresholds)),
            dashboard,
            page,
            interval=MINUTES,
        ),
        Group("glue-ml-exporter", (*watching_alerts(thresholds), *exporter_alerts(thresholds)), "glue-ml-exporter"),
        Group("glue-ml-hourly", tuple(hourly_recordings(thresholds)), interval=HOUR),
    )
