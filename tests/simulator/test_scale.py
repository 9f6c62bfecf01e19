import sys

import pytest

from exporter.simulator import World, load_scenario
from exporter.simulator.glue_api import Caller, GlueApi
from tests.simulator.clients import OLDEST_FIRST, Clock

CALLER = Caller("123456789012", "eu-west-1")
SCENARIO = {
    "transforms": [
        {
            "name": "big",
            "id": "big",
            "history": "300d",
            "tasks": {"FIND_MATCHES": {"history_runs": 1_000_000, "outcomes": {"FAILED": 0.1}}},
        },
        {"name": "many", "count": 10_000, "history": "30d", "tasks": {"EVALUATION": {"every": "1d"}}},
    ]
}


@pytest.fixture(scope="module")
def world():
    return World(load_scenario(SCENARIO), Clock())


def page(world, transform_id, **request):
    """Return one page of 1000 runs, oldest first."""
    request = {"TransformId": transform_id, "MaxResults": 1000, "Sort": OLDEST_FIRST, **request}
    return GlueApi(world).call("GetMLTaskRuns", CALLER, request)


@pytest.mark.slow
def test_a_listing_of_many_runs_is_complete_and_ordered(world):
    """50 pages with the last twentieth of 1,000,000 runs have every run once, in order."""
    after = world.start - 15 * 86400
    starts = []
    answer = page(world, "big", Filter={"StartedAfter": after})
    while "NextToken" in answer:
        starts += [run["StartedOn"] for run in answer["TaskRuns"]]
        answer = page(world, "big", Filter={"StartedAfter": after}, NextToken=answer["NextToken"])
    starts += [run["StartedOn"] for run in answer["TaskRuns"]]
    assert 45_000 < len(starts) == sum(start > after * 1000 for start in world.transform("big").table.started)
    assert starts == sorted(starts)


@pytest.mark.slow
def test_time_bounds_select_from_a_million_runs(world):
    """StartedAfter and StartedBefore select the right runs of a million."""
    after, before = world.start - 100 * 86400, world.start - 100 * 86400 + 20_000
    found = page(world, "big", Filter={"StartedAfter": after, "StartedBefore": before})["TaskRuns"]
    assert 0 < len(found) < 1000
    assert after < found[0]["StartedOn"] <= found[-1]["StartedOn"] < before
    edge = page(world, "big", Filter={"StartedAfter": found[-1]["StartedOn"]})["TaskRuns"]
    assert edge[0]["StartedOn"] >= before


@pytest.mark.slow
def test_a_run_takes_less_than_60_bytes(world):
    """The columns of a million runs take less than 60 bytes per run."""
    page(world, "big")
    columns = (
        getattr(world.transform("big").table, name)
        for name in ("started", "running", "stopping", "ended", "task_types", "outcomes", "order", "overrides")
    )
    assert sum(map(sys.getsizeof, columns)) < 60_000_000


def test_runs_are_drawn_only_for_requested_transforms():
    """Of 10,000 transforms only the requested one has a table of runs."""
    world = World(load_scenario(SCENARIO), Clock())
    ids = GlueApi(world).call("ListMLTransforms", CALLER, {"MaxResults": 1000})
    assert len(ids["TransformIds"]) == 1000
    assert page(world, ids["TransformIds"][-1])["TaskRuns"]
    assert sum(one.table is not None for one in world.transforms(*CALLER)) == 1
