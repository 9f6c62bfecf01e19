"""The dashboard about all transforms."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.parts import (
    ACTIVE_TIMES,
    AGO,
    DOLLARS,
    HOURS,
    NONE_IS_GOOD,
    SECONDS,
    SHORT,
    SUCCESS_AGES,
    THESE,
    AnyPanel,
    FailureAnnotations,
    bars,
    chosen,
    coloured_by_status,
    counted_once,
    described,
    fill,
    finished,
    graph,
    latest_status,
    new_dashboard,
    number_panel,
    place_variables,
    query,
    rows,
    status_page_variable,
    text_variable,
    timeline,
    to_transform,
    transform_variables,
    with_reason,
)

SHOWN = 30
"""The maximum number of lines in one panel, so that it stays readable."""

PRICE = "0.44"
"""US dollars for a DPU-hour in most regions (AWS Glue pricing)."""

RUN = "transform_id, transform_name, task_type"
FAILED = 'status=~"FAILED|TIMEOUT"'
ACTIVE = f'{THESE},status=~"STARTING|RUNNING|STOPPING"'
LAST_FAILURE = f"max by ({RUN}) (glue_ml_task_run_last_failure_timestamp_seconds{{{THESE}}})"
LAST_SUCCESS = f"max by ({RUN}) (glue_ml_task_run_last_success_timestamp_seconds{{{THESE}}})"
LAST_START = f"max by ({RUN}) (glue_ml_task_run_last_start_timestamp_seconds{{{THESE}}})"
OLDEST_ACTIVE = f"time() - max by ({RUN}) (glue_ml_task_run_oldest_active_start_timestamp_seconds{{{THESE}}})"
UNRECOVERED = f"({LAST_FAILURE}\nunless\n{LAST_SUCCESS} >= {LAST_FAILURE})"

NO_TRANSFORM = "No transform is selected, or Prometheus does not scrape the exporter."
NO_RUN = "No selected transform has such a run."


def overview() -> Dashboard:
    """Return the dashboard about all transforms. It begins with the transforms that fail now."""
    built = new_dashboard(
        "glue-ml-overview",
        "Glue ML / Overview",
        "Task runs of all AWS Glue ML transforms: failures, runs in flight, and the age of the last success.",
    )
    price = text_variable("price", "Price", "Price of a DPU-hour in US dollars, from the price list of AWS Glue", PRICE)
    for choice in (*place_variables(), *transform_variables(several=True), status_page_variable(), price):
        built = built.with_variable(choice)
    built = built.annotation(FailureAnnotations())
    return fill(
        built,
        (
            ("Failing now", _failing()),
            ("Now", _now()),
            ("Runs", _runs()),
            ("Cost", _cost()),
            ("Transforms", _transforms()),
        ),
    )


# -- failing now ------------------------------------------------------------------------------------------------------


def _failing() -> tuple[AnyPanel, ...]:
    labels = ("transform_name", "task_type", "status", "reason", "team", "aws_account", "aws_region")
    alerts = ("alertname", "severity", *labels, "transform_id")
    return (
        rows(
            "Failing now",
            "Task types that have failed and have not succeeded since, and transforms that cannot be polled. The name"
            " links to the transform, the status page, the Glue console and the logs.",
            (("Since", AGO, _failing_since()),),
            labels=(*labels, "transform_id", "console"),
            empty="Nothing fails: every task type has succeeded after its last failure, and every poll succeeds.",
            newest_first="Since",
        ).height(9),
        rows(
            "Firing alerts",
            "Alerts of the exporter's rules that fire now, with the time at which their condition became true.",
            (("Since", AGO, _alerts(", ".join(alerts))),),
            labels=alerts,
            empty="No alert fires. Prometheus must have loaded the rules of the exporter.",
            newest_first="Since",
        ).height(7),
    )


def _failing_since() -> str:
    """Return the times of failures without a later success, and of the last good polls of transforms that are down.

    Times are in milliseconds, as Grafana expects them.
    """
    failure = f"max by ({RUN}, status) (glue_ml_task_run_last_failure_timestamp_seconds{{{THESE}}})"
    success = f"max by (transform_id, task_type) (glue_ml_task_run_last_success_timestamp_seconds{{{THESE}}})"
    failed = (
        f"({failure}\nunless on (transform_id, task_type, status)\n"
        f"{failure} <= on (transform_id, task_type) group_left () {success})"
    )
    return (
        f"1000 * (\n{with_reason(failed)}\nor\n{_down()}\n)"
        f"\n* on (transform_id) group_left (team, aws_account, aws_region, console)\n{described()}"
    )


def _down() -> str:
    """Return the time of the last good poll, else of the last poll, of each transform whose last poll failed."""
    polled = [
        f"max by (transform_id, transform_name) (glue_ml_transform_last_{name}poll_timestamp_seconds{{{THESE}}})"
        for name in ("successful_", "")
    ]
    errors = f"max by (transform_id, reason) (glue_ml_transform_last_poll_error_info{{{THESE}}})"
    down = (
        f"(({polled[0]} or {polled[1]})\nand on (transform_id) max by (transform_id)"
        f" (glue_ml_transform_up{{{THESE}}}) == 0)"
        f"\n* on (transform_id) group_left (reason) topk by (transform_id) (1, {errors})"
    )
    return f'label_replace(\n{down},\n"status", "DOWN", "", "")'


def _alerts(labels: str) -> str:
    # Alerts about the exporter have no account, region, team or transform.
    chosen_labels = {"aws_account": "account", "aws_region": "region", "transform_id": "transform", "team": "team"}
    own = ",".join(['alertname=~"GlueML.+"', *(f'{label}=~"${name}|"' for label, name in chosen_labels.items())])
    firing = f'ALERTS{{{own},alertstate="firing"}}'
    return f"1000 * max by ({labels}) (\nALERTS_FOR_STATE{{{own}}}\nand ignoring (alertstate)\n{firing}\n)"


# -- numbers ----------------------------------------------------------------------------------------------------------


def _now() -> tuple[AnyPanel, ...]:
    return (
        number_panel(
            "Transforms",
            "Transforms that the exporter monitors.",
            f"count(group by (transform_id) (\n{chosen('glue_ml_transform_info')}\n))",
            SHORT,
            empty=NO_TRANSFORM,
        ),
        number_panel(
            "Failed since their last success",
            "Transforms with a task type that has had no success since its last run that FAILED or ended in TIMEOUT.",
            f"count(group by (transform_id) (\n{chosen(UNRECOVERED)}\n)) or vector(0)",
            SHORT,
            empty=NO_TRANSFORM,
            steps=NONE_IS_GOOD,
        ),
        number_panel(
            "Failed runs",
            "Runs that FAILED or ended in TIMEOUT in the time range of the dashboard.",
            f"sum(\n{finished(f'{RUN}, status', FAILED)}\n)",
            SHORT,
            empty=NO_TRANSFORM,
            steps=NONE_IS_GOOD,
            total=True,
        ),
        number_panel(
            "Runs in flight",
            "Runs that are STARTING, RUNNING or STOPPING.",
            f"sum(\n{chosen(f'max by ({RUN}, status) (glue_ml_task_runs{{{ACTIVE}}})')}\n)",
            SHORT,
            empty="No selected transform was polled within the last minutes.",
        ),
        number_panel(
            "Longest in flight",
            "Time since the start of the oldest run that has not ended.",
            f"max(\n{chosen(OLDEST_ACTIVE)}\n)",
            SECONDS,
            empty="No run is active.",
            steps=ACTIVE_TIMES,
        ),
        number_panel(
            "Cannot be polled",
            "Transforms whose last poll failed. Their values are out of date.",
            "count(\n" + chosen(f"max by (transform_id) (glue_ml_transform_up{{{THESE}}}) == 0") + "\n) or vector(0)",
            SHORT,
            empty=NO_TRANSFORM,
            steps=NONE_IS_GOOD,
        ),
    )


# -- runs -------------------------------------------------------------------------------------------------------------


def _runs() -> tuple[AnyPanel, ...]:
    failed, started = chosen(_at_end(LAST_FAILURE)), chosen(f"{_at_end(LAST_START)} / 1e6")
    attention = f"topk({SHOWN},\n{failed} @ end()\nor\n{started} @ end()\n)"
    # The fifteen transforms are chosen once for the whole range, so that the steps of a transform add up.
    most = f"max by ({RUN}, status) (increase(glue_ml_task_runs_finished_total{{{THESE},{FAILED}}}[$__range] @ end()))"
    return (
        timeline(
            "Latest status",
            f"Status of the last started run, by transform and task type. The {SHOWN} lines are those that failed last,"
            " then those that started last.",
            f"{latest_status(RUN)}\nand on (transform_id, task_type)\n{attention}",
            "{{transform_name}} {{task_type}}",
            empty=NO_RUN,
        ).data_links([to_transform("${__field.labels.transform_id}")]),
        coloured_by_status(
            graph(
                "Finished runs",
                "Runs that ended in each step of the graph, by final status. The steps add up to all runs.",
                SHORT,
                query(f"sum by (status) (\n{finished(f'{RUN}, status')}\n)", "{{status}}", exemplars=True),
                empty=NO_TRANSFORM,
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
                empty="No selected transform was polled in the time range.",
            )
        ),
        bars(
            "Failed runs by transform",
            "The fifteen transforms with the most runs that FAILED or ended in TIMEOUT in the time range.",
            SHORT,
            query(
                f"sum by (transform_id, transform_name) (\n{finished(f'{RUN}, status', FAILED)}\n)"
                f"\nand on (transform_id)\ntopk(15, sum by (transform_id) (\n{chosen(most)} @ end()\n) > 0)",
                "{{transform_name}}",
            ),
            empty="No run failed in the time range.",
            steps=NONE_IS_GOOD,
            total=True,
        ),
        bars(
            "Longest without success",
            "The fifteen longest times since the last success, by transform and task type.",
            SECONDS,
            query(
                f"topk(15,\n{chosen(f'time() - {LAST_SUCCESS}')}\n)", "{{transform_name}} {{task_type}}", instant=True
            ),
            empty="No selected transform has ever succeeded.",
            steps=SUCCESS_AGES,
        ),
    )


def _at_end(expr: str) -> str:
    """Return the expression at the end of the time range. `topk` then selects the same series for the whole range."""
    return expr.replace("})", "} @ end())")


# -- cost -------------------------------------------------------------------------------------------------------------


def _cost() -> tuple[AnyPanel, ...]:
    none = "No run finished, or the capacity of the transforms is unknown."
    return (
        graph(
            "DPU-hours by team",
            "DPU-hours of the runs that ended in each step of the graph: execution time multiplied by the capacity of"
            " the transform. Runs that use less than the capacity cost less.",
            HOURS,
            query(_dpu_hours("team"), "{{team}}"),
            empty=none,
            bars=True,
        ),
        number_panel(
            "Cost",
            "DPU-hours of the runs that ended in the time range, multiplied by the price.",
            f"{_dpu_hours('')} * $price",
            DOLLARS,
            empty=none,
            total=True,
        ).height(8),
        number_panel(
            "Cost of failed runs",
            "DPU-hours of the runs that FAILED or ended in TIMEOUT in the time range, multiplied by the price.",
            f"{_dpu_hours('', FAILED)} * $price",
            DOLLARS,
            empty="No run failed.",
            total=True,
        ).height(8),
        number_panel(
            "DPU-hours",
            "DPU-hours of the runs that ended in the time range.",
            _dpu_hours(""),
            HOURS,
            empty=none,
            total=True,
        ).height(8),
    )


def _dpu_hours(by: str, matchers: str = "") -> str:
    """Return the DPU-hours of the runs that ended in the step of a graph."""
    own = f"{THESE},{matchers}" if matchers else THESE
    seconds = f"({counted_once(f'{RUN}, status', f'glue_ml_task_run_execution_seconds_sum{{{own}}}')})"
    capacity = f"max by (transform_id) (glue_ml_transform_capacity_dpus{{{THESE}}})"
    total = f"sum by ({by})" if by else "sum"
    return (
        f"{total} (\n{seconds}\n* on (transform_id) group_left () {capacity}"
        f"\n* on (transform_id) group_left (team) {described()}\n) / 3600"
    )


# -- transforms -------------------------------------------------------------------------------------------------------


def _transforms() -> tuple[AnyPanel, ...]:
    def runs(matchers: str) -> str:
        return chosen(f"sum by ({RUN}) (max by ({RUN}, status) (glue_ml_task_runs{{{THESE},{matchers}}}))")

    return (
        rows(
            "All transforms",
            "One row for each transform and task type that has run. Finished, failed and active runs are those of the"
            " lookback of the exporter (polling.lookback). Use the column headers to filter and sort.",
            (
                ("Since last start", SECONDS, chosen(f"time() - {LAST_START}")),
                ("Since last success", SECONDS, chosen(f"time() - {LAST_SUCCESS}")),
                ("Since last failure", SECONDS, chosen(f"time() - {LAST_FAILURE}")),
                ("Finished", SHORT, _of_those_that_ran(runs('status=~"STOPPED|SUCCEEDED|FAILED|TIMEOUT"'))),
                ("Failed", SHORT, _of_those_that_ran(runs(FAILED))),
                ("In flight", SHORT, _of_those_that_ran(runs('status=~"STARTING|RUNNING|STOPPING"'))),
            ),
            labels=("transform_name", "task_type", "transform_id"),
            empty="No selected transform has run.",
        ),
    )


def _of_those_that_ran(expr: str) -> str:
    return f"{expr}\nand\n{LAST_START}"
