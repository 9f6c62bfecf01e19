"""The dashboard about all transforms."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.parts import (
    NONE_IS_GOOD,
    SECONDS,
    SHORT,
    SUCCESS_AGES,
    AnyPanel,
    bars,
    chosen,
    coloured_by_status,
    fill,
    graph,
    latest_status,
    new_dashboard,
    number_panel,
    place_variables,
    query,
    rows,
    timeline,
    to_transform,
    transform_variable,
)

SHOWN = 30
"""The maximum number of lines in one panel, so that it stays readable."""

RUN = "transform_id, transform_name, task_type"
FAILURES = 'transform_id=~"$transform",status=~"FAILED|TIMEOUT"'
ACTIVE = 'transform_id=~"$transform",status=~"STARTING|RUNNING|STOPPING"'
LAST_FAILURE = f'max by ({RUN}) (glue_ml_task_run_last_failure_timestamp_seconds{{transform_id=~"$transform"}})'
LAST_SUCCESS = f'max by ({RUN}) (glue_ml_task_run_last_success_timestamp_seconds{{transform_id=~"$transform"}})'
LAST_START = f'max by ({RUN}) (glue_ml_task_run_last_start_timestamp_seconds{{transform_id=~"$transform"}})'
OLDEST_ACTIVE = (
    f'time() - max by ({RUN}) (glue_ml_task_run_oldest_active_start_timestamp_seconds{{transform_id=~"$transform"}})'
)
UNRECOVERED = f"({LAST_FAILURE}\nunless\n{LAST_SUCCESS} >= {LAST_FAILURE})"


def _failed(by: str, window: str) -> str:
    failed = f"max by ({RUN}, status) (increase(glue_ml_task_runs_finished_total{{{FAILURES}}}[{window}]))"
    return f"sum by ({by}) (\n{chosen(failed)}\n)" if by else f"sum(\n{chosen(failed)}\n)"


def overview() -> Dashboard:
    """Return the dashboard about all transforms. Its timeline shows the transforms with recent failures first."""
    built = new_dashboard(
        "glue-ml-overview",
        "Glue ML / Overview",
        "Task runs of all AWS Glue ML transforms: failures, runs in flight, and the age of the last success.",
    )
    for choice in (*place_variables(), transform_variable(several=True)):
        built = built.with_variable(choice)
    return fill(built, (("Now", _now()), ("Runs", _runs()), ("Transforms", _transforms())))


def _now() -> tuple[AnyPanel, ...]:
    return (
        number_panel(
            "Transforms",
            "Transforms that the exporter monitors.",
            f"count(group by (transform_id) (\n{chosen('glue_ml_transform_info')}\n))",
            SHORT,
        ),
        number_panel(
            "Failed since their last success",
            "Transforms with a task type that has had no success since its last run that FAILED or ended in TIMEOUT.",
            f"count(group by (transform_id) (\n{chosen(UNRECOVERED)}\n)) or vector(0)",
            SHORT,
            steps=NONE_IS_GOOD,
        ),
        number_panel(
            "Failed runs",
            "Runs that FAILED or ended in TIMEOUT in the time range of the dashboard.",
            f"round({_failed('', '$__range')})",
            SHORT,
            steps=NONE_IS_GOOD,
        ),
        number_panel(
            "Runs in flight",
            "Runs that are STARTING, RUNNING or STOPPING.",
            f"sum(\n{chosen(f'max by ({RUN}, status) (glue_ml_task_runs{{{ACTIVE}}})')}\n)",
            SHORT,
        ),
        number_panel(
            "Longest in flight",
            "Time since the start of the oldest run that has not ended.",
            f"max(\n{chosen(OLDEST_ACTIVE)}\n)",
            SECONDS,
            steps=((None, "green"), (6 * 3600, "yellow"), (86400, "red")),
        ),
        number_panel(
            "Cannot be polled",
            "Transforms whose last poll failed. Their values are out of date.",
            "count(\n"
            + chosen('max by (transform_id) (glue_ml_transform_up{transform_id=~"$transform"}) == 0')
            + "\n) or vector(0)",
            SHORT,
            steps=NONE_IS_GOOD,
        ),
    )


def _runs() -> tuple[AnyPanel, ...]:
    failed, started = chosen(_at_end(LAST_FAILURE)), chosen(f"{_at_end(LAST_START)} / 1e6")
    attention = f"topk({SHOWN},\n{failed} @ end()\nor\n{started} @ end()\n)"
    return (
        timeline(
            "Latest status",
            f"Status of the last started run, by transform and task type. The {SHOWN} lines are those that failed last,"
            " then those that started last.",
            f"{latest_status(RUN)}\nand on (transform_id, task_type)\n{attention}",
            "{{transform_name}} {{task_type}}",
        ).data_links([to_transform("${__field.labels.transform_id}")]),
        coloured_by_status(
            graph(
                "Finished runs",
                "Runs that ended, by final status.",
                SHORT,
                query(
                    "sum by (status) (\n"
                    + chosen(
                        f"max by ({RUN}, status)"
                        ' (increase(glue_ml_task_runs_finished_total{transform_id=~"$transform"}[$__rate_interval]))'
                    )
                    + "\n)",
                    "{{status}}",
                    exemplars=True,
                ),
                bars=True,
            )
        ),
        coloured_by_status(
            graph(
                "Runs in flight",
                "Runs that have not ended, by status.",
                SHORT,
                query(
                    f"sum by (status) (\n{chosen(f'max by ({RUN}, status) (glue_ml_task_runs{{{ACTIVE}}})')}\n)",
                    "{{status}}",
                ),
            )
        ),
        bars(
            "Failed runs by transform",
            "The fifteen transforms with the most runs that FAILED or ended in TIMEOUT in the time range.",
            SHORT,
            query(
                f"round(topk(15, {_failed('transform_id, transform_name', '$__range')} > 0))",
                "{{transform_name}}",
                instant=True,
            ),
            steps=NONE_IS_GOOD,
        ),
        bars(
            "Longest without success",
            "The fifteen longest times since the last success, by transform and task type.",
            SECONDS,
            query(
                f"topk(15,\n{chosen(f'time() - {LAST_SUCCESS}')}\n)", "{{transform_name}} {{task_type}}", instant=True
            ),
            steps=SUCCESS_AGES,
        ),
    )


def _at_end(expr: str) -> str:
    """Return the expression at the end of the time range. `topk` then selects the same series for the whole range."""
    return expr.replace("})", "} @ end())")


def _transforms() -> tuple[AnyPanel, ...]:
    finished = (
        f'max by ({RUN}, status) (increase(glue_ml_task_runs_finished_total{{transform_id=~"$transform"}}[$__range]))'
    )
    active = f"max by ({RUN}, status) (glue_ml_task_runs{{{ACTIVE}}})"
    return (
        rows(
            "All transforms",
            "One row for each transform and task type that has run. Use the column headers to filter and sort.",
            (
                ("Since last start", SECONDS, chosen(f"time() - {LAST_START}")),
                ("Since last success", SECONDS, chosen(f"time() - {LAST_SUCCESS}")),
                ("Since last failure", SECONDS, chosen(f"time() - {LAST_FAILURE}")),
                ("Finished", SHORT, _of_those_that_ran(f"round(sum by ({RUN}) (\n{chosen(finished)}\n))")),
                ("Failed", SHORT, _of_those_that_ran(f"round({_failed(RUN, '$__range')})")),
                ("In flight", SHORT, _of_those_that_ran(f"sum by ({RUN}) (\n{chosen(active)}\n)")),
            ),
            labels=("transform_name", "task_type", "transform_id"),
        ),
    )


def _of_those_that_ran(expr: str) -> str:
    return f"{expr}\nand\n{LAST_START}"
