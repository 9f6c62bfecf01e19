"""HTTP responses, and the headers that every response carries."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"

_SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "deny",
}


@dataclass(frozen=True, slots=True)
class Response:
    """A complete response."""

    status: int
    content_type: str
    chunks: Sequence[bytes]
    """The body."""
    length: int | None
    """Number of bytes in the body. None means that the response has no Content-Length, for a HEAD whose length is
    unknown."""
    headers: Mapping[str, str]
    sent: Callable[[], None] | None = None
    """Function to call after the operating system has accepted the whole body of a GET for sending."""
    policy: str = ""
    """Content-Security-Policy that replaces the default policy. A configured header has priority over both policies."""


def text_response(status: int, message: str = "", **headers: str) -> Response:
    """Return a response of one line.

    Without `message` the line is the standard phrase of the status. `_` in a header name becomes `-`.
    """
    body = f"{message or HTTPStatus(status).phrase}\n".encode()
    return Response(status, TEXT, [body], len(body), {name.replace("_", "-"): value for name, value in headers.items()})


def ok_response(body: bytes, content_type: str) -> Response:
    """Return a response with status 200 and this body."""
    return Response(HTTPStatus.OK, content_type, [body], len(body), {})


def header_lines(response: Response, configured: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return all headers of a response, with their names in lower case.

    A `configured` header replaces the security header with the same name. If its value is empty, that header is
    removed.
    """
    security = _SECURITY_HEADERS | ({"Content-Security-Policy": response.policy} if response.policy else {})
    common = {name.lower(): value for headers in (security, configured) for name, value in headers.items()}
    own = {"content-type": response.content_type}
    if response.length is not None:
        own["content-length"] = str(response.length)
    own |= {name.lower(): value for name, value in response.headers.items()}
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in (common | own).items() if value]


def as_bytes(response: Response, configured: Mapping[str, str]) -> bytes:
    """Return the whole HTTP/1.1 message.

    Connections use this function for a request that cannot be parsed, because such a request does not reach the
    application.
    """
    status = f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}\r\n".encode("ascii")
    lines = (name + b": " + value + b"\r\n" for name, value in header_lines(response, configured))
    return b"".join([status, *lines, b"\r\n", *response.chunks])
