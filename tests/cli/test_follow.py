"""`runs --follow`: what is news, and that nothing else is."""

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
    """Give what begins to follow tfm-b with these arguments, and gives the ids of the runs that are news since."""
    config = read_config(configure(tmp_path, simulator.url, transforms=["tfm-b"]), environ={})
    aws = GlueClients(config, telemetry=Telemetry(process=False), stop=threading.Event())

    def begin(*arguments):
        options = parse(["runs", "tfm-b", *arguments], {})
        follower = Follower(RunQuery(options, aws, page_size=2, now=time.time()), TARGET, time.time())
        return lambda: [run["TaskRunId"] for run in follower.changes()]

    yield begin
    aws.close()


def finish(simulator, run_id, status, started):
    """Let a run end."""
    simulator.world.remove_run("tfm-b", run_id)
    simulator.world.add_run("tfm-b", status=status, run_id=run_id, started=started)


def test_history_is_no_news(simulator, follow):
    """Runs that are there when the following begins are no news, ended or not, until they change."""
    for number in range(5):
        simulator.world.add_run("tfm-b", status="SUCCEEDED", started=simulator.world.start - 10 * number)
    simulator.world.add_run("tfm-b", run_id="tsk-active")
    assert follow()() == []


def test_new_and_changed_runs_are_news_once(simulator, follow):
    """A run that starts is news, and again when it ends, the oldest first and each time once."""
    news = follow()
    start = simulator.world.start
    simulator.world.add_run("tfm-b", run_id="tsk-2", started=start + 2)
    simulator.world.add_run("tfm-b", run_id="tsk-1", started=start + 1)
    assert (news(), news()) == (["tsk-1", "tsk-2"], [])
    finish(simulator, "tsk-1", "FAILED", start + 1)
    assert (news(), news()) == (["tsk-1"], [])


def test_a_run_that_was_active_for_long_is_news_when_it_fails(simulator, follow):
    """With a filter for FAILED, a run that started days before the following began is news when it fails."""
    started = simulator.world.start - 3 * DAY
    simulator.world.add_run("tfm-b", run_id="tsk-slow", started=started)
    simulator.world.add_run("tfm-b", run_id="tsk-old", started=started - DAY, status="FAILED")
    news = follow("--status=failed")
    assert news() == []
    finish(simulator, "tsk-slow", "FAILED", started)
    assert news() == ["tsk-slow"]


def test_only_what_can_be_news_is_read(simulator, follow):
    """No more is read again and again than began a quarter of an hour before the oldest run that is active."""
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
    """The latest runs come first, oldest on top, then news as they come, over a fault of Glue, until Ctrl-C."""
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
