"""Basic authentication (RFC 7617) against bcrypt hashes, for an event loop that must not wait for bcrypt."""

import base64
import hashlib
import os
from collections.abc import Mapping
from enum import Enum
from functools import partial

import bcrypt
from cachetools import LRUCache

from exporter.web.workers import Workers

_FAKE = "QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"
"""Salt and digest of a password that nobody has; with the cost put before it, a hash for users that do not exist."""

_BCRYPT_BYTES = 72
"""How much of a password bcrypt looks at; the tools that make the hashes cut there too."""


class Verdict(Enum):
    """What became of somebody's credentials."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    BUSY = "busy"
    """Too many unknown passwords are waiting to be checked; nothing is known about these."""


class BasicAuth:
    """Checks `Authorization` headers.

    bcrypt is slow on purpose, so every outcome is remembered by user, hash and password (as a keyed digest; nothing of
    a password is kept). What is not remembered is computed in a worker thread, one at a time, with at most `queue`
    requests waiting: a flood of wrong passwords costs one core and delays nobody whose password was accepted before,
    because accepted and refused ones do not compete for the same memory.

    An unknown user costs as much time as a known one: a fixed hash of the highest cost among the users is compared.
    """

    def __init__(self, queue: int = 16) -> None:
        self._secret = os.urandom(32)
        self._accepted: LRUCache[bytes, bool] = LRUCache(maxsize=1024)
        self._refused: LRUCache[bytes, bool] = LRUCache(maxsize=1024)
        self._workers = Workers("bcrypt", limit=1)
        self._queue = queue
        self._waiting = 0

    async def check(self, authorization: str | None, users: Mapping[str, str]) -> Verdict:
        """Return the verdict on a header (None: there is none), given the names and bcrypt hashes of the users."""
        credentials = _credentials(authorization or "")
        if credentials is None:
            return Verdict.REFUSED
        user, password = credentials
        expected = users.get(user) or _fake_hash(users)
        key = self._digest(user, expected, password)
        if key not in self._accepted and key not in self._refused:
            if self._waiting >= self._queue:
                return Verdict.BUSY
            matches = await self._compare(password, expected)
            (self._accepted if matches and user in users else self._refused)[key] = True
        return Verdict.ACCEPTED if self._accepted.get(key) else Verdict.REFUSED

    async def _compare(self, password: bytes, expected: str) -> bool:
        self._waiting += 1
        try:
            return await self._workers.run(partial(_matches, password, expected))
        finally:
            self._waiting -= 1

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
    return f"$2b${cost}${_FAKE}"


def _matches(password: bytes, expected: str) -> bool:
    try:
        return bcrypt.checkpw(password[:_BCRYPT_BYTES], expected.encode())
    except ValueError:  # bcrypt before 5 refuses some bytes
        return False
