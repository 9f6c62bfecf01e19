"""Checks the name and password of HTTP Basic authentication (RFC 7617) against bcrypt hashes.

bcrypt runs in a thread, so that the event loop does not wait for it. This module only returns a `Verdict`; `admission`
answers 401 or 503.
"""

import base64
import hashlib
import os
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial

import bcrypt
from cachetools import LRUCache

from exporter.web.fairness import FairLock
from exporter.web.workers import Workers

_FAKE_SALT_AND_DIGEST = "QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"
"""The salt and digest of a password that no user has. `_fake_hash` adds a cost and so makes a complete bcrypt hash,
which is used for users that do not exist."""

_BCRYPT_BYTES = 72
"""bcrypt uses only the first 72 bytes of a password. Tools such as htpasswd cut longer passwords at the same length."""


def password_matches(password: bytes, expected: str) -> bool:
    """Return whether `expected` is a bcrypt hash of this password. The check takes 50 ms or more."""
    try:
        return bcrypt.checkpw(password[:_BCRYPT_BYTES], expected.encode())
    except ValueError:  # bcrypt before version 5 refuses a NUL byte
        return False


class Verdict(Enum):
    """The result of checking credentials."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    BUSY = "busy"
    """Too many passwords of the client wait to be checked, so these credentials were not checked."""


class BasicAuth:
    """Checks `Authorization` headers.

    bcrypt is slow by design, so every result is cached. The cache key is a keyed digest of user, hash and password,
    because the password itself must not stay in memory.

    If a result is not cached, a thread computes it. Only one computation runs at a time, so many wrong passwords can
    use at most one core. At most `queue` requests of each address wait for a result, and the addresses take turns. So
    wrong passwords from one address delay a new user at another address by one computation only. Accepted and refused
    results have separate caches, so wrong passwords cannot delay a user whose password was accepted before.

    The time of a refusal must not reveal which users exist, so every refusal takes as long as a comparison at the
    highest cost among the users. The password of an unknown user is compared with a fixed hash of this cost. After a
    wrong password of a user with a lower cost, further comparisons take the rest of the time.

    `matches` compares a password with a hash. It is called in a thread.
    """

    def __init__(self, queue: int = 16, matches: Callable[[bytes, str], bool] = password_matches) -> None:
        self._secret = os.urandom(32)
        self._accepted: LRUCache[bytes, bool] = LRUCache(maxsize=1024)
        self._refused: LRUCache[bytes, bool] = LRUCache(maxsize=1024)
        self._workers = Workers("bcrypt", limit=1)
        self._queue = queue
        self._matches = matches
        self._turns = FairLock()

    async def check(self, authorization: str | None, users: Mapping[str, str], client: str) -> Verdict:
        """Return the verdict on an Authorization header (None if absent).

        `users` maps names to bcrypt hashes. `client` is the group of the client, from `address_group`.
        """
        credentials = _credentials(authorization or "")
        if credentials is None:
            return Verdict.REFUSED
        user, password = credentials
        expected = users.get(user) or _fake_hash(_highest_cost(users))
        key = self._digest(user, expected, password)
        if not self._is_known(key):
            if self._turns.waiting[client] >= self._queue:
                return Verdict.BUSY
            async with self._turns.hold(client):
                if not self._is_known(key):  # another request with the same password may have been first
                    is_match = await self._workers.run(partial(self._compare, password, expected, _highest_cost(users)))
                    (self._accepted if is_match and user in users else self._refused)[key] = True
        return Verdict.ACCEPTED if self._accepted.get(key) else Verdict.REFUSED

    def _is_known(self, key: bytes) -> bool:
        return key in self._accepted or key in self._refused

    def _compare(self, password: bytes, expected: str, highest: int) -> bool:
        """Return whether the password has the hash `expected`. If not, take as long as at the cost `highest`.

        Each cost takes twice the time of the one below it. So after a comparison at cost 8, comparisons at the costs 8
        and 9 complete the time of one at cost 10.
        """
        if self._matches(password, expected):
            return True
        for cost in range(_cost_of(expected), highest):
            self._matches(password, _fake_hash(cost))
        return False

    def _digest(self, user: str, expected: str, password: bytes) -> bytes:
        digest = hashlib.blake2b(key=self._secret, digest_size=32)
        for part in (user.encode(errors="surrogateescape"), expected.encode(), password):
            digest.update(len(part).to_bytes(8) + part)
        return digest.digest()


def _credentials(authorization: str) -> tuple[str, bytes] | None:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
    except ValueError:
        return None
    user, colon, password = decoded.partition(b":")
    return (user.decode(errors="surrogateescape"), password) if colon else None


def _cost_of(expected: str) -> int:
    return int(expected[4:6])


def _highest_cost(users: Mapping[str, str]) -> int:
    return max((_cost_of(expected) for expected in users.values()), default=10)


def _fake_hash(cost: int) -> str:
    return f"$2b${cost:02}${_FAKE_SALT_AND_DIGEST}"
