import pytest

from exporter.simulator import ScenarioError, Simulator, World, load_scenario
from exporter.simulator.run_timeline import Calendar
from exporter.simulator.scenario import build_scenario
from exporter.simulator.service_model import STATUSES, TASK_TYPES
from tests.simulator.clients import Clock, client

PLAIN = {"waiting": "10s", "duration": "60s", "stopping": "20s"}
DETAILS = {
    "EVALUATION": set(),
    "LABELING_SET_GENERATION": {"LabelingSetGenerationTaskRunProperties"},
    "IMPORT_LABELS": {"ImportLabelsTaskRunProperties"},
    "EXPORT_LABELS": {"ExportLabelsTaskRunProperties"},
    "FIND_MATCHES": {"FindMatchesTaskRunProperties"},
}


def one_transform(**settings):
    """Return a scenario with one transform, `t`."""
    return {"transforms": [{"name": "t", "id": "t", **settings}]}


def statuses_at(world, clock, run_id, *seconds_from_start):
    """Return the run's status at each of the times."""
    statuses = []
    for seconds in seconds_from_start:
        clock.now = world.start + seconds
        statuses.append(world.run("t", run_id)["Status"])
    return statuses


@pytest.fixture
def clock():
    return Clock()


def test_a_started_run_goes_through_its_statuses(clock):
    """A run started by StartMLEvaluationTaskRun is STARTING, then RUNNING, then SUCCEEDED, at the task's times."""
    with Simulator(one_transform(tasks={"EVALUATION": PLAIN}), clock=clock) as simulator:
        run_id = client(simulator).start_ml_evaluation_task_run(TransformId="t")["TaskRunId"]
        world = simulator.world
        assert statuses_at(world, clock, run_id, 0, 9.9, 10.1, 69.9, 70.1) == [
            "STARTING",
            "STARTING",
            "RUNNING",
            "RUNNING",
            "SUCCEEDED",
        ]
        record = client(simulator).get_ml_task_run(TransformId="t", TaskRunId=run_id)
    assert record["ExecutionTime"] == 60
    assert (record["CompletedOn"] - record["StartedOn"]).total_seconds() == 70


def test_a_labeling_set_run_has_the_requested_output_path(clock):
    """The OutputS3Path of StartMLLabelingSetGenerationTaskRun is in the run's properties."""
    with Simulator(one_transform(), clock=clock) as simulator:
        glue = client(simulator)
        answer = glue.start_ml_labeling_set_generation_task_run(TransformId="t", OutputS3Path="s3://here/")
        properties = glue.get_ml_task_run(TransformId="t", TaskRunId=answer["TaskRunId"])["Properties"]
    assert properties == {
        "TaskType": "LABELING_SET_GENERATION",
        "LabelingSetGenerationTaskRunProperties": {"OutputS3Path": "s3://here/"},
    }


def test_a_cancelled_run_is_stopping_and_then_stopped(clock):
    """CancelMLTaskRun answers STOPPING. After the stopping time the run is STOPPED and cannot be cancelled again."""
    with Simulator(one_transform(tasks={"EVALUATION": PLAIN}), clock=clock) as simulator:
        glue, world = client(simulator), simulator.world
        run_id = glue.start_ml_evaluation_task_run(TransformId="t")["TaskRunId"]
        clock.now += 30
        assert glue.cancel_ml_task_run(TransformId="t", TaskRunId=run_id)["Status"] == "STOPPING"
        assert glue.cancel_ml_task_run(TransformId="t", TaskRunId=run_id)["Status"] == "STOPPING"
        assert statuses_at(world, clock, run_id, 31, 49, 51) == ["STOPPING", "STOPPING", "STOPPED"]
        with pytest.raises(glue.exceptions.InvalidInputException, match="STOPPED"):
            glue.cancel_ml_task_run(TransformId="t", TaskRunId=run_id)
        with pytest.raises(glue.exceptions.EntityNotFoundException):
            glue.cancel_ml_task_run(TransformId="t", TaskRunId="tsk-none")


def test_a_transform_that_is_not_ready_cannot_be_evaluated(clock):
    """StartMLEvaluationTaskRun fails with MLTransformNotReadyException if the transform is not ready."""
    with Simulator(one_transform(status="NOT_READY"), clock=clock) as simulator:
        glue = client(simulator)
        with pytest.raises(glue.exceptions.MLTransformNotReadyException):
            glue.start_ml_evaluation_task_run(TransformId="t")


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_each_task_type_has_its_own_properties(clock, task_type):
    """The Properties of a run have its task type and only the structure of that type."""
    world = World(load_scenario(one_transform()), clock)
    properties = world.run("t", world.add_run("t", task_type))["Properties"]
    assert properties["TaskType"] == task_type
    assert set(properties) - {"TaskType"} == DETAILS[task_type]


def test_members_without_a_value_are_left_out(clock):
    """A run that has not ended has no CompletedOn, ExecutionTime or ErrorString, and no member is null."""
    world = World(load_scenario(one_transform()), clock)
    record = world.run("t", world.add_run("t"))
    assert not {"CompletedOn", "ExecutionTime", "ErrorString"} & set(record)
    assert None not in record.values()


@pytest.mark.parametrize("status", STATUSES)
def test_an_added_run_has_its_status_at_once(clock, status):
    """A run that is added with a status has that status."""
    world = World(load_scenario(one_transform()), clock)
    assert world.run("t", world.add_run("t", status=status))["Status"] == status


def test_an_added_run_ends_at_its_completion_time(clock):
    """A run that is added with a completion time in the future is RUNNING until then."""
    world = World(load_scenario(one_transform()), clock)
    run_id = world.add_run("t", status="FAILED", completed=clock.now + 5)
    assert statuses_at(world, clock, run_id, 0, 4.9, 5) == ["RUNNING", "RUNNING", "FAILED"]


def test_a_run_can_appear_after_its_start(clock):
    """A run is not listed before it appears. Then it is listed in the order of its start."""
    world = World(load_scenario(one_transform()), clock)
    world.add_run("t", started=clock.now - 50, run_id="old")
    world.add_run("t", started=clock.now - 100, appears=clock.now + 10, run_id="late")
    assert [run["TaskRunId"] for run in world.runs("t")] == ["old"]
    clock.now += 10
    assert [run["TaskRunId"] for run in world.runs("t")] == ["late", "old"]


def test_a_run_ends_at_its_exact_millisecond():
    """At its completion time a run has its final status, for every fraction of a second."""
    clock = Clock(1_795_000_000.001)
    world = World(load_scenario(one_transform()), clock)
    for milliseconds in range(300):
        clock.now = 1_795_000_000 + milliseconds / 1000
        record = world.run("t", world.add_run("t", status="FAILED", completed=clock.now))
        assert (record["Status"], record["CompletedOn"]) == ("FAILED", clock.now)


def test_two_runs_cannot_have_the_same_id(clock):
    """An id is refused if another run has it, or will appear with it, or has it in the same scenario."""
    world = World(load_scenario(one_transform()), clock)
    world.add_run("t", run_id="now")
    world.add_run("t", run_id="later", appears=clock.now + 5)
    for taken in ("now", "later"):
        for appears in (None, clock.now + 9):
            with pytest.raises(ValueError, match="exists already"):
                world.add_run("t", run_id=taken, appears=appears)
    clock.now += 9
    assert [run["TaskRunId"] for run in world.runs("t")] == ["later", "now"]
    with pytest.raises(ScenarioError, match="same id"):
        load_scenario(one_transform(runs=[{"type": "EVALUATION", "id": "x", "started": 0}] * 2))


def test_fields_replace_members_of_a_run(clock):
    """`fields` replace members of the JSON answer. None removes a member, and unknown values stay as they are."""
    world = World(load_scenario(one_transform()), clock)
    run_id = world.add_run("t", "NEW_TYPE", status="PAUSED", fields={"StartedOn": None, "ErrorString": "x\ny"})
    record = world.run("t", run_id)
    assert (record["Status"], record["Properties"]) == ("PAUSED", {"TaskType": "NEW_TYPE"})
    assert "StartedOn" not in record
    assert record["ErrorString"] == "x\ny"
    world.alter_run("t", run_id, {"StartedOn": clock.now - 1, "Status": "RUNNING"})
    assert world.run("t", run_id)["StartedOn"] == clock.now - 1


def test_a_run_with_a_changed_start_is_listed_by_it(clock):
    """A listing is ordered by the changed StartedOn. A run without StartedOn is the last one in the listing."""
    world = World(load_scenario(one_transform()), clock)
    for name, age in (("a", 30), ("b", 20), ("c", 10)):
        world.add_run("t", started=clock.now - age, run_id=name)
    world.alter_run("t", "a", {"StartedOn": clock.now - 15})
    assert [run["TaskRunId"] for run in world.runs("t")] == ["b", "a", "c"]
    world.alter_run("t", "b", {"StartedOn": None})
    assert [run["TaskRunId"] for run in world.runs("t")] == ["a", "c", "b"]


def test_a_run_can_be_finished_and_removed(clock):
    """A run can be finished with a status, a time and members. A removed run is in no answer."""
    world = World(load_scenario(one_transform()), clock)
    run_id = world.add_run("t", "IMPORT_LABELS", started=clock.now - 100)
    world.finish_run("t", run_id, "FAILED", completed=clock.now - 3, fields={"ErrorString": "no such bucket"})
    record = world.run("t", run_id)
    assert record["CompletedOn"] == clock.now - 3
    assert (record["ExecutionTime"], record["ErrorString"]) == (97, "no such bucket")
    world.remove_run("t", run_id)
    assert world.runs("t") == []
    with pytest.raises(LookupError):
        world.run("t", run_id)


def test_expected_counts_agree_with_the_listing(clock):
    """`expected_counts` gives the same numbers as counting the listed runs."""
    tasks = {"FIND_MATCHES": {"every": "30s", "outcomes": {"FAILED": 0.3}, **PLAIN}, "EVALUATION": {"every": "1m"}}
    world = World(load_scenario(one_transform(tasks=tasks, history="1h")), clock)
    clock.now += 600
    counts, runs = world.expected_counts()["transforms"]["t"], world.runs("t")
    assert sum(counts["started"].values()) == len(runs)
    for task_type, statuses in counts["runs"].items():
        for status, number in statuses.items():
            matching = [r for r in runs if (r["Properties"]["TaskType"], r["Status"]) == (task_type, status)]
            assert len(matching) == number
    ended = [run for run in runs if run.get("CompletedOn", 0) >= world.start]
    assert {one["run_id"] for one in counts["completions"]} == {run["TaskRunId"] for run in ended}
    assert 0 < len(ended) < sum(sum(one.values()) for one in counts["finished"].values())


def test_acceleration_applies_only_after_the_start():
    """Before the start of the simulator scenario time has its normal speed; after the start it is faster."""
    calendar = Calendar(1000.0, 60)
    assert [calendar.milliseconds(second) for second in (-120, 0, 120)] == [880_000, 1_000_000, 1_002_000]
    assert [calendar.scenario_seconds(epoch) for epoch in (880, 1000, 1002)] == [-120, 0, 120]


def test_history_runs_is_the_exact_number_of_runs(clock):
    """`history_runs` gives that many runs, all within the history and before the start."""
    task = {"history_runs": 250, "duration": "1s", "waiting": "0s"}
    world = World(load_scenario(one_transform(history="10d", tasks={"FIND_MATCHES": task})), clock)
    runs = world.runs("t")
    assert len(runs) == 250
    assert world.start - 864_000 <= runs[0]["StartedOn"] < runs[-1]["StartedOn"] <= world.start


def test_a_hanging_run_never_ends(clock):
    """With `hang: 1` every run stays RUNNING."""
    task = {"history_runs": 5, "hang": 1, "waiting": "0s"}
    world = World(load_scenario(one_transform(history="1d", tasks={"FIND_MATCHES": task})), clock)
    clock.now += 10**8
    assert {run["Status"] for run in world.runs("t")} == {"RUNNING"}


def test_a_timed_out_run_has_the_execution_time_of_the_timeout(clock):
    """The ExecutionTime of a TIMEOUT run is the transform's timeout."""
    task = {"history_runs": 5, "outcomes": {"TIMEOUT": 1}}
    world = World(load_scenario(one_transform(history="30d", timeout_minutes=20, tasks={"EVALUATION": task})), clock)
    assert {(run["Status"], run["ExecutionTime"]) for run in world.runs("t")} == {("TIMEOUT", 1200)}
    assert all("timeout after 1200 seconds" in run["ErrorString"] for run in world.runs("t"))


def test_the_seed_decides_the_runs(clock):
    """The same seed gives the same runs, and another seed gives other runs."""
    settings = one_transform(history="1d", tasks={"FIND_MATCHES": {"every": "1h"}})
    first, same, other = (
        [run["StartedOn"] for run in World(build_scenario({**settings, "seed": seed}), clock).runs("t")]
        for seed in (1, 1, 2)
    )
    assert first == same != other


def test_the_worlds_time_does_not_go_back_with_its_clock():
    """If the clock is set back, the world's time does not go back."""
    clock = Clock(1000.0)
    world = World(load_scenario(one_transform()), clock)
    clock.now = 900.0
    assert world.now() == 1000.0


def test_the_demo_shows_every_status_and_task_type_within_30_seconds(clock):
    """Within 30 seconds the demo shows every status and task type, with at most 15 transforms and 5,000 runs."""
    world = World(load_scenario(), clock)
    statuses, types = set(), set()
    assert 12 <= len(world.transform_ids()) <= 15
    assert sum(sum(one["started"].values()) for one in world.expected_counts()["transforms"].values()) < 5000
    for _ in range(30):
        clock.now += 1
        for one in world.expected_counts()["transforms"].values():
            statuses |= {
                s for counts in one["runs"].values() for s in counts if s in ("STARTING", "RUNNING", "STOPPING")
            }
            statuses |= {run["status"] for run in one["completions"]}
            types |= {run["task_type"] for run in one["completions"]}
    assert (statuses, types) == (set(STATUSES), set(TASK_TYPES))
