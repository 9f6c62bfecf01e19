"""Stores a finished run in two integers: the fingerprint of its id, and its start packed with the code of its kind.

A million runs need 127 MB in this form (`python -m bench ledger`). As a dict of strings and records they would need
500 MB. The state file stores the same two integers, so a change of their layout would change the file format.
"""

from hashlib import blake2b

CODE_BITS = 16
CODE_MASK = (1 << CODE_BITS) - 1

MISSING = CODE_MASK
"""The code of a missing run: it was open when Glue last listed it, and Glue no longer knows its id."""

TICK = 0.0011
"""Longest time in seconds by which `started_of` can be earlier than the real start.

`pack` cuts a start to milliseconds, which removes less than 1 ms. The other 0.1 ms covers floating-point rounding.
"""


def fingerprint_of(run_id: str) -> int:
    """Return the 128-bit BLAKE2b hash (RFC 7693) of an id.

    The probability that two of a million ids have the same hash is about 1e-27.
    """
    # encode() without arguments is faster, but it fails for lone surrogates. ASCII ids contain no surrogates.
    text = run_id.encode() if run_id.isascii() else run_id.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=16).digest())  # big-endian


def pack(started: float, code: int) -> int:
    """Return one integer with the start of a run (UTC seconds) and the code of its kind.

    The lowest 16 bits are the code. The higher bits are the start in whole milliseconds. Therefore the order of packed
    entries is the order of their starts.
    """
    return int(started * 1000) << CODE_BITS | code


def started_of(packed: int) -> float:
    """Return the start of a packed run in UTC seconds, cut to milliseconds."""
    return (packed >> CODE_BITS) / 1000
