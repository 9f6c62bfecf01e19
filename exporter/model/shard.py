"""Which of several exporters watches a transform: each asks itself, and all come to the same answer.

Rendezvous hashing (Thaler and Ravishankar, 1998): of all shards the one with the highest weight for a transform owns
it, and a weight depends on nothing but the shard and the transform. So one shard more takes its share from all the
others, and nothing moves between those. The weights are as lasting as a file format: another hash would move every
transform.
"""

import re
from dataclasses import dataclass
from hashlib import blake2b

MAX_SHARDS = 1000


@dataclass(frozen=True, slots=True)
class Shard:
    """One of ``count`` exporters that divide the transforms among themselves, counted from 0."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count <= MAX_SHARDS:
            raise ValueError(f"there is no shard {self.index} of {self.count}")

    def owns(self, transform_id: str) -> bool:
        """Whether this shard is the one of all that watches the transform."""
        own = _weight(self.index, transform_id)
        return all(_weight(other, transform_id) < own for other in range(self.count) if other != self.index)


def _weight(index: int, transform_id: str) -> tuple[bytes, int]:
    digest = blake2b(f"{index} {transform_id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return digest, index


def chosen_shard(index: int | None, count: int, hostname: str) -> Shard:
    """Return the shard with this index, or with the one that the host's name ends in.

    Raises ValueError with a predicate if there is no such shard.
    """
    if index is None:
        index = 0 if count == 1 else ordinal(hostname)
    if index is None:
        raise ValueError(f"is required, since the host is called {hostname!r} and not e.g. exporter-0")
    if index >= count:
        raise ValueError(f"{index} is not below --shard.count, {count}; the first is shard 0")
    return Shard(index, count)


def ordinal(hostname: str) -> int | None:
    """Return the number that ends the name of a pod of a StatefulSet, None if no such number ends the name."""
    name = hostname.partition(".")[0]
    match = re.fullmatch("(.+)-([0-9]{1,4})", name)
    # A host of EC2 ends in a part of its address, which would be taken for an index at random.
    return int(match[2]) if match and not re.fullmatch("ip(-[0-9]+){4}", name) else None
