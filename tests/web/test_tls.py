import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from exporter.web.config import WebConfig
from exporter.web.limits import Limits
from exporter.web.tls import is_allowed, names_in
from tests.support import wait_for
from tests.web.serving import (
    DEADLINE,
    Clock,
    answer_of,
    read_until_closed,
    serving,
    status_of,
    wait_until_closed,
)
from tests.web.test_config import issue, write

MUTUAL = """
tls_server_config:
  cert_file: cert.pem
  key_file: key.pem
  client_ca_file: ca.pem
  client_auth_type: {}
"""


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def folder(tmp_path: Path, ca: trustme.CA) -> Path:
    issue(ca, tmp_path)
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path


@pytest.fixture
def client(ca: trustme.CA) -> Callable[..., ssl.SSLContext]:
    """Make a client that trusts the server, with a certificate of its own for `identity`."""

    def make(identity: str | None = None, issuer: trustme.CA = ca) -> ssl.SSLContext:
        context = ssl.create_default_context()
        ca.configure_trust(context)
        if identity is not None:
            issuer.issue_cert(identity).configure_cert(context)
        return context

    return make


def is_refused(ask: Callable[[], object]) -> bool:
    """Return whether the connection fails, in the handshake or after it (TLS 1.3)."""
    try:
        ask()
    except (ssl.SSLError, ConnectionError):
        return True
    return False


def test_metrics_over_tls(folder: Path, client: Callable[..., ssl.SSLContext]) -> None:
    """With a certificate the server speaks TLS 1.3 and does not answer plain HTTP."""
    web = WebConfig(write(folder, "tls_server_config: {cert_file: cert.pem, key_file: key.pem}"))
    with serving(web_config=web) as served:
        assert served.ask(tls=client()).content == b"up 1\n"
        with client().wrap_socket(served.connect(), server_hostname="localhost") as connection:
            assert connection.version() == "TLSv1.3"
        assert b"HTTP/1.1 200" not in served.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")


def test_max_version_limits_the_tls_version(folder: Path, client: Callable[..., ssl.SSLContext]) -> None:
    """With max_version: TLS12 a connection uses TLS 1.2."""
    web = WebConfig(write(folder, "tls_server_config: {cert_file: cert.pem, key_file: key.pem, max_version: TLS12}"))
    with (
        serving(web_config=web) as served,
        client().wrap_socket(served.connect(), server_hostname="localhost") as connection,
    ):
        assert connection.version() == "TLSv1.2"


def test_client_certificates_are_required(folder: Path, client: Callable[..., ssl.SSLContext]) -> None:
    """A client without a certificate of the client CA gets no answer on any path."""
    web = WebConfig(write(folder, MUTUAL.format("RequireAndVerifyClientCert")))
    with serving(web_config=web) as served:
        assert served.ask(tls=client("prometheus")).status == 200
        assert is_refused(lambda: served.ask(tls=client()))
        assert is_refused(lambda: served.ask("/-/healthy", tls=client()))
        assert is_refused(lambda: served.ask(tls=client("prometheus", trustme.CA())))
        assert served.ask(tls=client("prometheus")).status == 200


def test_client_certificates_are_optional(folder: Path, client: Callable[..., ssl.SSLContext]) -> None:
    """VerifyClientCertIfGiven accepts a client without a certificate and refuses a wrong certificate."""
    web = WebConfig(write(folder, MUTUAL.format("VerifyClientCertIfGiven")))
    with serving(web_config=web) as served:
        assert served.ask(tls=client()).status == 200
        assert served.ask(tls=client("prometheus")).status == 200
        assert is_refused(lambda: served.ask(tls=client("prometheus", trustme.CA())))


@pytest.mark.parametrize("identity", ["prometheus", "10.0.0.1", "::1"])
def test_only_allowed_names_are_accepted(folder: Path, client: Callable[..., ssl.SSLContext], identity: str) -> None:
    """One name of the certificate must equal one of client_allowed_sans."""
    allowed = "  client_allowed_sans: [prometheus, 10.0.0.1, '0:0:0:0:0:0:0:1']\n"
    web = WebConfig(write(folder, MUTUAL.format("RequireAndVerifyClientCert") + allowed))
    with serving(web_config=web) as served:
        assert served.ask(tls=client(identity)).status == 200
        assert is_refused(lambda: served.ask(tls=client("prometheus.example")))


def test_the_names_of_a_certificate() -> None:
    """DNS names, addresses, e-mail addresses and URIs count; directory names do not."""
    certificate = {
        "subjectAltName": (
            ("DNS", "a"),
            ("IP Address", "0:0:0:0:0:0:0:1\n"),
            ("email", "a@b"),
            ("URI", "spiffe://x"),
            ("DirName", "no"),
        )
    }
    assert names_in(certificate) == {"a", "::1", "a@b", "spiffe://x"}
    assert names_in(None) == set()
    assert is_allowed(None, frozenset())
    assert not is_allowed({}, {"a"})


@pytest.mark.slow
def test_certificates_rotate_without_a_restart(
    folder: Path, ca: trustme.CA, client: Callable[..., ssl.SSLContext]
) -> None:
    """New connections get a renewed certificate, and open connections still work."""
    web = WebConfig(write(folder, "tls_server_config: {cert_file: cert.pem, key_file: key.pem}"))
    context = client()

    def serial() -> object:
        with context.wrap_socket(served.connect(), server_hostname="localhost") as connection:
            return (connection.getpeercert() or {}).get("serialNumber")

    with (
        serving(web_config=web) as served,
        context.wrap_socket(served.connect(), server_hostname="localhost") as old,
    ):
        old.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status_of(answer_of(old)) == 200
        before = serial()
        issue(ca, folder)
        wait_for(lambda: serial() != before, timeout=DEADLINE)
        old.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status_of(answer_of(old)) == 200


@pytest.mark.slow
def test_client_authorities_rotate_without_a_restart(folder: Path, client: Callable[..., ssl.SSLContext]) -> None:
    """After the client CA was replaced, certificates of the new CA are accepted, and others are refused."""
    web = WebConfig(write(folder, MUTUAL.format("RequireAndVerifyClientCert")))
    other = trustme.CA()
    with serving(web_config=web) as served:
        old, new = client("prometheus"), client("prometheus", other)
        assert served.ask(tls=old).status == 200
        other.cert_pem.write_to_path(folder / "ca.pem")
        wait_for(lambda: not is_refused(lambda: served.ask(tls=new)), timeout=DEADLINE)
        assert is_refused(lambda: served.ask(tls=old))


@pytest.mark.slow
@pytest.mark.parametrize("change", ["names", "authority"])
def test_a_client_that_is_no_longer_allowed_loses_its_open_connection(
    folder: Path, client: Callable[..., ssl.SSLContext], change: str
) -> None:
    """After its name or its CA was taken out of the file, a client gets no answer on its open connection either."""
    allowed = "  client_allowed_sans: [{}]\n"
    text = MUTUAL.format("RequireAndVerifyClientCert")
    web = WebConfig(write(folder, text + allowed.format("prometheus, grafana")))
    with serving(web_config=web) as served:
        connection = client("prometheus").wrap_socket(served.connect(), server_hostname="localhost")
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status_of(answer_of(connection)) == 200
        if change == "names":
            write(folder, text + allowed.format("grafana"))
        else:
            trustme.CA().cert_pem.write_to_path(folder / "ca.pem")
        assert wait_until_closed(connection)
        connection.close()


@pytest.mark.slow
def test_a_client_that_is_no_longer_allowed_is_refused_at_its_next_request(
    folder: Path, client: Callable[..., ssl.SSLContext]
) -> None:
    """The next request on an open connection is not answered if its client is no longer among the allowed names."""
    text = MUTUAL.format("RequireAndVerifyClientCert") + "  client_allowed_sans: [{}]\n"
    web = WebConfig(write(folder, text.format("prometheus, grafana")))
    with (
        serving(web_config=web) as served,
        client("prometheus").wrap_socket(served.connect(), server_hostname="localhost") as connection,
    ):
        write(folder, text.format("grafana"))
        wait_for(lambda: web.current.tls is not None and len(web.current.tls.allowed_sans) == 1, timeout=DEADLINE)
        with suppress(OSError):
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wait_until_closed(connection)
        assert not served.backend.asked


@pytest.mark.slow
def test_an_open_plain_connection_ends_when_tls_is_turned_on(folder: Path) -> None:
    """After TLS was turned on, a connection without TLS is closed."""
    web = WebConfig(write(folder, ""))
    with serving(web_config=web) as served, served.connect() as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status_of(answer_of(connection)) == 200
        write(folder, "tls_server_config: {cert_file: cert.pem, key_file: key.pem}")
        assert wait_until_closed(connection)


@pytest.mark.slow
def test_a_silent_handshake_has_a_deadline(folder: Path, client: Callable[..., ssl.SSLContext]) -> None:
    """A client that does not finish its handshake is disconnected after `handshake` seconds, and others do not wait."""
    web = WebConfig(write(folder, "tls_server_config: {cert_file: cert.pem, key_file: key.pem}"))
    clock = Clock()
    with serving(web_config=web, clock=clock) as served:
        silent = [served.connect() for _ in range(20)]
        silent[0].sendall(b"\x16\x03\x01")
        assert served.ask(tls=client()).status == 200
        for connection in silent:
            assert read_until_closed(connection, clock) == b""
            connection.close()


def test_the_number_of_silent_handshakes_is_limited(folder: Path, client: Callable[..., ssl.SSLContext]) -> None:
    """A connection counts during its handshake too, so a new one closes the oldest."""
    web = WebConfig(write(folder, "tls_server_config: {cert_file: cert.pem, key_file: key.pem}"))
    with serving(web_config=web, limits=Limits(connections=10), clock=Clock()) as served:
        silent = [served.connect() for _ in range(40)]
        assert served.ask(tls=client()).status == 200
        assert all(wait_until_closed(connection) for connection in silent[:30])
        for connection in silent:
            connection.close()


def test_stop_does_not_wait_for_handshakes(folder: Path) -> None:
    """At the end the server closes a connection whose handshake is not done."""
    web = WebConfig(write(folder, "tls_server_config: {cert_file: cert.pem, key_file: key.pem}"))
    with serving(web_config=web, clock=Clock()) as served:
        silent: socket.socket = served.connect()
        served.server.stop()
        assert wait_until_closed(silent)
        silent.close()
