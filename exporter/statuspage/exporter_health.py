"""Reads the health of the exporter from its own metrics, for the front page."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client.metrics import MetricWrapperBase

from exporter.model.shard import Shard
from exporter.model.transform import Lane
from exporter.statuspage.summary import TransformReport
from exporter.telemetry import Telemetry

NO_ERRORS: Mapping[Lane, str] = {}
_THROTTLED = "ThrottlingException"


@dataclass(frozen=True, slots=True)
class LaneHealth:
    """The counts of one lane (an account and a region) since the exporter started."""

    lane: Lane
    account_id: str
    transforms: int
    down: int
    """Number of transforms whose last poll failed."""
    requests: int
    throttled: int
    waited: float
    """Seconds that requests waited for the client-side rate limit."""
    errors: tuple[tuple[str, int], ...]
    """Number of failed polls for each reason. The most frequent reason comes first."""
    discovery_up: bool | None
    """Whether the last discovery succeeded; None if none is configured."""
    discovered: int
    discovery_error: str
    """Why the last discovery failed; empty if it succeeded."""


@dataclass(frozen=True, slots=True)
class ExporterHealth:
    """The health of the exporter; times are UTC seconds, durations are seconds."""

    lanes: tuple[LaneHealth, ...]
    config_loaded: float
    config_error: str
    """Why the configuration on disk is not in use; empty if it is."""
    web_config_error: str
    """Why the web configuration on disk is not in use; empty if it is."""
    state_path: str | None
    state_written: float
    """Time of the last write of the state file; 0 before the first write."""
    state_error: str
    """Why counters wait for the state file now; empty if they do not."""
    overruns: int
    interval: float
    lookback: float
    tracked: int
    """Number of runs in memory."""
    shard: Shard
    next_poll: float | None
    """Time of the next poll of any transform (monotonic seconds); None while a poll runs."""


def read_health(
    telemetry: Telemetry,
    reports: Iterable[TransformReport],
    *,
    shard: Shard,
    state_path: str | None,
    interval: float,
    lookback: float,
    config_error: str = "",
    web_config_error: str = "",
    state_error: str = "",
    discovery_errors: Mapping[Lane, str] = NO_ERRORS,
) -> ExporterHealth:
    """Return the health of the exporter from its own metrics and the reports of all watched transforms.

    An error is empty if its cause has gone. The errors are those of both configurations on disk, of the state file, and
    of discovery in each account and region.
    """
    reports = list(reports)
    dues = [report.due for report in reports]
    return ExporterHealth(
        lanes=tuple(_lanes(telemetry, reports, discovery_errors)),
        config_loaded=_value(telemetry.config_last_reload_success),
        config_error=config_error,
        web_config_error=web_config_error,
        state_path=state_path,
        state_written=_value(telemetry.state_last_write) if state_path else 0.0,
        state_error=state_error,
        overruns=int(_value(telemetry.poll_cycle_overruns)),
        interval=interval,
        lookback=lookback,
        tracked=int(_value(telemetry.tracked_runs)),
        shard=shard,
        next_poll=None if None in dues else min((due for due in dues if due is not None), default=None),
    )


def _lanes(
    telemetry: Telemetry, reports: Iterable[TransformReport], discovery_errors: Mapping[Lane, str]
) -> Iterable[LaneHealth]:
    transforms: dict[Lane, list[TransformReport]] = {}
    for report in reports:
        transforms.setdefault(report.target.lane, []).append(report)
    requests = _by_lane(telemetry.api_requests, "code")
    errors = _by_lane(telemetry.poll_errors, "reason")
    waited = _by_lane(telemetry.api_request_delay)
    found = _by_lane(telemetry.discovered_transforms)
    discovery_up = _by_lane(telemetry.discovery_up)
    for lane in sorted({*transforms, *discovery_up}):
        lane_reports = transforms.get(lane, [])
        yield LaneHealth(
            lane=lane,
            account_id=_account_id(lane_reports),
            transforms=len(lane_reports),
            down=sum(_is_down(report) for report in lane_reports),
            requests=int(requests.get(lane, Counter()).total()),
            throttled=int(requests.get(lane, Counter())[_THROTTLED]),
            waited=waited.get(lane, Counter()).total(),
            errors=tuple((reason, int(count)) for reason, count in errors.get(lane, Counter()).most_common() if count),
            discovery_up=bool(discovery_up[lane].total()) if lane in discovery_up else None,
            discovered=int(found.get(lane, Counter()).total()),
            discovery_error=discovery_errors.get(lane, ""),
        )


def _account_id(reports: Iterable[TransformReport]) -> str:
    return next(
        (report.snapshot.account_id for report in reports if report.snapshot and report.snapshot.account_id), ""
    )


def _is_down(report: TransformReport) -> bool:
    return report.snapshot is not None and report.snapshot.poll is not None and not report.snapshot.poll.up


def _by_lane(metric: MetricWrapperBase, label: str = "") -> dict[Lane, Counter[str]]:
    """Return the values of a metric for each lane, and in each lane for each value of `label`.

    If the metric does not have this label, the label value is "".
    """
    values: dict[Lane, Counter[str]] = {}
    for family in metric.collect():
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                lane = Lane(sample.labels["aws_account"], sample.labels["aws_region"])
                values.setdefault(lane, Counter())[sample.labels.get(label, "")] += sample.value  # type: ignore[assignment] # seconds are counted too
    return values


def _value(metric: MetricWrapperBase) -> float:
    return next(sample.value for family in metric.collect() for sample in family.samples)
