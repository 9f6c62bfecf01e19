"""A run that does not have the documented shape is left out, counted and logged once."""

import pytest

from tests.running import keeps_polling, running, wait_for

SKIPPED = "glue_ml_exporter_skipped_runs_total"
FINISHED = "glue_ml_task_runs_finished_total"
LANE = {"aws_account": "default", "aws_region": "eu-west-1"}


@pytest.mark.slow
def test_a_malformed_run_costs_itself(simulator, caplog):
    """A run of 20 days ago has the ExecutionTime "n/a": the others of its page count, and one log line names it."""
    run_id = simulator.world.add_run(
        "tfm-a",
        "EVALUATION",
        status="FAILED",
        started=simulator.world.now() - 20 * 86400,
        completed=simulator.world.now() - 20 * 86400,
        fields={"ExecutionTime": "n/a"},
    )
    simulator.world.add_run("tfm-a", "EVALUATION", status="SUCCEEDED")
    with running(simulator, transforms=["tfm-a"], polling={"resync_interval": "200ms"}) as exporter:
        exporter.wait_until_up("tfm-a")
        assert exporter.value(SKIPPED, **LANE) > 0
        before = exporter.value(SKIPPED, **LANE)
        simulator.world.add_run("tfm-a", "EVALUATION", status="FAILED")
        wait_for(lambda: exporter.value(FINISHED, transform_id="tfm-a", status="FAILED") == 1)
        wait_for(lambda: exporter.value(SKIPPED, **LANE) > before)
        keeps_polling(exporter, "tfm-a")
        assert not exporter.errors()
    lines = [str(record.msg) for record in caplog.records if "do not have the documented shape" in str(record.msg)]
    assert len(lines) == 1
    assert run_id in lines[0]


def test_the_series_of_skipped_runs_exists_from_the_start(simulator):
    """The counter is 0 for each account and region before a run is left out, so its increase includes the first."""
    with running(simulator, transforms=["tfm-a"]) as exporter:
        assert exporter.value(SKIPPED, **LANE) == 0
