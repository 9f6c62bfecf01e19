"""The limits for clients: sizes, times, numbers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits for every connection. Times are in seconds and are checked about twice a second.

    The defaults are generous to a real scraper: Prometheus ends a scrape after `scrape_timeout` (seconds to a minute)
    and keeps its connection open between scrapes.
    """

    connections: int = 512
    """Open connections. A new one above the limit closes the one that waits longest for its client."""

    handshake: float = 10
    """From the accepted connection to the end of the TLS handshake."""

    head: float = 10
    """From the accepted connection, or the first byte of a later request, to the end of the request."""

    head_bytes: int = 16 * 1024
    """Request line and headers, plus 32 for each header. A longer head gets 431."""

    body_bytes: int = 64 * 1024
    """The body of a request. No path needs a body and it is discarded. A longer body gets 413."""

    pipelined: int = 8
    """Requests that a client may send before it has the answer to the first. More close the connection."""

    idle: int = 120
    """Between two requests."""

    stall: float = 10
    """The longest time in which a client reads nothing of its answer."""

    answer: float = 120
    """From the end of a request to the end of its answer."""

    linger: float = 2
    """From the last byte of the server to the last byte of the client."""

    patience: float = 0.5
    """From the first byte of an answer until the request no longer counts for `--web.max-requests`.

    The rest of the answer only waits for the client. It costs little, and `stall`, `answer` and `connections` limit it.
    If it counted, slow readers could use up `--web.max-requests` and a scraper would get 503.
    """

    stop: int = 3
    """For requests in flight when the server stops."""
