"""Shards: the transforms that a resize moves, the sizes of shards, and the CPU time to find a shard's transforms."""

import time
from collections import Counter
from collections.abc import Iterator

from bench.tables import Row, at_most, seconds
from exporter.model.shard import Shard

TITLE = "Shards: the transforms that a resize moves"
NOTE = "Share of the transforms that have another shard after the resize. CPU time of a shard to find its transforms."


def run(*, quick: bool) -> Iterator[Row]:
    """Yield rows for resizes, and a row for the CPU time to find the transforms of one shard."""
    ids = [f"tfm-{number:040x}" for number in range(1_000 if quick else 10_000)]
    for before, after, target in ((1, 2, None), (4, 5, at_most(0.25)), (5, 4, at_most(0.25)), (9, 10, None)):
        old, new = owners(ids, before), owners(ids, after)
        moved = sum(old[one] != new[one] for one in ids)
        sizes = Counter(new.values())
        shares = f"{moved} of {len(ids)}; shards of {min(sizes.values())} to {max(sizes.values())}"
        yield Row(f"{before} to {after} shards", moved / len(ids), shares, target)
    began = time.process_time()
    mine = sum(Shard(0, 50).owns(one) for one in ids)
    spent = time.process_time() - began
    yield Row(
        "transforms of one of 50 shards", spent / len(ids) * 1e6, f"{seconds(spent)} for {mine}", None, "µs/transform"
    )


def owners(ids: list[str], count: int) -> dict[str, int]:
    """Return the shard of each transform, by transform id."""
    shards = [Shard(index, count) for index in range(count)]
    return {one: next(shard.index for shard in shards if shard.owns(one)) for one in ids}
