"""The dashboard about one transform."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink
from grafana_foundation_sdk.models.common import BigValueGraphMode, BigValueTextMode
from grafana_foundation_sdk.models.dashboard import VariableHide

from dashboards.parts import (
    DATA_AGES,
    NONE_IS_GOOD,
    RATIO,
    SECONDS,
    SHORT,
    SUCCESS_AGES,
    THESE,
    AnyPanel,
    FailureAnnotations,
    coloured_by_status,
    counted_once,
    described,
    fill,
    glue_console,
    graph,
    heat,
    latest_status,
    log_console,
    new_dashboard,
    number_panel,
    place_variables,
    query,
    status_mapping,
    status_page,
    status_page_variable,
    timeline,
    transform_variables,
    variable,
)

NO_RUN = "The transform has had no such run."
NOT_COUNTED = "No run has ended since the exporter counts."
NO_POLL = "The transform is not polled, or Prometheus does not scrape the exporter."
NO_DETAILS = "Glue has no such value for the transform, or the exporter may not read it (transform_details)."


def transform() -> Dashboard:
    """Return the dashboard about one transform."""
    built = new_dashboard(
        "glue-ml-transform", "Glue ML / Transform", "Task runs, durations and quality of one AWS Glue ML transform."
    )
    hidden = (
        variable(
            name,
            label,
            f"query_result({described()})",
            several=False,
            regex=f'/{name}="(?<value>[^"]+)"/',
        ).hide(VariableHide.HIDE_VARIABLE)
        for name, label in (("aws_region", "Region of the transform"), ("console", "Host of its console"))
    )
    for choice in (*place_variables(), *transform_variables(several=False), *hidden, status_page_variable()):
        built = built.with_variable(choice)
    for page in _links():
        built = built.link(page)
    built = built.annotation(FailureAnnotations())
    return fill(built, (("Now", _now()), ("Runs", _runs()), ("Duration", _durations()), ("Quality", _quality())))


def _links() -> tuple[DashboardLink, ...]:
    return (
        status_page("${transform}"),
        glue_console("${console}", "${aws_region}"),
        log_console("${console}", "${aws_region}"),
    )


def _now() -> tuple[AnyPanel, ...]:
    failed = counted_once("task_type, status", f'glue_ml_task_runs_finished_total{{{THESE},status=~"FAILED|TIMEOUT"}}')
    return (
        number_panel(
            "Latest status",
            "Status of the last started run, by task type.",
            latest_status("task_type"),
            SHORT,
            legend="{{task_type}}",
            empty=NO_RUN,
        )
        .mappings([status_mapping()])
        .graph_mode(BigValueGraphMode.NONE)
        .span(8),
        number_panel(
            "Reason of the last failure",
            "Reason of the last run that FAILED and of the last one that ended in TIMEOUT, by task type. The status"
            " page shows the error string.",
            f"max by (task_type, status, reason) (glue_ml_task_run_last_failure_info{{{THESE}}})",
            SHORT,
            legend="{{task_type}} {{status}}: {{reason}}",
            empty="The transform has never failed.",
        )
        .text_mode(BigValueTextMode.NAME)
        .graph_mode(BigValueGraphMode.NONE)
        .span(16),
        number_panel(
            "Since last success",
            "Time since the last run of any type that SUCCEEDED.",
            f"time() - max(glue_ml_task_run_last_success_timestamp_seconds{{{THESE}}})",
            SECONDS,
            empty="The transform has never succeeded.",
            steps=SUCCESS_AGES,
        ),
        number_panel(
            "Since last failure",
            "Time since the last run of any type that FAILED or ended in TIMEOUT.",
            f"time() - max(glue_ml_task_run_last_failure_timestamp_seconds{{{THESE}}})",
            SECONDS,
            empty="The transform has never failed.",
        ),
        number_panel(
            "Failed runs",
            "Runs that FAILED or ended in TIMEOUT in the time range of the dashboard.",
            f"sum(\n{failed}\n)",
            SHORT,
            empty=NO_POLL,
            steps=NONE_IS_GOOD,
            total=True,
        ),
        number_panel(
            "Expected",
            "Time within which a run should succeed, and time for which no run should be active, as configured.",
            _expected(),
            SECONDS,
            legend="{{expected}}",
            empty="Nothing is configured for this transform; the alerts use their own thresholds.",
        ).graph_mode(BigValueGraphMode.NONE),
        number_panel(
            "Capacity",
            "DPUs that a run of the transform may use.",
            f"max(glue_ml_transform_capacity_dpus{{{THESE}}})",
            SHORT,
            empty=NO_DETAILS,
        ),
        number_panel(
            "Age of the data",
            "Time since the last successful poll of the transform.",
            f"time() - max(glue_ml_transform_last_successful_poll_timestamp_seconds{{{THESE}}})",
            SECONDS,
            empty=NO_POLL,
            steps=DATA_AGES,
        ),
    )


def _expected() -> str:
    return "\nor\n".join(
        f'label_replace(max(glue_ml_transform_expected_{what}_seconds{{{THESE}}}), "expected", "{name}", "", "")'
        for what, name in (("interval", "a success within"), ("duration", "no run longer than"))
    )


def _runs() -> tuple[AnyPanel, ...]:
    finished = counted_once("task_type, status", f"glue_ml_task_runs_finished_total{{{THESE}}}")
    return (
        timeline(
            "Latest status over time",
            "Status of the last started run, by task type.",
            latest_status("task_type"),
            "{{task_type}}",
            empty=NO_RUN,
        ).height(7),
        coloured_by_status(
            graph(
                "Finished runs",
                "Runs that ended in each step of the graph, by final status. The steps add up to all runs.",
                SHORT,
                query(f"sum by (status) (\n{finished}\n)", "{{status}}", exemplars=True),
                empty=NO_POLL,
                bars=True,
            )
        ),
        graph(
            "Runs in flight",
            "Runs that are STARTING, RUNNING or STOPPING, by task type.",
            SHORT,
            query(
                "sum by (task_type) (max by (task_type, status)"
                f' (glue_ml_task_runs{{{THESE},status=~"STARTING|RUNNING|STOPPING"}}))',
                "{{task_type}}",
            ),
            empty=NO_POLL,
        ),
    )


def _durations() -> tuple[AnyPanel, ...]:
    def buckets(metric: str) -> str:
        return f"sum by (le) (\n{counted_once('task_type, status, le', f'{metric}_bucket{{{THESE}}}')}\n)"

    succeeded = f'glue_ml_task_run_duration_seconds_bucket{{{THESE},status="SUCCEEDED"}}'
    return (
        heat(
            "Duration of the runs",
            "Time from start to end of the runs that ended, queue included. Each dot is an exemplar with a run id.",
            buckets("glue_ml_task_run_duration_seconds"),
            empty=NOT_COUNTED,
        ),
        heat(
            "Execution time of the runs",
            "Time in which the runs that ended consumed resources. Each dot is an exemplar with a run id.",
            buckets("glue_ml_task_run_execution_seconds"),
            empty=NOT_COUNTED,
        ),
        graph(
            "Duration of successful runs",
            "Median and 95th percentile of all counted runs. The alert on slow runs compares with the 95th percentile"
            " of the last 30 days.",
            SECONDS,
            *(
                query(
                    f"histogram_quantile({share}, max by (task_type, le) ({succeeded}))",
                    f"{{{{task_type}}}} {name}",
                    exemplars=True,
                )
                for share, name in ((0.5, "median"), (0.95, "95 %"))
            ),
            empty="No run has succeeded since the exporter counts.",
        ),
        graph(
            "Latest run",
            "Execution time of the last finished run, and the age of the oldest run that has not ended.",
            SECONDS,
            query(
                f"max by (task_type) (glue_ml_task_run_latest_execution_seconds{{{THESE}}})", "{{task_type}} execution"
            ),
            query(
                f"time() - max by (task_type) (glue_ml_task_run_oldest_active_start_timestamp_seconds{{{THESE}}})",
                "{{task_type}} active",
            ),
            empty=NO_RUN,
        ),
    )


def _quality() -> tuple[AnyPanel, ...]:
    names = {
        "precision": "precision",
        "recall": "recall",
        "f1": "F1",
        "area_under_pr_curve": "area under the precision-recall curve",
    }
    return (
        graph(
            "Quality",
            "Quality of the trained transform, as Glue estimates it.",
            RATIO,
            *(query(f"max(glue_ml_transform_{name}_ratio{{{THESE}}})", legend) for name, legend in names.items()),
            empty=NO_DETAILS,
        ).max(1),
        graph(
            "Training labels",
            "Labels that the transform can be trained with.",
            SHORT,
            query(f"max(glue_ml_transform_training_labels{{{THESE}}})", "labels"),
            empty=NO_DETAILS,
        ),
    )
