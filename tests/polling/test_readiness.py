"""The exporter is ready when everything was tried once, an interval has passed, or state was restored."""

import pytest

from tests.running import running, wait_for

TWO = ["tfm-a", "tfm-b"]
LONG = {"interval": "1h", "stale_after": "2h", "request_timeout": "20s"}


@pytest.mark.slow
def test_ready_after_each_transform_was_tried(simulator):
    """A transform whose poll failed was tried. One whose poll still hangs was not, so the exporter is not ready."""
    simulator.faults.set({"kind": "throttle", "transforms": ["tfm-a"]})
    simulator.faults.set({"kind": "hang", "transforms": ["tfm-b"]})
    with running(simulator, transforms=TWO, polling={**LONG, "request_timeout": "5s"}) as exporter:
        wait_for(lambda: exporter.up("tfm-a") == 0)
        assert not exporter.service.is_ready()
        wait_for(exporter.service.is_ready)


def test_ready_after_an_interval(simulator):
    """If a poll hangs, the exporter is ready after an interval, because it can serve the other transforms."""
    simulator.faults.set({"kind": "hang"})
    with running(simulator, transforms=TWO, polling={**LONG, "interval": "500ms"}) as exporter:
        wait_for(exporter.service.is_ready)


def test_ready_at_once_with_restored_state(simulator, tmp_path):
    """With counters from the state file the exporter is ready before AWS answers, and stays ready if AWS never does."""
    state = {"path": tmp_path / "state.db"}
    with running(simulator, transforms=TWO, polling=LONG, state=state) as exporter:
        exporter.wait_until_up(*TWO)
    simulator.faults.set({"kind": "hang"})
    with running(simulator, transforms=TWO, polling=LONG, state=state) as exporter:
        assert exporter.service.is_ready()
        assert exporter.value("glue_ml_task_runs_started_total", transform_id="tfm-a") is not None


def test_readiness_does_not_depend_on_aws_afterwards(simulator):
    """An exporter that was ready stays ready when every call to AWS fails and a reload adds a transform."""
    with running(simulator, transforms=["tfm-a"], polling=LONG) as exporter:
        wait_for(exporter.service.is_ready)
        simulator.faults.set({"kind": "hang"})
        exporter.reload(transforms=TWO)
        assert exporter.service.is_ready()
