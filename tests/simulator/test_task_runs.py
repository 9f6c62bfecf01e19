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
    """Give 90 runs of every type and status, many of them started in the same second."""
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


def expected(truth: list[dict[str, Any]], request: dict[str, Any]) -> list[str]:
    """Say, independently of the simulator's own code, which run ids a query must give, and in which order."""
    criteria, sort = request.get("Filter", {}), request["Sort"]
    kept = [
        run
        for run in truth
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


def test_every_filter_and_sort_in_pages_of_any_size_gives_exactly_the_matching_runs(simulator):
    """All combinations of type, status, time bounds, sort and page size give what filtering the truth gives."""
    api, truth = GlueApi(simulator.world), simulator.world.runs("tfm-mixed")
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
        wanted = expected(truth, request)
        for size in (1, 7, 1000) if len(wanted) < 20 else (7, 1000):
            got = walk(lambda **one: api.call("GetMLTaskRuns", CALLER, one), "TaskRuns", **request, MaxResults=size)
            assert [run["TaskRunId"] for run in got] == wanted


@pytest.mark.parametrize("size", [1, 13, 90, 1000])
@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("direction", ["ASCENDING", "DESCENDING"])
def test_boto3_walks_every_sort_to_its_end(simulator, glue, column, direction, size):
    """A boto3 client that follows NextToken sees each run exactly once, in the order it asked for."""
    sort = {"Column": column, "SortDirection": direction}
    got = walk(glue.get_ml_task_runs, "TaskRuns", TransformId="tfm-mixed", MaxResults=size, Sort=sort)
    wanted = expected(simulator.world.runs("tfm-mixed"), {"Sort": sort})
    assert [run["TaskRunId"] for run in got] == wanted


def test_boto3_reads_the_very_values_of_the_truth(simulator, glue):
    """What boto3 parses equals the world's own record of each run, times to the millisecond."""
    got = glue.get_ml_task_runs(TransformId="tfm-mixed", Sort=OLDEST_FIRST)["TaskRuns"]
    times = ("StartedOn", "LastModifiedOn", "CompletedOn")
    for run in got:
        run.update({name: run[name].timestamp() for name in times if name in run})
    assert got == simulator.world.runs("tfm-mixed")


def test_boto3_may_combine_all_filters(simulator, glue):
    """Type, status and both time bounds narrow the answer together."""
    criteria = {"TaskRunType": "EVALUATION", "Status": "FAILED", "StartedAfter": NOW - 155, "StartedBefore": NOW - 100}
    got = glue.get_ml_task_runs(TransformId="tfm-mixed", Filter=criteria, Sort=OLDEST_FIRST)["TaskRuns"]
    wanted = expected(simulator.world.runs("tfm-mixed"), {"Filter": criteria, "Sort": OLDEST_FIRST})
    assert [run["TaskRunId"] for run in got] == wanted
    assert wanted


def test_time_bounds_are_exclusive():
    """A run started exactly at a bound is neither before nor after it."""
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


def test_a_token_allows_another_page_size_and_an_empty_one_means_the_beginning(glue):
    """MaxResults may change between pages, and NextToken="" asks for the first."""
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
    """A token continues only the transform, filter and sort that it was made for."""
    token = glue.get_ml_task_runs(TransformId="tfm-mixed", MaxResults=2)["NextToken"]
    with pytest.raises(glue.exceptions.InvalidInputException, match="Invalid NextToken"):
        glue.get_ml_task_runs(**{"TransformId": "tfm-mixed", "NextToken": token, "MaxResults": 2, **change})


def test_a_token_is_refused_by_another_operation_region_and_account(simulator, glue):
    """A token does not open another operation's pages, nor those of another region or account."""
    token = glue.get_ml_task_runs(TransformId="tfm-mixed", MaxResults=2)["NextToken"]
    with pytest.raises(glue.exceptions.InvalidInputException):
        glue.list_ml_transforms(NextToken=token)
    with pytest.raises(glue.exceptions.InvalidInputException):
        glue.get_ml_transforms(NextToken=glue.list_ml_transforms(MaxResults=1)["NextToken"])
    with pytest.raises(glue.exceptions.InvalidInputException):
        client(simulator, region="us-east-1").get_ml_task_runs(TransformId="tfm-mixed", NextToken=token)


def test_a_token_can_be_typed_on_a_command_line():
    """No token begins with a dash, which a command line client would take for an option."""
    page_tokens = PageTokens(b"secret")
    assert not any(page_tokens.make(offset, ["query"]).startswith("-") for offset in range(500))


@pytest.mark.parametrize("pattern", ["x", "é", "{0}A", "{1}", "A{2}", "B{2}", "{0}{0}"])
def test_a_tampered_token_is_refused(glue, pattern):
    """Only a token exactly as it was given is taken."""
    token = glue.get_ml_task_runs(TransformId="tfm-mixed", MaxResults=2)["NextToken"]
    tampered = pattern.format(token, token[:-1], token[1:])
    assert tampered != token
    with pytest.raises(glue.exceptions.InvalidInputException):
        glue.get_ml_task_runs(TransformId="tfm-mixed", NextToken=tampered)


def test_new_runs_shift_descending_pages_and_leave_ascending_ones_alone():
    """A run that starts between two pages doubles one in newest-first order, and just follows in oldest-first."""
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
    """Each documented constraint is enforced, and the message names what is wrong."""
    glue = client(simulator, validate=False)
    request = {"TransformId": "tfm-mixed", **request_}
    with pytest.raises(glue.exceptions.InvalidInputException, match=problem):
        glue.get_ml_task_runs(**{name: value for name, value in request.items() if value is not None})


def test_a_transform_that_is_not_there_is_an_entity_not_found(simulator, glue):
    """An unknown transform, and one of another region, do not exist for the caller."""
    for transform_id in ("tfm-nowhere", "tfm-else"):
        with pytest.raises(glue.exceptions.EntityNotFoundException):
            glue.get_ml_task_runs(TransformId=transform_id)
    assert len(client(simulator, region="us-east-1").get_ml_task_runs(TransformId="tfm-else")["TaskRuns"]) == 5


def test_one_run_can_be_looked_up_by_its_id(glue):
    """GetMLTaskRun gives the same record as the listing; an id of another transform is not found."""
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
    """Give runs that start and end at given times, in seconds from the start of the simulator."""
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
def test_oldest_first_pages_lose_and_double_nothing_while_time_goes_on(scenario, size, steps):
    """Whatever the scenario, the page size and the pace, a walk in ascending order sees each run exactly once."""
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
@given(scenario=SCENARIOS, looks=st.lists(st.floats(0, 200), max_size=10))
def test_the_same_seed_gives_the_same_truth_however_often_one_looks(scenario, looks):
    """Two worlds of one scenario agree at the same instant, although only one was watched on the way."""
    watched_clock, unwatched_clock = Clock(), Clock()
    watched, unwatched = World(scenario, watched_clock), World(scenario, unwatched_clock)
    for look in sorted(looks):
        watched_clock.now = Clock().now + look
        watched.expected_counts()
    watched_clock.now = unwatched_clock.now = Clock().now + 200
    assert watched.runs("t") == unwatched.runs("t")
    assert watched.expected_counts() == unwatched.expected_counts()


@settings(max_examples=40, deadline=None)
@given(scenario=SCENARIOS, elapsed=st.floats(0, 100))
def test_generated_runs_never_lie_in_the_future_and_are_consistent(scenario, elapsed):
    """Every time of a generated run is in the past and in order, and execution never exceeds the wall clock."""
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
