"""The limits for clients: sizes, times, numbers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits for every connection. Times are in seconds and are checked about twice a second.

    Prometheus stays far below the defaults. It ends a scrape after `scrape_timeout` (10 seconds by default) and keeps
    its connection open between scrapes.
    """

    connections: int = 512
    """Maximum number of open connections. Above the limit, a new connection closes a connection of the address that
    holds most (see `Connections.make_room`)."""

    handshake: float = 10
    """Longest time from the accepted connection to the end of the TLS handshake."""

    head: float = 10
    """Longest time to receive a request. It begins with the accepted connection, or with the first byte of a later
    request."""

    head_bytes: int = 16 * 1024
    """Maximum size of request line and headers, where 32 bytes are added for each header. A longer head gets 431."""

    body_bytes: int = 64 * 1024
    """Maximum size of a request body. A longer body gets 413. Bodies are discarded, because no path needs a body."""

    pipelined: int = 8
    """Maximum number of requests that a client may send before it has received the first answer. One more request
    closes the connection."""

    idle: int = 120
    """Longest time between two requests."""

    stall: float = 10
    """Longest time in which a client does not read its answer."""

    answer: float = 120
    """Longest time from the end of a request to the end of its answer."""

    linger: float = 2
    """Longest time from the last byte of the server until the client closes the connection."""

    patience: float = 0.5
    """Time from the first byte of an answer until the request no longer counts towards `--web.max-requests`.

    After this time, the server usually only waits for the client. This waiting costs little, and `stall`, `answer` and
    `connections` limit it. If such requests counted, slow clients could use up `--web.max-requests`, and a scraper
    would get 503.
    """

    stop: int = 3
    """Longest time to finish the requests in flight when the server stops."""
