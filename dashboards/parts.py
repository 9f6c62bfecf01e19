"""The parts of the dashboards: variables, queries, panels with a common look, and links.

Panels are numbered from the first to the last, so that links to panels stay valid. Queries merge the replicas of the
exporter with `max`, as the alerts do.
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

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "glue-ml"

SECONDS, SHORT, BYTES, RATIO, PER_SECOND = "s", "short", "bytes", "percentunit", "reqps"
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

DAY = 86400

CONSOLE = "https://console.aws.amazon.com"

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


def place_variables() -> tuple[dashboard.QueryVariable, dashboard.QueryVariable]:
    """Return the variables that select accounts and regions."""
    return (
        variable("account", "Account", "label_values(glue_ml_transform_info, aws_account)"),
        variable("region", "Region", 'label_values(glue_ml_transform_info{aws_account=~"$account"}, aws_region)'),
    )


def transform_variable(*, several: bool) -> dashboard.QueryVariable:
    """Return the variable that selects transforms. It shows names but selects ids, because names are not unique."""
    return variable(
        "transform",
        "Transform",
        'query_result(glue_ml_transform_info{aws_account=~"$account",aws_region=~"$region"})',
        several=several,
        regex='/transform_id="(?<value>[^"]+)".*transform_name="(?<text>[^"]+)"/',
    )


# -- queries ----------------------------------------------------------------------------------------------------------

CHOSEN = 'glue_ml_transform_info{aws_account=~"$account",aws_region=~"$region",transform_id=~"$transform"}'


def chosen(expr: str) -> str:
    """Return the expression for the selected transforms only."""
    return f"{expr}\nand on (transform_id) {CHOSEN}"


def latest_status(by: str) -> str:
    """Return the expression for the status of the latest run as a number (see `STATUS_COLOURS`), by these labels."""
    terms = [
        f'{number} * glue_ml_task_run_latest_status{{transform_id=~"$transform",status="{status}"}}'
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
NEUTRAL = ((None, GREY),)
NONE_IS_GOOD = ((None, GREEN), (1, RED))
SUCCESS_AGES = ((None, GREEN), (2 * DAY, YELLOW), (7 * DAY, RED))


def number_panel(
    title: str,
    description: str,
    expr: str,
    unit: str,
    *,
    legend: str = "",
    steps: Sequence[tuple[float | None, str]] = NEUTRAL,
) -> stat.Panel:
    """Return a panel with one number, or with one number for each series. Thresholds colour the numbers."""
    return (
        _panel(stat.Panel(), title, description, unit, (query(expr, legend or title, instant=True),))
        .thresholds(thresholds(*steps))
        .color_mode(kinds.BigValueColorMode.VALUE)
        .graph_mode(kinds.BigValueGraphMode.NONE)
        .reduce_options(LATEST)
        .no_value("none")
        .span(4)
        .height(4)
    )


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: prometheus.Dataquery,
    steps: Sequence[tuple[float | None, str]] = NEUTRAL,
    bars: bool = False,
) -> timeseries.Panel:
    """Return a panel with lines, or with stacked bars, over time. Thresholds are drawn as dashed lines."""
    panel = (
        _panel(timeseries.Panel(), title, description, unit, queries)
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


def timeline(title: str, description: str, expr: str, legend: str) -> statetimeline.Panel:
    """Return a panel with the status of the latest run over time, with a line for each series."""
    return (
        _panel(statetimeline.Panel(), title, description, SHORT, (query(expr, legend),))
        .mappings([status_mapping()])
        .thresholds(thresholds(*NEUTRAL))
        .merge_values(True)
        .show_value(kinds.VisibilityMode.NEVER)
        .row_height(0.8)
        .legend(common.VizLegendOptions().show_legend(False))
        .span(24)
        .height(10)
    )


def heat(title: str, description: str, expr: str) -> heatmap.Panel:
    """Return a heat map of a histogram's buckets over time, with exemplars."""
    request = query(expr, "{{le}}", exemplars=True, form=PromQueryFormat.HEATMAP)
    return (
        _panel(heatmap.Panel(), title, description, SHORT, (request,))
        .thresholds(thresholds(*NEUTRAL))
        .y_axis(heatmap.YAxisConfig().unit(SECONDS))
        .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64))
        .exemplars_color("rgba(31, 120, 193, 0.9)")
        .show_legend()
        .span(12)
        .height(9)
    )


def bars(
    title: str, description: str, unit: str, request: prometheus.Dataquery, *, steps: Sequence[tuple[float | None, str]]
) -> bargauge.Panel:
    """Return a panel with a bar for each series, the longest first. Each bar links to its transform."""
    return (
        _panel(bargauge.Panel(), title, description, unit, (request,))
        .thresholds(thresholds(*steps))
        .orientation(kinds.VizOrientation.HORIZONTAL)
        .display_mode(kinds.BarGaugeDisplayMode.BASIC)
        .reduce_options(LATEST)
        .with_transformation(DataTransformerConfig("sortBy", options={"sort": [{"field": "Value", "desc": True}]}))
        .no_value("none")
        .data_links([to_transform("${__field.labels.transform_id}")])
        .span(12)
        .height(8)
    )


def rows(
    title: str, description: str, columns: Sequence[tuple[str, str, str]], *, labels: Sequence[str]
) -> table.Panel:
    """Return a table. The columns are `labels` and the queries (name, unit, expression); each series has a row."""
    requests = [query(expr, name, instant=True, form=PromQueryFormat.TABLE) for name, _, expr in columns]
    panel = _panel(table.Panel(), title, description, SHORT, requests).thresholds(thresholds(*NEUTRAL))
    if "transform_id" in labels:
        leads = [to_transform("${__data.fields.transform_id}").build()]
        panel = panel.override_by_name("transform_name", [DynamicConfigValue(id_val="links", value=leads)])
    for letter, (name, unit, _) in zip("ABCDEFGHIJ", columns, strict=False):
        unit_of = DynamicConfigValue(id_val="unit", value=unit)
        shown = DynamicConfigValue(id_val="displayName", value=name)
        panel = panel.override_by_name(f"Value #{letter}", [unit_of, shown])
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


def _panel(panel: P, title: str, description: str, unit: str, queries: Sequence[prometheus.Dataquery]) -> P:
    panel.title(title).description(description).unit(unit).datasource(SOURCE)
    for letter, request in zip("ABCDEFGHIJ", queries, strict=False):
        panel.with_target(request.ref_id(letter).datasource(SOURCE))
    return panel


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
