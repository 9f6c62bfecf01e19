"""A shard calls AWS only for its own transforms, and keeps its part of the rate limit."""

import pytest

from exporter.model.shard import Shard
from exporter.simulator import Simulator
from tests.running import running, wait_for


def test_a_shard_reads_only_its_own_transforms():
    """Every shard lists all transforms, but reads runs and names of its own transforms only."""
    with Simulator({"transforms": [{"name": "many", "count": 12}]}) as simulator:
        shard = Shard(1, 3)
        mine = {one for one in simulator.world.transform_ids() if shard.owns(one)}
        with running(simulator, shard=shard, discovery=[{"name": "many*"}]) as exporter:
            exporter.wait_until_up(*mine)
            assert exporter.monitored_ids() == mine
            assert exporter.value("glue_ml_exporter_discovered_transforms") == len(mine)
        asked = {operation: asked_about(simulator, operation) for operation in ("GetMLTransform", "GetMLTaskRuns")}
    assert asked == {"GetMLTransform": mine, "GetMLTaskRuns": mine}


def asked_about(simulator, operation):
    return {one.transform_id for one in simulator.requests.all(operation)}


@pytest.mark.slow
def test_all_shards_together_keep_the_rate():
    """One of four shards uses a quarter of requests_per_second, because AWS limits the total rate of all shards."""
    with Simulator({"transforms": [{"name": "many", "count": 60}]}) as simulator:
        polling = {"interval": "200ms", "requests_per_second": 40}
        ids = simulator.world.transform_ids()
        with running(
            simulator, shard=Shard(2, 4), transforms=ids, transform_details=False, polling=polling
        ) as exporter:
            wait_for(lambda: simulator.requests.count() >= 43, timeout=60)
            times = sorted(one.time for one in simulator.requests.all())[3:]
            assert exporter.service._clients._config.polling.requests_per_second == 10
    assert len(times) - 1 <= 1.1 * 10 * (times[-1] - times[0])
