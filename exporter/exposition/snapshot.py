"""`TransformSnapshot`: everything that the metrics show about one transform, as a poll gives it to the exposition."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from exporter.counting.latest import GaugeValues, LatestRun
from exporter.exposition.initial_values import InitialValues
from exporter.exposition.text_format import Identity
from exporter.model.failure_reasons import FailureReasons
from exporter.model.transform import Details, Target

Part = Literal["identity", "poll", "runs", "times", "counters", "details"]
"""A part of a snapshot. Each metric shows one part, and is rendered again only when that part has changed."""

PARTS: frozenset[Part] = frozenset(get_args(Part))


@dataclass(frozen=True, slots=True)
class PollResult:
    """The result of a transform's last poll; times are in UTC seconds."""

    up: bool
    tried: float
    succeeded: float | None
    """The last successful poll, None if there was none."""
    duration: float
    """Seconds."""
    error: str = ""
    """The error text for the status page: the reason, and the message of AWS; empty if the poll succeeded."""
    reason: str = ""
    """Why it failed, as in the metric glue_ml_exporter_poll_errors_total; empty if the poll succeeded."""
    operation: str = ""
    """The operation that AWS answered with an error; empty if the poll succeeded or AWS did not answer."""
    down_since: float | None = None
    """The first failed poll after the last success in this process, for the status page; None if the poll succeeded."""


def shown_name(target: Target, details: Details | None) -> str:
    """Return the configured name, else the name in Glue, else the id."""
    return target.name or (details.name if details else "") or target.id


@dataclass(frozen=True, slots=True)
class TransformSnapshot:
    """Everything that is shown about one transform at one moment."""

    target: Target
    account_id: str
    poll: PollResult | None
    """None before the first poll. Counters from the state file are shown even before that poll."""
    gauge_values: GaugeValues | None
    """None before the first successful poll, and while the last success is older than `polling.stale_after`."""
    latest: Mapping[str, LatestRun]
    watched_since: float | None
    """When the exporter began to look at the transform (UTC seconds); None before the first answer."""
    has_baseline: bool
    """Whether counters exist, because this process or an earlier process has polled successfully."""
    initial_values: InitialValues
    bounds: tuple[float, ...]
    """The upper bounds of the histograms' buckets, in seconds, without the infinite one."""
    created: bool
    """Whether OpenMetrics gets `_created` lines."""
    details: Details | None
    failure_reasons: FailureReasons
    """The table that gives the last failures their reasons."""
    restored_success: float | None = None
    """The last successful poll of an earlier process (UTC seconds). It is shown until this process has polled."""
    not_ready_since: float | None = None
    """When this process first saw that Glue calls the transform not READY (UTC seconds), for the status page."""

    @property
    def name(self) -> str:
        """The name under which the transform is shown."""
        return shown_name(self.target, self.details)

    @property
    def identity(self) -> Identity:
        """The labels on every series of the transform."""
        return Identity((("transform_id", self.target.id), ("transform_name", self.name)))

    def parts_other_than(self, before: "TransformSnapshot | None") -> set[Part]:
        """Return the parts that differ from the snapshot ``before``; all parts if ``before`` is None.

        The values of counters are not compared: `InitialValues.publish` returns whether they have changed.
        """
        if before is None or before.name != self.name or before.bounds != self.bounds:
            return set(PARTS)
        parts: set[Part] = set()
        if before.poll != self.poll:
            parts.add("poll")
        if before.gauge_values != self.gauge_values:
            parts.add("runs")
        if (before.gauge_values is None) != (self.gauge_values is None):
            parts.add("details")
        if (before.latest, before.failure_reasons, before.watched_since) != (
            self.latest,
            self.failure_reasons,
            self.watched_since,
        ):
            parts.add("times")
        if before.details != self.details:
            parts |= {"details", "identity"}
        if before.target != self.target or before.account_id != self.account_id:
            parts.add("identity")
        if (
            before.created != self.created
            or before.initial_values is not self.initial_values
            or before.has_baseline != self.has_baseline
        ):
            parts.add("counters")
        return parts
