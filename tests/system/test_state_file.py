"""The state file of a real process: it is deleted while the process runs, or its disk is full at the start."""

import os
import signal
import subprocess
from contextlib import suppress

import pytest

from tests.system.staging import FINISHED, Exporter, configuration, wait_for

FAILED = {"task_type": "FIND_MATCHES", "status": "FAILED"}


@pytest.mark.slow
def test_a_file_that_is_deleted_while_the_exporter_runs_comes_back(simulator, tmp_path):
    """After the next poll with a change the file is complete again, so counters continue after SIGKILL."""
    config = configuration(simulator.url, ["tfm-a"], state={"path": "state.db"})
    with Exporter(tmp_path, config) as exporter:
        exporter.wait_for_polls("tfm-a", 1)
        simulator.world.add_run("tfm-a", status="FAILED")
        exporter.wait_for_value(1, FINISHED, **FAILED)
        for file in tmp_path.glob("state.db*"):
            file.unlink()
        simulator.world.add_run("tfm-a", status="FAILED")
        exporter.wait_for_value(2, FINISHED, **FAILED)
        assert exporter.stderr.count("the state file was deleted or replaced") == 1
        exporter.send(signal.SIGKILL)
        exporter.wait()
    with Exporter(tmp_path, config) as exporter:
        simulator.world.add_run("tfm-a", status="FAILED")
        exporter.wait_for_value(3, FINISHED, **FAILED)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")
def test_a_full_disk_at_the_start_lets_counters_wait(simulator, tmp_path):
    """On a full disk the exporter starts, says so, and serves gauges; counters move when there is space again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=False).returncode:
        pytest.skip("this container may not mount file systems")
    try:
        ballast = disk / "ballast"
        with suppress(OSError):
            ballast.write_bytes(bytes(2 << 20))
        with Exporter(tmp_path, configuration(simulator.url, ["tfm-a"], state={"path": "disk/state.db"})) as exporter:
            exporter.wait_for_polls("tfm-a", 1)
            simulator.world.add_run("tfm-a", status="FAILED")
            exporter.wait_for_value(1, "glue_ml_task_runs", **FAILED)
            exporter.wait_for_polls("tfm-a", 3)
            assert exporter.metrics().value(FINISHED, **FAILED) == 0
            [line] = [line for line in exporter.stderr.splitlines() if "the state file" in line]
            assert "counters wait" in line
            assert "is full" in line
            ballast.unlink()
            exporter.wait_for_value(1, FINISHED, **FAILED)
            wait_for(lambda: "the state file is written again" in exporter.stderr)
            exporter.send(signal.SIGTERM)
            assert exporter.wait() == 0
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
