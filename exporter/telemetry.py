"""The metrics of the exporter about itself. Names and meanings are promises to users."""

import platform
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from exporter import __revision__, __version__, logs
from exporter.model.transform import Lane

GLUE_OPERATIONS = ("GetMLTaskRuns", "GetMLTaskRun", "GetMLTransform", "ListMLTransforms", "GetTags")
OPERATIONS = (*GLUE_OPERATIONS, "AssumeRole", "GetCallerIdentity")
LOG_LEVELS = tuple(logs.LEVELS)
LATENCY_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_LANE = ("aws_account", "aws_region")


class Telemetry:
    """The metrics of one process, in a registry of their own."""

    def __init__(self, *, process: bool = True) -> None:
        """Create the metrics; with ``process``, also the metrics of the process and of the Python runtime."""
        self.registry = registry = CollectorRegistry()
        self.poll_errors = Counter(
            "glue_ml_exporter_poll_errors",
            "Number of polls of a transform that failed, by reason.",
            (*_LANE, "reason"),
            registry=registry,
        )
        self.skipped_runs = Counter(
            "glue_ml_exporter_skipped_runs",
            "Number of runs that were left out of an answer because they do not have the documented shape. A run is"
            " counted each time that Glue lists it.",
            _LANE,
            registry=registry,
        )
        self.api_requests = Counter(
            "glue_ml_exporter_api_requests",
            "Number of requests that were sent to AWS, retries included, by the code of the answer.",
            (*_LANE, "operation", "code"),
            registry=registry,
        )
        self.api_request_duration = Histogram(
            "glue_ml_exporter_api_request_duration_seconds",
            "Time from sending a request to AWS until its answer; each attempt is measured separately.",
            ("operation",),
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.api_request_delay = Counter(
            "glue_ml_exporter_api_request_delay_seconds",
            "Time that requests to AWS waited for the client-side rate limit. Throttling by AWS lowers the configured"
            " limit for a while.",
            _LANE,
            registry=registry,
        )
        self.poll_interval = Gauge(
            "glue_ml_exporter_poll_interval_seconds",
            "Configured time between two polls of a transform. A window of a rule must not be shorter.",
            registry=registry,
        )
        self.poll_cycle_duration = Gauge(
            "glue_ml_exporter_poll_cycle_duration_seconds",
            "Delay between the due time and the end of the slowest poll in the last cycle.",
            registry=registry,
        )
        self.poll_cycle_overruns = Counter(
            "glue_ml_exporter_poll_cycle_overruns",
            "Number of poll cycles that took longer than the polling interval.",
            registry=registry,
        )
        self.discovered_transforms = Gauge(
            "glue_ml_exporter_discovered_transforms",
            "Number of transforms that the last successful discovery found.",
            _LANE,
            registry=registry,
        )
        self.discovery_up = Gauge(
            "glue_ml_exporter_discovery_up",
            "1 if the last discovery of transforms succeeded, 0 if it failed. After a failure the exporter keeps"
            " the transforms that it knows.",
            _LANE,
            registry=registry,
        )
        self.discovery_last_success = Gauge(
            "glue_ml_exporter_discovery_last_success_timestamp_seconds",
            "Time of the last successful discovery of transforms.",
            _LANE,
            registry=registry,
        )
        self.shard_info = Gauge(
            "glue_ml_exporter_shard_info",
            "Constant 1, with the index of this shard, counted from 0, and the number of shards. An exporter without"
            " shards is shard 0 of 1.",
            ("index", "count"),
            registry=registry,
        )
        self.shards = Gauge(
            "glue_ml_exporter_shards", "Number of shards among which the transforms are divided.", registry=registry
        )
        self.tracked_runs = Gauge(
            "glue_ml_exporter_tracked_runs",
            "Number of task runs in memory, active and finished.",
            registry=registry,
        )
        self.exposition_bytes = Gauge(
            "glue_ml_exporter_exposition_bytes",
            "Size of the metrics about Glue in a scrape, by format and encoding.",
            ("format", "encoding"),
            registry=registry,
        )
        self.series = Gauge(
            "glue_ml_exporter_series",
            "Number of series in a scrape, by metric. The series about the exporter and its process have"
            ' metric="exporter".',
            ("metric",),
            registry=registry,
        )
        self.series_limit = Gauge(
            "glue_ml_exporter_series_limit",
            "Number of series in a scrape above which the exporter logs a warning. Infinite if metrics.max_series is"
            " not set.",
            registry=registry,
        )
        self.log_messages = Counter(
            "glue_ml_exporter_log_messages", "Number of logged messages, by level.", ("level",), registry=registry
        )
        registry.register(_DroppedMessages())
        self.config_last_reload_successful = Gauge(
            "glue_ml_exporter_config_last_reload_successful",
            "1 if the last attempt to load the configuration succeeded, 0 if it failed.",
            registry=registry,
        )
        self.config_last_reload_success = Gauge(
            "glue_ml_exporter_config_last_reload_success_timestamp_seconds",
            "Time at which the configuration was last loaded successfully.",
            registry=registry,
        )
        Gauge(
            "glue_ml_exporter_build_info",
            "Constant 1, with the versions of the exporter and of Python as labels.",
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
        """Show the index of this shard, counted from 0, and the number of shards."""
        self.shard_info.labels(str(index), str(count)).set(1)
        self.shards.set(count)

    def add_state_metrics(self) -> None:
        """Create the metrics about a state file; a process without a state file lacks them."""
        self.state_write_errors = Counter(
            "glue_ml_exporter_state_write_errors",
            "Number of writes to the state file that failed.",
            registry=self.registry,
        )
        self.state_last_write = Gauge(
            "glue_ml_exporter_state_last_write_timestamp_seconds",
            "Time at which the state file was last written.",
            registry=self.registry,
        )

    def add_web_config_metrics(self) -> None:
        """Create the metrics about a web configuration file; a process without this file lacks them."""
        self.web_config_successful = Gauge(
            "glue_ml_exporter_web_config_last_reload_successful",
            "1 if the last attempt to load the web configuration, with its certificates and users, succeeded, 0 if it"
            " failed.",
            registry=self.registry,
        )
        self.web_config_success = Gauge(
            "glue_ml_exporter_web_config_last_reload_success_timestamp_seconds",
            "Time at which the web configuration was last loaded successfully.",
            registry=self.registry,
        )

    def set_web_config_loaded(self, successful: bool) -> None:
        """Show whether the web configuration that was just read is in force."""
        self.web_config_successful.set(successful)
        if successful:
            self.web_config_success.set_to_current_time()

    def create_series(self, lanes: Iterable[Lane], reasons: Iterable[str]) -> None:
        """Create the series of these lanes at 0, with one for each reason why a poll can fail.

        ``increase()`` ignores the first sample of a series, so it would miss the event that creates a counter at 1.
        """
        reasons = tuple(reasons)
        for lane in lanes:
            for reason in reasons:
                self.poll_errors.labels(*lane, reason)
            self.api_request_delay.labels(*lane)
            self.skipped_runs.labels(*lane)
        for operation in OPERATIONS:
            self.api_request_duration.labels(operation)

    def count_log_message(self, level: str) -> None:
        """Count one message that was logged at ``level``; an unknown level counts as an error."""
        self.log_messages.labels(level if level in LOG_LEVELS else "error").inc()


class _DroppedMessages(Collector):
    """Reads the number of dropped log messages from the log.

    A `Counter` is not used. Its lock must not be taken by a signal handler, which logs a message that may be dropped.
    """

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Yield one counter."""
        yield CounterMetricFamily(
            "glue_ml_exporter_log_messages_dropped",
            "Number of messages that are missing in the log, because nobody read the log in time or it could not be"
            " written.",
            value=logs.dropped_messages(),
        )
