"""A finished run in two ints: what a ledger keeps of it for as long as it may come back.

A million runs of a dict of strings and records take 500 MB; as two ints they take 122 MB (`python -m bench ledger`).
The packed form is also what the state file stores, so the bits below are a format.
"""

from hashlib import blake2b

CODE_BITS = 16
CODE_MASK = (1 << CODE_BITS) - 1

GONE = CODE_MASK
"""The code of a run that was open when Glue last knew it, and is not known to Glue any more."""

TICK = 0.0011
"""Seconds that, added to a start as it is remembered, lead past the start itself: a millisecond and any rounding."""


def fingerprint_of(run_id: str) -> int:
    """Return 128 bits that stand for the id: no two ids of a lifetime share them."""
    # Python encodes fastest when it is told nothing, which only text of another kind needs.
    text = run_id.encode() if run_id.isascii() else run_id.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=16).digest())  # big-endian


def pack(started: float, code: int) -> int:
    """Return the start (UTC seconds, kept to the millisecond) above the code of type and status."""
    return int(started * 1000) << CODE_BITS | code


def started_of(packed: int) -> float:
    """Return the start in UTC seconds."""
    return (packed >> CODE_BITS) / 1000
