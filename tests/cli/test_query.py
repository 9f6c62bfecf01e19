"""The command `runs` lists the same runs as a plain boto3 client."""

import json
import threading
from datetime import datetime
from itertools import product

import pytest

from exporter.cli.options import RunsOptions
from exporter.cli.output.fields import TIME_FIELDS, json_line
from exporter.cli.parser import parse
from exporter.cli.runs.query import RunQuery
from exporter.config.settings import read_config
from exporter.glue.client import GlueClients
from exporter.model.task_run import STATUSES, TASK_TYPES
from exporter.model.transform import Lane, Target
from exporter.simulator import Simulator
from exporter.telemetry import Telemetry
from tests.cli.typed import configure
from tests.simulator.clients import client, walk

pytestmark = pytest.mark.usefixtures("environment")

START = 1_795_000_000
TARGET = Target("tfm-x", Lane("default", "eu-west-1"))
TIME_BOUNDS = ((None, None), (START + 1000, None), (None, START + 4000), (START + 1000, START + 4000))
SORTS = tuple(product(("STARTED", "STATUS", "TASK_RUN_TYPE"), ("ASCENDING", "DESCENDING")))


def given(task_type, status, bounds, sort):
    """Return the flags of the command, and a boto3 request with the same meaning."""
    (after, before), (column, direction) = bounds, sort
    words = [f"--sort={column}", "--descending" if direction == "DESCENDING" else "--no-descending"]
    criteria = {}
    for flag, name, value in (
        ("type", "TaskRunType", task_type),
        ("status", "Status", status),
        ("started-after", "StartedAfter", after),
        ("started-before", "StartedBefore", before),
    ):
        if value is not None:
            is_time = isinstance(value, int)
            words.append(f"--{flag}={datetime.fromtimestamp(value).astimezone().isoformat() if is_time else value}")
            criteria[name] = datetime.fromtimestamp(value).astimezone() if is_time else value
    request = {"Sort": {"Column": column, "SortDirection": direction}, **({"Filter": criteria} if criteria else {})}
    return words, request


@pytest.fixture(scope="module")
def world():
    """Return a simulator whose transform has two runs of each type and status."""
    with Simulator({"transforms": [{"id": "tfm-x", "name": "x"}]}) as simulator:
        for number, (task_type, status) in enumerate(product(TASK_TYPES * 2, STATUSES)):
            started = START + 71 * number
            completed = started + 10 if status in STATUSES[3:] else None
            simulator.world.add_run("tfm-x", task_type, status=status, started=started, completed=completed)
        yield simulator


@pytest.fixture
def aws(world, tmp_path):
    config = read_config(configure(tmp_path, world.url, transforms=["tfm-x"]), environ={})
    aws = GlueClients(config, telemetry=Telemetry(process=False), stop=threading.Event())
    yield aws
    aws.close()


def listed(aws, words):
    """Return the runs that the command reads with these flags."""
    options = parse(["runs", "tfm-x", *words], {})
    assert isinstance(options, RunsOptions)
    return [run for page in RunQuery(options, aws, page_size=30, now=0.0).pages(TARGET, 0) for run in page.runs]


@pytest.mark.slow
@pytest.mark.parametrize("sort", SORTS, ids="-".join)
def test_every_filter_and_sort_gives_the_runs_of_boto3(sort, world, aws):
    """Every combination of type, status, time bounds and sort order lists the same runs as boto3."""
    boto = client(world)
    longest = 0
    for task_type, status, bounds in product((None, *TASK_TYPES), (None, *STATUSES), TIME_BOUNDS):
        words, request = given(task_type, status, bounds, sort)
        expected = walk(boto.get_ml_task_runs, "TaskRuns", TransformId="tfm-x", **request)
        assert [run["TaskRunId"] for run in listed(aws, words)] == [run["TaskRunId"] for run in expected], words
        longest = max(longest, len(expected))
    assert longest == 2 * len(TASK_TYPES) * len(STATUSES)


def test_glue_filters_and_sorts(world, aws):
    """The request to Glue contains filter and sort order, so Glue sends only runs that the command shows."""
    before = world.requests.count("GetMLTaskRuns")
    found = listed(aws, ["--type=EVALUATION", "--status=FAILED", "--started-after=1970-01-02", "--sort=STATUS"])
    (request,) = world.requests.all("GetMLTaskRuns")[before:]
    assert len(found) == 2
    assert request.params["Filter"] == {"TaskRunType": "EVALUATION", "Status": "FAILED", "StartedAfter": 86400}
    assert request.params["Sort"] == {"Column": "STATUS", "SortDirection": "DESCENDING"}


def test_json_has_the_values_of_boto3(world, aws):
    """Each JSON line has the fields and values that boto3 returns, with times as ISO 8601 texts."""
    expected = walk(client(world).get_ml_task_runs, "TaskRuns", TransformId="tfm-x")
    found = [json.loads(json_line(run)) for run in listed(aws, [])]
    for run in found:
        run |= {name: datetime.fromisoformat(run[name]) for name in TIME_FIELDS if name in run}
    assert len(found) == len(expected) > 0
    assert found == expected
