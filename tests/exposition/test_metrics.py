"""The metrics about Glue have the promised names, types and labels, and each series exists when it should."""

import re
from collections import Counter
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from exporter.counting.counters import Count, Series, Total
from exporter.counting.latest import GaugeValues, LatestRun
from exporter.exposition.formats import TextFormat
from exporter.exposition.metrics import METRICS, Metric
from exporter.exposition.snapshot import PollResult, TransformSnapshot
from exporter.model.failure_reasons import FailureReasons
from exporter.model.task_run import STATUSES, TASK_TYPES
from exporter.model.transform import Details, Lane, Target
from tests.exposition.snapshots import EXECUTION, FAILED, NO_RUNS, body, observed, samples, shown, snapshot, value
from tests.support import run, tool

INTERFACE = """
glue_ml_task_runs gauge task_type status
glue_ml_task_runs_started_total counter task_type
glue_ml_task_runs_finished_total counter task_type status
glue_ml_task_run_execution_seconds histogram task_type status
glue_ml_task_run_duration_seconds histogram task_type status
glue_ml_task_run_last_start_timestamp_seconds gauge task_type
glue_ml_task_run_last_success_timestamp_seconds gauge task_type
glue_ml_task_run_last_failure_timestamp_seconds gauge task_type status
glue_ml_task_run_last_failure_info gauge task_type status reason
glue_ml_task_run_latest_status gauge task_type status
glue_ml_task_run_latest_execution_seconds gauge task_type
glue_ml_task_run_oldest_active_start_timestamp_seconds gauge task_type
glue_ml_transform_info gauge aws_account aws_account_id aws_region transform_type glue_version worker_type
glue_ml_transform_expected_interval_seconds gauge
glue_ml_transform_expected_duration_seconds gauge
glue_ml_transform_status gauge status
glue_ml_transform_training_labels gauge
glue_ml_transform_precision_ratio gauge
glue_ml_transform_recall_ratio gauge
glue_ml_transform_f1_ratio gauge
glue_ml_transform_area_under_pr_curve_ratio gauge
glue_ml_transform_capacity_dpus gauge
glue_ml_transform_watched_since_timestamp_seconds gauge
glue_ml_transform_up gauge
glue_ml_transform_last_poll_timestamp_seconds gauge
glue_ml_transform_last_successful_poll_timestamp_seconds gauge
glue_ml_transform_poll_duration_seconds gauge
glue_ml_transform_last_poll_error_info gauge reason operation
"""
"""The promise to users: name, type, labels besides transform_id and transform_name. A change of it is BREAKING."""

LATEST = LatestRun(
    start=1.0,
    status="FAILED",
    success=2.0,
    failed=3.0,
    timeout=4.0,
    finish=4.0,
    execution=5.0,
    failed_error="Rate exceeded",
)
FULL = snapshot(
    account_id="123456789012",
    target=Target("tfm-1", Lane("prod", "eu-west-1"), "customers", {"team": "data"}, 86400.0, 7200.0),
    gauge_values=GaugeValues(NO_RUNS.runs, {"FIND_MATCHES": LATEST}, {"FIND_MATCHES": 6.0}),
    latest={"FIND_MATCHES": LATEST},
    watched_since=7.0,
    poll=PollResult(
        up=False, tried=1000.0, succeeded=900.0, duration=0.5, reason="AccessDeniedException", operation="GetMLTaskRuns"
    ),
    details=Details("n", "READY", "FIND_MATCHES", "3.0", "G.2X", 7, 0.1, 0.2, 0.3, 0.4, 20.0),
)
SERVED: dict[Series, Total] = {
    FAILED: Count(1),
    EXECUTION: observed(1.0),
    EXECUTION._replace(family="duration"): observed(2.0),
}


def full(**changes: object) -> str:
    return body(shown(replace(FULL, **changes), totals=SERVED))


def names(text: str) -> set[str]:
    """Give the names of the families that have samples."""
    return {family.name for family in parse(text) if family.samples}


def test_names_types_and_labels_are_those_promised() -> None:
    """The table of metrics has exactly the names, types and labels of `INTERFACE`, in the same order."""
    assert [" ".join((metric.name, metric.kind, *metric.labels)) for metric in METRICS] == INTERFACE.split("\n")[1:-1]


def test_every_metric_of_the_interface_is_served() -> None:
    """A transform with all details shows every metric, with exactly the promised labels."""
    text = full()
    assert names(text) == {metric.family for metric in METRICS}
    families = {family.name: family for family in parse(text)}
    for metric in METRICS:
        family = families[metric.family]
        assert family.type == metric.kind
        extra = {"team"} if metric.name == "glue_ml_transform_info" else set()
        expected = {*metric.labels, "transform_id", "transform_name"} | extra
        assert {frozenset(sample.labels) - {"le"} for sample in family.samples} == {frozenset(expected)}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_help_says_that_the_value_is_of_the_last_poll(metric: Metric) -> None:
    """Every HELP text is one line, and its last sentence says that the value comes from the last poll."""
    assert re.fullmatch(r"[A-Z0-9][^\n]+\. As of the last poll\.", metric.help)


def test_a_transform_has_its_counters_from_the_first_poll() -> None:
    """After a successful poll without runs there are 35 gauges, 5 counters of starts and 20 of finishes, all at 0."""
    text = body(shown(snapshot()))
    assert Counter(line.partition("{")[0] for line in text.splitlines() if not line.startswith("#")) == {
        "glue_ml_task_runs": 35,
        "glue_ml_task_runs_started_total": 5,
        "glue_ml_task_runs_finished_total": 20,
        "glue_ml_transform_info": 1,
        "glue_ml_transform_watched_since_timestamp_seconds": 1,
        "glue_ml_transform_up": 1,
        "glue_ml_transform_last_poll_timestamp_seconds": 1,
        "glue_ml_transform_last_successful_poll_timestamp_seconds": 1,
        "glue_ml_transform_poll_duration_seconds": 1,
    }
    for name in ("glue_ml_task_runs", "glue_ml_task_runs_started_total", "glue_ml_task_runs_finished_total"):
        assert set(samples(text, name).values()) == {0.0}


def test_before_the_first_successful_poll_there_are_no_metrics_of_runs() -> None:
    """If all polls of a transform failed, a scrape shows that the transform is down, and no metric of its runs."""
    failing = PollResult(up=False, tried=1000.0, succeeded=None, duration=0.5)
    text = body(shown(snapshot(poll=failing, gauge_values=None, has_baseline=False)))
    assert names(text) == {
        "glue_ml_transform_info",
        "glue_ml_transform_watched_since_timestamp_seconds",
        "glue_ml_transform_up",
        "glue_ml_transform_last_poll_timestamp_seconds",
        "glue_ml_transform_poll_duration_seconds",
    }
    assert value(text, "glue_ml_transform_up") == 0


def test_restored_counters_are_shown_before_the_first_poll() -> None:
    """Before its first poll a process shows restored counters and timestamps, but no metrics about polls."""
    text = body(shown(replace(FULL, poll=None, gauge_values=None), totals=SERVED))
    assert value(text, "glue_ml_task_runs_finished_total", "FAILED", "FIND_MATCHES") == 1
    assert "glue_ml_task_run_last_success_timestamp_seconds" in names(text)
    assert not {name for name in names(text) if "poll" in name or name.endswith(("_up", "task_runs"))}


def test_a_stale_transform_keeps_its_counters_and_timestamps() -> None:
    """Without a recent successful poll only the gauges of runs are removed; all other metrics stay."""
    exposed = shown(FULL, totals=SERVED)
    body(exposed)
    exposed.update(replace(FULL, gauge_values=None), SERVED)
    gone = names(full()) - names(body(exposed))
    assert gone == {
        "glue_ml_task_runs",
        "glue_ml_task_run_latest_status",
        "glue_ml_task_run_latest_execution_seconds",
        "glue_ml_task_run_oldest_active_start_timestamp_seconds",
        "glue_ml_transform_status",
        "glue_ml_transform_training_labels",
        "glue_ml_transform_precision_ratio",
        "glue_ml_transform_recall_ratio",
        "glue_ml_transform_f1_ratio",
        "glue_ml_transform_area_under_pr_curve_ratio",
        "glue_ml_transform_capacity_dpus",
    }
    assert gone == names(full()) - names(full(gauge_values=None))


def test_gauges_of_a_stale_transform_come_back() -> None:
    """The next successful poll shows the gauges again."""
    exposed = shown(FULL, totals=SERVED)
    before = body(exposed)
    exposed.update(replace(FULL, gauge_values=None), SERVED)
    assert body(exposed) != before
    exposed.update(FULL, SERVED)
    assert body(exposed) == before


def test_a_removed_transform_leaves_no_series() -> None:
    """After a transform is removed from the configuration, exactly its series are removed."""
    exposed = shown(FULL, snapshot("tfm-2"), totals=SERVED)
    body(exposed)
    exposed.remove("tfm-1")
    exposed.remove("tfm-1")
    text = body(exposed)
    assert "tfm-1" not in text
    assert len(samples(text, "glue_ml_task_runs")) == 35


@pytest.mark.parametrize("status", [*STATUSES, "PAUSED"])
def test_latest_status_is_a_state_set(status: str) -> None:
    """Exactly one status of the latest run is 1; a status that Glue adds later appears as an eighth series."""
    view = replace(NO_RUNS, latest={"EVALUATION": replace(LATEST, status=status)})
    found = samples(body(shown(snapshot(gauge_values=view))), "glue_ml_task_run_latest_status")
    assert len(found) == len({*STATUSES, status})
    assert [labels for labels, number in found.items() if number == 1] == [
        f'status="{status}",task_type="EVALUATION",transform_id="tfm-1",transform_name="tfm-1"'
    ]
    assert sorted(found.values()) == [0.0] * (len(found) - 1) + [1.0]


@pytest.mark.parametrize(("status", "ones"), [("NOT_READY", 1), ("READY", 1), ("DELETING", 1), ("NEW_STATUS", 0)])
def test_transform_status_is_a_state_set(status: str, ones: int) -> None:
    """At most one of the three known statuses is 1; all are 0 if Glue reports an unknown status."""
    found = samples(full(details=Details(status=status)), "glue_ml_transform_status")
    assert sorted(found.values()) == [0.0] * (3 - ones) + [1.0] * ones


def test_a_status_that_glue_adds_later_is_shown() -> None:
    """Runs of an unknown type or status are counted under the names from Glue, besides the 35 known pairs."""
    view = replace(NO_RUNS, runs=NO_RUNS.runs | {("NEW_TYPE", "NEW_STATUS"): 2})
    totals: dict[Series, Total] = {
        Series("finished", "NEW_TYPE", "NEW_STATUS"): Count(3),
        Series("started", "NEW_TYPE", ""): Count(4),
    }
    text = body(shown(snapshot(gauge_values=view), totals=totals))
    assert value(text, "glue_ml_task_runs", "NEW_TYPE", "NEW_STATUS") == 2
    assert value(text, "glue_ml_task_runs_finished_total", "NEW_TYPE", "NEW_STATUS") == 3
    assert value(text, "glue_ml_task_runs_started_total", "NEW_TYPE") == 4
    assert len(samples(text, "glue_ml_task_runs")) == 36


def test_info_always_has_the_same_labels() -> None:
    """Without details and account id the info metric has the same labels, with empty values."""
    (bare,) = samples(body(shown(snapshot())), "glue_ml_transform_info")
    assert bare == (
        'aws_account="default",aws_account_id="",aws_region="eu-west-1",glue_version="",'
        'transform_id="tfm-1",transform_name="tfm-1",transform_type="",worker_type=""'
    )
    (known,) = samples(full(), "glue_ml_transform_info")
    assert known == (
        'aws_account="prod",aws_account_id="123456789012",aws_region="eu-west-1",glue_version="3.0",team="data",'
        'transform_id="tfm-1",transform_name="customers",transform_type="FIND_MATCHES",worker_type="G.2X"'
    )


@pytest.mark.parametrize(
    ("configured", "details", "name"),
    [
        ("mine", Details(name="glue's"), "mine"),
        (None, Details(name="glue's"), "glue's"),
        (None, Details(name=""), "tfm-1"),
        (None, None, "tfm-1"),
        ("", Details(name="glue's"), "glue's"),
    ],
)
def test_transform_name(configured: str | None, details: Details | None, name: str) -> None:
    """The name of a transform is the configured name, or else its name in Glue, or else its id."""
    each = snapshot(target=Target("tfm-1", Lane("default", "eu-west-1"), configured), details=details)
    found = re.findall('transform_name="([^"]*)"', body(shown(each)))
    assert set(found) == {name}


def test_a_renamed_transform_has_one_name() -> None:
    """When the name changes, all series get the new name in the same publication."""
    exposed = shown(FULL, totals=SERVED)
    body(exposed)
    exposed.update(replace(FULL, target=replace(FULL.target, name="renamed")), SERVED)
    assert set(re.findall('transform_name="([^"]*)"', body(exposed))) == {"renamed"}


def test_a_timestamp_is_absent_until_it_is_known() -> None:
    """An unknown timestamp or execution time is left out, not shown as 0."""
    nothing = {"FIND_MATCHES": LatestRun(start=5.0, status="RUNNING")}
    text = body(shown(snapshot(gauge_values=replace(NO_RUNS, latest=nothing), latest=nothing)))
    assert value(text, "glue_ml_task_run_last_start_timestamp_seconds") == 5
    assert not {"success", "failure", "execution"} & set(
        re.findall(r"^glue_ml_task_run_(?:last|latest)_(\w+?)_", text, re.MULTILINE)
    )


def test_failures_and_timeouts_are_separate_series() -> None:
    """The last FAILED run does not hide the last run that ended in TIMEOUT."""
    found = samples(full(), "glue_ml_task_run_last_failure_timestamp_seconds")
    assert {re.search('status="([^"]*)"', labels)[1]: number for labels, number in found.items()} == {  # type: ignore[index]
        "FAILED": 3.0,
        "TIMEOUT": 4.0,
    }


def test_the_reason_of_the_last_failure_replaces_the_reason_before() -> None:
    """The last FAILED run and the last TIMEOUT have one reason each. A scrape does not show former reasons."""
    name = "glue_ml_task_run_last_failure_info"
    exposed = shown(FULL)
    found = [re.findall('(?:reason|status)="([^"]*)"', labels) for labels in samples(body(exposed), name)]
    assert found == [["throttled", "FAILED"], ["timeout", "TIMEOUT"]]
    denied = {"FIND_MATCHES": replace(LATEST, failed_error="Access Denied")}
    exposed.update(replace(FULL, latest=denied), {})
    assert value(body(exposed), name, 'reason="access_denied"', 'status="FAILED"') == 1
    assert "throttled" not in body(exposed)
    configured = FailureReasons((("mine", "access * denied"),))
    exposed.update(replace(FULL, latest=denied, failure_reasons=configured), {})
    assert value(body(exposed), name, 'reason="mine"', 'status="FAILED"') == 1
    assert "access_denied" not in body(exposed)
    exposed.update(replace(FULL, latest={}), {})
    assert not samples(body(exposed), name)


def test_expectations_are_absent_until_they_are_configured() -> None:
    """Expected times follow the target, and are absent, not 0, without a configured value."""
    exposed = shown(FULL)
    assert value(body(exposed), "glue_ml_transform_expected_interval_seconds") == 86400
    assert value(body(exposed), "glue_ml_transform_expected_duration_seconds") == 7200
    exposed.update(replace(FULL, target=replace(FULL.target, expected_interval=60.0, expected_duration=None)), {})
    assert value(body(exposed), "glue_ml_transform_expected_interval_seconds") == 60
    assert not samples(body(exposed), "glue_ml_transform_expected_duration_seconds")


def test_histograms_are_cumulative() -> None:
    """Each bucket counts the observations up to and including its bound; count and sum are of all observations."""
    text = body(shown(snapshot(), totals={EXECUTION: observed(30.0, 30.5, 3600.0, 4000.0)}))
    found = samples(text, "glue_ml_task_run_execution_seconds_bucket")
    assert list(found.values()) == [1, 2, 3, 4]
    assert [re.search('le="([^"]*)"', labels)[1] for labels in found] == ["30.0", "60.0", "3600.0", "+Inf"]  # type: ignore[index]
    assert value(text, "glue_ml_task_run_execution_seconds_count") == 4
    assert value(text, "glue_ml_task_run_execution_seconds_sum") == 7660.5


def test_a_histogram_appears_with_its_first_run() -> None:
    """A type and status gets a histogram after its first finished run, because a histogram needs 14 series."""
    text = full()
    assert len(samples(text, "glue_ml_task_run_execution_seconds_count")) == 1
    assert len(TASK_TYPES) == 5
    assert not samples(body(shown(snapshot())), "glue_ml_task_run_execution_seconds_count")


@pytest.mark.slow
@pytest.mark.parametrize("version", ["2", "3"])
@pytest.mark.parametrize("each", [snapshot(), FULL], ids=["bare", "full"])
def test_promtool_finds_no_problem(version: str, each: TransformSnapshot, tmp_path) -> None:
    """The linter of Prometheus reports no problem in the metrics, and reads labels with special characters."""
    hostile = snapshot('tfm-2 "\\\n{}#', details=Details(name='} 1\n# {a="b"} \U0001f40d', status="READY"))
    (tmp_path / "metrics.txt").write_text(body(shown(each, hostile, totals=SERVED), TextFormat.TEXT))
    promtool = tool("promtool", version=version)
    linted = run("sh", "-c", f"'{promtool}' check metrics < metrics.txt", folder=tmp_path)
    assert (linted.exit_code, linted.stderr, linted.stdout) == (0, "", "")
