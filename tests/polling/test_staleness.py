"""What is shown of a transform that cannot be polled."""

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
POLLING = {"interval": "200ms", "stale_after": "1s", "request_timeout": "4s"}


def shown(exporter, names):
    samples = exporter.samples()
    return [name for name in names if any(labels["transform_id"] == "tfm-a" for labels, _ in samples.get(name, []))]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["throttle", "hang"])
def test_gauges_go_when_they_are_too_old_and_come_back(simulator, kind):
    """Past stale_after the gauges are gone, up is 0, counters and times stay, even while the call still hangs."""
    with running(simulator, transforms=["tfm-a", "tfm-b"], polling=POLLING) as exporter:
        exporter.wait_until_up("tfm-a", "tfm-b")
        simulator.world.add_run("tfm-a", status="SUCCEEDED", fields={"ExecutionTime": 10})
        wait_for(lambda: exporter.value("glue_ml_task_run_execution_seconds_count", transform_id="tfm-a") == 1)
        succeeded = exporter.value("glue_ml_transform_last_successful_poll_timestamp_seconds", transform_id="tfm-a")
        assert shown(exporter, GAUGES + LASTING) == list(GAUGES + LASTING)
        simulator.faults.set({"kind": kind, "transforms": ["tfm-a"]})
        wait_for(lambda: not shown(exporter, GAUGES), timeout=3.5)
        assert exporter.up("tfm-a") == 0
        assert shown(exporter, LASTING) == list(LASTING)
        assert exporter.value("glue_ml_task_runs_finished_total", transform_id="tfm-a") == 1
        last = exporter.value("glue_ml_transform_last_successful_poll_timestamp_seconds", transform_id="tfm-a")
        assert 0 <= last - succeeded < 1
        if kind == "hang":
            assert not exporter.errors()
            assert exporter.up("tfm-b") == 1
        simulator.faults.clear()
        wait_for(lambda: shown(exporter, GAUGES + LASTING) == list(GAUGES + LASTING), timeout=20)
        exporter.wait_until_up("tfm-a", "tfm-b")
        assert exporter.value("glue_ml_task_runs_finished_total", transform_id="tfm-a") == 1


@pytest.mark.slow
def test_a_short_failure_withdraws_nothing(simulator):
    """Before stale_after is over a failing transform keeps its gauges; only up tells of the failure."""
    with running(simulator, transforms=["tfm-a"], polling={"stale_after": "1m"}) as exporter:
        simulator.world.add_run("tfm-a")
        wait_for(lambda: shown(exporter, GAUGES) == list(GAUGES))
        simulator.faults.set({"kind": "access_denied"})
        wait_for(lambda: exporter.up("tfm-a") == 0)
        assert shown(exporter, GAUGES) == list(GAUGES)
