import http.client
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.config.problems import ConfigError
from exporter.web.config import WebConfig
from tests.web.serving import Served, serving, status_of
from tests.web.test_config import HASH, write
from tests.web.test_negotiation import GRAMMAR

DOCUMENTED = {200, 401, 403, 404, 405, 406, 503}
REFUSALS = {400, 408, 413, 431}

header_values = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=200) | GRAMMAR
methods = st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
paths = st.sampled_from(["/", "/metrics", "/-/healthy", "/-/ready", "/-/reload", "/config"]) | st.text(
    st.characters(min_codepoint=33, max_codepoint=126), max_size=50
).map("/".__add__)
credentials = header_values | st.binary(max_size=60).map(lambda raw: "Basic " + raw.hex())
quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def opened() -> Iterator[Served]:
    """A server without a password."""
    with serving() as served:
        yield served


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with a password."""
    web = WebConfig(write(tmp_path_factory.mktemp("web"), f"basic_auth_users: {{alice: {HASH}}}"))
    with serving(web_config=web) as served:
        yield served


def status(served: Served, method: str, path: str, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value.encode("latin-1", "replace"))
        connection.endheaders()
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


@given(methods, paths, header_values, header_values)
@quick
def test_any_request_gets_a_documented_status(
    opened: Served, method: str, path: str, accept: str, accept_encoding: str
) -> None:
    """Every combination of method, path and negotiation headers gets a documented status, never a 500."""
    headers = {"Accept": accept, "Accept-Encoding": accept_encoding}
    assert status(opened, method, path, headers) in DOCUMENTED | REFUSALS


@given(methods, paths, credentials)
@quick
def test_no_guessed_credentials_are_accepted(closed: Served, method: str, path: str, authorization: str) -> None:
    """With any Authorization header but the right one, only the health paths answer."""
    expected = {200, 405} if path.partition("?")[0].partition("#")[0] in {"/-/healthy", "/-/ready"} else {401, 503}
    assert status(closed, method, path, {"Authorization": authorization}) in expected | REFUSALS


@given(st.binary(min_size=1, max_size=300))
@quick
def test_any_bytes_are_refused_or_disconnected(opened: Served, request: bytes) -> None:
    """Bytes that are not a request get an error or a closed connection."""
    with opened.connect() as connection:
        connection.sendall(request)
        connection.shutdown(1)
        answer = connection.recv(65536)
    assert not answer or status_of(answer) in DOCUMENTED | REFUSALS


def test_the_server_still_answers(opened: Served, closed: Served) -> None:
    """After all these requests both servers still answer."""
    assert opened.ask().status == 200
    assert closed.ask().status == 401
    assert closed.ask("/-/healthy").status == 200


@pytest.mark.slow
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
@quick
def test_any_web_configuration_file_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    """Every file content is either accepted or refused with ConfigError."""
    path = tmp_path / "web.yml"
    path.write_bytes(content)
    with suppress(ConfigError):
        WebConfig(path)
