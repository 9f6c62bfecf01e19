"""The dashboard about one transform."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink
from grafana_foundation_sdk.models.dashboard import VariableHide

from dashboards.parts import (
    CONSOLE,
    NONE_IS_GOOD,
    RATIO,
    SECONDS,
    SHORT,
    SUCCESS_AGES,
    AnyPanel,
    coloured_by_status,
    fill,
    graph,
    heat,
    latest_status,
    link,
    new_dashboard,
    number_panel,
    place_variables,
    query,
    status_mapping,
    timeline,
    transform_variable,
    variable,
)

THIS = 'transform_id=~"$transform"'


def transform() -> Dashboard:
    """Return the dashboard about one transform."""
    built = new_dashboard(
        "glue-ml-transform", "Glue ML / Transform", "Task runs, durations and quality of one AWS Glue ML transform."
    )
    own_region = variable(
        "aws_region",
        "Region of the transform",
        'label_values(glue_ml_transform_info{transform_id=~"$transform"}, aws_region)',
        several=False,
    ).hide(VariableHide.HIDE_VARIABLE)
    for choice in (*place_variables(), transform_variable(several=False), own_region):
        built = built.with_variable(choice)
    for page in _links():
        built = built.link(page)
    return fill(built, (("Now", _now()), ("Runs", _runs()), ("Duration", _durations()), ("Quality", _quality())))


def _links() -> tuple[DashboardLink, ...]:
    return (
        link(
            "Glue console",
            f"{CONSOLE}/glue/home?region=${{aws_region}}",
            "Opens AWS Glue in the region of the transform. See Data classification tools, Record matching.",
        ),
        link(
            "CloudWatch logs",
            f"{CONSOLE}/cloudwatch/home?region=${{aws_region}}#logsV2:log-groups$3FlogGroupNameFilter$3Daws-glue",
            "Opens the log groups of AWS Glue in the region of the transform.",
        ),
    )


def _now() -> tuple[AnyPanel, ...]:
    failed = f'increase(glue_ml_task_runs_finished_total{{{THIS},status=~"FAILED|TIMEOUT"}}[$__range])'
    return (
        number_panel(
            "Latest status",
            "Status of the last started run, by task type.",
            latest_status("task_type"),
            SHORT,
            legend="{{task_type}}",
        )
        .mappings([status_mapping()])
        .span(8),
        number_panel(
            "Since last success",
            "Time since the last run of any type that SUCCEEDED.",
            f"time() - max(glue_ml_task_run_last_success_timestamp_seconds{{{THIS}}})",
            SECONDS,
            steps=SUCCESS_AGES,
        ),
        number_panel(
            "Since last failure",
            "Time since the last run of any type that FAILED or ended in TIMEOUT.",
            f"time() - max(glue_ml_task_run_last_failure_timestamp_seconds{{{THIS}}})",
            SECONDS,
        ),
        number_panel(
            "Failed runs",
            "Runs that FAILED or ended in TIMEOUT in the time range of the dashboard.",
            f"round(sum(max by (task_type, status) ({failed})))",
            SHORT,
            steps=NONE_IS_GOOD,
        ),
        number_panel(
            "Age of the data",
            "Time since the last successful poll of the transform.",
            f"time() - max(glue_ml_transform_last_successful_poll_timestamp_seconds{{{THIS}}})",
            SECONDS,
            steps=((None, "green"), (300, "yellow"), (900, "red")),
        ),
    )


def _runs() -> tuple[AnyPanel, ...]:
    increase = f"increase(glue_ml_task_runs_finished_total{{{THIS}}}[$__rate_interval])"
    return (
        timeline(
            "Latest status over time",
            "Status of the last started run, by task type.",
            latest_status("task_type"),
            "{{task_type}}",
        ).height(7),
        coloured_by_status(
            graph(
                "Finished runs",
                "Runs that ended, by final status.",
                SHORT,
                query(f"sum by (status) (max by (task_type, status) ({increase}))", "{{status}}", exemplars=True),
                bars=True,
            )
        ),
        graph(
            "Runs in flight",
            "Runs that are STARTING, RUNNING or STOPPING, by task type.",
            SHORT,
            query(
                "sum by (task_type) (max by (task_type, status)"
                f' (glue_ml_task_runs{{{THIS},status=~"STARTING|RUNNING|STOPPING"}}))',
                "{{task_type}}",
            ),
        ),
    )


def _durations() -> tuple[AnyPanel, ...]:
    def buckets(metric: str) -> str:
        inner = f"max by (task_type, status, le) (increase({metric}_bucket{{{THIS}}}[$__rate_interval]))"
        return f"sum by (le) ({inner})"

    succeeded = f'glue_ml_task_run_duration_seconds_bucket{{{THIS},status="SUCCEEDED"}}'
    return (
        heat(
            "Duration of the runs",
            "Time from start to end of the runs that ended, queue included. Each dot is an exemplar with a run id.",
            buckets("glue_ml_task_run_duration_seconds"),
        ),
        heat(
            "Execution time of the runs",
            "Time in which the runs that ended consumed resources. Each dot is an exemplar with a run id.",
            buckets("glue_ml_task_run_execution_seconds"),
        ),
        graph(
            "Duration of successful runs",
            "Median and 95th percentile of all counted runs. The alert on slow runs compares with the 95th percentile.",
            SECONDS,
            *(
                query(
                    f"histogram_quantile({share}, max by (task_type, le) ({succeeded}))",
                    f"{{{{task_type}}}} {name}",
                    exemplars=True,
                )
                for share, name in ((0.5, "median"), (0.95, "95 %"))
            ),
        ),
        graph(
            "Latest run",
            "Execution time of the last finished run, and the age of the oldest run that has not ended.",
            SECONDS,
            query(
                f"max by (task_type) (glue_ml_task_run_latest_execution_seconds{{{THIS}}})", "{{task_type}} execution"
            ),
            query(
                f"time() - max by (task_type) (glue_ml_task_run_oldest_active_start_timestamp_seconds{{{THIS}}})",
                "{{task_type}} active",
            ),
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
            *(query(f"max(glue_ml_transform_{name}_ratio{{{THIS}}})", legend) for name, legend in names.items()),
        ).max(1),
        graph(
            "Training labels",
            "Labels that the transform can be trained with.",
            SHORT,
            query(f"max(glue_ml_transform_training_labels{{{THIS}}})", "labels"),
        ),
    )
