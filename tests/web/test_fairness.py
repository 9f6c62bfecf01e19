import asyncio
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from exporter.web.fairness import FairLock, FairTurns


def order_of(groups: str, cancelled: frozenset[int] = frozenset()) -> str:
    """Return the order in which clients of these groups, who ask in this order, hold the lock."""
    order: list[str] = []
    holders = 0

    async def client(lock: FairLock, group: str) -> None:
        nonlocal holders
        async with lock.hold(group):
            holders += 1
            assert holders == 1
            await asyncio.sleep(0)
            order.append(group)
            holders -= 1

    async def main() -> None:
        lock = FairLock()
        tasks = [asyncio.create_task(client(lock, group)) for group in groups]
        await asyncio.sleep(0)
        for index in cancelled:
            tasks[index].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not lock.waiting

    asyncio.run(main())
    return "".join(order)


def test_groups_take_turns() -> None:
    """A group with many clients does not delay a group with one."""
    assert order_of("aaaaab") == "abaaaa"
    assert order_of("aaabbbc") == "abcabab"


def test_a_cancelled_client_loses_its_turn() -> None:
    """The lock passes over a client that no longer waits."""
    assert order_of("aabab", frozenset({2, 3})) == "aab"


@given(st.text("abc", max_size=20))
def test_each_client_holds_the_lock_once(groups: str) -> None:
    """Every client gets the lock, and no two at once. A group waits for at most one client of each other group."""
    order = order_of(groups)
    assert sorted(order) == sorted(groups)
    for group in set(groups):
        turns = [index for index, each in enumerate(order) if each == group]
        for before, after in pairwise(turns):
            between = order[before + 1 : after]
            assert len(set(between)) == len(between)


def test_a_turn_of_the_event_loop_calls_a_limited_number_of_functions() -> None:
    """Functions above the limit of a turn are called in later turns, and the groups take turns."""
    done: list[str] = []

    async def main() -> list[str]:
        turns = FairTurns(2)
        for group in "aaaaaab":
            if turns.has_room():
                done.append(group)
            else:
                turns.wait(lambda group=group: done.append(group), group)  # type: ignore[misc]
        after_each_turn = []
        for _ in range(4):
            after_each_turn.append("".join(done))
            await asyncio.sleep(0)
        assert turns.has_room()
        return after_each_turn

    assert asyncio.run(main()) == ["aa", "aaab", "aaabaa", "aaabaaa"]
