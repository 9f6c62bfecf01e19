"""From a history in Glue to the metrics that an exporter process serves."""

import re
import signal
import time
from collections import Counter
from datetime import datetime

import psutil
import pytest

from exporter.simulator import Simulator
from tests.support import EXPORTER, Process, fetch
from tests.system.documented_glue import DocumentedGlue, serving
from tests.system.staging import (
    FINAL_STATUSES,
    FINISHED,
    STARTED,
    STATUSES,
    TASK_TYPES,
    Exporter,
    configuration,
    seeded_random,
    wait_for,
)

pytestmark = pytest.mark.slow

ID = "tfm-0123456789abcdef0123456789abcdef01234567"
RUNS = 2500
PAGE = 1000
DAY = 86400.0


def history(now):
    """Return 2,500 runs of all types and statuses from the last three weeks, as JSON of the API."""
    rng = seeded_random(25)
    runs = []
    for number in range(RUNS):
        status = rng.choice(STATUSES) if number > RUNS - 20 else rng.choice(FINAL_STATUSES)
        started = round(now - 20 * DAY + number * 600 + rng.random() * 60, 3)
        run = {
            "TransformId": ID,
            "TaskRunId": f"tsk-{number:040x}",
            "Status": status,
            "LogGroupName": "/aws-glue/mlTransforms",
            "Properties": {"TaskType": rng.choice(TASK_TYPES)},
            "StartedOn": started,
            "LastModifiedOn": started,
        }
        if status in FINAL_STATUSES:
            run |= {"CompletedOn": round(started + rng.uniform(60, 500), 3), "ExecutionTime": rng.randrange(30, 60)}
        runs.append(run)
    return runs


def cell(run):
    """Return a run's task type and status."""
    return run["Properties"]["TaskType"], run["Status"]


def add(world, run):
    """Add a run to the world of a simulator. The run is JSON of the API."""
    world.add_run(
        ID,
        run["Properties"]["TaskType"],
        status=run["Status"],
        started=run["StartedOn"],
        completed=run.get("CompletedOn"),
        run_id=run["TaskRunId"],
        fields={"ExecutionTime": run.get("ExecutionTime")},
    )


@pytest.fixture(params=["simulator", "another server"])
def glue(request):
    """Yield the runs and the URL of a server with them: the simulator, or the server written from the API document."""
    runs = history(time.time())
    if request.param == "simulator":
        with Simulator({"transforms": [{"name": "customers", "id": ID}]}) as simulator:
            for run in runs:
                add(simulator.world, run)
            yield runs, simulator.url
    else:
        with serving(DocumentedGlue(list(runs))) as other:
            yield runs, other.url


def test_a_history_of_three_pages_is_shown_exactly_and_not_counted(glue, tmp_path):
    """35 gauges show 2,500 runs from three pages, and all 25 counters are 0. After SIGTERM the exit code is 0."""
    runs, url = glue
    with Exporter(tmp_path, configuration(url, [{"id": ID, "name": "customers-dedup"}])) as exporter:
        exporter.wait_for_polls(ID, 2)
        metrics = exporter.metrics()

        shown = metrics.cells("glue_ml_task_runs", transform_id=ID, transform_name="customers-dedup")
        assert shown == {(t, s): 0 for t in TASK_TYPES for s in STATUSES} | Counter(map(cell, runs))
        assert len(shown) == 35
        assert sum(shown.values()) == RUNS
        assert metrics.cells(STARTED, transform_id=ID) == {(t, ""): 0 for t in TASK_TYPES}
        assert metrics.cells(FINISHED, transform_id=ID) == {(t, s): 0 for t in TASK_TYPES for s in FINAL_STATUSES}
        assert not metrics.select("glue_ml_task_run_execution_seconds_count")

        latest = {task_type: [run for run in runs if cell(run)[0] == task_type][-1] for task_type in TASK_TYPES}
        last_start = {(t, ""): run["StartedOn"] for t, run in latest.items()}
        assert metrics.cells("glue_ml_task_run_last_start_timestamp_seconds") == last_start
        shown = metrics.cells("glue_ml_task_run_latest_status")
        assert shown == {(t, s): s == run["Status"] for t, run in latest.items() for s in STATUSES}
        ends = {key: max(run["CompletedOn"] for run in runs if cell(run) == key) for key in last_failures()}
        assert metrics.cells("glue_ml_task_run_last_failure_timestamp_seconds") == ends
        active = [run for run in runs if run["Status"] not in FINAL_STATUSES]
        oldest = {(t, ""): min(r["StartedOn"] for r in active if cell(r)[0] == t) for t, _ in map(cell, active)}
        assert metrics.cells("glue_ml_task_run_oldest_active_start_timestamp_seconds") == oldest
        assert metrics.value("glue_ml_transform_up", transform_id=ID) == 1

        exporter.send(signal.SIGTERM)
        assert exporter.wait(timeout=60) == 0


def last_failures():
    """Return the task types and statuses for which the exporter shows the time of the last failure."""
    return [(task_type, status) for task_type in TASK_TYPES for status in ("FAILED", "TIMEOUT")]


def test_the_transform_has_its_name_in_glue(tmp_path):
    """If no name is configured, the series have the name in Glue. If GetMLTransform fails, they have the id instead."""
    with Simulator({"transforms": [{"name": "customers", "id": "tfm-1"}]}) as simulator:
        with Exporter(tmp_path, configuration(simulator.url, ["tfm-1"])) as exporter:
            exporter.wait_for_value(1, "glue_ml_transform_up", transform_id="tfm-1", transform_name="customers")
        simulator.faults.set({"kind": "access_denied", "operations": ["GetMLTransform"]})
        with Exporter(tmp_path, configuration(simulator.url, ["tfm-1"])) as exporter:
            exporter.wait_for_value(1, "glue_ml_transform_up", transform_id="tfm-1", transform_name="tfm-1")


def test_the_demo_serves_metrics_after_two_seconds_of_work(tmp_path):
    """`demo` needs no configuration, credentials or proxy, and shows its runs after at most 2 s of CPU time."""
    environ = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "AWS_DEFAULT_PROFILE": "missing"}
    serve = (*EXPORTER, "demo", "--web.listen-address=127.0.0.1:0")
    with Process(*serve, folder=tmp_path, environ=environ) as demo:
        address = demo.wait_for_output(r"addresses=([\d.:]+)", timeout=60)[1]
        up = re.compile(r"^glue_ml_transform_up\{.*\} 1(\.0)?$", re.MULTILINE)
        wait_for(lambda: len(up.findall(fetch(f"http://{address}/metrics").text)) >= 12)
        spent = psutil.Process(demo.pid).cpu_times()
    # The test measures CPU time, because wall time depends on the load of the machine.
    assert spent.user + spent.system < 2


# -- the cost of a poll -----------------------------------------------------------------------------------------------


@pytest.fixture
def long_history():
    """Yield a simulator with one transform. Its runs are the finished runs of the history."""
    with Simulator({"transforms": [{"name": "customers", "id": ID}]}) as simulator:
        for run in history(time.time()):
            if run["Status"] in FINAL_STATUSES:
                add(simulator.world, run)
        yield simulator


INTERVAL = 0.7
SPACED = {"interval": "700ms"}


def calls_by_poll(simulator, polls):
    """Wait for more polls, and return the operations of each poll. Each poll starts with GetMLTaskRuns."""
    before = simulator.requests.count("GetMLTaskRuns")
    wait_for(lambda: simulator.requests.count("GetMLTaskRuns") > before + polls + 1, describe=f"{polls + 2} polls")
    calls: list[list[str]] = []
    listings = [request.time for request in simulator.requests.all("GetMLTaskRuns")][before:]
    for request in simulator.requests.all():
        if request.time < listings[0]:
            continue
        assert "NextToken" not in request.params
        if request.operation == "GetMLTaskRuns":
            calls.append([])
        calls[-1].append(request.operation)
    # Each interval has one listing. If a busy machine delays a poll, an interval can have two listings.
    assert len(listings) <= (listings[-1] - listings[0]) / INTERVAL + 3
    return calls[:polls]


def test_a_steady_poll_costs_one_call_for_any_history(long_history, tmp_path):
    """The first poll reads three pages. Each later poll calls only GetMLTaskRuns, and only once."""
    with Exporter(tmp_path, configuration(long_history.url, [ID], SPACED)) as exporter:
        exporter.wait_for_polls(ID, 1)
        assert calls_by_poll(long_history, 8) == [["GetMLTaskRuns"]] * 8


def test_a_run_that_hangs_for_weeks_costs_one_more_call_and_the_next_poll_counts_its_end(long_history, tmp_path):
    """Polls call GetMLTaskRun for an open run that is not on the page. The first poll after its end counts the run."""
    hung = long_history.world.add_run(ID, "EVALUATION", started=time.time() - 29 * DAY)
    with Exporter(tmp_path, configuration(long_history.url, [ID], SPACED), "--log.format=json") as exporter:
        exporter.wait_for_polls(ID, 1)
        assert calls_by_poll(long_history, 4) == [["GetMLTaskRuns", "GetMLTaskRun"]] * 4

        ended = time.time()
        long_history.world.finish_run(ID, hung, "TIMEOUT")
        exporter.wait_for_value(1, FINISHED, task_type="EVALUATION", status="TIMEOUT")
        [line] = [line for line in exporter.log() if line["msg"] == "run finished"]
        assert line["run_id"] == hung
        polls = [request.time for request in long_history.requests.all("GetMLTaskRuns") if request.time > ended]
        assert len([began for began in polls if began < parsed(line["ts"])]) <= 1

        assert calls_by_poll(long_history, 3) == [["GetMLTaskRuns"]] * 3


def parsed(timestamp):
    """Parse a time in RFC 3339; return epoch seconds."""
    return datetime.fromisoformat(timestamp).timestamp()


# -- a server that is not the simulator, and malformed answers ------------------------------------------------------

MALFORMED = {
    "empty object": b"{}",
    "HTML": b"<html><body>Welcome to the guest network</body></html>",
    "truncated": b'{"TaskRuns": [{"TaskRunId": "tsk-1", "Sta',
    "nothing": b"",
    "a list": b"[]",
    "runs without id": b'{"TaskRuns": [{"Status": "RUNNING"}]}',
    "null": b'{"TaskRuns": null}',
}


@pytest.fixture
def other():
    """Yield a server written from the API document, with one run that was stopped an hour ago."""
    with serving(DocumentedGlue([a_run("tsk-1", "STOPPED")])) as glue:
        yield glue


def a_run(run_id, status, task_type="FIND_MATCHES", **fields):
    """Return a run that started one hour ago, as JSON of the API."""
    started = time.time() - 3600
    ended = {} if status in STATUSES[:3] else {"CompletedOn": started + 60, "ExecutionTime": 50}
    common = {"TaskRunId": run_id, "TransformId": ID, "Status": status, "StartedOn": started, **ended, **fields}
    return common | {"Properties": {"TaskType": task_type}}


def assert_polls_fail(exporter, reason):
    """Assert that polls fail only for this reason, that the transform is down, and that its other values stay."""
    errors = "glue_ml_exporter_poll_errors_total"
    before = exporter.metrics()
    exporter.wait_for_value(0, "glue_ml_transform_up")
    failed = before.value(errors, reason=reason)
    wait_for(
        lambda: exporter.metrics().value(errors, reason=reason) >= failed + 2,
        describe=lambda: exporter.stderr,
    )
    after = exporter.metrics()
    changed = dict(after.select(errors).items() - before.select(errors).items())
    assert [dict(labels)["reason"] for labels in changed] == [reason]
    for name in ("glue_ml_task_runs", FINISHED, STARTED):
        assert after.select(name) == before.select(name)


def test_a_malformed_answer_fails_the_poll_and_is_not_an_empty_history(other, tmp_path):
    """After an answer such as `{}`, HTML or truncated JSON the poll fails as malformed_response. The values stay."""
    with Exporter(tmp_path, configuration(other.url, [ID])) as exporter:
        for what, body in MALFORMED.items():
            exporter.wait_for_value(1, "glue_ml_transform_up")
            other.spoil = body
            try:
                assert_polls_fail(exporter, "malformed_response")
            except AssertionError as error:
                raise AssertionError(what) from error
            other.spoil = None
        exporter.wait_for_value(1, "glue_ml_transform_up")


def test_a_repeated_page_token_fails_the_poll(other, tmp_path):
    """If a NextToken is repeated, the poll fails with the reason pagination and does not count any run."""
    with Exporter(tmp_path, configuration(other.url, [ID])) as exporter:
        exporter.wait_for_value(1, "glue_ml_transform_up")
        other.runs.append(a_run("tsk-2", "FAILED"))
        other.repeat_token = True
        exporter.wait_for_value(0, "glue_ml_transform_up")
        assert_polls_fail(exporter, "pagination")
        other.repeat_token = False
        exporter.wait_for_value(1, "glue_ml_transform_up")


def test_undocumented_values_are_passed_through(other, tmp_path):
    """A run with an undocumented status or type is shown under these names. With a CompletedOn it is also counted."""
    other.runs.append(a_run("tsk-2", "PAUSED", "TRAINING", CompletedOn=None, ExecutionTime=None))
    with Exporter(tmp_path, configuration(other.url, [ID])) as exporter:
        exporter.wait_for_value(1, "glue_ml_task_runs", task_type="TRAINING", status="PAUSED")
        other.runs[1] = a_run("tsk-2", "EXPLODED", "TRAINING", CompletedOn=time.time())
        samples = exporter.wait_for_value(1, FINISHED, task_type="TRAINING", status="EXPLODED")
        assert samples.value("glue_ml_task_runs", task_type="TRAINING", status="EXPLODED") == 1
        assert samples.value("glue_ml_task_runs", task_type="TRAINING", status="PAUSED") is None
        assert samples.value("glue_ml_task_run_latest_status", task_type="TRAINING", status="EXPLODED") == 1


def test_runs_with_missing_members_are_shown_and_counted(other, tmp_path):
    """A run without StartedOn, ExecutionTime or Properties is shown and counted once. No value is invented."""
    bare = {"TaskRunId": "tsk-2", "Status": "STARTING", "TransformId": ID}
    other.runs.append(bare)
    with Exporter(tmp_path, configuration(other.url, [ID])) as exporter:
        exporter.wait_for_value(1, "glue_ml_task_runs", task_type="UNKNOWN", status="STARTING")
        assert exporter.metrics().value("glue_ml_task_run_last_start_timestamp_seconds", task_type="UNKNOWN") is None
        other.runs[1] = bare | {"Status": "FAILED"}
        exporter.wait_for_value(1, FINISHED, task_type="UNKNOWN", status="FAILED")
        exporter.wait_for_polls(ID, 2)
        samples = exporter.metrics()
        assert samples.value(FINISHED, task_type="UNKNOWN", status="FAILED") == 1
        for name in ("execution", "duration"):
            assert not samples.select(f"glue_ml_task_run_{name}_seconds_count", task_type="UNKNOWN")
        assert samples.value("glue_ml_task_run_last_failure_timestamp_seconds", task_type="UNKNOWN") is None
