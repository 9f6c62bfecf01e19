"""Follows NextToken from page to page, because botocore has no paginators for the ML operations of Glue."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from exporter.model.errors import GlueError

MAX_PAGES = 100_000
"""A listing with more pages is treated as endless."""

Page = TypeVar("Page")


def pages(fetch: Callable[[dict[str, str]], tuple[Page, str | None]]) -> Iterator[Page]:
    """Yield the pages of a listing.

    ``fetch`` takes ``{"NextToken": token}``, or an empty dict for the first page, and returns a page and the token of
    the next page (None after the last page). Raises `GlueError` with reason "pagination" when a token comes twice, or
    after `MAX_PAGES` pages.
    """
    request: dict[str, str] = {}
    tokens: set[str] = set()
    for _ in range(MAX_PAGES):
        page, token = fetch(request)
        yield page
        if token is None:
            return
        if token in tokens:
            raise _endless("the same NextToken came twice")
        tokens.add(token)
        request = {"NextToken": token}
    raise _endless(f"no end after {MAX_PAGES} pages")


def _endless(observation: str) -> GlueError:
    message = f"the pages of a listing do not end: {observation}"
    return GlueError("pagination", message, advice="check endpoint_url")
