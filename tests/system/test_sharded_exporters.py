"""Several shards run as processes, and Prometheus shows the increases when the number of shards changes."""

from collections import Counter
from contextlib import ExitStack, contextmanager

import pytest

from exporter.model.shard import Shard
from tests.servers import Prometheus
from tests.support import fetch, wait_for_answer
from tests.system.staging import FINISHED, Exporter, Samples, configuration, wait_for

pytestmark = pytest.mark.slow

SCRAPES = 0.3
COUNT = 10
FAILURE = "glue_ml_task_run_last_failure_timestamp_seconds"


SCENARIO = {"transforms": [{"name": "one", "count": COUNT}]}


@pytest.fixture
def prometheus(tmp_path):
    """Yield a running Prometheus that scrapes nothing yet."""
    with Prometheus(tmp_path, interval=SCRAPES) as server:
        yield server


class Fleet:
    """Several shards. Each shard has its own state file, which stays when the process ends."""

    def __init__(self, folder, simulator, count, *flags):
        self._stack = ExitStack()
        self.shards = []
        for index in range(count):
            own = folder / f"shard-{index}"
            own.mkdir(exist_ok=True)
            config = configuration(
                simulator.url, [], state={"path": "state.db"}, discovery=[{"regions": ["eu-west-1"], "interval": "1s"}]
            )
            numbers = (f"--shard.index={index}", f"--shard.count={count}")
            self.shards.append(self._stack.enter_context(Exporter(own, config, *numbers, *flags)))

    def targets(self):
        return {f"shard-{index}": shard.address for index, shard in enumerate(self.shards)}

    def owner(self, transform_id):
        return next(
            shard for index, shard in enumerate(self.shards) if Shard(index, len(self.shards)).owns(transform_id)
        )

    def stop(self):
        for shard in self.shards:
            shard.kill()
        self._stack.close()


@contextmanager
def fleet(folder, simulator, prometheus, count):
    """Run `count` shards that Prometheus scrapes. The block begins after two scrapes of each polled shard."""
    running = Fleet(folder, simulator, count)
    try:
        ids = simulator.world.transform_ids()
        wait_for(lambda: all(up(running.owner(one), one) for one in ids), describe="each transform is polled")
        prometheus.point_at(running.targets())
        for label in running.targets():
            prometheus.wait_for_scrapes(label, 2)
        yield running
    finally:
        running.stop()


def up(exporter, transform_id):
    return exporter.metrics().value("glue_ml_transform_up", transform_id=transform_id) == 1


def seen(prometheus):
    """Return the increases in Prometheus so far, summed over all shards: {transform id: increase}."""
    total = Counter()
    for track in prometheus.tracks(FINISHED):
        total[dict(track.labels)["transform_id"]] += round(track.increase)
    return +total


def wait_until_seen(prometheus, expected):
    """Wait until the increases are as expected, and check after some more scrapes that they stay unchanged."""
    wait_for(lambda: seen(prometheus) == expected, describe=lambda: (seen(prometheus), expected))
    scraped = prometheus.number("sum(count_over_time(up[10m]))")
    wait_for(lambda: prometheus.number("sum(count_over_time(up[10m]))") > scraped + 9, describe="some scrapes more")
    assert seen(prometheus) == expected


@pytest.mark.timeout(180)
def test_resizes_count_each_finished_run_at_most_once(simulator, prometheus, tmp_path):
    """After resizes from 2 to 3 shards and back, only runs that ended during a move are missing. None counts twice."""
    ids = simulator.world.transform_ids()
    moved = {one for one in ids if Shard(2, 3).owns(one)}
    assert 0 < len(moved) < COUNT
    expected = Counter()

    def end(status="SUCCEEDED", *, unwatched=frozenset()):
        for one in ids:
            simulator.world.add_run(one, status=status)
        expected.update(set(ids) - unwatched)

    with fleet(tmp_path, simulator, prometheus, 2) as running:
        open_runs = {one: simulator.world.add_run(one, "EVALUATION") for one in ids}
        end()
        wait_until_seen(prometheus, expected)
        wait_until_seen_to_start(running, ids)
    end("FAILED", unwatched=moved)
    with fleet(tmp_path, simulator, prometheus, 3) as running:
        end()
        for one, run_id in open_runs.items():
            simulator.world.finish_run(one, run_id)
        expected.update(ids)
        wait_until_seen(prometheus, expected)
        # The time of the last failure includes runs that the counters have missed.
        for one in ids:
            assert running.owner(one).metrics().value(FAILURE, transform_id=one, status="FAILED")
    end(unwatched=moved)
    with fleet(tmp_path, simulator, prometheus, 2) as running:
        end()
        wait_until_seen(prometheus, expected)


def wait_until_seen_to_start(running, ids):
    """Wait until each exporter shows an open run of each of its transforms. The state files then contain these runs."""
    gauge = "glue_ml_task_run_oldest_active_start_timestamp_seconds"
    for one in ids:
        wait_for(lambda one=one: running.owner(one).metrics().value(gauge, transform_id=one))


def test_each_transform_has_one_shard_and_each_shard_shows_its_number(simulator, tmp_path):
    """Each transform belongs to one of three shards. A metric, the log and /config show the number of a shard."""
    running = Fleet(tmp_path, simulator, 3)
    try:
        ids = simulator.world.transform_ids()
        for one in ids:
            wait_for(lambda one=one: up(running.owner(one), one))
        watched = [transforms(shard.metrics()) for shard in running.shards]
        assert sorted(one for shard in watched for one in shard) == sorted(ids)
        for index, shard in enumerate(running.shards):
            samples = shard.metrics()
            assert samples.value("glue_ml_exporter_shard_info", index=str(index), count="3") == 1
            assert samples.value("glue_ml_exporter_shards") == 3
            assert fetch(shard.url("/config")).text.startswith(f"# shard {index} of 3, counted from 0\n")
            shard.wait_for_output(rf"one of several shards.* index={index} count=3$")
    finally:
        running.stop()


def transforms(samples: Samples):
    return {dict(labels)["transform_id"] for labels in samples.select("glue_ml_transform_up")}


def test_a_shard_without_transforms_is_ready(simulator, tmp_path):
    """A shard that owns no transform is ready, can be scraped, and polls nothing."""
    [one, *_] = simulator.world.transform_ids()
    idle = next(index for index in range(2) if not Shard(index, 2).owns(one))
    config = configuration(simulator.url, [one])
    with Exporter(tmp_path, config, f"--shard.index={idle}", "--shard.count=2") as exporter:
        wait_for_answer(exporter.url("/-/ready"))
        assert fetch(exporter.url("/-/healthy")).status == 200
        samples = exporter.metrics()
    assert not transforms(samples)
    assert samples.value("glue_ml_exporter_shard_info", index=str(idle), count="2") == 1
    assert simulator.requests.count() == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ("--shard.index=2", "--shard.count=2"),
            "--shard.index: 2 is not below --shard.count, which is 2; the first shard has the index 0",
        ),
        (
            ("--shard.index=1",),
            "--shard.index: 1 is not below --shard.count, which is 1; the first shard has the index 0",
        ),
        (("--shard.count=0",), "--shard.count: '0' is not a whole number from 1 to 1000"),
    ],
)
def test_an_invalid_shard_number_ends_the_start(simulator, tmp_path, flags, message):
    """With an invalid shard index or count the start ends with exit code 2 and one line."""
    config = configuration(simulator.url, simulator.world.transform_ids())
    with Exporter(tmp_path, config, *flags) as exporter:
        assert exporter.wait() == 2
        assert exporter.stderr == f"glue-ml-exporter: {message}\n"
