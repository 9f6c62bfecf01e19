"""What is sent back: responses, and the headers that all of them carry."""

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
    """A complete response; `sent` is called when all of its body was handed over to be sent, not for HEAD.

    The `length` is None where there is no body and none of its length is told.
    """

    status: int
    content_type: str
    chunks: Sequence[bytes]
    length: int | None
    headers: Mapping[str, str]
    sent: Callable[[], None] | None = None
    policy: str = ""
    """Its Content-Security-Policy, in place of the one that permits next to nothing; what is configured wins."""


def text(status: int, message: str = "", **headers: str) -> Response:
    """Return a response of one line, the standard phrase if `message` is empty; `_` in header names stands for `-`."""
    body = f"{message or HTTPStatus(status).phrase}\n".encode()
    return Response(status, TEXT, [body], len(body), {name.replace("_", "-"): value for name, value in headers.items()})


def page(body: bytes, content_type: str, headers: Mapping[str, str] | None = None, policy: str = "") -> Response:
    """Return a document."""
    return Response(HTTPStatus.OK, content_type, [body], len(body), headers or {}, policy=policy)


def header_lines(response: Response, configured: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return all headers of a response; those `configured` replace ours, an empty value takes one out."""
    ours = _SECURITY_HEADERS | ({"Content-Security-Policy": response.policy} if response.policy else {})
    common = {name.lower(): value for headers in (ours, configured) for name, value in headers.items()}
    own = {"content-type": response.content_type}
    if response.length is not None:
        own["content-length"] = str(response.length)
    own |= {name.lower(): value for name, value in response.headers.items()}
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in (common | own).items() if value]


def as_bytes(response: Response, configured: Mapping[str, str]) -> bytes:
    """Return the response as it goes over the wire, for one that no request could be made out for."""
    status = f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}\r\n".encode("ascii")
    lines = (name + b": " + value + b"\r\n" for name, value in header_lines(response, configured))
    return b"".join([status, *lines, b"\r\n", *response.chunks])
