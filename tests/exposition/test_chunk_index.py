"""Groups contain transforms with similar offsets, and both formats share a chunk if their lines are equal."""

from collections.abc import Callable, Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.exposition.chunk_index import GROUP_SIZE, ChunkGroup, ChunkIndex, RenderedMetric
from exporter.exposition.formats import TextFormat

ONE = {"a": RenderedMetric(b"a 1\n", b"a 1\n")}

arrivals = st.tuples(st.floats(0, 1) | st.sampled_from([0.0, 0.5]), st.booleans())
"""The offset of a new transform, and whether the oldest transform is removed after the new one is added."""


def offsets_of(index: ChunkIndex) -> list[Mapping[str, float]]:
    """Give the offsets in each group, by transform."""
    return [group.offsets for group in index.groups]


def are_in_order(groups: list[Mapping[str, float]]) -> bool:
    """Whether the offsets of each group are at most as great as the offsets of the next group."""
    return all(max(before.values()) <= min(after.values()) for before, after in pairwise(groups))


def test_formats_share_what_is_the_same() -> None:
    """Both formats share a chunk if their lines are the same; otherwise each format has its own chunk."""
    group = ChunkGroup()
    line = b"a 1\n"
    group.put("tfm-1", 0.0, {"a": RenderedMetric(line, line), "b": RenderedMetric(b"b 1\n", b"b 1 # {}\n")})
    assert group.chunk("a", TextFormat.TEXT) is group.chunk("a", TextFormat.OPENMETRICS)
    assert group.chunk("b", TextFormat.TEXT).raw == b"b 1\n"
    assert group.chunk("b", TextFormat.OPENMETRICS).raw == b"b 1 # {}\n"


def test_groups_are_refilled() -> None:
    """A new transform takes the place of a removed transform, so the number of groups stays bounded."""
    index = ChunkIndex()
    for number in range(3 * GROUP_SIZE):
        index.put(f"tfm-{number}", 0.0, ONE)
        if number >= 3:
            index.remove(f"tfm-{number - 3}")
    assert len(index.groups) == 1


@given(st.lists(arrivals, min_size=1, max_size=8 * GROUP_SIZE))
def test_neighbours_in_the_interval_share_a_group(arrivals: list[tuple[float, bool]]) -> None:
    """While transforms are added and removed, groups stay in the order of offsets, and none is empty or too full."""
    index, present = ChunkIndex(), {}
    for number, (offset, one_leaves) in enumerate(arrivals):
        assert index.put(f"tfm-{number}", offset, ONE) == {"a"}
        assert index.put(f"tfm-{number}", offset, ONE) == set()
        present[f"tfm-{number}"] = offset
        if one_leaves:
            gone = next(iter(present))
            index.remove(gone)
            del present[gone]
    groups = offsets_of(index)
    assert {name: offset for offsets in groups for name, offset in offsets.items()} == present
    if present:
        assert all(0 < len(offsets) <= GROUP_SIZE for offsets in groups)
        assert are_in_order(groups)
    else:
        assert groups == [{}]
    assert b"".join(group.chunk("a", TextFormat.TEXT).raw for group in index.groups) == b"a 1\n" * len(present)


def test_small_offsets_come_first_again_after_the_first_group_was_emptied() -> None:
    """After all transforms of the first group were removed, new transforms with small offsets still come first."""
    index = ChunkIndex()
    for number in range(3 * GROUP_SIZE):
        index.put(f"tfm-{number}", number / 100, ONE)
    for number in range(GROUP_SIZE):
        index.remove(f"tfm-{number}")
    for number in range(3 * GROUP_SIZE):
        index.put(f"new-{number}", number / 1000, ONE)
    assert are_in_order(offsets_of(index))


@pytest.mark.parametrize("arrange", [list, lambda offsets: sorted(offsets, key=lambda offset: offset * 9973 % 1)])
def test_groups_are_well_filled(arrange: Callable[[list[float]], list[float]]) -> None:
    """A thousand transforms take at most 60 groups, whether they are added in the order of offsets or at random."""
    index = ChunkIndex()
    for number, offset in enumerate(arrange([number / 1000 for number in range(1000)])):
        index.put(f"tfm-{number}", offset, ONE)
    assert len(index.groups) <= 60
