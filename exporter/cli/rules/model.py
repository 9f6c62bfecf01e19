"""Rules as data: a recording rule, an alerting rule, and a group of rules."""

from dataclasses import dataclass

from exporter.config.thresholds import AlertSettings


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording rule."""

    name: str
    expr: str


@dataclass(frozen=True, slots=True)
class Alert:
    """An alerting rule. `summary` and `description` are templates of Prometheus; the links are added to them."""

    name: str
    settings: AlertSettings
    expr: str
    summary: str
    description: str
    when: str
    """For the table in the documentation: the condition."""
    soon: str
    """For the table: how soon after the condition begins the alert fires, with the default settings."""
    action: str
    """For the table: the first thing to do."""
    suppressed_by: str = ""
    """For the table: what keeps the alert silent although the condition is true."""
    keeps_firing: bool = False
    """Whether it keeps firing for a while after the expression became false, because scrapes may be missing."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that Prometheus evaluates one after the other.

    `dashboard` and `page` are the paths behind the addresses of the dashboards and of the status page, for the links in
    the alerts. `interval` is empty for the evaluation interval of the server.
    """

    name: str
    rules: tuple[Recording | Alert, ...]
    dashboard: str = ""
    page: str = ""
    interval: str = ""
