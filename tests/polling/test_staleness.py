"""The gauges of a transform whose polls fail or hang are removed after `stale_after`."""

import time

import pytest

from tests.running import running, wait_for

GAUGES = ("glue_ml_task_runs", "glue_ml_task_run_latest_status", "glue_ml_transform_status")
LASTING = (
    "glue_ml_task_runs_finished_total",
    "glue_ml_task_run_execution_seconds_count",
    "glue_ml_task_run_last_success_timestamp_seconds",
    "glue_ml_transform_last_successful_poll_timestamp_seconds",
    "glue_ml_transform_info",
)
POLLING = {"interval": "200ms", "stale_after": "1s", "request_timeout": "15s"}


def shown(exporter, names):
    samples = exporter.samples()
    return [name for name in names if any(labels["transform_id"] == "tfm-a" for labels, _ in samples.get(name, []))]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["throttle", "hang"])
def test_old_gauges_are_removed_and_return_with_the_next_good_poll(simulator, kind):
    """After stale_after the gauges are removed and counters stay, also if a call hangs."""
    with running(simulator, transforms=["tfm-a", "tfm-b"], polling=POLLING) as exporter:
        exporter.wait_until_up("tfm-a", "tfm-b")
        simulator.world.add_run("tfm-a", status="SUCCEEDED", fields={"ExecutionTime": 10})
        wait_for(lambda: exporter.value("glue_ml_task_run_execution_seconds_count", transform_id="tfm-a") == 1)
        succeeded = exporter.value("glue_ml_transform_last_successful_poll_timestamp_seconds", transform_id="tfm-a")
        assert shown(exporter, GAUGES + LASTING) == list(GAUGES + LASTING)
        simulator.faults.set({"kind": kind, "transforms": ["tfm-a"]})
        broken = time.time()
        wait_for(lambda: not shown(exporter, GAUGES))
        assert exporter.up("tfm-a") == 0
        assert shown(exporter, LASTING) == list(LASTING)
        assert exporter.value("glue_ml_task_runs_finished_total", transform_id="tfm-a") == 1
        last = exporter.value("glue_ml_transform_last_successful_poll_timestamp_seconds", transform_id="tfm-a")
        assert succeeded <= last <= broken
        if kind == "hang":
            assert not exporter.errors()
            assert exporter.up("tfm-b") == 1
        simulator.faults.clear()
        wait_for(lambda: shown(exporter, GAUGES + LASTING) == list(GAUGES + LASTING), timeout=60)
        exporter.wait_until_up("tfm-a", "tfm-b")
        assert exporter.value("glue_ml_task_runs_finished_total", transform_id="tfm-a") == 1


@pytest.mark.slow
def test_a_short_failure_removes_no_gauge(simulator):
    """Until stale_after has passed, a failing transform keeps its gauges and only up is 0."""
    with running(simulator, transforms=["tfm-a"], polling={"stale_after": "1m"}) as exporter:
        simulator.world.add_run("tfm-a")
        wait_for(lambda: shown(exporter, GAUGES) == list(GAUGES))
        simulator.faults.set({"kind": "access_denied"})
        wait_for(lambda: exporter.up("tfm-a") == 0)
        assert shown(exporter, GAUGES) == list(GAUGES)


def test_a_failed_poll_is_shown_with_its_reason_and_the_refused_operation_until_a_poll_succeeds(simulator):
    """Of two transforms, only the refused one has an error, and it has none after its next successful poll."""
    error = "glue_ml_transform_last_poll_error_info"
    refused = {"transform_id": "tfm-a", "reason": "AccessDeniedException", "operation": "GetMLTaskRuns"}
    simulator.faults.set({"kind": "access_denied", "operations": ["GetMLTaskRuns"], "transforms": ["tfm-a"]})
    with running(simulator, transforms=["tfm-a", "tfm-b"]) as exporter:
        wait_for(lambda: exporter.value(error, **refused) == 1)
        exporter.wait_until_up("tfm-b")
        assert exporter.value(error, transform_id="tfm-b") is None
        simulator.faults.clear()
        exporter.wait_until_up("tfm-a")
        assert exporter.value(error) is None
