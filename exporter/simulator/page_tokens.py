"""Pagination tokens. A token has the offset of the next page and a signature of the offset and the query."""

import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from exporter.simulator.protocol import AwsError

DEFAULT_PAGE_SIZE = 100
"""Page size of a request without MaxResults. The AWS documents do not give this number. 100 is small, so a client that
reads only the first page misses runs, and its tests fail.
"""

_SIGNATURE_BYTES = 16


@dataclass(frozen=True, slots=True)
class PageTokens:
    """Makes and reads the tokens of one simulator.

    A token contains an offset into the result. If a run before that offset is added or removed between two pages, the
    next page shifts by one run, as in Glue. A token never begins with a dash, because the aws command would parse it as
    an option.
    """

    secret: bytes

    def make(self, offset: int, query: Sequence[object]) -> str:
        """Return the token that continues `query` at `offset`."""
        text = str(offset).encode()
        return b64encode(self._sign(text, query) + text).decode()

    def offset(self, token: str | None, query: Sequence[object]) -> int:
        """Return the offset in a token. The offset is 0 if the token is None or empty.

        Raises:
            AwsError: InvalidInputException if the simulator did not make the token, or made it for another query.
        """
        if not token:
            return 0
        try:
            raw = b64decode(token.encode("ascii"))
        except ValueError:
            raw = b""
        signature, text = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        canonical = b64encode(raw).decode() == token
        if not canonical or not hmac.compare_digest(signature, self._sign(text, query)):
            raise AwsError("InvalidInputException", "Invalid NextToken")
        return int(text)

    def _sign(self, text: bytes, query: Sequence[object]) -> bytes:
        message = text + b"\0" + json.dumps(query, sort_keys=True).encode()
        return hmac.digest(self.secret, message, sha256)[:_SIGNATURE_BYTES]


def page_query(operation: str, caller: Sequence[str], request: Mapping[str, Any]) -> list[object]:
    """Return the query that a token belongs to: operation, account, region and the members of the request.

    NextToken and MaxResults are not part of the query, because both may change from page to page.
    """
    members = {
        name: value for name, value in request.items() if name not in ("NextToken", "MaxResults") and value is not None
    }
    return [operation, list(caller), members]
