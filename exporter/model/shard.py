"""Computes which shard monitors a transform. Every exporter computes the same result without a request to the others.

The method is rendezvous hashing (Thaler and Ravishankar, 1998). Each shard has a weight for each transform, and the
shard with the highest weight monitors the transform. A weight depends only on the shard and the transform. Therefore a
new shard takes some transforms from each other shard, and no transform moves between the other shards.

The hash function must not change, because another function would move nearly all transforms.
"""

import re
from dataclasses import dataclass
from hashlib import blake2b

MAX_SHARDS = 1000


@dataclass(frozen=True, slots=True)
class Shard:
    """One of ``count`` exporters that share the transforms. The first exporter has the ``index`` 0."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count <= MAX_SHARDS:
            raise ValueError(f"there is no shard {self.index} of {self.count}")

    def owns(self, transform_id: str) -> bool:
        """Return whether this shard monitors the transform. Exactly one shard monitors each transform."""
        own = _weight(self.index, transform_id)
        return all(_weight(other, transform_id) < own for other in range(self.count) if other != self.index)


def _weight(index: int, transform_id: str) -> tuple[bytes, int]:
    digest = blake2b(f"{index} {transform_id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return digest, index


def chosen_shard(index: int | None, count: int, hostname: str) -> Shard:
    """Return the shard with this index. If ``index`` is None, the index is read from the end of the host name.

    If ``index`` is None and ``count`` is 1, the shard has the index 0.

    Raises:
        ValueError: if the host name has no index, or the index is not below ``count``. The text is a predicate, which
            the caller prints after the name of the flag.
    """
    if index is None:
        index = 0 if count == 1 else ordinal(hostname)
    if index is None:
        raise ValueError(
            f"is required, because the host name {hostname!r} does not end in an index, as exporter-0 does"
        )
    if index >= count:
        raise ValueError(f"{index} is not below --shard.count, which is {count}; the first shard has the index 0")
    return Shard(index, count)


def ordinal(hostname: str) -> int | None:
    """Return the index in the name of a StatefulSet pod, or None. Example: 3 for ``exporter-3.ns.svc``."""
    name = hostname.partition(".")[0]
    match = re.fullmatch("(.+)-([0-9]{1,4})", name)
    # The host name of an EC2 instance, for example ip-10-0-0-1, ends in a part of its IP address and not in an index.
    return int(match[2]) if match and not re.fullmatch("ip(-[0-9]+){4}", name) else None
