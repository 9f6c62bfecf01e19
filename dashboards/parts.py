"""The parts of the dashboards: variables, queries, panels with a common look, and links.

Panels are numbered from the first to the last, so that links to panels stay valid. Queries merge the replicas of the
exporter with `max`, as the alerts do. The colours change at the thresholds of the alerts.
"""

from collections.abc import Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models.dashboard import AnnotationQuery as Annotation
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from exporter.config.durations import parse_duration
from exporter.config.thresholds import read_thresholds

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "glue-ml"

SECONDS, SHORT, BYTES, RATIO, PER_SECOND = "s", "short", "bytes", "percentunit", "reqps"
DOLLARS, AGO, HOURS = "currencyUSD", "dateTimeFromNow", "h"
GREEN, YELLOW, RED, BLUE, GREY = "green", "yellow", "red", "blue", "text"

STATUS_COLOURS = {
    "STARTING": "light-blue",
    "RUNNING": "blue",
    "STOPPING": "light-orange",
    "STOPPED": "orange",
    "SUCCEEDED": "green",
    "FAILED": "red",
    "TIMEOUT": "purple",
}
"""Colour of each status. `latest_status` gives the number 1 to the first status, and 0 to a status not in this list."""

MOST_STEPS = 120
"""Points of the small graph behind a number, and bars of a graph that counts in steps.

More bars could not be told apart, and each costs Prometheus several values of each counter of each transform.
"""

AnyPanel = stat.Panel | timeseries.Panel | statetimeline.Panel | heatmap.Panel | table.Panel | bargauge.Panel


P = TypeVar("P", bound=AnyPanel)


# -- variables --------------------------------------------------------------------------------------------------------


def source_variable() -> dashboard.DatasourceVariable:
    """Return the variable that selects the Prometheus data source."""
    return dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")


def variable(
    name: str, label: str, query: str, *, several: bool = True, everything: str = ".+", regex: str = ""
) -> dashboard.QueryVariable:
    """Return a variable that a query fills. With `several`, a user can select several values or all of them.

    If a user selects all values, queries use `everything` as the regular expression. If `everything` is empty, queries
    list all values instead. That is necessary for a label that series of other programs have too.
    """
    built = (
        dashboard.QueryVariable(name)
        .label(label)
        .query(query)
        .datasource(SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
        .multi(several)
        .include_all(several)
    )
    if several:
        built = built.current(VariableOption(selected=True, text="All", value="$__all"))
    if several and everything:
        built = built.all_value(everything)
    return built.regex(regex) if regex else built


ANY = ".*"
"""Selects all values of a label, and also the series without the label."""


def text_variable(name: str, label: str, description: str, value: str) -> dashboard.TextBoxVariable:
    """Return a variable into which a user types a text."""
    return (
        dashboard.TextBoxVariable(name)
        .label(label)
        .description(description)
        .default_value(value)
        .current(VariableOption(selected=True, text=value, value=value))
    )


def place_variables() -> tuple[dashboard.QueryVariable, ...]:
    """Return the variables that select clusters, namespaces, accounts and regions.

    Cluster and namespace are labels that Prometheus adds. Series without them are selected by "All".
    """
    info = "glue_ml_transform_info"
    return (
        variable("cluster", "Cluster", f"label_values({info}, cluster)", everything=ANY),
        variable("namespace", "Namespace", f'label_values({info}{{cluster=~"$cluster"}}, namespace)', everything=ANY),
        variable("account", "Account", f"label_values({info}{{{PLACE}}}, aws_account)"),
        variable("region", "Region", f'label_values({info}{{{PLACE},aws_account=~"$account"}}, aws_region)'),
    )


def transform_variables(*, several: bool) -> tuple[dashboard.QueryVariable, ...]:
    """Return the variables that select teams and transforms.

    The variable of transforms shows names but selects ids, because names are not unique. The team is a label from the
    configuration or a tag, which a transform need not have.
    """
    accounts = f'{PLACE},aws_account=~"$account",aws_region=~"$region"'
    return (
        variable("team", "Team", f"label_values(glue_ml_transform_info{{{accounts}}}, team)", everything=ANY),
        variable(
            "transform",
            "Transform",
            f'query_result(glue_ml_transform_info{{{accounts},team=~"$team"}})',
            several=several,
            regex='/transform_id="(?<value>[^"]+)".*transform_name="(?<text>[^"]+)"/',
        ),
    )


def status_page_variable() -> dashboard.TextBoxVariable:
    """Return the variable with the address of the exporter's status page, which Prometheus does not know."""
    return text_variable(
        "status_page",
        "Status page",
        "Address of the exporter's status page, for the links to it; e.g. https://glue-ml.example.com",
        "",
    )


# -- queries ----------------------------------------------------------------------------------------------------------

PLACE = 'cluster=~"$cluster",namespace=~"$namespace"'
CHOSEN = (
    f'glue_ml_transform_info{{{PLACE},aws_account=~"$account",aws_region=~"$region",team=~"$team",'
    'transform_id=~"$transform"}'
)
THESE = 'transform_id=~"$transform"'


def chosen(expr: str) -> str:
    """Return the expression for the selected transforms only."""
    return f"{expr}\nand on (transform_id) {CHOSEN}"


def counted(series: str) -> str:
    """Return the increase of each counter in the step of a graph, so that all steps add up to the true number.

    ``increase()`` over ``$__rate_interval`` counts a run in several steps if that window is longer than a step, and it
    extrapolates. Here each step begins with the last sample before the step. A counter that is new or was reset begins
    with its lowest sample in the step; the exporter shows each new counter at its base value first.

    Example with a step of 1 minute: the samples are 3 at 10:00:50, 4 at 10:01:20 and 4 at 10:01:50. The step that ends
    at 10:02:00 has the increase 4 - 3 = 1, and the next step begins with 4.
    """
    last = f"last_over_time({series}[$__interval])"
    return f"({last} - {series} offset $__interval) >= 0\nor\n{last} - min_over_time({series}[$__interval])"


def counted_once(by: str, series: str) -> str:
    """Return the increase of the counters in the step of a graph by these labels, where replicas count the same runs.

    It is the increase of the highest replica, among those that exist at both ends of the step. So a run that two
    replicas see in different steps is counted once, and a replica that returns adds nothing. If no replica exists at
    both ends, or the highest has started again at 0, it is the largest increase of one counter.
    """
    now = f"max by ({by}) ({series} and {series} offset $__interval)"
    before = f"max by ({by}) ({series} offset $__interval and {series})"
    return f"({now} - {before}) >= 0\nor\nmax by ({by}) (\n{counted(series)}\n)"


def finished(by: str, matchers: str = "") -> str:
    """Return the number of runs that finished in the step of a graph, by these labels of each counter.

    ``matchers`` are further matchers of the counter.
    """
    own = f"{THESE},{matchers}" if matchers else THESE
    return chosen(f"({counted_once(by, f'glue_ml_task_runs_finished_total{{{own}}}')})")


def described() -> str:
    """Return the expression for the selected transforms with team, account, region and the host of the AWS console.

    It has the value 1 and one series for each transform, for a join with ``group_left``. China and GovCloud have
    consoles of their own.
    """
    labels = f"max by (transform_id, team, aws_account, aws_region) ({CHOSEN})"
    for domain, regions in (
        ("console.aws.amazon.com", "(.+)"),
        ("console.amazonaws.cn", "(cn-.+)"),
        ("console.amazonaws-us-gov.com", "(us-gov-.+)"),
    ):
        labels = f'label_replace({labels}, "console", "$1.{domain}", "aws_region", "{regions}")'
    return f"topk by (transform_id) (1, {labels})"


_RUN = "transform_id, task_type, status"


def reasons() -> str:
    """Return the expression for the reason of each last failure: one series for transform, task type and status."""
    info = f"max by ({_RUN}, reason) (glue_ml_task_run_last_failure_info{{{THESE}}})"
    return f"topk by ({_RUN}) (1, {info})"


def with_reason(expr: str) -> str:
    """Return the expression with the label ``reason``. A failure without a reason keeps its series."""
    joined = f"({expr})\n* on ({_RUN}) group_left (reason) {reasons()}"
    return f"(\n{joined}\nor\n({expr})\nunless on ({_RUN}) {reasons()}\n)"


def latest_status(by: str) -> str:
    """Return the expression for the status of the latest run as a number (see `STATUS_COLOURS`), by these labels."""
    terms = [
        f'{number} * glue_ml_task_run_latest_status{{{THESE},status="{status}"}}'
        for number, status in enumerate(STATUS_COLOURS, 1)
    ]
    return f"max by ({by}) (\n  " + "\n  or ".join(terms) + "\n)"


def query(
    expr: str,
    legend: str,
    *,
    instant: bool = False,
    exemplars: bool = False,
    form: PromQueryFormat = PromQueryFormat.TIME_SERIES,
) -> prometheus.Dataquery:
    """Return a query, with the template for the legend of its series."""
    built = prometheus.Dataquery().expr(expr).legend_format(legend).format(form).exemplar(exemplars)
    return built.instant() if instant else built.range()


# -- panels -----------------------------------------------------------------------------------------------------------


def thresholds(*steps: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    """Return thresholds. A colour applies from its value upwards. The first value is None and means minus infinity."""
    return (
        dashboard.ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([Threshold(value=value, color=colour) for value, colour in steps])
    )


LATEST = common.ReduceDataOptions().calcs(["lastNotNull"])
SUM = common.ReduceDataOptions().calcs(["sum"])
NEUTRAL = ((None, GREY),)
NONE_IS_GOOD = ((None, GREEN), (1, RED))
_LIMITS = read_thresholds(None).alerts


def _up_to(limit: str) -> tuple[tuple[float | None, str], ...]:
    """Return the steps of a time that raises an alert at ``limit``: yellow from half of it, red from the limit on."""
    return (None, GREEN), (parse_duration(limit) / 2, YELLOW), (parse_duration(limit), RED)


SUCCESS_AGES = _up_to(_LIMITS.GlueMLTaskRunNoSuccess.at_most)
ACTIVE_TIMES = _up_to(_LIMITS.GlueMLTaskRunActiveTooLong.at_most)
DATA_AGES = _up_to(_LIMITS.GlueMLDataStale.age)


def number_panel(
    title: str,
    description: str,
    expr: str,
    unit: str,
    *,
    empty: str,
    legend: str = "",
    steps: Sequence[tuple[float | None, str]] = NEUTRAL,
    total: bool = False,
) -> stat.Panel:
    """Return a panel with one number before its trend, or with one number for each series.

    The number is the last value, or with ``total`` the sum of all steps of the time range. ``empty`` is shown if there
    is no value. Thresholds colour the number.
    """
    return (
        _panel(stat.Panel(), title, description, unit, (query(expr, legend or title),), empty)
        .thresholds(thresholds(*steps))
        .color_mode(kinds.BigValueColorMode.VALUE)
        .graph_mode(kinds.BigValueGraphMode.AREA)
        .reduce_options(SUM if total else LATEST)
        .max_data_points(MOST_STEPS)
        .span(4)
        .height(4)
    )


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: prometheus.Dataquery,
    empty: str,
    steps: Sequence[tuple[float | None, str]] = NEUTRAL,
    bars: bool = False,
) -> timeseries.Panel:
    """Return a panel with lines, or with stacked bars, over time. Thresholds are drawn as dashed lines.

    ``empty`` is shown if there is no value.
    """
    panel = (
        _panel(timeseries.Panel(), title, description, unit, queries, empty)
        .thresholds(thresholds(*steps))
        .min(0)
        .legend(
            common.VizLegendOptions()
            .display_mode(kinds.LegendDisplayMode.LIST)
            .placement(kinds.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING))
        .thresholds_style(
            common.GraphThresholdsStyleConfig().mode(
                kinds.GraphThresholdsStyleMode.DASHED if len(steps) > 1 else kinds.GraphThresholdsStyleMode.OFF
            )
        )
        .span(12)
        .height(8)
    )
    if not bars:
        return panel.fill_opacity(10).show_points(kinds.VisibilityMode.AUTO)
    return (
        panel.draw_style(kinds.GraphDrawStyle.BARS)
        .max_data_points(MOST_STEPS)
        .fill_opacity(80)
        .stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL).group("A"))
    )


def coloured_by_status(panel: timeseries.Panel) -> timeseries.Panel:
    """Return the panel with a fixed colour for each series whose name is a status."""
    for status, colour in STATUS_COLOURS.items():
        fixed = DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": colour})
        panel = panel.override_by_name(status, [fixed])
    return panel


def status_mapping() -> ValueMap:
    """Return the text and colour for each number of `latest_status`."""
    names = {"0": ValueMappingResult(text="other", color=GREY)}
    for number, (status, colour) in enumerate(STATUS_COLOURS.items(), 1):
        names[str(number)] = ValueMappingResult(text=status, color=colour)
    return ValueMap(options=names)


def timeline(title: str, description: str, expr: str, legend: str, *, empty: str) -> statetimeline.Panel:
    """Return a panel with the status of the latest run over time, with a line for each series."""
    return (
        _panel(statetimeline.Panel(), title, description, SHORT, (query(expr, legend),), empty)
        .mappings([status_mapping()])
        .thresholds(thresholds(*NEUTRAL))
        .merge_values(True)
        .show_value(kinds.VisibilityMode.NEVER)
        .row_height(0.8)
        .legend(common.VizLegendOptions().show_legend(False))
        .span(24)
        .height(10)
    )


def heat(title: str, description: str, expr: str, *, empty: str) -> heatmap.Panel:
    """Return a heat map of a histogram's buckets over time, with exemplars."""
    request = query(expr, "{{le}}", exemplars=True, form=PromQueryFormat.HEATMAP)
    return (
        _panel(heatmap.Panel(), title, description, SHORT, (request,), empty)
        .thresholds(thresholds(*NEUTRAL))
        .y_axis(heatmap.YAxisConfig().unit(SECONDS))
        .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64))
        .exemplars_color("rgba(31, 120, 193, 0.9)")
        .show_legend()
        .span(12)
        .height(9)
    )


def bars(
    title: str,
    description: str,
    unit: str,
    request: prometheus.Dataquery,
    *,
    empty: str,
    steps: Sequence[tuple[float | None, str]] = NEUTRAL,
    total: bool = False,
) -> bargauge.Panel:
    """Return a panel with a bar for each series, the longest first. Each bar links to its transform, if it has one.

    A bar is the last value, or with ``total`` the sum of all steps of the time range.
    """
    panel = (
        _panel(bargauge.Panel(), title, description, unit, (request,), empty)
        .thresholds(thresholds(*steps))
        .orientation(kinds.VizOrientation.HORIZONTAL)
        .display_mode(kinds.BarGaugeDisplayMode.BASIC)
        .reduce_options(SUM if total else LATEST)
        .max_data_points(MOST_STEPS)
        .with_transformation(DataTransformerConfig("sortBy", options={"sort": [{"field": "Value", "desc": True}]}))
        .span(12)
        .height(8)
    )
    if "transform_id" in (request.build().expr or ""):
        panel = panel.data_links([to_transform("${__field.labels.transform_id}")])
    return panel


HIDDEN = ("transform_id", "console")
"""Columns that links need and nobody reads."""


def rows(
    title: str,
    description: str,
    columns: Sequence[tuple[str, str, str]],
    *,
    labels: Sequence[str],
    empty: str,
    newest_first: str = "",
) -> table.Panel:
    """Return a table. The columns are `labels` and the queries (name, unit, expression); each series has a row.

    The column `newest_first` sorts the rows, the highest value first. Names of transforms link to their dashboard, and
    to the consoles of AWS if `labels` has `console`.
    """
    requests = [query(expr, name, instant=True, form=PromQueryFormat.TABLE) for name, _, expr in columns]
    panel = _panel(table.Panel(), title, description, SHORT, requests, empty).thresholds(thresholds(*NEUTRAL))
    if "transform_id" in labels:
        leads = [to_transform("${__data.fields.transform_id}")]
        if "console" in labels:
            leads += [
                status_page("${__data.fields.transform_id}"),
                glue_console("${__data.fields.console}", "${__data.fields.aws_region}"),
                log_console("${__data.fields.console}", "${__data.fields.aws_region}"),
            ]
        built = [lead.build() for lead in leads]
        panel = panel.override_by_name("transform_name", [DynamicConfigValue(id_val="links", value=built)])
    for name in HIDDEN:
        if name in labels:
            panel = panel.override_by_name(name, [DynamicConfigValue(id_val="custom.hidden", value=True)])
    for letter, (name, unit, _) in zip("ABCDEFGHIJ", columns, strict=False):
        unit_of = DynamicConfigValue(id_val="unit", value=unit)
        shown = DynamicConfigValue(id_val="displayName", value=name)
        # The field of the only query has no letter.
        field = "Value" if len(columns) == 1 else f"Value #{letter}"
        panel = panel.override_by_name(field, [unit_of, shown])
    if newest_first:
        panel = panel.sort_by([common.TableSortByFieldState().display_name(newest_first).desc(True)])
    return (
        panel.with_transformation(DataTransformerConfig("merge", options={}))
        .with_transformation(
            DataTransformerConfig(
                "organize",
                options={
                    "excludeByName": {"Time": True},
                    "indexByName": {label: place for place, label in enumerate(labels)},
                },
            )
        )
        .filterable(True)
        .footer(common.TableFooterOptions().show(False).enable_pagination(True).reducer([]))
        .span(24)
        .height(12)
    )


def _panel(  # noqa: PLR0917 - all callers pass the texts and queries in the order of the panel
    panel: P, title: str, description: str, unit: str, queries: Sequence[prometheus.Dataquery], empty: str
) -> P:
    panel.title(title).description(description).unit(unit).datasource(SOURCE).no_value(empty)
    for letter, request in zip("ABCDEFGHIJ", queries, strict=False):
        panel.with_target(request.ref_id(letter).datasource(SOURCE))
    return panel


class _FailureTimes(Annotation):
    """A query of annotations whose values are times. The SDK lacks these members of the Prometheus data source."""

    def to_json(self) -> dict[str, object]:
        """Return the annotation as Grafana stores it."""
        return {
            **super().to_json(),
            "useValueForTime": True,
            "titleFormat": "{{transform_name}} {{task_type}} {{status}}",
            "textFormat": "{{reason}}",
            "tagKeys": "reason",
        }


class FailureAnnotations:
    """The builder of the annotations that mark the end of each last failed run."""

    def build(self) -> Annotation:
        """Return the annotations of the selected transforms. The value of a series is its time in milliseconds."""
        times = f"max by ({_RUN}, transform_name) (glue_ml_task_run_last_failure_timestamp_seconds{{{THESE}}})"
        return _FailureTimes(
            name="Failures", datasource=SOURCE, icon_color=RED, expr=f"1000 * {with_reason(chosen(times))}"
        )


# -- dashboards -------------------------------------------------------------------------------------------------------


def link(title: str, url: str, tooltip: str) -> dashboard.DashboardLink:
    """Return a link to a page outside Grafana."""
    return (
        dashboard.DashboardLink(title)
        .type(DashboardLinkType.LINK)
        .url(url)
        .tooltip(tooltip)
        .icon("external link")
        .target_blank(True)
    )


def to_transform(transform_id: str) -> dashboard.DashboardLink:
    """Return the link from a panel to the dashboard of the transform with this id, which may be a variable."""
    url = f"/d/glue-ml-transform?${{datasource:queryparam}}&var-transform={transform_id}&${{__url_time_range}}"
    return dashboard.DashboardLink("Show the transform").type(DashboardLinkType.LINK).url(url)


def status_page(transform_id: str) -> dashboard.DashboardLink:
    """Return the link to the transform on the exporter's status page, the only place with the error strings."""
    return link(
        "Status page of the exporter",
        f"${{status_page}}/transforms/{transform_id}",
        "Shows the error strings. Set the address of the status page in the variable of this name.",
    )


def glue_console(host: str, region: str) -> dashboard.DashboardLink:
    """Return the link to AWS Glue in the console on this host."""
    return link(
        "Glue console",
        f"https://{host}/glue/home?region={region}",
        "Opens AWS Glue in the region of the transform. See Data classification tools, Record matching.",
    )


def log_console(host: str, region: str) -> dashboard.DashboardLink:
    """Return the link to the log groups of AWS Glue in the console on this host."""
    groups = "logsV2:log-groups$3FlogGroupNameFilter$3Daws-glue"
    return link(
        "CloudWatch logs",
        f"https://{host}/cloudwatch/home?region={region}#{groups}",
        "Opens the log groups of AWS Glue in the region of the transform.",
    )


def siblings() -> dashboard.DashboardLink:
    """Return the links to the other dashboards. The links keep the time range and the variables."""
    return (
        dashboard.DashboardLink("Glue ML")
        .type(DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .include_vars(True)
        .keep_time(True)
    )


def new_dashboard(uid: str, title: str, description: str) -> dashboard.Dashboard:
    """Return an empty dashboard."""
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("1m")
        .time("now-24h", "now")
        .timezone("browser")
        .with_variable(source_variable())
        .link(siblings())
    )


def fill(built: dashboard.Dashboard, sections: Sequence[tuple[str, Sequence[AnyPanel]]]) -> dashboard.Dashboard:
    """Add rows of panels to a dashboard, numbered from 1."""
    number = 0
    for name, panels in sections:
        number += 1
        built = built.with_row(dashboard.Row(name).id(number))
        for panel in panels:
            number += 1
            built = built.with_panel(panel.id(number))
    return built
