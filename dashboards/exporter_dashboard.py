"""The dashboard about the exporter itself."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.parts import (
    BYTES,
    NONE_IS_GOOD,
    PER_SECOND,
    SECONDS,
    SHORT,
    AnyPanel,
    fill,
    graph,
    new_dashboard,
    number_panel,
    place_variables,
    query,
    rows,
    variable,
)

THIS = 'job=~"$job",instance=~"$instance"'
LANE = f'{THIS},aws_account=~"$account",aws_region=~"$region"'


def exporter() -> Dashboard:
    """Return the dashboard about the exporter."""
    built = new_dashboard(
        "glue-ml-exporter",
        "Glue ML / Exporter",
        "Whether the exporter polls all transforms in time, and the resources that it uses.",
    )
    choices = (
        *place_variables(),
        variable("job", "Job", "label_values(glue_ml_exporter_build_info, job)", everything=""),
        variable("instance", "Instance", 'label_values(glue_ml_exporter_build_info{job=~"$job"}, instance)'),
    )
    for choice in choices:
        built = built.with_variable(choice)
    return fill(built, (("Now", _now()), ("AWS", _aws()), ("Polls", _polls()), ("Output and resources", _process())))


def _now() -> tuple[AnyPanel, ...]:
    return (
        number_panel(
            "Instances up",
            "Exporters that Prometheus can scrape.",
            f"sum(up{{{THIS}}})",
            SHORT,
            steps=((None, "red"), (1, "green")),
        ),
        number_panel(
            "Oldest data",
            "Time since the last successful poll, for the transform with the oldest data.",
            f"time() - min(glue_ml_transform_last_successful_poll_timestamp_seconds{{{THIS}}})",
            SECONDS,
            steps=((None, "green"), (300, "yellow"), (900, "red")),
        ),
        number_panel(
            "Cannot be polled",
            "Transforms whose last poll failed.",
            f"count(glue_ml_transform_up{{{THIS}}} == 0) or vector(0)",
            SHORT,
            steps=NONE_IS_GOOD,
        ),
        number_panel(
            "Old configuration",
            "Exporters whose last reload of the configuration failed.",
            f"count(glue_ml_exporter_config_last_reload_successful{{{THIS}}} == 0) or vector(0)",
            SHORT,
            steps=NONE_IS_GOOD,
        ),
        number_panel(
            "Failed writes",
            "Failed writes to the state file in the time range of the dashboard.",
            f"round(sum(increase(glue_ml_exporter_state_write_errors_total{{{THIS}}}[$__range])))",
            SHORT,
            steps=NONE_IS_GOOD,
        ),
        number_panel(
            "Failing discovery",
            "Accounts and regions in which the last discovery failed.",
            f"count(glue_ml_exporter_discovery_up{{{THIS}}} == 0) or vector(0)",
            SHORT,
            steps=NONE_IS_GOOD,
        ),
    )


def _aws() -> tuple[AnyPanel, ...]:
    failed = f"sum by (reason) (increase(glue_ml_exporter_poll_errors_total{{{LANE}}}[$__rate_interval]))"
    latency = f"rate(glue_ml_exporter_api_request_duration_seconds_bucket{{{THIS}}}[$__rate_interval])"
    return (
        graph(
            "Requests",
            "Requests to AWS, including retries, by operation and response code.",
            PER_SECOND,
            query(
                f"sum by (operation, code) (rate(glue_ml_exporter_api_requests_total{{{LANE}}}[$__rate_interval]))",
                "{{operation}} {{code}}",
            ),
        ),
        graph(
            "Failed polls",
            "Failed polls of transforms, by reason.",
            SHORT,
            query(
                f'{failed} > 0\nor\nlabel_replace(sum({failed}) == 0, "reason", "none", "", "")',
                "{{reason}}",
            ),
            bars=True,
        ),
        graph(
            "Response time",
            "95th percentile of the response time of AWS, by operation.",
            SECONDS,
            query(f"histogram_quantile(0.95, sum by (operation, le) ({latency}))", "{{operation}}"),
        ),
        graph(
            "Rate limit delay",
            "Seconds per second that requests wait for the exporter's own rate limit, by account and region.",
            SECONDS,
            query(
                "sum by (aws_account, aws_region)"
                f" (rate(glue_ml_exporter_api_request_delay_seconds_total{{{LANE}}}[$__rate_interval]))",
                "{{aws_account}} {{aws_region}}",
            ),
        ),
    )


def _polls() -> tuple[AnyPanel, ...]:
    return (
        graph(
            "Poll cycle",
            "Delay between the due time and the end of the slowest poll in a cycle. A cycle overruns if this is longer"
            " than the polling interval.",
            SECONDS,
            query(f"glue_ml_exporter_poll_cycle_duration_seconds{{{THIS}}}", "{{instance}}"),
        ),
        graph(
            "Overruns",
            "Poll cycles that took longer than the polling interval.",
            SHORT,
            query(f"increase(glue_ml_exporter_poll_cycle_overruns_total{{{THIS}}}[$__rate_interval])", "{{instance}}"),
            bars=True,
        ),
        graph(
            "Slowest polls",
            "Duration of the last poll, for the ten transforms with the slowest polls.",
            SECONDS,
            query(
                f"max by (transform_id, transform_name) (glue_ml_transform_poll_duration_seconds{{{THIS}}})"
                "\nand on (transform_id)\n"
                f"topk(10, max by (transform_id) (glue_ml_transform_poll_duration_seconds{{{THIS}}} @ end()))",
                "{{transform_name}}",
            ),
        ),
        graph(
            "Found transforms",
            "Transforms that the last discovery found, by account and region.",
            SHORT,
            query(
                f"max by (aws_account, aws_region) (glue_ml_exporter_discovered_transforms{{{LANE}}})",
                "{{aws_account}} {{aws_region}}",
            ),
        ),
    )


def _process() -> tuple[AnyPanel, ...]:
    return (
        graph(
            "Memory",
            "Resident memory of the process.",
            BYTES,
            query(f"process_resident_memory_bytes{{{THIS}}}", "{{instance}}"),
        ),
        graph(
            "Processor time",
            "Processors in use.",
            SHORT,
            query(f"rate(process_cpu_seconds_total{{{THIS}}}[$__rate_interval])", "{{instance}}"),
        ),
        graph(
            "Exposition",
            "Size of the metrics about Glue in a scrape, by format and encoding.",
            BYTES,
            query(
                f"max by (format, encoding) (glue_ml_exporter_exposition_bytes{{{THIS}}})", "{{format}} {{encoding}}"
            ),
        ),
        graph(
            "Runs in memory",
            "Task runs in the memory of the exporter, open and finished.",
            SHORT,
            query(f"glue_ml_exporter_tracked_runs{{{THIS}}}", "{{instance}}"),
        ),
        graph(
            "Log messages",
            "Messages logged, by level.",
            SHORT,
            query(
                f"sum by (level) (increase(glue_ml_exporter_log_messages_total{{{THIS}}}[$__rate_interval]))",
                "{{level}}",
            ),
            bars=True,
        ),
        graph(
            "State file",
            "Time since the last write of the state file. The exporter writes it when a value changes.",
            SECONDS,
            query(f"time() - glue_ml_exporter_state_last_write_timestamp_seconds{{{THIS}}}", "{{instance}}"),
        ),
        rows(
            "Versions",
            "Version of each exporter, and the age of its process and of its configuration.",
            (
                (
                    "Configuration for",
                    SECONDS,
                    _with_version("glue_ml_exporter_config_last_reload_success_timestamp_seconds"),
                ),
                ("Running for", SECONDS, _with_version("process_start_time_seconds")),
            ),
            labels=("instance", "job", "version"),
        ).height(6),
    )


def _with_version(timestamp: str) -> str:
    version = f"on (job, instance) group_left (version, revision, pythonversion) glue_ml_exporter_build_info{{{THIS}}}"
    return f"(time() - {timestamp}{{{THIS}}})\n* {version}"
