"""A transform is watched from the first attempt to poll it, or from the last search that did not find it."""

import json
import time
from email.utils import formatdate

import pytest

from exporter.simulator import Simulator
from tests.glue.upstreams import complete, upstream
from tests.running import keeps_polling, running, wait_for

pytestmark = pytest.mark.slow  # each test waits for several polls

FINISHED = "glue_ml_task_runs_finished_total"
RUNS = "glue_ml_task_runs"
SINCE = "glue_ml_transform_watched_since_timestamp_seconds"
HISTORY = [
    {"type": "EVALUATION", "status": "FAILED", "started": f"-{hours}h", "completed": f"-{hours - 1}h"}
    for hours in range(2, 12)
]


def counts(exporter, transform_id, failures):
    """Wait until exactly this number of failures is counted, and stays so for two polls."""
    wait_for(lambda: exporter.value(FINISHED, transform_id=transform_id, status="FAILED") == failures)
    keeps_polling(exporter, transform_id)
    assert exporter.value(FINISHED, transform_id=transform_id, status="FAILED") == failures


def test_a_transform_that_is_created_late_counts_its_first_failure(simulator):
    """A configured transform does not exist, then it is created with a past and fails before the next poll."""
    with running(simulator, transforms=["tfm-late"]) as exporter:
        wait_for(lambda: exporter.errors().get("EntityNotFoundException"))
        simulator.world.add_transform({"id": "tfm-late", "name": "late", "runs": HISTORY})
        simulator.world.add_run("tfm-late", "EVALUATION", status="FAILED")
        counts(exporter, "tfm-late", 1)
        assert exporter.value(RUNS, transform_id="tfm-late", status="FAILED") == 11


def test_a_failure_before_a_permission_is_granted_counts(simulator):
    """A run that fails while the polls are denied counts at the first good poll."""
    simulator.faults.set({"kind": "access_denied", "operations": ["GetMLTaskRuns"]})
    with running(simulator, transforms=["tfm-a"]) as exporter:
        wait_for(lambda: exporter.up("tfm-a") == 0)
        wait_for(lambda: exporter.value(SINCE, transform_id="tfm-a"))
        simulator.world.add_run("tfm-a", "EVALUATION", status="FAILED")
        simulator.faults.clear()
        counts(exporter, "tfm-a", 1)


def test_a_failure_before_the_search_that_finds_its_transform_counts(simulator):
    """A transform is created between two searches and fails before the second: this failure counts."""
    with running(simulator, discovery=[{"interval": "1s"}]) as exporter:
        exporter.wait_until_up("tfm-a", "tfm-b")
        simulator.world.add_transform({"id": "tfm-c", "name": "gamma", "runs": HISTORY})
        simulator.world.add_run("tfm-c", "EVALUATION", status="FAILED")
        counts(exporter, "tfm-c", 1)


@pytest.mark.parametrize("days", [-1, 1])
def test_a_host_clock_that_is_a_day_wrong_counts_no_history(environment, days):
    """The answers' Date and not the host's clock decides what is history, and new failures count."""
    scenario = {"transforms": [{"id": "tfm-a", "name": "alpha", "runs": HISTORY}]}
    with Simulator(scenario, clock=lambda: time.time() + days * 86400) as glue:
        environment.setenv("AWS_ENDPOINT_URL_STS", glue.url)
        with running(glue, transforms=["tfm-a"]) as exporter:
            exporter.wait_until_up("tfm-a")
            counts(exporter, "tfm-a", 0)
            glue.world.add_run("tfm-a", "EVALUATION", status="FAILED")
            counts(exporter, "tfm-a", 1)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("body", [b"<html>", b'{"TaskRuns": []}'], ids=["as HTML", "as an empty page"])
@pytest.mark.parametrize("days", [-1, 1])
def test_the_date_of_a_proxy_does_not_decide_what_is_history(days, body):
    """A proxy with a wrong clock answers first: history stays history, and a failure after that counts."""

    def glue():
        failed = {"TransformId": "tfm-a", "Status": "FAILED", "Properties": {"TaskType": "EVALUATION"}}
        ends = {"tsk-history": time.time() - 3600, "tsk-new": time.time()}
        runs = [failed | {"TaskRunId": name, "StartedOn": end - 2, "CompletedOn": end} for name, end in ends.items()]
        headers = {"Date": formatdate(usegmt=True), "x-amzn-RequestId": "1"}
        return complete(json.dumps({"TaskRuns": runs}).encode(), headers=headers)

    status = b"502 Bad Gateway" if body == b"<html>" else b"200 OK"
    proxy = complete(body, status, {"Date": formatdate(time.time() + days * 86400, usegmt=True)})
    with upstream(proxy) as server, running(transforms=["tfm-a"], endpoint_url=server.url) as exporter:
        wait_for(lambda: exporter.up("tfm-a") is not None)
        server.answer = glue()
        wait_for(lambda: exporter.value(RUNS, transform_id="tfm-a", status="FAILED") == 2)
        counts(exporter, "tfm-a", 1)
