"""The HTTP requests and responses between `HttpServer` and `Gateway` or `Control`. They contain nothing about AWS."""

from collections.abc import Mapping
from dataclasses import dataclass, field

JSON_1_1 = "application/x-amz-json-1.1"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP request: `target` is the path with the query string, header names are in lower case, `peer` is the
    IP address of the client.
    """  # noqa: D205  # one sentence

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    peer: str


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """One HTTP response; the server adds Content-Length and Connection."""

    status: int
    body: bytes
    content_type: str = JSON_1_1
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerAction:
    """The reaction of the server to a request: it waits `delay` seconds and then sends `response`.

    If `response` is None, the server resets the connection (`reset`), or keeps it open and never answers.
    """

    response: HttpResponse | None
    delay: float = 0.0
    reset: bool = False
