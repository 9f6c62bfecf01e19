"""The paths of the server and what they answer."""

import html
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from urllib.parse import parse_qsl

from isal import igzip

from exporter import __version__
from exporter.exposition.formats import Encoding, TextFormat
from exporter.web.negotiation import choose_encoding, choose_format
from exporter.web.responses import HTML, TEXT, Response, page, text
from exporter.web.workers import Workers

HEALTH_PATHS = frozenset({"/-/healthy", "/-/ready"})
"""What a probe asks: answered to everybody, at any load."""

TRANSFORMS = "/transforms/"
"""The page of a transform is below this, under its id."""

_READ = ("GET", "HEAD")
_RELOAD = ("POST", "PUT")


class Scrape(Protocol):
    """One immutable body of `/metrics`; `length` is that of all `chunks` together."""

    @property
    def chunks(self) -> Sequence[bytes]: ...  # noqa: D102 - see the class

    @property
    def length(self) -> int: ...  # noqa: D102 - see the class

    @property
    def sent(self) -> Callable[[], None]:
        """To be called when a GET was answered with all of it."""


class HtmlPage(Protocol):
    """A page for people, and what the browser may do with it (its Content-Security-Policy)."""

    @property
    def body(self) -> bytes: ...  # noqa: D102 - see the class

    @property
    def policy(self) -> str: ...  # noqa: D102 - see the class


class Backend(Protocol):
    """What the server shows. But for `scrape`, `is_alive` and `is_ready`, which answer at once, anything may block."""

    def scrape(self, format: TextFormat, encoding: Encoding) -> Scrape | None:  # noqa: A002 - the word for it
        """Return the body, or None if it has to be prepared."""

    def prepare_scrape(self, format: TextFormat, encoding: Encoding) -> Scrape:  # noqa: A002 - the word for it
        """Return the body, however long it takes."""

    def is_alive(self) -> bool:
        """Tell whether the poll loop works."""

    def is_ready(self) -> bool:
        """Tell whether there is anything to show yet."""

    def reload(self) -> str | None:
        """Load the configuration again; return why the old one was kept, or None if it was not."""

    def effective_config(self) -> str:
        """Return the configuration as YAML, secrets masked."""

    def status_page(self, query: Mapping[str, str], telemetry_path: str) -> HtmlPage | None:
        """Return the page for people that the query asks for, or None if it is turned off."""

    def transform_page(self, transform_id: str, telemetry_path: str) -> HtmlPage | None:
        """Return the page of one transform, or None if there is none."""


@dataclass(frozen=True, slots=True)
class Request:
    """What of a request can matter; header names are in lower case, values of one name joined with commas."""

    method: str
    path: str
    headers: Mapping[str, str]
    query: str = ""


class Routes:
    """Answers requests, once they are let in, for the paths of section 6 of the interface."""

    def __init__(self, backend: Backend, telemetry_path: str, *, enable_lifecycle: bool) -> None:
        """Take the site; raise ValueError if `telemetry_path` is no path, or that of something else."""
        self._site = backend
        self._telemetry_path = telemetry_path
        self._enable_lifecycle = enable_lifecycle
        self._preparing = Workers("scrape", limit=2)
        self._showing = Workers("page", limit=1)
        self._reloading = Workers("reload", limit=1)
        self._routes: dict[str, tuple[Sequence[str], Callable[[Request], Awaitable[Response]]]] = {
            "/": (_READ, self._status),
            "/-/healthy": (_READ, self._healthy),
            "/-/ready": (_READ, self._ready),
            "/-/reload": (_RELOAD, self._reload),
            "/config": (_READ, self._config),
            TRANSFORMS: (_READ, self._transform),
        }
        taken = self._routes.keys() - {"/"}
        if not telemetry_path.startswith("/") or telemetry_path in taken or telemetry_path.startswith(TRANSFORMS):
            raise ValueError(f"telemetry path {telemetry_path!r}: expected a path such as /metrics that is not taken")
        self._routes[telemetry_path] = (_READ, self._metrics)

    async def answer(self, request: Request) -> Response:
        """Return the response to a request; whatever the site raises goes through."""
        path = TRANSFORMS if request.path.startswith(TRANSFORMS) else request.path
        if path not in self._routes:
            return text(404)
        methods, handler = self._routes[path]
        if request.method not in methods:
            return text(405, Allow=", ".join(methods))
        return await handler(request)

    async def _metrics(self, request: Request) -> Response:
        chosen = choose_format(request.headers.get("accept"))
        encoding = choose_encoding(request.headers.get("accept-encoding"))
        if encoding is None:
            return text(406, "Not Acceptable; offered encodings: gzip, identity", Vary="Accept-Encoding")
        headers = {"Vary": "Accept, Accept-Encoding"}
        if encoding is not Encoding.IDENTITY:
            headers["Content-Encoding"] = encoding.value
        if request.method == "HEAD":
            # To be asked for a body the site may have to record what it shows; nobody is shown anything here.
            return Response(200, chosen.content_type, (), None, headers)
        scrape = self._site.scrape(chosen, encoding)
        if scrape is None:
            scrape = await self._preparing.run(partial(self._site.prepare_scrape, chosen, encoding))
        return Response(200, chosen.content_type, scrape.chunks, scrape.length, headers, scrape.sent)

    async def _healthy(self, _: Request) -> Response:
        return text(200, "Healthy") if self._site.is_alive() else text(503, "The poll loop does not work")

    async def _ready(self, _: Request) -> Response:
        return text(200, "Ready") if self._site.is_ready() else text(503, "The first poll cycle has not ended yet")

    async def _reload(self, _: Request) -> Response:
        if not self._enable_lifecycle:
            return text(403, "Lifecycle API is not enabled.")
        reason = await self._reloading.run(self._site.reload)
        return text(200, "Reloaded") if reason is None else text(500, f"Not reloaded: {reason}")

    async def _config(self, _: Request) -> Response:
        return page((await self._showing.run(self._site.effective_config)).encode(), TEXT)

    async def _status(self, request: Request) -> Response:
        shown = await self._document(request, partial(self._site.status_page, _parameters(request.query)))
        return shown or page(_landing_page(self._telemetry_path), HTML)

    async def _transform(self, request: Request) -> Response:
        transform_id = request.path.removeprefix(TRANSFORMS)
        return await self._document(request, partial(self._site.transform_page, transform_id)) or text(404)

    async def _document(self, request: Request, show: Callable[[str], HtmlPage | None]) -> Response | None:
        encoding = choose_encoding(request.headers.get("accept-encoding"))
        headers = {"Vary": "Accept-Encoding"}
        if encoding is Encoding.GZIP:
            headers["Content-Encoding"] = encoding.value

        def render() -> tuple[bytes, str] | None:
            document = show(self._telemetry_path)
            if document is None:
                return None
            return igzip.compress(document.body, 1) if "Content-Encoding" in headers else document.body, document.policy

        shown = await self._showing.run(render)
        return None if shown is None else page(shown[0], HTML, headers, shown[1])


def _parameters(query: str) -> dict[str, str]:
    """Return the parameters of a query string, none of them if it is not the sort that a form of ours sends."""
    try:
        return dict(parse_qsl(query, max_num_fields=20))
    except ValueError:
        return {}


def _landing_page(telemetry_path: str) -> bytes:
    links = {"Metrics": telemetry_path, "Configuration": "/config", "Health": "/-/healthy", "Readiness": "/-/ready"}
    items = "\n".join(f'<li><a href="{html.escape(path)}">{name}</a></li>' for name, path in links.items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>glue-ml-exporter</title></head>
<body>
<h1>glue-ml-exporter {html.escape(__version__)}</h1>
<ul>
{items}
</ul>
</body>
</html>
""".encode()
