"""How much a client may ask of the server: sizes, times, numbers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds for every connection; times in seconds, looked after about twice a second.

    The defaults leave room for any real scraper: Prometheus gives up on a scrape after `scrape_timeout`, seconds to a
    minute, and keeps connections open between scrapes.
    """

    connections: int = 512
    """Open at once. Beyond, the one that has waited longest for its client is closed for each new one."""

    handshake: float = 10
    """From the accepted connection to the end of the TLS handshake."""

    head: float = 10
    """From the accepted connection, or the first byte of a later request, to the end of the request."""

    head_bytes: int = 16 * 1024
    """Request line and headers, 32 more for each header: 431 beyond."""

    body_bytes: int = 64 * 1024
    """No request needs a body and what comes is thrown away; 413 beyond."""

    pipelined: int = 8
    """Requests sent before the answer to the first: the connection is dropped beyond."""

    idle: int = 120
    """Between two requests."""

    stall: float = 10
    """In which a client that is being answered has to take something."""

    answer: float = 120
    """From the end of a request to the end of its answer."""

    linger: float = 2
    """From our last byte to the client's."""

    patience: float = 0.5
    """After the first byte of the answer a request no longer counts for `--web.max-requests`, finished or not: what is
    left then waits for the client, costs next to nothing and is bounded by `stall`, `answer` and `connections`. So slow
    readers cannot lock the scraper out."""

    stop: int = 3
    """For answers under way when the server is stopped."""
