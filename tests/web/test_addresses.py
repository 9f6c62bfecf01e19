import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.addresses import UNIX, Holdings, address_group


@pytest.mark.parametrize(
    ("peer", "group"),
    [
        (("192.0.2.1", 1234), "192.0.2.1"),
        (("::ffff:192.0.2.1", 1234, 0, 0), "192.0.2.1"),
        (("2001:db8:1:2:3::4", 1234, 0, 0), "2001:db8:1:2::/64"),
        (("2001:db8:1:2:ffff::", 1234, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 1234, 0, 2), "fe80::/64"),
        ("", UNIX),
        (b"", UNIX),
    ],
)
def test_the_group_of_an_address(peer: object, group: str) -> None:
    """An IPv4 address is a group; an IPv6 network of 64 bits is one; all clients of Unix sockets are one."""
    assert address_group(peer) == group


def test_both_ends_of_a_unix_socket_have_a_group() -> None:
    """The name of an unbound Unix socket is the group of Unix sockets."""
    for end in socket.socketpair():
        with end:
            assert address_group(end.getpeername()) == UNIX


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20), st.sampled_from("abc"))), st.sampled_from("abc"))
def test_the_largest_groups(steps: list[tuple[bool, int, str]], newcomer: str) -> None:
    """After any additions and removals, the largest groups are those with the most items, the newcomer included."""
    holdings: Holdings[int] = Holdings()
    held: dict[int, str] = {}
    for is_added, item, group in steps:
        if not is_added:
            assert holdings.discard(item) == (held.pop(item, None) is not None)
        elif item not in held:
            holdings.add(item, group)
            held[item] = group
    counts = {group: list(held.values()).count(group) + (group == newcomer) for group in {*held.values(), newcomer}}
    largest = holdings.largest_groups(newcomer)
    assert largest == {group for group, count in counts.items() if count == max(counts.values())}
    assert holdings.held_by(largest) == [item for item, group in held.items() if group in largest]
    assert (len(holdings), list(holdings)) == (len(held), list(held))
