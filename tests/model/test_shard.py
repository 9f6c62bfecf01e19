import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.model.shard import MAX_SHARDS, Shard, chosen_shard, ordinal

IDS = [f"tfm-{number:040x}" for number in range(4000)]

some_ids = st.text(max_size=60)


def owners(transform_id: str, count: int) -> list[int]:
    return [index for index in range(count) if Shard(index, count).owns(transform_id)]


def owner_of_each(count: int) -> dict[str, int]:
    shards = [Shard(index, count) for index in range(count)]
    return {one: next(shard.index for shard in shards if shard.owns(one)) for one in IDS}


@settings(deadline=None, derandomize=True, database=None)
@given(some_ids, st.integers(1, 60))
def test_each_transform_has_exactly_one_owner(transform_id: str, count: int) -> None:
    """Whatever its id, a transform is watched by one shard and by no second one."""
    assert len(owners(transform_id, count)) == 1


@settings(deadline=None, derandomize=True, database=None)
@given(some_ids, st.integers(1, 60))
def test_one_shard_more_moves_a_transform_only_to_itself(transform_id: str, count: int) -> None:
    """When a shard is added, a transform stays where it was or goes to the new one."""
    [before], [after] = owners(transform_id, count), owners(transform_id, count + 1)
    assert after in (before, count)


@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_a_new_shard_takes_its_share_and_no_more(count: int) -> None:
    """Of four thousand transforms one shard more takes its equal share, within a tenth."""
    before, after = owner_of_each(count), owner_of_each(count + 1)
    moved = sum(before[one] != after[one] for one in IDS)
    assert moved == pytest.approx(len(IDS) / (count + 1), rel=0.1)


def test_a_resize_from_four_to_five_moves_at_most_a_quarter() -> None:
    """From four shards to five at most 25 % of the transforms move, and all shards then have about as many."""
    before, after = owner_of_each(4), owner_of_each(5)
    assert sum(before[one] != after[one] for one in IDS) <= 0.25 * len(IDS)
    sizes = Counter(after.values())
    assert len(sizes) == 5
    assert max(sizes.values()) < 1.2 * min(sizes.values())


def test_owners_are_the_same_in_every_version() -> None:
    """The owners of these transforms never change: an upgrade that moved transforms would lose their counters."""
    assert [owners(one, 5)[0] for one in IDS[:12]] == PINNED


PINNED = [1, 0, 3, 1, 4, 3, 1, 1, 3, 3, 4, 1]


def test_a_single_exporter_owns_everything() -> None:
    """Unsharded, an exporter watches whatever it is given."""
    assert all(Shard().owns(one) for one in IDS[:100])


@pytest.mark.parametrize(("index", "count"), [(0, 0), (1, 1), (5, 4), (-1, 4), (0, MAX_SHARDS + 1)])
def test_a_shard_that_cannot_be_is_refused(index: int, count: int) -> None:
    """An index that is not below the count, or a count out of bounds, makes no shard."""
    with pytest.raises(ValueError, match=f"no shard {index} of {count}"):
        Shard(index, count)


@pytest.mark.parametrize(
    ("hostname", "number"),
    [
        ("glue-ml-exporter-0", 0),
        ("glue-ml-exporter-12", 12),
        ("glue-ml-exporter-3.glue-ml-exporter.monitoring.svc.cluster.local", 3),
        ("glue-ml-exporter-7d9c5b6f4-x2x4z", None),
        ("exporter3", None),
        ("ip-10-0-0-1", None),
        ("exporter-2-0", 0),
        ("localhost", None),
        ("-", None),
        ("glue-ml-exporter-123456", None),
    ],
)
def test_the_index_is_the_ordinal_of_the_pod(hostname: str, number: int | None) -> None:
    """A StatefulSet's pod ends in its ordinal; a host whose name does not has none."""
    assert ordinal(hostname) == number


@pytest.mark.parametrize(
    ("index", "count", "hostname", "shard"),
    [
        (None, 1, "exporter-3", Shard(0, 1)),
        (None, 4, "exporter-3", Shard(3, 4)),
        (1, 4, "exporter-3", Shard(1, 4)),
        (0, 1, "localhost", Shard(0, 1)),
    ],
)
def test_the_flag_wins_over_the_name_of_the_host(index: int | None, count: int, hostname: str, shard: Shard) -> None:
    """The index is the one given, else the pod's ordinal, and of one shard always 0."""
    assert chosen_shard(index, count, hostname) == shard


@pytest.mark.parametrize(
    ("index", "count", "hostname", "message"),
    [
        (4, 4, "exporter-0", "4 is not below --shard.count, 4; the first is shard 0"),
        (1, 1, "exporter-0", "1 is not below --shard.count, 1; the first is shard 0"),
        (None, 2, "exporter-2", "2 is not below --shard.count, 2; the first is shard 0"),
        (None, 2, "web", "is required, since the host is called 'web' and not e.g. exporter-0"),
    ],
)
def test_a_shard_that_is_not_one_of_all_is_refused_in_one_line(
    index: int | None, count: int, hostname: str, message: str
) -> None:
    """An index too high, or none to be had, is refused with what was found and what was expected."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        chosen_shard(index, count, hostname)
