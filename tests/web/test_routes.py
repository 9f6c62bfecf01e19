import gzip
import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.exposition.formats import Encoding, TextFormat
from exporter.web.config import WebConfig
from exporter.web.server import WebServer
from tests.support import wait_for
from tests.web.serving import Body, FakeBackend, Page, Served, serving, status_of
from tests.web.test_config import HASH
from tests.web.test_negotiation import PROMETHEUS_3


@pytest.fixture(scope="module")
def running() -> Iterator[Served]:
    """A server whose settings no test changes."""
    with serving() as served:
        yield served


def test_metrics_are_sent_chunk_by_chunk_and_reported_once() -> None:
    """A GET gets all chunks in order with their length, and `sent` of the scrape is called once."""
    backend = FakeBackend(Body(b"a 1\n", b"b 2\n" * 100_000, b"", b"c 3\n"))
    with serving(backend) as served:
        answer = served.ask()
    assert answer.status == 200
    assert answer.content == b"".join(backend.body.chunks)
    assert answer.headers["Content-Length"] == str(backend.body.length)
    assert backend.body.times_sent == 1


def test_metrics_are_negotiated() -> None:
    """The backend gets the format and encoding that the client accepts, and the headers name them."""
    with serving() as served:
        plain = served.ask()
        negotiated = served.ask(Accept=PROMETHEUS_3, Accept_Encoding="gzip")
    assert served.backend.asked == [(TextFormat.TEXT, Encoding.IDENTITY), (TextFormat.OPENMETRICS, Encoding.GZIP)]
    assert plain.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert plain.headers["Content-Encoding"] is None
    assert negotiated.headers["Content-Type"] == TextFormat.OPENMETRICS.content_type
    assert negotiated.headers["Content-Encoding"] == "gzip"
    assert negotiated.headers["Vary"] == "Accept, Accept-Encoding"
    assert negotiated.headers["Cache-Control"] == "no-store"


def test_head_gets_the_headers_only() -> None:
    """HEAD gets the headers of the metrics without a body. It is not a scrape, so the backend is not asked."""
    with serving() as served:
        answer = served.ask(method="HEAD")
    assert (answer.status, answer.content) == (200, b"")
    assert answer.headers["Content-Type"] == TextFormat.TEXT.content_type
    assert (served.backend.asked, served.backend.body.times_sent) == ([], 0)


def test_a_client_that_accepts_no_encoding_gets_406() -> None:
    """A client that accepts neither identity nor gzip gets 406."""
    with serving() as served:
        assert served.ask(Accept_Encoding="identity;q=0").status == 406


def test_a_scrape_that_needs_work_is_prepared_beside_the_event_loop() -> None:
    """While one scrape is prepared in a thread, other requests are answered."""
    backend = FakeBackend(hold=threading.Event())
    answers = []
    with serving(backend) as served:
        scraper = threading.Thread(target=lambda: answers.append(served.ask()))
        scraper.start()
        wait_for(lambda: backend.preparing)
        assert served.ask("/-/healthy").status == 200
        backend.hold.set()
        scraper.join(10)
    assert answers[0].content == b"up 1\n"


def test_health_and_readiness() -> None:
    """The probes return the state of the backend: 200, or 503 with a reason."""
    with serving() as served:
        assert served.ask("/-/healthy").status == served.ask("/-/ready").status == 200
        served.backend.alive = served.backend.ready = False
        for path in ("/-/healthy", "/-/ready"):
            answer = served.ask(path)
            assert answer.status == 503
            assert answer.content.strip()
            assert served.ask(path, method="HEAD").status == 503


def test_reload_needs_the_lifecycle_flag() -> None:
    """Without --web.enable-lifecycle, reload is forbidden as in Prometheus."""
    with serving() as served:
        answer = served.ask("/-/reload", method="POST")
    assert (answer.status, answer.content) == (
        403,
        b"Lifecycle API is not enabled. Start the exporter with --web.enable-lifecycle.\n",
    )
    assert served.backend.reloads == 0


def test_reload() -> None:
    """POST and PUT reload. An error is a 500 with the reason. Other methods are not allowed."""
    with serving(enable_lifecycle=True) as served:
        assert served.ask("/-/reload", method="POST", body=b"x").status == 200
        assert served.ask("/-/reload", method="PUT").status == 200
        served.backend.reload_reason = "config.yaml:1:1: region: not a region"
        refused = served.ask("/-/reload", method="POST")
        wrong = served.ask("/-/reload")
    assert refused.status == 500
    assert b"config.yaml:1:1" in refused.content
    assert (wrong.status, wrong.headers["Allow"]) == (405, "POST, PUT")
    assert served.backend.reloads == 3


def test_the_configuration_is_shown_as_text() -> None:
    """The configuration is plain text, so a browser does not interpret markup in it."""
    with serving() as served:
        answer = served.ask("/config")
    assert answer.content == b"region: <eu-west-1>\n"
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_status_page_or_links() -> None:
    """`/` is the page of the backend, or a page of escaped links if pages are turned off."""
    with serving(telemetry_path='/a"<b>') as served:
        links = served.ask("/")
        served.backend.page = Page(b"<p>hello</p>", "default-src 'none'")
        shown = served.ask("/?q=a+b&show=active&q=c")
        assert served.ask("/?" + "x&" * 1000).status == 200
    assert b'href="./a&quot;&lt;b&gt;"' in links.content
    assert shown.content == b"<p>hello</p>"
    assert links.headers["Content-Type"] == shown.headers["Content-Type"] == "text/html; charset=utf-8"
    assert served.backend.asked_pages[1:] == [({"q": "c", "show": "active"}, '/a"<b>'), ({}, '/a"<b>')]


def test_the_page_of_a_transform() -> None:
    """/transforms/ID is the page of the transform with that id, with any characters in it; 404 without such a page."""
    with serving() as served:
        missing = served.ask("/transforms/tfm-1")
        served.backend.page = Page(b"<p>hello</p>", "default-src 'none'")
        shown = served.ask("/transforms/a%2Fb%20%C3%BC?x=1")
        wrong = served.ask("/transforms/a", method="POST")
    assert (missing.status, shown.status, shown.content) == (404, 200, b"<p>hello</p>")
    assert served.backend.asked_pages == [("tfm-1", "/metrics"), ("a/b ü", "/metrics")]
    assert (wrong.status, wrong.headers["Allow"]) == (405, "GET, HEAD")


def test_pages_are_compressed_if_the_client_accepts_gzip() -> None:
    """A client gets gzip only if it accepts gzip, and `Vary` names the Accept-Encoding header."""
    with serving(FakeBackend(page=Page(b"<p>hello</p>" * 1000, ""))) as served:
        plain = served.ask("/")
        packed = served.ask("/", Accept_Encoding="gzip, br")
    assert gzip.decompress(packed.content) == plain.content
    assert len(packed.content) < 200
    assert (plain.headers["Content-Encoding"], packed.headers["Content-Encoding"]) == (None, "gzip")
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"


def test_a_page_has_its_own_policy_unless_one_is_configured(tmp_path: Path) -> None:
    """A page sends its own Content-Security-Policy; a configured one replaces it."""
    backend = FakeBackend(page=Page(b"", "script-src 'sha256-x'"))
    with serving(backend) as served:
        assert served.ask("/").headers["Content-Security-Policy"] == "script-src 'sha256-x'"
    configured = tmp_path / "web.yml"
    configured.write_text("http_server_config: {headers: {Content-Security-Policy: default-src 'self'}}")
    with serving(backend, web_config=WebConfig(configured)) as served:
        assert served.ask("/").headers["Content-Security-Policy"] == "default-src 'self'"


def test_the_pages_are_behind_the_same_authentication(tmp_path: Path) -> None:
    """Without credentials the answer is 401 for every page, whether it exists or not."""
    configured = tmp_path / "web.yml"
    configured.write_text(f"basic_auth_users: {{alice: {HASH}}}")
    with serving(FakeBackend(page=Page(b"", "")), web_config=WebConfig(configured)) as served:
        assert [served.ask(path).status for path in ("/", "/transforms/tfm-1", "/transforms/")] == [401] * 3
        assert served.backend.asked_pages == []


@pytest.mark.parametrize("path", ["/x", "/metrics/", "//metrics", "/-/healthy/", "/..", "/%2e%2e/etc/passwd", "/%00"])
def test_other_paths_are_not_found(running: Served, path: str) -> None:
    """A path that is not documented gets 404."""
    assert running.ask(path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods_are_not_allowed(running: Served, method: str) -> None:
    """A 405 names the allowed methods."""
    answer = running.ask(method=method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_paths_may_be_encoded_and_have_a_query() -> None:
    """A percent-encoded path, a path with a query and an absolute URL find the same route."""
    with serving() as served:
        assert served.ask("/%6Detrics?name[]=x").status == 200
        assert status_of(served.send(b"GET http://a/metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")) == 200


@pytest.mark.parametrize("path", ["/", "/metrics", "/x", "/-/reload", "/-/healthy"])
def test_every_answer_carries_security_headers(running: Served, path: str) -> None:
    """Every answer forbids frames, sniffing, caching and scripts, and does not name the server software."""
    headers = running.ask(path).headers
    assert headers["X-Frame-Options"] == "deny"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Server"] is None


def test_an_error_of_the_backend_shows_no_details() -> None:
    """An exception of the backend is a 500 without details, and the next request is answered."""
    with serving(FakeBackend(broken=True)) as served:
        failed = served.ask()
        served.backend.broken = False
        assert served.ask().status == 200
    assert (failed.status, failed.content) == (500, b"Internal Server Error\n")


def test_a_body_shorter_than_its_length_is_cut_off() -> None:
    """The connection is closed, so the client sees an incomplete body, and the scrape does not count as sent."""
    body = Body(b"half")
    body.length = 8
    with serving(FakeBackend(body)) as served:
        with pytest.raises(http.client.IncompleteRead):
            served.ask()
        assert served.ask("/-/healthy").status == 200
    assert body.times_sent == 0


@pytest.mark.parametrize("path", ["metrics", "", "/-/healthy", "/config", "/transforms/", "/transforms/a"])
def test_the_telemetry_path_must_be_free(path: str) -> None:
    """A telemetry path that is not a path or is taken raises ValueError at start."""
    with pytest.raises(ValueError, match="is not a path or is that of another page"):
        WebServer(FakeBackend(), addresses=[], telemetry_path=path)


def test_metrics_may_be_the_root() -> None:
    """With --web.telemetry-path=/ the metrics replace the front page."""
    with serving(telemetry_path="/") as served:
        assert served.ask("/").content == b"up 1\n"


def test_all_paths_also_work_below_the_path_of_the_external_url() -> None:
    """A proxy may keep or remove the path. Without "/" at its end it leads to the front page."""
    with serving(FakeBackend(page=Page(b"<p>hello</p>", "")), external_url="https://a.example.com/b/ml/") as served:
        bare = served.ask("/b/ml?q=x")
        assert (bare.status, bare.headers["Location"]) == (302, "ml/?q=x")
        for prefix in ("", "/b/ml"):
            assert served.ask(f"{prefix}/metrics").content == b"up 1\n"
            assert served.ask(f"{prefix}/-/healthy").content == b"Healthy\n"
            assert served.ask(f"{prefix}/").content == b"<p>hello</p>"
        assert served.ask("/b/mlx/metrics").status == 404
        assert served.ask("/b/metrics").status == 404


@pytest.mark.parametrize("path", ["/metrics", "/config", "/-", "/transforms", "/transforms/a"])
def test_the_path_of_the_external_url_must_be_free(path: str) -> None:
    """An external URL whose path is that of a page raises ValueError at start."""
    with pytest.raises(ValueError, match=r"--web\.external-url: its path .* is that of a page"):
        WebServer(FakeBackend(), addresses=[], external_url=f"https://a.example.com{path}/")


def test_an_unknown_path_leads_a_browser_back() -> None:
    """A browser gets a page for an unknown path, which knows the way to the front page. A program gets one line."""
    with serving(FakeBackend(), external_url="https://a.example.com/ml/") as served:
        assert served.ask("/x", Accept="text/html").content == b"Not Found\n"
        served.backend.page = Page(b"<p>back</p>", "")
        pages = [served.ask(path, Accept="text/html,*/*") for path in ("/x", "/a/b%2Fc/", "/ml/a/b")]
        assert {(page.status, page.content) for page in pages} == {(404, b"<p>back</p>")}
        assert served.ask("/x", Accept="text/plain").content == b"Not Found\n"
    assert [root for root, _ in served.backend.asked_pages] == ["./", "./", "../../", "../"]
