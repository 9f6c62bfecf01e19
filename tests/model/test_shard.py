"""Shards: each transform has one owner, a resize moves few transforms, and the index comes from the host name."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.model.shard import MAX_SHARDS, Shard, chosen_shard, ordinal

IDS = [f"tfm-{number:040x}" for number in range(4000)]

transform_ids = st.text(max_size=60)


def owners(transform_id: str, count: int) -> list[int]:
    return [index for index in range(count) if Shard(index, count).owns(transform_id)]


def owner_of_each(count: int) -> dict[str, int]:
    shards = [Shard(index, count) for index in range(count)]
    return {id_: next(shard.index for shard in shards if shard.owns(id_)) for id_ in IDS}


@settings(deadline=None, derandomize=True, database=None)
@given(transform_ids, st.integers(1, 60))
def test_each_transform_has_exactly_one_owner(transform_id: str, count: int) -> None:
    """Exactly one shard monitors a transform, for every id and every number of shards."""
    assert len(owners(transform_id, count)) == 1


@settings(deadline=None, derandomize=True, database=None)
@given(transform_ids, st.integers(1, 60))
def test_a_new_shard_moves_a_transform_only_to_itself(transform_id: str, count: int) -> None:
    """When a shard is added, each transform stays at its shard or moves to the new one."""
    [before], [after] = owners(transform_id, count), owners(transform_id, count + 1)
    assert after in (before, count)


@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_a_new_shard_takes_an_equal_part(count: int) -> None:
    """A new shard gets the same share of 4000 transforms as the other shards, within 10 %."""
    before, after = owner_of_each(count), owner_of_each(count + 1)
    moved = sum(before[id_] != after[id_] for id_ in IDS)
    assert moved == pytest.approx(len(IDS) / (count + 1), rel=0.1)


def test_a_resize_from_four_to_five_moves_at_most_a_quarter() -> None:
    """A resize from 4 to 5 shards moves at most 25 % of the transforms. Then all shards have about the same number."""
    before, after = owner_of_each(4), owner_of_each(5)
    assert sum(before[id_] != after[id_] for id_ in IDS) <= 0.25 * len(IDS)
    sizes = Counter(after.values())
    assert len(sizes) == 5
    assert max(sizes.values()) < 1.2 * min(sizes.values())


def test_owners_are_the_same_in_every_version() -> None:
    """The owners of these transforms never change. If an upgrade moved transforms, their counters would be lost."""
    assert [owners(id_, 5)[0] for id_ in IDS[:12]] == EXPECTED_OWNERS


EXPECTED_OWNERS = [1, 0, 3, 1, 4, 3, 1, 1, 3, 3, 4, 1]


def test_a_single_exporter_owns_everything() -> None:
    """An exporter without shards monitors every transform."""
    assert all(Shard().owns(id_) for id_ in IDS[:100])


@pytest.mark.parametrize(("index", "count"), [(0, 0), (1, 1), (5, 4), (-1, 4), (0, MAX_SHARDS + 1)])
def test_an_index_without_a_shard_is_refused(index: int, count: int) -> None:
    """The index must be at least 0 and below the count. The count must be from 1 to `MAX_SHARDS`."""
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
    """The name of a StatefulSet pod ends in its index. Other host names, such as names of EC2, do not give an index."""
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
def test_the_flag_takes_precedence_over_the_host_name(
    index: int | None, count: int, hostname: str, shard: Shard
) -> None:
    """The flag gives the index. Without the flag, the pod name gives it. A single exporter then has index 0."""
    assert chosen_shard(index, count, hostname) == shard


@pytest.mark.parametrize(
    ("index", "count", "hostname", "message"),
    [
        (4, 4, "exporter-0", "4 is not below --shard.count, which is 4; the first shard has the index 0"),
        (1, 1, "exporter-0", "1 is not below --shard.count, which is 1; the first shard has the index 0"),
        (None, 2, "exporter-2", "2 is not below --shard.count, which is 2; the first shard has the index 0"),
        (None, 2, "web", "is required, because the host name 'web' does not end in an index, as exporter-0 does"),
    ],
)
def test_a_wrong_or_missing_index_is_refused_in_one_line(
    index: int | None, count: int, hostname: str, message: str
) -> None:
    """If the index is too high or missing, the error has the given and the expected value."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        chosen_shard(index, count, hostname)
