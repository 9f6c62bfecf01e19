"""The thresholds of the alerts, as numbers: the pages and the rules judge transforms by the same values.

The alerts can have other thresholds, from a file that only Prometheus gets. The pages use the defaults. The
expectations of a transform come from the configuration, so rules and pages always agree about them.
"""

from dataclasses import dataclass

from exporter.config.durations import parse_duration
from exporter.config.thresholds import read_thresholds


@dataclass(frozen=True, slots=True)
class Limits:
    """The thresholds that a page needs; durations are in seconds."""

    critical_types: frozenset[str]
    """The task types of which a success is expected."""
    success_interval: float
    """GlueMLTaskRunNoSuccess, for a transform without `expected_interval`."""
    active_types: frozenset[str]
    """The task types of GlueMLTaskRunActiveTooLong."""
    active: float
    """GlueMLTaskRunActiveTooLong, for a transform without `expected_duration`."""
    outage_ratio: float
    """GlueMLRegionDown: more than this share of the transforms of an account and region is down."""
    outage_transforms: int
    """GlueMLRegionDown: at least this many transforms are watched in the account and region."""
    runbook_url: str
    """The folder of the runbooks; empty if there is none."""

    def runbook(self, alert: str) -> str | None:
        """Return the address of the runbook of an alert."""
        return f"{self.runbook_url}/{alert}.md" if self.runbook_url else None


def default_limits() -> Limits:
    """Return the limits of the default thresholds."""
    thresholds = read_thresholds(None)
    alerts = thresholds.alerts
    return Limits(
        critical_types=frozenset(thresholds.critical_task_types),
        success_interval=parse_duration(alerts.GlueMLTaskRunNoSuccess.at_most),
        active_types=frozenset(alerts.GlueMLTaskRunActiveTooLong.task_types),
        active=parse_duration(alerts.GlueMLTaskRunActiveTooLong.at_most),
        outage_ratio=alerts.GlueMLRegionDown.ratio,
        outage_transforms=alerts.GlueMLRegionDown.transforms,
        runbook_url=thresholds.runbook_url,
    )
