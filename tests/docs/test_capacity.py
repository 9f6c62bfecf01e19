"""The numbers of series in docs/capacity.md, compared with a real exposition and with the rules."""

import re

import yaml

from exporter.cli.rules.recordings import INFO
from exporter.config.schema import DROPPABLE_METRICS, NEVER_DROPPED
from exporter.model.task_run import FINAL_STATUSES, TASK_TYPES
from tests.alerts.vocabulary import uses
from tests.running import running, wait_for
from tests.support import ROOT

PAGE = (ROOT / "docs/capacity.md").read_text(encoding="utf-8")
BUCKETS = 12


def numbers(row: str) -> list[int]:
    """Return the numbers in the second column of the table row that starts with `row`."""
    [found] = re.findall(rf"^\| {re.escape(row)}[^|]* \| ([^|]*) \|$", PAGE, re.MULTILINE)
    return [int(number) for number in re.findall("[0-9]+", found)]


SCENARIO = {"transforms": [{"id": name, "name": name} for name in ("tfm-none", "tfm-some", "tfm-all")]}
"""Transforms without runs, with two statuses of one task type, and with all final statuses of all task types."""


def series_by_transform(exporter):
    found = {}
    for line in exporter.scrape().splitlines():
        if match := re.search('transform_id="([^"]*)"', line):
            found[match[1]] = found.get(match[1], 0) + 1
    return found


def test_a_transform_has_as_many_series_as_the_page_says(simulator):
    """The formula of the page gives the number of series without runs, with some kinds of runs, and with all kinds."""
    [always] = numbers("always")
    details = range(numbers("with `transform_details`")[0], numbers("with `transform_details`")[1] + 1)
    started, finished, while_open = numbers("for each task type that has run")
    two, three, pair, buckets = numbers("for each type and status that has finished")
    assert (buckets, pair) == (BUCKETS, two * (BUCKETS + three))
    everything = len(TASK_TYPES) * (finished + while_open) + len(TASK_TYPES) * len(FINAL_STATUSES) * pair
    expected = {"tfm-none": always, "tfm-some": always + finished - 2 + 2 * pair, "tfm-all": always + everything}

    with running(simulator, transforms=["tfm-none", "tfm-some", "tfm-all"]) as exporter:
        exporter.wait_until_up("tfm-none", "tfm-some", "tfm-all")
        for status in ("FAILED", "SUCCEEDED"):
            simulator.world.add_run("tfm-some", status=status, fields={"ExecutionTime": 5})
        for task_type in TASK_TYPES:
            for status in FINAL_STATUSES:
                simulator.world.add_run("tfm-all", task_type, status=status, fields={"ExecutionTime": 5})
            simulator.world.add_run("tfm-all", task_type)
        duration = "glue_ml_task_run_duration_seconds_count"
        wait_for(lambda: exporter.value(duration) == 2 + len(TASK_TYPES) * len(FINAL_STATUSES))
        seen = series_by_transform(exporter)
    assert {name: seen[name] - expected[name] for name in seen} == dict.fromkeys(expected, details[0])
    assert started == finished - 6, (
        "last success, last failure and last timeout with a reason each, and the execution time of the last run"
    )


def needed() -> set[str]:
    """Return the metrics that an alert needs, either directly or through recorded series."""
    files = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "alerts").glob("*.yaml"))]
    rules = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    # A rule can read its own earlier samples.
    recorded = {rule["record"]: uses(rule["expr"]).metrics - {rule["record"]} for rule in rules if "record" in rule}
    # The recorded names read a second metric only if the info metric is missing. That never happens, because the info
    # metric cannot be dropped.
    recorded[INFO] = frozenset({NEVER_DROPPED})
    found = set()
    for rule in rules:
        names = set(uses(rule["expr"]).metrics) if "alert" in rule else set()
        while known := names & recorded.keys():
            names = (names - known).union(*(recorded[name] for name in known))
        found |= {re.sub("_seconds_(bucket|count|sum)$", "_seconds", name) for name in names}
    return found


def test_the_page_names_the_metrics_that_no_alert_needs():
    """The page lists exactly those metrics that can be left out and that no alert needs."""
    listed = re.findall(r"^\| `(glue_ml_\w+)` \| [^|]* \|$", PAGE, re.MULTILINE)
    assert listed == [name for name in DROPPABLE_METRICS if name not in needed()]
