"""The exporter's metrics about itself: ordinary instrumentation, counted where it happens."""

import platform
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from exporter import __revision__, __version__
from exporter.model.transform import Lane

GLUE_OPERATIONS = ("GetMLTaskRuns", "GetMLTaskRun", "GetMLTransform", "ListMLTransforms", "GetTags")
OPERATIONS = (*GLUE_OPERATIONS, "AssumeRole", "GetCallerIdentity")
LOG_LEVELS = ("debug", "info", "warn", "error")
LATENCY_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_LANE = ("aws_account", "aws_region")


class Telemetry:
    """One process's own metrics, in a registry of their own."""

    def __init__(self, *, process: bool = True) -> None:
        """Take whether to add the metrics of the process and its runtime."""
        self.registry = registry = CollectorRegistry()
        self.poll_errors = Counter(
            "glue_ml_exporter_poll_errors",
            "Polls of a transform that failed, by reason.",
            (*_LANE, "reason"),
            registry=registry,
        )
        self.api_requests = Counter(
            "glue_ml_exporter_api_requests",
            "Requests sent to AWS, every attempt counted, by the code of the answer.",
            (*_LANE, "operation", "code"),
            registry=registry,
        )
        self.api_request_duration = Histogram(
            "glue_ml_exporter_api_request_duration_seconds",
            "Time from sending a request to AWS to its answer, each attempt by itself.",
            ("operation",),
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.api_request_delay = Counter(
            "glue_ml_exporter_api_request_delay_seconds",
            "Time that requests to AWS have waited for the client-side rate limit: that of the configuration, or the"
            " one that throttling has lowered it to.",
            _LANE,
            registry=registry,
        )
        self.poll_cycle_duration = Gauge(
            "glue_ml_exporter_poll_cycle_duration_seconds",
            "How long after it was due the last poll of the latest cycle had ended.",
            registry=registry,
        )
        self.poll_cycle_overruns = Counter(
            "glue_ml_exporter_poll_cycle_overruns",
            "Poll cycles that took longer than the polling interval.",
            registry=registry,
        )
        self.discovered_transforms = Gauge(
            "glue_ml_exporter_discovered_transforms",
            "Transforms found by the last successful discovery.",
            _LANE,
            registry=registry,
        )
        self.discovery_up = Gauge(
            "glue_ml_exporter_discovery_up",
            "Whether the last discovery of transforms succeeded; if not, the transforms found before are kept.",
            _LANE,
            registry=registry,
        )
        self.discovery_last_success = Gauge(
            "glue_ml_exporter_discovery_last_success_timestamp_seconds",
            "When a discovery of transforms last succeeded.",
            _LANE,
            registry=registry,
        )
        self.shard_info = Gauge(
            "glue_ml_exporter_shard_info",
            "A constant 1, labelled with which of how many shards this exporter is; unsharded it is 0 of 1.",
            ("index", "count"),
            registry=registry,
        )
        self.shards = Gauge(
            "glue_ml_exporter_shards", "How many exporters divide the transforms among themselves.", registry=registry
        )
        self.tracked_runs = Gauge(
            "glue_ml_exporter_tracked_runs", "Task runs held in memory, open and finished.", registry=registry
        )
        self.exposition_bytes = Gauge(
            "glue_ml_exporter_exposition_bytes",
            "Size of what is served about Glue, by format and encoding.",
            ("format", "encoding"),
            registry=registry,
        )
        self.series = Gauge(
            "glue_ml_exporter_series",
            'Series in a scrape, by metric; those of the exporter itself and of its process together as "exporter".',
            ("metric",),
            registry=registry,
        )
        self.series_limit = Gauge(
            "glue_ml_exporter_series_limit",
            "The number of series in a scrape above which the exporter warns; infinite without metrics.max_series.",
            registry=registry,
        )
        self.log_messages = Counter(
            "glue_ml_exporter_log_messages", "Messages logged, by level.", ("level",), registry=registry
        )
        self.config_last_reload_successful = Gauge(
            "glue_ml_exporter_config_last_reload_successful",
            "Whether the last attempt to load the configuration succeeded.",
            registry=registry,
        )
        self.config_last_reload_success = Gauge(
            "glue_ml_exporter_config_last_reload_success_timestamp_seconds",
            "When the configuration was last loaded successfully.",
            registry=registry,
        )
        Gauge(
            "glue_ml_exporter_build_info",
            "A constant 1, labelled with what is running.",
            ("version", "revision", "pythonversion"),
            registry=registry,
        ).labels(__version__, __revision__, platform.python_version()).set(1)
        for level in LOG_LEVELS:
            self.log_messages.labels(level)
        if process:
            ProcessCollector(registry=registry)
            PlatformCollector(registry=registry)
            GCCollector(registry=registry)

    def set_shard(self, index: int, count: int) -> None:
        """Set which shard this exporter is, counted from 0, and how many there are."""
        self.shard_info.labels(str(index), str(count)).set(1)
        self.shards.set(count)

    def expect_state(self) -> None:
        """Add the metrics of a state file."""
        self.state_write_errors = Counter(
            "glue_ml_exporter_state_write_errors",
            "Writes to the state file that failed.",
            registry=self.registry,
        )
        self.state_last_write = Gauge(
            "glue_ml_exporter_state_last_write_timestamp_seconds",
            "When the state file was last written.",
            registry=self.registry,
        )

    def expect_web_config(self) -> None:
        """Add the metrics of a web configuration file."""
        self.web_config_successful = Gauge(
            "glue_ml_exporter_web_config_last_reload_successful",
            "Whether the last attempt to load the web configuration, with its certificates and users, succeeded.",
            registry=self.registry,
        )
        self.web_config_success = Gauge(
            "glue_ml_exporter_web_config_last_reload_success_timestamp_seconds",
            "When the web configuration was last loaded successfully.",
            registry=self.registry,
        )

    def note_web_config(self, successful: bool) -> None:
        """Tell whether what was just read of the web configuration is in force."""
        self.web_config_successful.set(successful)
        if successful:
            self.web_config_success.set_to_current_time()

    def expect(self, lanes: Iterable[Lane], reasons: Iterable[str]) -> None:
        """Create the series of these lanes at 0, one for each reason of a failed poll.

        ``increase()`` does not see the first value of a series, so a counter must not appear at 1.
        """
        reasons = tuple(reasons)
        for lane in lanes:
            for reason in reasons:
                self.poll_errors.labels(*lane, reason)
            self.api_request_delay.labels(*lane)
        for operation in OPERATIONS:
            self.api_request_duration.labels(operation)

    def count_log_message(self, level: str) -> None:
        """Count one message logged at ``level``."""
        self.log_messages.labels(level if level in LOG_LEVELS else "error").inc()
