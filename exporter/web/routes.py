"""The paths of the server and their responses."""

import html
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from urllib.parse import parse_qsl

from isal import igzip

from exporter import __version__
from exporter.exposition.formats import Encoding, TextFormat
from exporter.web.browsers import HostCheck, is_foreign
from exporter.web.negotiation import choose_encoding, choose_format
from exporter.web.responses import HTML, TEXT, Response, ok_response, text_response
from exporter.web.workers import Workers

HEALTH_PATHS = frozenset({"/-/healthy", "/-/ready"})
"""Paths for probes. They need no password and do not count towards `max_requests`."""

TRANSFORMS = "/transforms/"
"""Prefix of the paths of transform pages. The transform id follows it."""

_UNKNOWN_HOST = (
    "The server does not know the host name of this request, which may belong to a foreign page (DNS rebinding); "
    "expected an IP address, a name in a private domain, or a name in --web.listen-address. "
    "With TLS or passwords in --web.config.file, every name works"
)

_READ = ("GET", "HEAD")
_RELOAD = ("POST", "PUT")


class Scrape(Protocol):
    """One immutable body of the metrics path."""

    @property
    def chunks(self) -> Sequence[bytes]:
        """The body."""

    @property
    def length(self) -> int:
        """Number of bytes in all chunks."""

    @property
    def sent(self) -> Callable[[], None]:
        """The function to call after a GET was answered with the whole body."""


class HtmlPage(Protocol):
    """A page of the status pages."""

    @property
    def body(self) -> bytes:
        """HTML in UTF-8."""

    @property
    def policy(self) -> str:
        """The value of its Content-Security-Policy header."""


class Backend(Protocol):
    """The source of the metrics, pages and health that the server sends.

    `scrape`, `is_alive` and `is_ready` return at once and run on the event loop. All other methods may block, and each
    call of them runs in a thread.
    """

    def scrape(self, format: TextFormat, encoding: Encoding) -> Scrape | None:  # noqa: A002 - the usual name
        """Return the metrics, or None if `prepare_scrape` must be called."""

    def prepare_scrape(self, format: TextFormat, encoding: Encoding) -> Scrape:  # noqa: A002 - the usual name
        """Prepare the bytes of the answer, for example by compression, and return them."""

    def is_alive(self) -> bool:
        """Return whether the poll loop makes progress."""

    def is_ready(self) -> bool:
        """Return whether there are metrics to serve."""

    def reload(self) -> str | None:
        """Reload the configuration. Return None after success.

        If the new configuration cannot be used, the old configuration stays in use and the error is returned.
        """

    def effective_config(self) -> str:
        """Return the configuration as YAML with masked secrets."""

    def status_page(self, query: Mapping[str, str], telemetry_path: str) -> HtmlPage | None:
        """Return the front page, filtered by the query, or None if pages are turned off."""

    def transform_page(self, transform_id: str, telemetry_path: str) -> HtmlPage | None:
        """Return the page of one transform, or None if the transform is unknown or pages are turned off."""

    def not_found_page(self, root: str, telemetry_path: str) -> HtmlPage | None:
        """Return the page for an unknown path, or None if pages are turned off.

        `root` is the address of the front page, relative to the unknown path.
        """


@dataclass(frozen=True, slots=True)
class Request:
    """The parts of a request that decide its response. The path is without the prefix of a proxy.

    Header names are in lower case. The values of headers with the same name are joined with commas.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    query: str = ""
    depth: int = 0
    """Number of folders of the path below the front page."""
    client: str = ""
    """The group of the client, from `address_group`."""
    may_be_rebound: bool = False
    """Whether a browser needs neither a certificate of this server nor a password to send this request."""


class Routes:
    """Answers admitted requests.

    A proxy requests the paths below `prefix`. Raises `ValueError` if `telemetry_path` is not a path, or if another page
    already has this path or this prefix.
    """

    def __init__(
        self,
        backend: Backend,
        telemetry_path: str,
        prefix: str = "",
        *,
        enable_lifecycle: bool,
        host_check: HostCheck,
    ) -> None:
        self._backend = backend
        self._host_check = host_check
        self._telemetry_path = telemetry_path
        self._enable_lifecycle = enable_lifecycle
        self._scrape_workers = Workers("scrape", limit=2)
        self._page_workers = Workers("page", limit=1)
        self._reload_workers = Workers("reload", limit=1)
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
            raise ValueError(
                f"--web.telemetry-path: {telemetry_path!r} is not a path or is that of another page;"
                " expected e.g. /metrics"
            )
        self._routes[telemetry_path] = (_READ, self._metrics)
        if prefix and (
            prefix.startswith(TRANSFORMS) or any(f"{path}/".startswith(f"{prefix}/") for path in self._routes)
        ):
            raise ValueError(
                f"--web.external-url: its path {prefix} is that of a page of the exporter; expected another path"
            )
        if prefix:
            self._routes[prefix] = (_READ, self._front_page_below_prefix)
        self._paths_for_programs = HEALTH_PATHS | {telemetry_path}

    async def answer(self, request: Request) -> Response:
        """Return the response to a request. Exceptions of the backend reach the caller."""
        is_checked = request.may_be_rebound and request.path not in self._paths_for_programs
        if is_checked and not self._host_check.accepts(request.headers):
            return text_response(403, _UNKNOWN_HOST)
        path = TRANSFORMS if request.path.startswith(TRANSFORMS) else request.path
        if path not in self._routes:
            return await self._not_found(request)
        methods, handler = self._routes[path]
        if request.method not in methods:
            return text_response(405, Allow=", ".join(methods))
        return await handler(request)

    async def _metrics(self, request: Request) -> Response:
        text_format = choose_format(request.headers.get("accept"))
        encoding = choose_encoding(request.headers.get("accept-encoding"))
        if encoding is None:
            return text_response(406, "Not Acceptable; available encodings: gzip, identity", Vary="Accept-Encoding")
        headers = {"Vary": "Accept, Accept-Encoding"}
        if encoding is not Encoding.IDENTITY:
            headers["Content-Encoding"] = encoding.value
        if request.method == "HEAD":
            # The backend records the values of a scrape as sent. A HEAD sends no values, so the backend is not called.
            return Response(200, text_format.content_type, (), None, headers)
        scrape = self._backend.scrape(text_format, encoding)
        if scrape is None:
            scrape = await self._scrape_workers.run(partial(self._backend.prepare_scrape, text_format, encoding))
        return Response(200, text_format.content_type, scrape.chunks, scrape.length, headers, scrape.sent)

    async def _healthy(self, _: Request) -> Response:
        if self._backend.is_alive():
            return text_response(200, "Healthy")
        return text_response(503, "Unhealthy: the poll loop does not come round, or a poll does not come to an end")

    async def _ready(self, _: Request) -> Response:
        if self._backend.is_ready():
            return text_response(200, "Ready")
        return text_response(503, "Not ready: the first poll cycle has not ended yet")

    async def _reload(self, request: Request) -> Response:
        if not self._enable_lifecycle:
            # The first sentence is that of Prometheus.
            return text_response(403, "Lifecycle API is not enabled. Start the exporter with --web.enable-lifecycle.")
        if is_foreign(request.headers):
            return text_response(403, "A page of another origin must not reload the configuration")
        error = await self._reload_workers.run(self._backend.reload)
        return text_response(200, "Reloaded") if error is None else text_response(500, f"Not reloaded: {error}")

    async def _config(self, _: Request) -> Response:
        return ok_response((await self._page_workers.run(self._backend.effective_config)).encode(), TEXT)

    async def _status(self, request: Request) -> Response:
        render = partial(self._backend.status_page, _parameters(request.query))
        return await self._html(request, render) or ok_response(_landing_page(self._telemetry_path), HTML)

    async def _transform(self, request: Request) -> Response:
        transform_id = request.path.removeprefix(TRANSFORMS)
        render = partial(self._backend.transform_page, transform_id)
        return await self._html(request, render) or await self._not_found(request)

    async def _front_page_below_prefix(self, request: Request) -> Response:
        # The links of the pages are relative, so the address of the front page must end with "/".
        folder = request.path.rpartition("/")[2]
        return text_response(302, Location=f"{folder}/{request.query and '?' + request.query}")

    async def _not_found(self, request: Request) -> Response:
        page = None
        if "text/html" in request.headers.get("accept", "") and request.method in _READ:
            render = partial(self._backend.not_found_page, "../" * request.depth or "./")
            page = await self._html(request, render, status=404)
        return page or text_response(404)

    async def _html(
        self, request: Request, render: Callable[[str], HtmlPage | None], status: int = 200
    ) -> Response | None:
        is_gzip = choose_encoding(request.headers.get("accept-encoding")) is Encoding.GZIP

        def page_response() -> Response | None:
            page = render(self._telemetry_path)
            if page is None:
                return None
            headers = {"Vary": "Accept-Encoding"}
            if is_gzip:
                headers["Content-Encoding"] = Encoding.GZIP.value
            body = igzip.compress(page.body, 1) if is_gzip else page.body
            return Response(status, HTML, [body], len(body), headers, policy=page.policy)

        return await self._page_workers.run(page_response)


def _parameters(query: str) -> dict[str, str]:
    """Return the parameters of a query string; empty if it has more than 20 fields, because our form has fewer."""
    try:
        return dict(parse_qsl(query, max_num_fields=20))
    except ValueError:
        return {}


def _landing_page(telemetry_path: str) -> bytes:
    links = {"Metrics": telemetry_path, "Configuration": "/config", "Health": "/-/healthy", "Readiness": "/-/ready"}
    items = "\n".join(f'<li><a href=".{html.escape(path)}">{name}</a></li>' for name, path in links.items())
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
