"""What shards ask AWS for."""

import time

import pytest

from exporter.model.shard import Shard
from exporter.simulator import Simulator
from tests.running import pause, running, wait_for


def test_nothing_is_asked_about_the_transforms_of_other_shards():
    """Every shard lists the transforms, and asks for the runs and the names of its own only."""
    with Simulator({"transforms": [{"name": "many", "count": 12}]}) as simulator:
        shard = Shard(1, 3)
        mine = {one for one in simulator.world.transform_ids() if shard.owns(one)}
        with running(simulator, shard=shard, discovery=[{"name": "many*"}]) as exporter:
            exporter.wait_until_up(*mine)
            assert exporter.watched() == mine
            assert exporter.value("glue_ml_exporter_discovered_transforms") == len(mine)
        asked = {operation: asked_about(simulator, operation) for operation in ("GetMLTransform", "GetMLTaskRuns")}
    assert asked == {"GetMLTransform": mine, "GetMLTaskRuns": mine}


def asked_about(simulator, operation):
    return {one.transform_id for one in simulator.requests.all(operation)}


@pytest.mark.slow
def test_all_shards_together_keep_the_rate():
    """One of four shards makes a quarter of requests_per_second, for AWS counts the calls of all."""
    with Simulator({"transforms": [{"name": "many", "count": 60}]}) as simulator:
        polling = {"interval": "200ms", "requests_per_second": 40}
        ids = simulator.world.transform_ids()
        with running(simulator, shard=Shard(2, 4), transforms=ids, transform_details=False, polling=polling):
            wait_for(lambda: simulator.requests.count() >= 3)
            began = time.time()
            pause(4)
            seen = sum(one.time > began for one in simulator.requests.all())
    assert 34 <= seen <= 44
