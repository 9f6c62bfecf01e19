"""A finished run in two ints, so that a ledger can remember a million runs.

A million runs take 500 MB as a dict of strings and records, and 127 MB as two ints (`python -m bench ledger`). The
state file stores both ints too, so their layout is a file format.
"""

from hashlib import blake2b

CODE_BITS = 16
CODE_MASK = (1 << CODE_BITS) - 1

MISSING = CODE_MASK
"""The code of a run that was open when Glue last listed it, and that Glue no longer knows."""

TICK = 0.0011
"""Seconds. `started_of` plus a tick is later than the real start: packing cuts to 1 ms, the rest is for rounding."""


def fingerprint_of(run_id: str) -> int:
    """Return 128 bits of BLAKE2b (RFC 7693) of an id; among a million ids a collision has a chance of about 1e-27."""
    # encode() without arguments is the fastest. An id with lone surrogates needs the explicit form.
    text = run_id.encode() if run_id.isascii() else run_id.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=16).digest())  # big-endian


def pack(started: float, code: int) -> int:
    """Return the start (UTC seconds, cut to milliseconds) above the 16 bits of the run kind's code.

    So packed entries are in the order of their starts.
    """
    return int(started * 1000) << CODE_BITS | code


def started_of(packed: int) -> float:
    """Return the start of a packed run in UTC seconds, cut to milliseconds."""
    return (packed >> CODE_BITS) / 1000
