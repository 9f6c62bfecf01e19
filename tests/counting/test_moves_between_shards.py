"""Random lives of several exporters: transforms that move between shards are never counted twice."""

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
"""What happens, and to which transform or to how many shards."""

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
    """All shards of a number, started in the safe order: every one before is gone, and so are surplus state files."""

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
        """Poll everything, and scrape before and after, so that every series is seen at its base value."""
        for index, (exporter, own) in self.shards.items():
            prometheus.take(f"shard-{index}", exporter.scrape())
            for one in own:
                assert exporter.poll(one)
            prometheus.take(f"shard-{index}", exporter.scrape())
            prometheus.take(f"shard-{index}", exporter.scrape())

    def stop(self) -> None:
        for exporter, _ in self.shards.values():
            exporter.kill()


class Company:
    """The world, its fleet, and what the counters are to tell: what ended under the eyes of one and the same shard."""

    def __init__(self, folder: Path) -> None:
        self.world, self.prometheus = World(), Prometheus()
        self.folder, self.expected = folder, Counter[str]()
        self.open: dict[str, list[Run]] = {one: [] for one in IDS}
        self.ended: Counter[str] = Counter()
        """What has ended since the last poll."""
        self.fleet = Fleet(self.world, folder, 2)

    def do(self, step: Step) -> None:
        self.world.now += 60
        what, which = step
        if what == "poll":
            self.poll()
        elif what == "shards":
            self.resize(which)
        elif what == "start":
            run = Run(f"tsk-{self.world.now:.0f}", self.world.now, self.world.now + 1e9, status="FAILED")
            self.open[IDS[which]].append(self.world.add(run, IDS[which]))
        elif self.open[IDS[which]]:
            self.open[IDS[which]].pop().ends = self.world.now
            self.ended[IDS[which]] += 1

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
        """Give sum by (transform_id) (increase(...)), over all shards that there have been."""
        total: Counter[str] = Counter()
        for series, value in self.prometheus.increase(FINISHED).items():
            total[next(one for one in IDS if f'"{one}"' in series)] += int(value)
        return +total


@contextmanager
def company() -> Iterator[Company]:
    with TemporaryDirectory() as folder:
        one = Company(Path(folder))
        try:
            one.poll()
            yield one
        finally:
            one.fleet.stop()


@pytest.mark.slow
@settings(max_examples=15)
@given(steps)
def test_a_sum_over_all_shards_has_each_finish_once_but_what_moved_unwatched(life: list[Step]) -> None:
    """Whatever the resizes, the sum of increases is what ended, but for what of a moved transform ended meanwhile."""
    with company() as one:
        for step in life:
            one.do(step)
        one.poll()
        assert one.seen() == one.expected


def test_a_transform_that_comes_back_tells_nothing_of_what_another_shard_has_counted() -> None:
    """From 2 shards to 3 and back, a moved transform's ends under the third are in that one's counter alone."""
    moved = next(number for number, one in enumerate(IDS) if Shard(2, 3).owns(one))
    with company() as one:
        for step in [("start", moved), ("poll", 0), ("shards", 3), ("end", moved), ("poll", 0), ("shards", 2)]:
            one.do(step)
        one.poll()
        assert one.seen() == one.expected == {IDS[moved]: 1}


def test_shards_that_overlap_count_in_a_sum_twice_and_in_a_maximum_once() -> None:
    """While an old and a new owner run side by side nothing is lost, and what ends is in the counters of both."""
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
