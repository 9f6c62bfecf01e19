import json
import os
import subprocess
from datetime import UTC, datetime
from itertools import product

import pytest

from exporter.simulator.service_model import FINAL_STATUSES, STATUSES, TASK_TYPES
from tests.simulator.clients import REGION
from tests.support import tool

pytestmark = pytest.mark.slow

NOW = 1_795_000_000
COLUMNS = ("STARTED", "STATUS", "TASK_RUN_TYPE")


RUNS = [
    {
        "type": TASK_TYPES[number % 5],
        "status": STATUSES[number % 7],
        "started": -1000 + number,
        **({"completed": -500} if STATUSES[number % 7] in FINAL_STATUSES else {}),
    }
    for number in range(70)
]
SCENARIO = {
    "transforms": [{"name": "t", "id": "tfm-cli", "tags": {"team": "data"}, "runs": RUNS}, {"name": "bulk", "count": 5}]
}


@pytest.fixture
def aws(simulator, tmp_path_factory):
    program, home = tool("aws"), tmp_path_factory.mktemp("home")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "AWS_ACCESS_KEY_ID": "simulated",
        "AWS_SECRET_ACCESS_KEY": "simulated",
        "AWS_MAX_ATTEMPTS": "1",
        "NO_PROXY": "127.0.0.1",
    }

    def call(*arguments):
        """Run the aws command. Return its exit code, JSON output and error text."""
        command = (program, "--endpoint-url", simulator.url, "--region", REGION, *arguments)
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, json.loads(done.stdout or "null"), done.stderr

    return call


def ids_of(answer):
    """Return the run ids of a listing."""
    return [run["TaskRunId"] for run in answer["TaskRuns"]]


@pytest.mark.parametrize(("column", "direction"), list(product(COLUMNS, ("ASCENDING", "DESCENDING"))))
def test_aws_cli_reads_all_pages_of_every_sort(simulator, aws, column, direction):
    """`aws glue get-ml-task-runs` follows the pages of every sort to the end."""
    request = ["glue", "get-ml-task-runs", "--transform-id", "tfm-cli", "--max-results", "30"]
    request += ["--sort", f"Column={column},SortDirection={direction}"]
    found, token = [], []
    while True:
        code, answer, error = aws(*request, *token)
        assert code == 0, error
        found += answer["TaskRuns"]
        if "NextToken" not in answer:
            break
        token = ["--next-token", answer["NextToken"]]
    keys = {"STARTED": "StartedOn", "STATUS": "Status", "TASK_RUN_TYPE": "Properties"}
    values = [str(run[keys[column]]) for run in found]
    assert sorted(run["TaskRunId"] for run in found) == sorted(
        run["TaskRunId"] for run in simulator.world.runs("tfm-cli")
    )
    if column != "TASK_RUN_TYPE":
        assert values == sorted(values, reverse=direction == "DESCENDING")


@pytest.mark.parametrize(
    ("criteria", "keeps"),
    [
        ("TaskRunType=EVALUATION", lambda run: run["Properties"]["TaskType"] == "EVALUATION"),
        ("Status=FAILED", lambda run: run["Status"] == "FAILED"),
        ("StartedAfter={}", lambda run: run["StartedOn"] > NOW - 950),
        ("StartedBefore={}", lambda run: run["StartedOn"] < NOW - 950),
        ("Status=RUNNING,StartedAfter={}", lambda run: run["Status"] == "RUNNING" and run["StartedOn"] > NOW - 950),
    ],
)
def test_aws_cli_filters_runs(simulator, aws, criteria, keeps):
    """Each filter of the aws command selects the documented runs."""
    bound = datetime.fromtimestamp(NOW - 950, UTC).isoformat()
    code, answer, error = aws(
        "glue", "get-ml-task-runs", "--transform-id", "tfm-cli", "--filter", criteria.format(bound)
    )
    assert code == 0, error
    wanted = [run["TaskRunId"] for run in simulator.world.runs("tfm-cli") if keeps(run)]
    assert ids_of(answer) == wanted[::-1]
    assert wanted


def test_aws_cli_can_use_every_other_operation(aws):
    """The aws command can list, get, start, look up and cancel, and can use both STS operations."""
    calls = [
        ("glue", "list-ml-transforms", "--tags", "team=data"),
        ("glue", "get-ml-transforms", "--max-results", "3"),
        ("glue", "get-ml-transform", "--transform-id", "tfm-cli"),
        (
            "glue",
            "start-ml-labeling-set-generation-task-run",
            "--transform-id",
            "tfm-cli",
            "--output-s3-path",
            "s3://b",
        ),
        ("sts", "get-caller-identity"),
        ("sts", "assume-role", "--role-arn", "arn:aws:iam::222222222222:role/r", "--role-session-name", "cli"),
    ]
    answers = []
    for call in calls:
        code, answer, error = aws(*call)
        assert code == 0, error
        answers.append(answer)
    assert answers[0]["TransformIds"] == ["tfm-cli"]
    assert answers[4]["Account"] == "123456789012"
    code, started, error = aws("glue", "start-ml-evaluation-task-run", "--transform-id", "tfm-cli")
    assert code == 0, error
    run = ("--transform-id", "tfm-cli", "--task-run-id", started["TaskRunId"])
    assert aws("glue", "get-ml-task-run", *run)[1]["Status"] == "STARTING"
    assert aws("glue", "cancel-ml-task-run", *run)[1]["Status"] == "STOPPING"


def test_aws_cli_shows_the_simulators_errors(aws):
    """For an unknown transform the aws command fails with the documented error code."""
    code, _, error = aws("glue", "get-ml-task-runs", "--transform-id", "nowhere")
    assert code != 0
    assert "(EntityNotFoundException)" in error
