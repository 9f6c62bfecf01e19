"""Groups clients by their address, so that a limit takes from the address that holds most.

One client can open any number of connections, but it has few addresses. So it can use up only its own part of a limit.
"""

import ipaddress
from collections import Counter
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

UNIX = "unix"
"""The group of all clients of Unix sockets, which have no address."""


def address_group(peer: object) -> str:
    """Return the group of a client, from its socket address as `socket.accept` returns it.

    An IPv4 address is a group of its own, also if it came through an IPv6 socket (`::ffff:192.0.2.1`). IPv6 addresses
    with the same first 64 bits are one group, because one machine can use all of them (RFC 4291 section 2.5.4).
    """
    if not isinstance(peer, tuple):
        return UNIX
    address = ipaddress.ip_address(str(peer[0]).partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


class Holdings(Generic[T]):
    """The items that clients hold under a common limit, such as connections. The oldest item is first."""

    def __init__(self) -> None:
        self._groups: dict[T, str] = {}
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[T]:
        return iter(self._groups)

    def add(self, item: T, group: str) -> None:
        """Add an item that a client of `group` holds."""
        self._groups[item] = group
        self._counts[group] += 1

    def discard(self, item: T) -> bool:
        """Remove an item. Return whether it was there."""
        group = self._groups.pop(item, None)
        if group is None:
            return False
        self._counts[group] -= 1
        if not self._counts[group]:
            del self._counts[group]
        return True

    def largest_groups(self, newcomer: str) -> set[str]:
        """Return the groups that would hold most items, if the group `newcomer` held one more."""
        counts = self._counts + Counter((newcomer,))
        most = max(counts.values())
        return {group for group, count in counts.items() if count == most}

    def held_by(self, groups: set[str]) -> list[T]:
        """Return the items of these groups, the oldest first."""
        return [item for item, group in self._groups.items() if group in groups]
