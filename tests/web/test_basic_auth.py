import asyncio
import base64
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TypeVar

import bcrypt
import pytest

from exporter.web.basic_auth import BasicAuth, Verdict, password_matches
from exporter.web.config import WebConfig
from tests.support import wait_for
from tests.web.serving import DEADLINE, serving
from tests.web.test_config import HASH, OTHER_HASH, write

T = TypeVar("T")
CLIENT, OTHER = "192.0.2.1", "192.0.2.2"
USERS = {"alice": HASH, "jürgen": OTHER_HASH}


def header(user: str, password: str | bytes) -> str:
    secret = password.encode() if isinstance(password, str) else password
    return "Basic " + base64.b64encode(user.encode() + b":" + secret).decode()


class Comparison:
    """The real comparison, which records the hashes that it gets and can be made to wait."""

    def __init__(self) -> None:
        self.compared: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, password: bytes, expected: str) -> bool:
        self.compared.append(expected)
        self.go_on.wait(DEADLINE)
        return password_matches(password, expected)


def run(use: Callable[[BasicAuth, Comparison], Coroutine[None, None, T]], *, queue: int = 16) -> T:
    async def main() -> T:
        comparison = Comparison()
        return await use(BasicAuth(queue, comparison), comparison)

    return asyncio.run(main())


def test_right_and_wrong_passwords_are_computed_once() -> None:
    """The result of bcrypt is cached, for right and for wrong passwords."""

    async def use(auth: BasicAuth, comparison: Comparison) -> None:
        for _ in range(3):
            assert await auth.check(header("alice", "secret"), USERS, CLIENT) is Verdict.ACCEPTED
            assert await auth.check(header("alice", "wrong"), USERS, CLIENT) is Verdict.REFUSED
            assert await auth.check(header("jürgen", "other"), USERS, CLIENT) is Verdict.ACCEPTED
            assert await auth.check(header("jürgen", "secret"), USERS, CLIENT) is Verdict.REFUSED
        assert len(comparison.compared) == 4

    run(use)


def test_an_unknown_user_costs_a_comparison_of_the_same_cost() -> None:
    """The time of an answer does not reveal whether a user exists."""

    async def use(auth: BasicAuth, comparison: Comparison) -> None:
        expensive = {"alice": "$2y$05" + HASH[6:], "bob": HASH}
        assert await auth.check(header("mallory", "secret"), expensive, CLIENT) is Verdict.REFUSED
        assert await auth.check(header("mallory", "secret"), expensive, CLIENT) is Verdict.REFUSED
        assert [hash_[4:6] for hash_ in comparison.compared] == ["05"]
        assert comparison.compared[0] not in expensive.values()

    run(use)


def test_each_refusal_takes_as_long_as_the_highest_cost() -> None:
    """Users of different cost and unknown users take the same time to refuse: the sum of 2^cost is the same."""

    async def use(auth: BasicAuth, comparison: Comparison) -> None:
        users = {f"user{cost}": f"$2y${cost:02}" + HASH[6:] for cost in (4, 5, 7)}
        for name in (*users, "mallory"):
            comparison.compared.clear()
            assert await auth.check(header(name, "wrong"), users, CLIENT) is Verdict.REFUSED
            assert sum(2 ** int(hash_[4:6]) for hash_ in comparison.compared) == 2**7
        comparison.compared.clear()
        assert await auth.check(header("user4", "secret"), users, CLIENT) is Verdict.ACCEPTED
        assert len(comparison.compared) == 1

    run(use)


def test_the_fake_hash_accepts_no_password() -> None:
    """An unknown user is refused even with the password of the fake hash."""

    async def use(auth: BasicAuth, _: Comparison) -> None:
        users = {"alice": "$2y$10" + HASH[6:]}
        assert await auth.check(header("mallory", "fakepassword"), users, CLIENT) is Verdict.REFUSED

    run(use)


def test_a_changed_hash_is_checked_again() -> None:
    """After a password was changed, the old one is refused although it was cached."""

    async def use(auth: BasicAuth, _: Comparison) -> None:
        assert await auth.check(header("alice", "secret"), {"alice": HASH}, CLIENT) is Verdict.ACCEPTED
        assert await auth.check(header("alice", "secret"), {"alice": OTHER_HASH}, CLIENT) is Verdict.REFUSED
        assert await auth.check(header("alice", "secret"), {}, CLIENT) is Verdict.REFUSED

    run(use)


def test_a_password_counts_up_to_72_bytes() -> None:
    """A longer password is truncated to 72 bytes, as in the tools that make the hashes."""

    async def use(auth: BasicAuth, _: Comparison) -> None:
        users = {"alice": bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()}
        assert await auth.check(header("alice", "x" * 100), users, CLIENT) is Verdict.ACCEPTED
        assert await auth.check(header("alice", "x" * 71), users, CLIENT) is Verdict.REFUSED
        assert await auth.check(header("alice", b"x\0y\xff"), users, CLIENT) is Verdict.REFUSED

    run(use)


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Basic", "Basic ", "Basic !", "Basic YWxpY2U=", "Bearer x", "Basic ü", "Basic " + "A" * 9],
)
def test_malformed_credentials_are_refused_without_bcrypt(authorization: str | None) -> None:
    """A header without user and password is refused before a comparison."""

    async def use(auth: BasicAuth, comparison: Comparison) -> None:
        assert await auth.check(authorization, USERS, CLIENT) is Verdict.REFUSED
        assert not comparison.compared

    run(use)


def test_the_scheme_is_case_insensitive() -> None:
    """`basic` means the same as `Basic`."""

    async def use(auth: BasicAuth, _: Comparison) -> None:
        assert await auth.check(header("alice", "secret").replace("Basic", "basic"), USERS, CLIENT) is Verdict.ACCEPTED

    run(use)


def test_a_flood_of_wrong_passwords_delays_no_known_user() -> None:
    """While bcrypt checks five passwords, a cached password is accepted at once, and a sixth unknown one gets BUSY."""

    async def use(auth: BasicAuth, comparison: Comparison) -> None:
        assert await auth.check(header("alice", "secret"), USERS, CLIENT) is Verdict.ACCEPTED
        comparison.go_on.clear()
        guesses = [asyncio.create_task(auth.check(header("alice", f"guess {n}"), USERS, CLIENT)) for n in range(5)]
        await asyncio.sleep(0)
        assert await auth.check(header("alice", "guess"), USERS, CLIENT) is Verdict.BUSY
        assert await auth.check(header("alice", "secret"), USERS, CLIENT) is Verdict.ACCEPTED
        assert not any(guess.done() for guess in guesses)
        comparison.go_on.set()
        assert set(await asyncio.gather(*guesses)) == {Verdict.REFUSED}

    run(use, queue=5)


def test_a_flood_of_wrong_passwords_from_one_address_delays_another_by_one_check() -> None:
    """Of 16 guesses from one address and then one new password from another, the new password is checked second."""

    async def use(auth: BasicAuth, comparison: Comparison) -> None:
        comparison.go_on.clear()
        guesses = [asyncio.create_task(auth.check(header("alice", f"guess {n}"), USERS, CLIENT)) for n in range(16)]
        await asyncio.sleep(0)
        assert await auth.check(header("alice", "guess"), USERS, CLIENT) is Verdict.BUSY
        newcomer = asyncio.create_task(auth.check(header("jürgen", "other"), USERS, OTHER))
        await asyncio.sleep(0)
        comparison.go_on.set()
        assert await newcomer is Verdict.ACCEPTED
        assert comparison.compared[:2] == [HASH, OTHER_HASH]
        assert set(await asyncio.gather(*guesses)) == {Verdict.REFUSED}
        assert not auth._turns.waiting

    run(use)


def test_the_same_new_password_is_checked_once() -> None:
    """Ten requests that arrive at once with the same new password cost one comparison."""

    async def use(auth: BasicAuth, comparison: Comparison) -> None:
        checks = (auth.check(header("alice", "secret"), USERS, CLIENT) for _ in range(10))
        assert set(await asyncio.gather(*checks)) == {Verdict.ACCEPTED}
        assert len(comparison.compared) == 1

    run(use)


@pytest.mark.slow
def test_wrong_passwords_do_not_evict_accepted_ones() -> None:
    """After more guesses than the cache holds, an accepted password is still cached, and the cache is not larger."""

    async def use(auth: BasicAuth, comparison: Comparison) -> None:
        users = {"alice": HASH}
        assert await auth.check(header("alice", "secret"), users, CLIENT) is Verdict.ACCEPTED
        for number in range(1030):
            await auth.check(header("alice", str(number)), users, CLIENT)
        before = len(comparison.compared)
        assert await auth.check(header("alice", "secret"), users, CLIENT) is Verdict.ACCEPTED
        assert len(comparison.compared) == before
        assert len(auth._refused) <= 1024

    run(use)


def test_no_password_is_kept_in_memory() -> None:
    """The cache holds keyed digests only."""

    async def use(auth: BasicAuth, _: Comparison) -> None:
        await auth.check(header("alice", "secret"), USERS, CLIENT)
        assert all(len(key) == 32 and b"secret" not in key for key in auth._accepted)

    run(use)


def test_a_password_is_asked_for_but_not_by_probes(tmp_path: Path) -> None:
    """Every path except the health endpoints needs a user, including paths that do not exist."""
    web = WebConfig(write(tmp_path, f"basic_auth_users: {{alice: {HASH}}}"))
    with serving(web_config=web) as served:
        for path in ("/metrics", "/", "/config", "/-/reload", "/x"):
            answer = served.ask(path)
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"].startswith("Basic ")
            assert answer.headers["X-Frame-Options"] == "deny"
        assert served.ask("/-/healthy").status == served.ask("/-/ready").status == 200
        assert served.ask(Authorization=header("alice", "secret")).status == 200
        assert served.ask(Authorization=header("alice", "guess")).status == 401
        assert served.ask("/x", Authorization=header("alice", "secret")).status == 404


@pytest.mark.slow
def test_the_event_loop_does_not_wait_for_bcrypt(tmp_path: Path) -> None:
    """While the queue of passwords is full, a guess gets 503, and a known user and the probes get their answers."""
    expensive = bcrypt.hashpw(b"secret", bcrypt.gensalt(11)).decode()
    web = WebConfig(write(tmp_path, f"basic_auth_users: {{alice: {expensive}}}"))
    statuses: list[int] = []
    with serving(web_config=web) as served:
        assert served.ask(Authorization=header("alice", "secret")).status == 200
        guess_threads = [
            threading.Thread(
                target=lambda n=n: statuses.append(served.ask(Authorization=header("alice", f"guess {n}")).status)
            )
            for n in range(40)
        ]
        for thread in guess_threads:
            thread.start()
        wait_for(lambda: 503 in statuses, timeout=DEADLINE)
        assert served.ask(Authorization=header("alice", "secret")).status == 200
        assert served.ask("/-/healthy").status == 200
        for thread in guess_threads:
            thread.join(DEADLINE)
    assert set(statuses) == {401, 503}


def test_headers_of_the_web_configuration(tmp_path: Path) -> None:
    """A configured header replaces a security header and an empty one removes it, also on protocol errors."""
    text = "http_server_config: {headers: {X-Frame-Options: sameorigin, Content-Security-Policy: ''}}"
    with serving(web_config=WebConfig(write(tmp_path, text))) as served:
        headers = served.ask("/").headers
        refused = served.send(b"garbage\r\n\r\n")
    assert headers.get_all("X-Frame-Options") == ["sameorigin"]
    assert headers["Content-Security-Policy"] is None
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert b"x-frame-options: sameorigin" in refused


def test_the_rate_limit_comes_before_the_password(tmp_path: Path) -> None:
    """Above the limit the answer is 429 even with the right password. Probes are not limited."""
    text = f"rate_limit: {{interval: 1h, burst: 2}}\nbasic_auth_users: {{alice: {HASH}}}"
    with serving(web_config=WebConfig(write(tmp_path, text))) as served:
        assert served.ask(Authorization=header("alice", "secret")).status == 200
        assert served.ask().status == 401
        limited = served.ask(Authorization=header("alice", "secret"))
        assert served.ask("/-/healthy").status == 200
    assert limited.status == 429
    assert 0 < int(limited.headers["Retry-After"]) <= 3600
