"""`runs --follow` finds each new or changed run once."""

import json
import signal
import threading
import time

import pytest

from exporter.cli.parser import parse
from exporter.cli.runs.follow import OVERLAP, Follower
from exporter.cli.runs.query import RunQuery
from exporter.config.settings import read_config
from exporter.glue.client import GlueClients
from exporter.model.transform import Lane, Target
from exporter.telemetry import Telemetry
from tests.cli.typed import configure
from tests.support import EXPORTER, Process
from tests.system.staging import CREDENTIALS

TARGET = Target("tfm-b", Lane("default", "eu-west-1"))
DAY = 86400


@pytest.fixture
def follow(simulator, tmp_path):
    """Return a function that follows tfm-b and returns another: each call gives the ids of new or changed runs."""
    config = read_config(configure(tmp_path, simulator.url, transforms=["tfm-b"]), environ={})
    aws = GlueClients(config, telemetry=Telemetry(process=False), stop=threading.Event())

    def start(*arguments):
        options = parse(["runs", "tfm-b", *arguments], {})
        follower = Follower(RunQuery(options, aws, page_size=2, now=time.time()), TARGET, time.time())
        return lambda: [run["TaskRunId"] for run in follower.changes()]

    yield start
    aws.close()


def finish(simulator, run_id, status, started):
    """End a run with this status."""
    simulator.world.remove_run("tfm-b", run_id)
    simulator.world.add_run("tfm-b", status=status, run_id=run_id, started=started)


def test_earlier_runs_are_not_new(simulator, follow):
    """Runs that exist at the start are not new, whether they have ended or not."""
    for number in range(5):
        simulator.world.add_run("tfm-b", status="SUCCEEDED", started=simulator.world.start - 10 * number)
    simulator.world.add_run("tfm-b", run_id="tsk-active")
    assert follow()() == []


def test_new_and_changed_runs_are_found_once(simulator, follow):
    """A run is found once when it starts and once when it ends, the oldest run first."""
    changes = follow()
    start = simulator.world.start
    simulator.world.add_run("tfm-b", run_id="tsk-2", started=start + 2)
    simulator.world.add_run("tfm-b", run_id="tsk-1", started=start + 1)
    assert (changes(), changes()) == (["tsk-1", "tsk-2"], [])
    finish(simulator, "tsk-1", "FAILED", start + 1)
    assert (changes(), changes()) == (["tsk-1"], [])


def test_a_long_run_is_found_when_it_fails(simulator, follow):
    """With the filter FAILED, a run that started days before is found when it fails."""
    started = simulator.world.start - 3 * DAY
    simulator.world.add_run("tfm-b", run_id="tsk-slow", started=started)
    simulator.world.add_run("tfm-b", run_id="tsk-old", started=started - DAY, status="FAILED")
    changes = follow("--status=failed")
    assert changes() == []
    finish(simulator, "tsk-slow", "FAILED", started)
    assert changes() == ["tsk-slow"]


def test_only_runs_that_can_change_are_read(simulator, follow):
    """Each search reads only runs that started later than 15 minutes before the oldest active run."""
    simulator.world.add_run("tfm-b", run_id="tsk-active", started=simulator.world.start - DAY)
    follow()
    request = simulator.requests.all("GetMLTaskRuns")[-1]
    assert request.params["Filter"].keys() == {"StartedAfter"}
    assert request.params["Filter"]["StartedAfter"] == pytest.approx(simulator.world.start - DAY - OVERLAP, abs=5)
    follow("--started-after=1h ago", "--type=evaluation")
    request = simulator.requests.all("GetMLTaskRuns")[-1]
    assert request.params["Filter"]["StartedAfter"] > simulator.world.start - DAY / 2
    assert request.params["Filter"]["TaskRunType"] == "EVALUATION"


@pytest.mark.slow
def test_following_on_the_command_line(simulator, tmp_path):
    """The latest runs are printed with the oldest on top, then new runs, also after a fault of Glue, until Ctrl-C."""
    for number in range(3):
        simulator.world.add_run(
            "tfm-b", status="SUCCEEDED", run_id=f"tsk-{number}", started=simulator.world.start - 60 + number
        )
    configure(tmp_path, simulator.url, transforms=["tfm-b"])
    command = (*EXPORTER, "runs", "tfm-b", "--follow", "--limit=2", "--output=json")
    with Process(*command, folder=tmp_path, environ=CREDENTIALS) as process:
        process.wait_for_output("tsk-2")
        simulator.faults.set({"kind": "server_error", "operations": ["GetMLTaskRuns"], "times": 1})
        process.wait_for_output("^tfm-b: GetMLTaskRuns: InternalServiceException")
        simulator.world.add_run("tfm-b", status="FAILED", run_id="tsk-new")
        process.wait_for_output("tsk-new")
        process.send(signal.SIGINT)
        assert process.wait() == 130
    assert [json.loads(line)["TaskRunId"] for line in process.stdout.splitlines()] == ["tsk-1", "tsk-2", "tsk-new"]
    assert process.stderr.splitlines()[1:] == ["interrupted"]
