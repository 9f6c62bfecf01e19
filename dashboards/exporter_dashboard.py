"""The dashboard about the exporter itself."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.parts import (
    BYTES,
    DATA_AGES,
    NONE_IS_GOOD,
    PER_SECOND,
    PLACE,
    SECONDS,
    SHORT,
    AnyPanel,
    counted,
    fill,
    graph,
    new_dashboard,
    number_panel,
    place_variables,
    query,
    rows,
    variable,
)

THIS = f'{PLACE},job=~"$job",instance=~"$instance"'
LANE = f'{THIS},aws_account=~"$account",aws_region=~"$region"'


NO_EXPORTER = "Prometheus scrapes no exporter with the selected job and instance."
NO_POLL = "No poll has succeeded, or no exporter is selected."


def exporter() -> Dashboard:
    """Return the dashboard about the exporter."""
    built = new_dashboard(
        "glue-ml-exporter",
        "Glue ML / Exporter",
        "Whether the exporter polls all transforms in time, and the resources that it uses.",
    )
    choices = (
        *place_variables(),
        variable("job", "Job", f"label_values(glue_ml_exporter_build_info{{{PLACE}}}, job)", everything=""),
        variable("instance", "Instance", f'label_values(glue_ml_exporter_build_info{{{PLACE},job=~"$job"}}, instance)'),
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
            empty=NO_EXPORTER,
            steps=((None, "red"), (1, "green")),
        ),
        number_panel(
            "Oldest data",
            "Time since the last successful poll, for the transform with the oldest data.",
            f"time() - min(glue_ml_transform_last_successful_poll_timestamp_seconds{{{THIS}}})",
            SECONDS,
            empty=NO_POLL,
            steps=DATA_AGES,
        ),
        number_panel(
            "Cannot be polled",
            "Transforms whose last poll failed.",
            f"count(glue_ml_transform_up{{{THIS}}} == 0) or vector(0)",
            SHORT,
            empty=NO_EXPORTER,
            steps=NONE_IS_GOOD,
        ),
        number_panel(
            "Old configuration",
            "Exporters whose last reload of the configuration failed.",
            f"count(glue_ml_exporter_config_last_reload_successful{{{THIS}}} == 0) or vector(0)",
            SHORT,
            empty=NO_EXPORTER,
            steps=NONE_IS_GOOD,
        ),
        number_panel(
            "Failed writes",
            "Failed writes to the state file in the time range of the dashboard.",
            f"sum(\n{counted(f'glue_ml_exporter_state_write_errors_total{{{THIS}}}')}\n)",
            SHORT,
            empty="No exporter has a state file (state.path).",
            steps=NONE_IS_GOOD,
            total=True,
        ),
        number_panel(
            "Failing discovery",
            "Accounts and regions in which the last discovery failed.",
            f"count(glue_ml_exporter_discovery_up{{{THIS}}} == 0) or vector(0)",
            SHORT,
            empty=NO_EXPORTER,
            steps=NONE_IS_GOOD,
        ),
    )


def _aws() -> tuple[AnyPanel, ...]:
    failed = f"sum by (reason) (\n{counted(f'glue_ml_exporter_poll_errors_total{{{LANE}}}')}\n)"
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
            empty=NO_EXPORTER,
        ),
        graph(
            "Failed polls",
            "Failed polls of transforms, by reason.",
            SHORT,
            query(
                f'{failed} > 0\nor\nlabel_replace(sum({failed}) == 0, "reason", "none", "", "")',
                "{{reason}}",
            ),
            empty=NO_EXPORTER,
            bars=True,
        ),
        graph(
            "Response time",
            "95th percentile of the response time of AWS, by operation.",
            SECONDS,
            query(f"histogram_quantile(0.95, sum by (operation, le) ({latency}))", "{{operation}}"),
            empty=NO_EXPORTER,
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
            empty=NO_EXPORTER,
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
            empty=NO_EXPORTER,
        ),
        graph(
            "Overruns",
            "Poll cycles that took longer than the polling interval.",
            SHORT,
            query(
                f"max by (instance) (\n{counted(f'glue_ml_exporter_poll_cycle_overruns_total{{{THIS}}}')}\n)",
                "{{instance}}",
            ),
            empty=NO_EXPORTER,
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
            empty=NO_EXPORTER,
        ),
        graph(
            "Found transforms",
            "Transforms that the last discovery found, by account and region.",
            SHORT,
            query(
                f"max by (aws_account, aws_region) (glue_ml_exporter_discovered_transforms{{{LANE}}})",
                "{{aws_account}} {{aws_region}}",
            ),
            empty=NO_EXPORTER,
        ),
    )


def _process() -> tuple[AnyPanel, ...]:
    return (
        graph(
            "Memory",
            "Resident memory of the process.",
            BYTES,
            query(f"process_resident_memory_bytes{{{THIS}}}", "{{instance}}"),
            empty=NO_EXPORTER,
        ),
        graph(
            "Processor time",
            "Processors in use.",
            SHORT,
            query(f"rate(process_cpu_seconds_total{{{THIS}}}[$__rate_interval])", "{{instance}}"),
            empty=NO_EXPORTER,
        ),
        graph(
            "Exposition",
            "Size of the metrics about Glue in a scrape, by format and encoding.",
            BYTES,
            query(
                f"max by (format, encoding) (glue_ml_exporter_exposition_bytes{{{THIS}}})", "{{format}} {{encoding}}"
            ),
            empty=NO_EXPORTER,
        ),
        graph(
            "Runs in memory",
            "Task runs in the memory of the exporter, open and finished.",
            SHORT,
            query(f"glue_ml_exporter_tracked_runs{{{THIS}}}", "{{instance}}"),
            empty=NO_EXPORTER,
        ),
        graph(
            "Log messages",
            "Messages logged, by level.",
            SHORT,
            query(
                f"sum by (level) (\n{counted(f'glue_ml_exporter_log_messages_total{{{THIS}}}')}\n)",
                "{{level}}",
            ),
            empty=NO_EXPORTER,
            bars=True,
        ),
        graph(
            "State file",
            "Time since the last write of the state file. The exporter writes it when a value changes.",
            SECONDS,
            query(f"time() - glue_ml_exporter_state_last_write_timestamp_seconds{{{THIS}}}", "{{instance}}"),
            empty=NO_EXPORTER,
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
            empty=NO_EXPORTER,
            labels=("instance", "job", "version"),
        ).height(6),
    )


def _with_version(timestamp: str) -> str:
    version = f"on (job, instance) group_left (version, revision, pythonversion) glue_ml_exporter_build_info{{{THIS}}}"
    return f"(time() - {timestamp}{{{THIS}}})\n* {version}"
