"""Basic authentication (RFC 7617) against bcrypt hashes, with bcrypt in a thread so that the event loop never waits."""

import base64
import hashlib
import os
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial

import bcrypt
from cachetools import LRUCache

from exporter.web.workers import Workers

_FAKE_SALT_AND_DIGEST = "QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"
"""The salt and digest of a password that no user has. Behind a cost they make a hash for users that do not exist."""

_BCRYPT_BYTES = 72
"""The bytes of a password that bcrypt uses. Tools such as htpasswd cut longer passwords at the same length."""


def password_matches(password: bytes, expected: str) -> bool:
    """Return whether a password has this bcrypt hash. It takes 50 ms or more, depending on the cost of the hash."""
    try:
        return bcrypt.checkpw(password[:_BCRYPT_BYTES], expected.encode())
    except ValueError:  # bcrypt before version 5 refuses a NUL byte
        return False


class Verdict(Enum):
    """The result of checking credentials."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    BUSY = "busy"
    """Too many passwords wait to be checked, so these credentials were not checked."""


class BasicAuth:
    """Checks `Authorization` headers.

    bcrypt is slow by design, so every result is cached. The cache key is a keyed digest of user, hash and password, so
    that no password stays in memory. A result that is not cached is computed in a thread, one at a time, with at most
    `queue` requests waiting. A flood of wrong passwords therefore uses one core at most. It does not delay a user whose
    password was accepted before, because accepted and refused results have separate caches.

    An unknown user takes as much time as a known one, so that the time does not reveal which users exist: the password
    is compared with a fixed hash whose cost is the highest among the users.

    `matches` compares a password with a hash; it runs in a thread.
    """

    def __init__(self, queue: int = 16, matches: Callable[[bytes, str], bool] = password_matches) -> None:
        self._secret = os.urandom(32)
        self._accepted: LRUCache[bytes, bool] = LRUCache(maxsize=1024)
        self._refused: LRUCache[bytes, bool] = LRUCache(maxsize=1024)
        self._workers = Workers("bcrypt", limit=1)
        self._queue = queue
        self._matches = matches
        self._waiting = 0

    async def check(self, authorization: str | None, users: Mapping[str, str]) -> Verdict:
        """Check the value of an Authorization header (None if absent) against `users` (name to bcrypt hash)."""
        credentials = _credentials(authorization or "")
        if credentials is None:
            return Verdict.REFUSED
        user, password = credentials
        expected = users.get(user) or _fake_hash(users)
        key = self._digest(user, expected, password)
        if key not in self._accepted and key not in self._refused:
            if self._waiting >= self._queue:
                return Verdict.BUSY
            self._waiting += 1
            try:
                is_match = await self._workers.run(partial(self._matches, password, expected))
            finally:
                self._waiting -= 1
            (self._accepted if is_match and user in users else self._refused)[key] = True
        return Verdict.ACCEPTED if self._accepted.get(key) else Verdict.REFUSED

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


def _fake_hash(users: Mapping[str, str]) -> str:
    cost = max((expected[4:6] for expected in users.values()), default="10")
    return f"$2b${cost}${_FAKE_SALT_AND_DIGEST}"
