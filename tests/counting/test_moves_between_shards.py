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


class Shards:
    """The exporters of ``count`` shards. The shards before them must have stopped; surplus state files are deleted."""

    def __init__(self, world: World, folder: Path, count: int) -> None:
        self.exporters = {}
        for index in range(count):
            shard, path = Shard(index, count), folder / f"{index}.db"
            state, _ = open_state(path, world.now)
            state.drop_others(shard.owns)
            own = [transform_id for transform_id in IDS if shard.owns(transform_id)]
            if own:
                self.exporters[index] = Exporter(world, configuration(*own), state), own
            else:
                state.close()
        for path in folder.glob("*.db*"):
            if int(path.name.partition(".")[0]) >= count:
                path.unlink()

    def owners(self) -> dict[str, int]:
        return {transform_id: index for index, (_, own) in self.exporters.items() for transform_id in own}

    def poll(self, prometheus: Prometheus) -> None:
        """Poll all transforms, with scrapes before and after, so that Prometheus sees each series at its base value."""
        for index, (exporter, own) in self.exporters.items():
            prometheus.take(f"shard-{index}", exporter.scrape())
            for transform_id in own:
                assert exporter.poll(transform_id)
            prometheus.take(f"shard-{index}", exporter.scrape())
            prometheus.take(f"shard-{index}", exporter.scrape())

    def stop(self) -> None:
        for exporter, _ in self.exporters.values():
            exporter.kill()


class Fleet:
    """A world, its shards, and the expected counters: the runs that ended while one shard owned their transform.

    If a transform moves, the runs that ended after its last poll are baseline for the new owner and count nowhere.
    """

    def __init__(self, folder: Path) -> None:
        self.world, self.prometheus = World(), Prometheus()
        self.folder, self.expected = folder, Counter[str]()
        self.open: dict[str, list[Run]] = {transform_id: [] for transform_id in IDS}
        self.ended: Counter[str] = Counter()
        """Ended runs since the last poll, by transform."""
        self.shards = Shards(self.world, folder, 2)

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
        self.shards.poll(self.prometheus)
        self.expected += self.ended
        self.ended.clear()

    def resize(self, count: int) -> None:
        before = self.shards.owners()
        self.shards.stop()
        self.shards = Shards(self.world, self.folder, count)
        moved = [transform_id for transform_id, owner in self.shards.owners().items() if before[transform_id] != owner]
        for transform_id in moved:
            del self.ended[transform_id]
        self.poll()

    def seen(self) -> Counter[str]:
        """Return `sum by (transform_id) (increase(...))` over all shards so far."""
        total: Counter[str] = Counter()
        for series, value in self.prometheus.increase(FINISHED).items():
            total[next(transform_id for transform_id in IDS if f'"{transform_id}"' in series)] += int(value)
        return +total


@contextmanager
def running_fleet() -> Iterator[Fleet]:
    with TemporaryDirectory() as folder:
        fleet = Fleet(Path(folder))
        try:
            fleet.poll()
            yield fleet
        finally:
            fleet.shards.stop()


@pytest.mark.slow
@settings(max_examples=15)
@given(steps)
def test_a_sum_over_all_shards_counts_no_finish_twice(actions: list[Step]) -> None:
    """The sum has each finish once, except finishes between the last poll of an owner and the first of the next."""
    with running_fleet() as fleet:
        for step in actions:
            fleet.do(step)
        fleet.poll()
        assert fleet.seen() == fleet.expected


def test_a_shard_does_not_count_the_finishes_of_the_former_owner_of_its_transform() -> None:
    """With 2, 3 and again 2 shards, a finish that the third shard counted does not count in another shard."""
    moved = next(number for number, transform_id in enumerate(IDS) if Shard(2, 3).owns(transform_id))
    with running_fleet() as fleet:
        for step in [("start", moved), ("poll", 0), ("shards", 3), ("end", moved), ("poll", 0), ("shards", 2)]:
            fleet.do(step)
        fleet.poll()
        assert fleet.seen() == fleet.expected == {IDS[moved]: 1}


def test_two_shards_that_own_a_transform_at_once_both_count_its_finishes() -> None:
    """While an old and a new owner both run, each counts every finish, so use a maximum and not a sum."""
    world, prometheus = World(), Prometheus()
    old, new = (Exporter(world, configuration("tfm-a")) for _ in range(2))
    for number in range(3):
        world.now += 60
        world.add(Run(f"tsk-{number}", world.now - 1, world.now - 0.5))
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
