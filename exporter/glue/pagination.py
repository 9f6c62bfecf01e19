"""From page to page of a listing: Glue has no paginators for these operations, so the loop is here."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from exporter.errors import GlueError
from exporter.glue.decode import malformed

MAX_PAGES = 100_000
"""Pages of one listing, after which an endpoint is taken to page for ever."""

Page = TypeVar("Page")


def walk(ask: Callable[[dict[str, str]], tuple[Page, str | None]]) -> Iterator[Page]:
    """Yield the pages of a listing; ``ask`` takes the NextToken, or nothing, and returns a page with the next token.

    Raises `GlueError` with reason "pagination" when a token comes twice or the pages do not end.
    """
    request: dict[str, str] = {}
    tokens: set[str] = set()
    for _ in range(MAX_PAGES):
        page, token = ask(request)
        yield page
        if token is None:
            return
        if token in tokens:
            raise _endless("the same NextToken came twice")
        tokens.add(token)
        request = {"NextToken": token}
    raise _endless(f"no end after {MAX_PAGES} pages")


def _endless(what: str) -> GlueError:
    return GlueError("pagination", f"the pages of a listing do not end: {what}", advice="check endpoint_url")


def listed(answer: Mapping[str, Any], member: str) -> tuple[list[Any], str | None]:
    """Return what an answer lists under this member, and its NextToken; raises `GlueError` if it lists nothing."""
    if member not in answer:
        # Taken for an empty list, it would make all transforms leave.
        raise malformed(f"a listing without {member}")
    return list(answer[member]), answer.get("NextToken") or None
