from datetime import UTC, datetime

import pytest

from exporter.simulator import ScenarioError, Simulator, World, built_in_scenarios, load_scenario
from exporter.simulator.quantities import instant, parse_duration, parse_offset
from exporter.simulator.scenario import read_scenario
from tests.simulator.clients import Clock


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("colour: red", "colour: unknown key"),
        (
            "transforms: [{name: a, tasks: {FIND_MATCHES: {evry: 5m}}}]",
            "transforms.0.tasks.FIND_MATCHES.evry: unknown key",
        ),
        ("transforms: [{name: a, tasks: {TRAINING: {}}}]", "transforms.0.tasks.TRAINING"),
        ("transforms: [{name: a, tasks: {EVALUATION: {every: 5 minutes}}}]", "'5 minutes' is not a duration; expected"),
        ("transforms: [{name: a, tasks: {EVALUATION: {every: 0s}}}]", "greater than 0"),
        ("transforms: [{name: a, tasks: {EVALUATION: {hang: 1.5}}}]", "hang: Input should be less than or equal to 1"),
        (
            "transforms: [{name: a, tasks: {EVALUATION: {outcomes: {FAILED: 0.7, TIMEOUT: 0.6}}}}]",
            "must not add up to more than 1",
        ),
        (
            "transforms: [{name: a, tasks: {EVALUATION: {duration: {distribution: normal}}}}]",
            "transforms.0.tasks.EVALUATION.duration",
        ),
        (
            "transforms: [{name: a, tasks: {EVALUATION: {duration: {distribution: uniform, low: 5m, high: 1m}}}}]",
            "low must not be greater than high",
        ),
        ("transforms: [{name: a, id: x, count: 2}]", "id cannot be used together with a count above 1"),
        ("transforms: [{name: a, account: 123456789012}]", "put it in quotes"),
        ("transforms: [{name: a, worker_type: X.1}]", "worker_type must be one of"),
        (
            "transforms: [{name: a, runs: [{type: EVALUATION, status: FAILED, started: -5m}]}]",
            "a final status needs completed",
        ),
        ("transforms: [{name: a, runs: [{type: EVALUATION, started: yesterday}]}]", "is not a time"),
        ("transforms: [{name: a, runs: [{type: EVALUATION, started: '2026-01-01T00:00:00'}]}]", "has no time zone"),
        ("transforms: [{}]", "transforms.0.name: Field required"),
        ("faults: [{kind: gremlin}]", "faults.0.kind"),
        ("faults: [{kind: throttle, operations: [GetMLRuns]}]", "unknown operation 'GetMLRuns'; expected one of"),
        ("faults: [{kind: error}]", "kind: error needs code, and other kinds do not allow it"),
        ("faults: [{kind: throttle, code: X}]", "kind: error needs code, and other kinds do not allow it"),
        ("acceleration: 0", "acceleration"),
        ("roles: [{arn: reader}]", "roles.0.arn"),
        ("seed: 1\nseed: 2", "key 'seed' occurs twice"),
        ("seed: [1", "not valid YAML"),
        ("? [a]\n: b", "found unhashable key"),
        ('name: "\\UFFFFFFFF"', "not valid YAML"),
        ("name: 2026-13-45", "not valid YAML: month must be in 1..12"),
        ("[" * 3000, "not valid YAML: nested too deeply"),
    ],
)
def test_an_error_in_a_scenario_is_reported_with_its_place(text, problem):
    """The message has the file, the place in it and the problem."""
    with pytest.raises(ScenarioError) as refusal:
        read_scenario(text, source="s.yaml")
    assert str(refusal.value).startswith("s.yaml: ")
    assert problem in str(refusal.value)


def test_all_errors_in_a_scenario_are_reported_at_once():
    """Three errors give three lines."""
    with pytest.raises(ScenarioError) as refusal:
        read_scenario("seed: x\nacceleration: -1\ncolour: red")
    assert len(str(refusal.value).splitlines()) == 3


def test_two_transforms_cannot_have_the_same_id():
    """Two transforms with the same id are refused. Two with the same name are allowed."""
    with pytest.raises(ScenarioError, match="exists already"):
        Simulator({"transforms": [{"name": "a", "id": "x"}, {"name": "b", "id": "x"}]})
    assert len(World(load_scenario({"transforms": [{"name": "a"}, {"name": "a"}]})).transform_ids()) == 2


def test_a_scenario_can_be_a_file_a_name_or_data(tmp_path):
    """`load_scenario` takes a path, the name of a built-in scenario, or plain data. An empty file has no transforms."""
    path = tmp_path / "mine.yaml"
    path.write_text("seed: 7\n")
    assert load_scenario(path).seed == load_scenario(str(path)).seed == load_scenario({"seed": 7}).seed == 7
    assert "demo" in built_in_scenarios()
    path.write_text("")
    assert load_scenario(path).transforms == ()


@pytest.mark.parametrize(("content", "problem"), [(None, "does not exist; expected "), (b"\xff", "is not UTF-8")])
def test_a_scenario_file_that_cannot_be_read_is_an_error_with_its_path(tmp_path, content, problem):
    """A missing file and a file that is not UTF-8 are scenario errors with the path."""
    path = tmp_path / "none.yaml"
    if content:
        path.write_bytes(content)
    with pytest.raises(ScenarioError, match=rf"none\.yaml: {problem}"):
        load_scenario(path)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("1h30m", 5400), ("7d", 604_800), ("250ms", 0.25), (1.5, 1.5)]
)
def test_a_duration_is_seconds_or_amounts_with_units(text, seconds):
    """A duration is a number of seconds, or text with amounts and units."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "-5m", "m5", -1, True, None, float("nan"), float("inf")])
def test_other_values_are_not_durations(text):
    """Other values are refused, also negative and infinite ones."""
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("value", "epoch"),
    [
        ("-2h", 1000 - 7200),
        ("+30s", 1030),
        ("30s", 1030),
        (-5, 995),
        ("1970-01-01T01:00:00Z", 3600),
        ("1970-01-01T01:00:00+01:00", 0),
        (datetime(1970, 1, 1, 2, tzinfo=UTC), 7200),
    ],
)
def test_a_time_is_an_offset_from_the_start_or_a_date(value, epoch):
    """Offsets count from the simulator's start; dates do not depend on the start."""
    assert instant(parse_offset(value), 1000.0) == epoch


@pytest.mark.parametrize(
    ("duration", "low", "high", "mean"),
    [
        ("60s", 60, 60, 60),
        ({"distribution": "uniform", "low": "10s", "high": "30s"}, 10, 30, 20),
        ({"distribution": "exponential", "mean": "20s"}, 0, 400, 20),
        ({"distribution": "lognormal", "median": "20s", "spread": 0.0}, 20, 20, 20),
        ({"distribution": "lognormal", "median": "20s", "spread": 0.5}, 1, 400, 22.7),
    ],
)
def test_durations_follow_their_distribution(duration, low, high, mean):
    """Execution times are within the bounds of their distribution and have its mean."""
    task = {"history_runs": 1500, "duration": duration, "waiting": 0}
    scenario = {"transforms": [{"name": "t", "id": "t", "history": "100d", "tasks": {"EVALUATION": task}}]}
    runs = World(load_scenario(scenario), Clock()).runs("t")
    times = [run["CompletedOn"] - run["StartedOn"] for run in runs if "CompletedOn" in run]
    assert low - 0.01 <= min(times) <= max(times) <= high + 0.01
    assert sum(times) / len(times) == pytest.approx(mean, rel=0.1)


def test_outcomes_have_their_probabilities():
    """Failures, timeouts and stops are as frequent as the scenario says."""
    task = {"history_runs": 2000, "outcomes": {"FAILED": 0.3, "TIMEOUT": 0.1, "STOPPED": 0.2}}
    transform = {"name": "t", "id": "t", "history": "900d", "timeout_minutes": 1, "tasks": {"EVALUATION": task}}
    world = World(load_scenario({"transforms": [transform]}), Clock())
    finished = world.expected_counts()["transforms"]["t"]["finished"]
    shares = {status: number / 2000 for status, number in finished["EVALUATION"].items()}
    assert shares == pytest.approx({"FAILED": 0.3, "TIMEOUT": 0.1, "STOPPED": 0.2, "SUCCEEDED": 0.4}, abs=0.04)


@pytest.mark.parametrize("arrivals", ["poisson", "regular"])
def test_runs_start_at_their_rate_and_faster_with_acceleration(arrivals):
    """`every: 1m` gives 60 runs an hour before the start, and 600 an hour after it with `acceleration: 10`."""
    task = {"every": "1m", "arrivals": arrivals}
    transform = {"name": "t", "id": "t", "history": "10h", "tasks": {"EVALUATION": task}}
    clock = Clock()
    world = World(load_scenario({"acceleration": 10, "transforms": [transform]}), clock)
    clock.now += 3600
    starts = [run["StartedOn"] for run in world.runs("t")]
    assert sum(start < world.start for start in starts) == pytest.approx(600, rel=0.15)
    assert sum(start >= world.start for start in starts) == pytest.approx(600, rel=0.15)
