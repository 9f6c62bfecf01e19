import random
from itertools import product
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.simulator import Simulator, World
from exporter.simulator.glue_api import Caller, GlueApi
from exporter.simulator.page_tokens import PageTokens
from exporter.simulator.scenario import build_scenario
from exporter.simulator.service_model import FINAL_STATUSES, STATUSES, TASK_TYPES
from tests.simulator.clients import OLDEST_FIRST, REGION, Clock, client, walk

CALLER = Caller("123456789012", REGION)
COLUMNS = {
    "STARTED": lambda run: run["StartedOn"],
    "STATUS": lambda run: run["Status"],
    "TASK_RUN_TYPE": lambda run: run["Properties"]["TaskType"],
}
NOW = 1_795_000_000


def mixed_runs() -> list[dict[str, Any]]:
    """Return 90 runs of every type and status, many of them started in the same second."""
    rng = random.Random(5)  # noqa: S311  # test data
    runs = []
    for number in range(90):
        status = STATUSES[number % 7]
        run = {"type": TASK_TYPES[number % 5], "status": status, "started": -rng.randrange(100, 160)}
        if status in FINAL_STATUSES:
            run["completed"] = -rng.randrange(100)
        runs.append(run)
    return runs


RUNS = mixed_runs()
SCENARIO = {
    "transforms": [
        {"name": "mixed", "id": "tfm-mixed", "runs": RUNS},
        {"name": "other", "id": "tfm-other", "runs": RUNS[:5]},
        {"name": "elsewhere", "id": "tfm-else", "region": "us-east-1", "runs": RUNS[:5]},
    ]
}


@pytest.fixture
def glue(simulator):
    return client(simulator)


def expected(runs: list[dict[str, Any]], request: dict[str, Any]) -> list[str]:
    """Return the expected run ids of a query in order, computed without the code of the simulator."""
    criteria, sort = request.get("Filter", {}), request["Sort"]
    kept = [
        run
        for run in runs
        if criteria.get("TaskRunType") in (None, run["Properties"]["TaskType"])
        and criteria.get("Status") in (None, run["Status"])
        and run["StartedOn"] > criteria.get("StartedAfter", 0)
        and run["StartedOn"] < criteria.get("StartedBefore", NOW * 2)
    ]
    column = COLUMNS[sort["Column"]]
    kept.sort(
        key=lambda run: (column(run), run["StartedOn"], run["TaskRunId"]),
        reverse=sort["SortDirection"] == "DESCENDING",
    )
    return [run["TaskRunId"] for run in kept]


def test_every_filter_and_sort_gives_the_matching_runs_in_order(simulator):
    """Each combination of filters, sort and page size gives the same runs as a plain filter and sort of all runs."""
    api, all_runs = GlueApi(simulator.world), simulator.world.runs("tfm-mixed")
    bounds = ({}, {"StartedAfter": NOW - 140}, {"StartedBefore": NOW - 120.5})
    combined = {"StartedAfter": NOW - 150, "StartedBefore": NOW - 110}
    for task_type, status, bound, column, direction in product(
        (None, *TASK_TYPES), (None, *STATUSES), (*bounds, combined), COLUMNS, ("ASCENDING", "DESCENDING")
    ):
        criteria = {"TaskRunType": task_type, "Status": status, **bound}
        request: dict[str, Any] = {
            "TransformId": "tfm-mixed",
            "Filter": {name: value for name, value in criteria.items() if value is not None},
            "Sort": {"Column": column, "SortDirection": direction},
        }
        wanted = expected(all_runs, request)
        for size in (1, 7, 1000) if len(wanted) < 20 else (7, 1000):
            got = walk(lambda **one: api.call("GetMLTaskRuns", CALLER, one), "TaskRuns", **request, MaxResults=size)
            assert [run["TaskRunId"] for run in got] == wanted


@pytest.mark.parametrize("size", [1, 13, 90, 1000])
@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("direction", ["ASCENDING", "DESCENDING"])
def test_boto3_reads_all_pages_of_every_sort(simulator, glue, column, direction, size):
    """A boto3 client that follows NextToken gets each run exactly once, in the requested order."""
    sort = {"Column": column, "SortDirection": direction}
    got = walk(glue.get_ml_task_runs, "TaskRuns", TransformId="tfm-mixed", MaxResults=size, Sort=sort)
    wanted = expected(simulator.world.runs("tfm-mixed"), {"Sort": sort})
    assert [run["TaskRunId"] for run in got] == wanted


def test_boto3_reads_the_exact_values_of_each_run(simulator, glue):
    """The runs that boto3 parses equal those of `World.runs`, with times to the millisecond."""
    got = glue.get_ml_task_runs(TransformId="tfm-mixed", Sort=OLDEST_FIRST)["TaskRuns"]
    times = ("StartedOn", "LastModifiedOn", "CompletedOn")
    for run in got:
        run.update({name: run[name].timestamp() for name in times if name in run})
    assert got == simulator.world.runs("tfm-mixed")


def test_boto3_can_combine_all_filters(simulator, glue):
    """Type, status and both time bounds apply together."""
    criteria = {"TaskRunType": "EVALUATION", "Status": "FAILED", "StartedAfter": NOW - 155, "StartedBefore": NOW - 100}
    got = glue.get_ml_task_runs(TransformId="tfm-mixed", Filter=criteria, Sort=OLDEST_FIRST)["TaskRuns"]
    wanted = expected(simulator.world.runs("tfm-mixed"), {"Filter": criteria, "Sort": OLDEST_FIRST})
    assert [run["TaskRunId"] for run in got] == wanted
    assert wanted


def test_time_bounds_are_exclusive():
    """A run that started exactly at a time bound matches neither StartedBefore nor StartedAfter."""
    with Simulator({"transforms": [{"name": "t", "id": "t"}]}, clock=Clock(NOW)) as simulator:
        simulator.world.add_run("t", started=NOW - 50)
        glue = client(simulator)
        for name in ("StartedAfter", "StartedBefore"):
            assert glue.get_ml_task_runs(TransformId="t", Filter={name: NOW - 50})["TaskRuns"] == []


def test_without_max_results_a_page_has_100_runs_newest_first():
    """The default page holds 100 runs, the newest first."""
    with Simulator({"transforms": [{"name": "t", "id": "t"}]}, clock=Clock(NOW)) as simulator:
        for age in range(101):
            simulator.world.add_run("t", started=NOW - age)
        answer = client(simulator).get_ml_task_runs(TransformId="t")
    assert [run["StartedOn"].timestamp() for run in answer["TaskRuns"]] == [NOW - age for age in range(100)]
    assert answer["NextToken"]


def test_the_page_size_can_change_between_pages(glue):
    """MaxResults can change between pages, and an empty NextToken asks for the first page."""
    first = glue.get_ml_task_runs(TransformId="tfm-mixed", MaxResults=10, NextToken="")
    rest = walk(glue.get_ml_task_runs, "TaskRuns", TransformId="tfm-mixed", MaxResults=50, NextToken=first["NextToken"])
    assert len(first["TaskRuns"]) + len(rest) == 90


@pytest.mark.parametrize(
    "change",
    [
        {"TransformId": "tfm-other"},
        {"Filter": {"Status": "FAILED"}},
        {"Filter": {"StartedAfter": 5}},
        {"Sort": OLDEST_FIRST},
    ],
)
def test_a_token_is_refused_with_another_query(glue, change):
    """A token is valid only for the transform, filter and sort that it was made for."""
    token = glue.get_ml_task_runs(TransformId="tfm-mixed", MaxResults=2)["NextToken"]
    with pytest.raises(glue.exceptions.InvalidInputException, match="Invalid NextToken"):
        glue.get_ml_task_runs(**{"TransformId": "tfm-mixed", "NextToken": token, "MaxResults": 2, **change})


def test_a_token_is_refused_by_another_operation_or_region(simulator, glue):
    """A token is valid only for the operation and the region that it was made for."""
    token = glue.get_ml_task_runs(TransformId="tfm-mixed", MaxResults=2)["NextToken"]
    with pytest.raises(glue.exceptions.InvalidInputException):
        glue.list_ml_transforms(NextToken=token)
    with pytest.raises(glue.exceptions.InvalidInputException):
        glue.get_ml_transforms(NextToken=glue.list_ml_transforms(MaxResults=1)["NextToken"])
    with pytest.raises(glue.exceptions.InvalidInputException):
        client(simulator, region="us-east-1").get_ml_task_runs(TransformId="tfm-mixed", NextToken=token)


def test_no_token_begins_with_a_dash():
    """No token begins with a dash, because the aws command would read the token as an option."""
    tokens = PageTokens(b"secret")
    assert not any(tokens.make(offset, ["query"]).startswith("-") for offset in range(500))


@pytest.mark.parametrize("pattern", ["x", "é", "{0}A", "{1}", "A{2}", "B{2}", "{0}{0}"])
def test_a_changed_token_is_refused(glue, pattern):
    """A changed token is refused with InvalidInputException."""
    token = glue.get_ml_task_runs(TransformId="tfm-mixed", MaxResults=2)["NextToken"]
    tampered = pattern.format(token, token[:-1], token[1:])
    assert tampered != token
    with pytest.raises(glue.exceptions.InvalidInputException):
        glue.get_ml_task_runs(TransformId="tfm-mixed", NextToken=tampered)


def test_a_new_run_shifts_descending_pages_only():
    """A run that starts between two pages repeats a run of newest-first pages; oldest-first pages stay right."""
    for direction, doubled in (("DESCENDING", 1), ("ASCENDING", 0)):
        sort = {"Column": "STARTED", "SortDirection": direction}
        with Simulator({"transforms": [{"name": "t", "id": "t"}]}, clock=Clock(NOW)) as simulator:
            for age in range(1, 7):
                simulator.world.add_run("t", started=NOW - age)
            glue = client(simulator)
            first = glue.get_ml_task_runs(TransformId="t", Sort=sort, MaxResults=3)
            simulator.world.add_run("t", started=NOW)
            rest = walk(glue.get_ml_task_runs, "TaskRuns", TransformId="t", Sort=sort, NextToken=first["NextToken"])
        ids = [run["TaskRunId"] for run in first["TaskRuns"] + rest]
        assert len(ids) - len(set(ids)) == doubled


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        ({"MaxResults": 0}, "greater than or equal to 1"),
        ({"MaxResults": 1001}, "less than or equal to 1000"),
        ({"TransformId": ""}, "length"),
        ({"TransformId": "x" * 256}, "length"),
        ({"TransformId": "a\u0000b"}, "pattern"),
        ({"Filter": {"Status": "DONE"}}, "enum"),
        ({"Filter": {"TaskRunType": "TRAINING"}}, "enum"),
        ({"Sort": {"Column": "STARTED"}}, "Sort.SortDirection"),
        ({"Sort": {"Column": "ENDED", "SortDirection": "ASCENDING"}}, "enum"),
        ({"TransformId": None}, "TransformId"),
    ],
)
def test_a_broken_constraint_is_an_invalid_input(simulator, request_, problem):
    """Each documented constraint is enforced, and the message says which one is broken."""
    glue = client(simulator, validate=False)
    request = {"TransformId": "tfm-mixed", **request_}
    with pytest.raises(glue.exceptions.InvalidInputException, match=problem):
        glue.get_ml_task_runs(**{name: value for name, value in request.items() if value is not None})


def test_an_unknown_transform_is_an_entity_not_found(simulator, glue):
    """A request for an unknown transform, or one of another region, fails with EntityNotFoundException."""
    for transform_id in ("tfm-nowhere", "tfm-else"):
        with pytest.raises(glue.exceptions.EntityNotFoundException):
            glue.get_ml_task_runs(TransformId=transform_id)
    assert len(client(simulator, region="us-east-1").get_ml_task_runs(TransformId="tfm-else")["TaskRuns"]) == 5


def test_one_run_can_be_looked_up_by_its_id(glue):
    """GetMLTaskRun gives the same members as the listing, and does not find a run of another transform."""
    run = glue.get_ml_task_runs(TransformId="tfm-mixed", MaxResults=1)["TaskRuns"][0]
    alone = glue.get_ml_task_run(TransformId="tfm-mixed", TaskRunId=run["TaskRunId"])
    assert {name: alone[name] for name in run} == run
    for unknown in ("tsk-" + "0" * 40, "nonsense", "tsk-" + "z" * 40):
        with pytest.raises(glue.exceptions.EntityNotFoundException):
            glue.get_ml_task_run(TransformId="tfm-mixed", TaskRunId=unknown)
    with pytest.raises(ClientError, match="EntityNotFound"):
        glue.get_ml_task_run(TransformId="tfm-other", TaskRunId=run["TaskRunId"])


TASKS = st.fixed_dictionaries(
    {
        "every": st.floats(5, 300),
        "arrivals": st.sampled_from(["poisson", "regular"]),
        "duration": st.floats(0, 500),
        "waiting": st.floats(0, 60),
    },
    optional={
        "history_runs": st.integers(0, 40),
        "hang": st.floats(0, 0.3),
        "outcomes": st.just({"FAILED": 0.2, "STOPPED": 0.2, "TIMEOUT": 0.1}),
    },
)


def explicit_runs(starts: list[int]) -> list[dict[str, Any]]:
    """Return runs that start at the given times (seconds from the simulator's start) and end 9 seconds later."""
    return [{"type": "IMPORT_LABELS", "status": "FAILED", "started": at, "completed": at + 9} for at in starts]


SCENARIOS = st.builds(
    lambda seed, speed, history, tasks, starts: build_scenario(
        {
            "seed": seed,
            "acceleration": speed,
            "transforms": [{"name": "t", "id": "t", "history": history, "tasks": tasks, "runs": explicit_runs(starts)}],
        }
    ),
    st.integers(0, 1000),
    st.floats(0.5, 50),
    st.floats(0, 1000),
    st.dictionaries(st.sampled_from(TASK_TYPES), TASKS, max_size=3),
    st.lists(st.integers(-500, 200), max_size=5),
)


@settings(max_examples=60, deadline=None)
@given(scenario=SCENARIOS, size=st.integers(1, 60), steps=st.lists(st.floats(0, 20), max_size=30))
def test_oldest_first_pages_have_each_run_once_while_time_passes(scenario, size, steps):
    """For any scenario, page size and speed, reading the pages in ascending order gives each run exactly once."""
    clock = Clock()
    world = World(scenario, clock)
    api = GlueApi(world)
    pauses = iter(steps)

    def call(**request: Any) -> dict[str, Any]:
        answer = api.call("GetMLTaskRuns", CALLER, request)
        clock.now += next(pauses, 0)
        return answer

    before = {run["TaskRunId"] for run in world.runs("t")}
    ids = [run["TaskRunId"] for run in walk(call, "TaskRuns", TransformId="t", MaxResults=size, Sort=OLDEST_FIRST)]
    after = [run["TaskRunId"] for run in world.runs("t")]
    assert ids == after[: len(ids)]
    assert before <= set(ids)


@settings(max_examples=40, deadline=None)
@given(scenario=SCENARIOS, reads=st.lists(st.floats(0, 200), max_size=10))
def test_reading_a_world_does_not_change_it(scenario, reads):
    """Two worlds of the same scenario have the same runs, although only one of them was read in between."""
    read_clock, unread_clock = Clock(), Clock()
    read, unread = World(scenario, read_clock), World(scenario, unread_clock)
    for elapsed in sorted(reads):
        read_clock.now = Clock().now + elapsed
        read.expected_counts()
    read_clock.now = unread_clock.now = Clock().now + 200
    assert read.runs("t") == unread.runs("t")
    assert read.expected_counts() == unread.expected_counts()


@settings(max_examples=40, deadline=None)
@given(scenario=SCENARIOS, elapsed=st.floats(0, 100))
def test_generated_runs_have_consistent_times_in_the_past(scenario, elapsed):
    """The times of a generated run are in order and not in the future, and ExecutionTime is not longer than the run."""
    clock = Clock()
    world = World(scenario, clock)
    clock.now += elapsed
    for run in world.runs("t"):
        final = run["Status"] in FINAL_STATUSES
        assert final == ("CompletedOn" in run) == ("ExecutionTime" in run)
        assert run["StartedOn"] <= run["LastModifiedOn"] <= clock.now + 1e-5
        assert ("ErrorString" in run) == (run["Status"] in ("FAILED", "TIMEOUT"))
        if final:
            assert run["LastModifiedOn"] == run["CompletedOn"]
            assert 0 <= run["ExecutionTime"] <= run["CompletedOn"] - run["StartedOn"] + 0.001
