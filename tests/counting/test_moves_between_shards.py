"""The number of shards changes at random, and no finish counts twice when its transform moves between shards."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.model.shard import Shard
from exporter.state.store import open_state
from tests.counting.world import FINISHED, Exporter, Prometheus, Run, World, configuration

IDS = [f"tfm-{letter}" for letter in "abcd"]

Step = tuple[str, int]
"""(action, argument): the index of a transform for "start" and "end", the number of shards for "shards"."""

steps = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.integers(0, len(IDS) - 1)),
        st.tuples(st.just("end"), st.integers(0, len(IDS) - 1)),
        st.tuples(st.just("poll"), st.just(0)),
        st.tuples(st.just("shards"), st.integers(1, 4)),
    ),
    max_size=25,
)


class Fleet:
    """All shards of one size of the fleet. The former shards must have stopped, and surplus state files are deleted."""

    def __init__(self, world: World, folder: Path, count: int) -> None:
        self.shards = {}
        for index in range(count):
            shard, path = Shard(index, count), folder / f"{index}.db"
            state, _ = open_state(path, world.now)
            state.drop_others(shard.owns)
            own = [one for one in IDS if shard.owns(one)]
            if own:
                self.shards[index] = Exporter(world, configuration(*own), state), own
            else:
                state.close()
        for path in folder.glob("*.db*"):
            if int(path.name.partition(".")[0]) >= count:
                path.unlink()

    def owners(self) -> dict[str, int]:
        return {one: index for index, (_, own) in self.shards.items() for one in own}

    def poll(self, prometheus: Prometheus) -> None:
        """Poll all transforms, with scrapes before and after, so that Prometheus sees each series at its base value."""
        for index, (exporter, own) in self.shards.items():
            prometheus.take(f"shard-{index}", exporter.scrape())
            for one in own:
                assert exporter.poll(one)
            prometheus.take(f"shard-{index}", exporter.scrape())
            prometheus.take(f"shard-{index}", exporter.scrape())

    def stop(self) -> None:
        for exporter, _ in self.shards.values():
            exporter.kill()


class ShardedFleet:
    """A world, its fleet, and the expected counters: runs that ended while one shard owned their transform.

    If a transform moves, the runs that ended after its last poll are baseline for the new owner and count nowhere.
    """

    def __init__(self, folder: Path) -> None:
        self.world, self.prometheus = World(), Prometheus()
        self.folder, self.expected = folder, Counter[str]()
        self.open: dict[str, list[Run]] = {one: [] for one in IDS}
        self.ended: Counter[str] = Counter()
        """Ended runs since the last poll, by transform."""
        self.fleet = Fleet(self.world, folder, 2)

    def do(self, step: Step) -> None:
        self.world.now += 60
        action, argument = step
        if action == "poll":
            self.poll()
        elif action == "shards":
            self.resize(argument)
        elif action == "start":
            run = Run(f"tsk-{self.world.now:.0f}", self.world.now, self.world.now + 1e9, status="FAILED")
            self.open[IDS[argument]].append(self.world.add(run, IDS[argument]))
        elif self.open[IDS[argument]]:
            self.open[IDS[argument]].pop().ends = self.world.now
            self.ended[IDS[argument]] += 1

    def poll(self) -> None:
        self.fleet.poll(self.prometheus)
        self.expected += self.ended
        self.ended.clear()

    def resize(self, count: int) -> None:
        before = self.fleet.owners()
        self.fleet.stop()
        self.fleet = Fleet(self.world, self.folder, count)
        moved = [one for one, owner in self.fleet.owners().items() if before[one] != owner]
        for one in moved:
            del self.ended[one]
        self.poll()

    def seen(self) -> Counter[str]:
        """Return `sum by (transform_id) (increase(...))` over all shards so far."""
        total: Counter[str] = Counter()
        for series, value in self.prometheus.increase(FINISHED).items():
            total[next(one for one in IDS if f'"{one}"' in series)] += int(value)
        return +total


@contextmanager
def sharded_fleet() -> Iterator[ShardedFleet]:
    with TemporaryDirectory() as folder:
        one = ShardedFleet(Path(folder))
        try:
            one.poll()
            yield one
        finally:
            one.fleet.stop()


@pytest.mark.slow
@settings(max_examples=15)
@given(steps)
def test_a_sum_over_all_shards_counts_no_finish_twice(actions: list[Step]) -> None:
    """The sum has each finish once, but not those between the last poll by one owner and the first by the next."""
    with sharded_fleet() as one:
        for step in actions:
            one.do(step)
        one.poll()
        assert one.seen() == one.expected


def test_a_shard_does_not_count_the_finishes_of_the_former_owner_of_its_transform() -> None:
    """From 2 shards to 3 and back to 2, a finish that the third shard counted is in no other shard's counter."""
    moved = next(number for number, one in enumerate(IDS) if Shard(2, 3).owns(one))
    with sharded_fleet() as one:
        for step in [("start", moved), ("poll", 0), ("shards", 3), ("end", moved), ("poll", 0), ("shards", 2)]:
            one.do(step)
        one.poll()
        assert one.seen() == one.expected == {IDS[moved]: 1}


def test_two_shards_that_own_a_transform_at_once_both_count_its_finishes() -> None:
    """While an old and a new owner run side by side, each counts every finish: a sum has it twice, a maximum once."""
    world, prometheus = World(), Prometheus()
    old, new = (Exporter(world, configuration("tfm-a")) for _ in range(2))
    for number in range(3):
        world.now += 60
        world.add(Run(f"tsk-{number}", world.now - 1, world.now))
        for name, exporter in (("old", old), ("new", new)):
            exporter.poll()
            prometheus.take(name, exporter.scrape())
            prometheus.take(name, exporter.scrape())
    each = {
        instance: max(values) - min(values)
        for (instance, series), values in prometheus.samples.items()
        if series.startswith(FINISHED) and "SUCCEEDED" in series and "FIND_MATCHES" in series
    }
    assert each == {"old": 2, "new": 2}
