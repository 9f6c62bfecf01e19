import ssl
from pathlib import Path

import pytest
import trustme

from exporter.web.browsers import HostCheck, host_check, is_foreign
from exporter.web.config import WebConfig
from tests.web.serving import serving
from tests.web.test_basic_auth import header
from tests.web.test_config import HASH, issue, write

FOREIGN = "rebound.example.com:10210"
CHECK = HostCheck(["Exporter.Example.com"], ["monitoring.example.org"])


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:10210",
        "10.0.0.5",
        "[::1]:10210",
        "[2001:db8::1]",
        "[::ffff:192.0.2.1]:80",
        "localhost:10210",
        "exporter",
        "glue-ml-exporter.monitoring.svc:10210",
        "glue-ml-exporter.monitoring.svc.cluster.local.",
        "ip-10-0-0-1.eu-west-1.compute.internal:10210",
        "host.docker.internal",
        "nas.home.arpa",
        "exporter.example.com:10210",
        "EXPORTER.example.com",
        "a.monitoring.example.org",
        "",
    ],
)
def test_names_that_no_stranger_can_own_are_accepted(host: str) -> None:
    """Addresses, names without a dot, private domains, the names of the machine and its search domains are accepted."""
    assert CHECK.accepts({"host": host})


@pytest.mark.parametrize(
    "host",
    [
        FOREIGN,
        "example.com",
        "127.0.0.1.example.com",
        "localhost.example.com",
        "a.exporter.example.com",
        "xmonitoring.example.org",
        "1.2.3",
        "127.0.0.1@rebound.example.com",
        "rebound.example.com.",
        "evil.xn--local",
    ],
)
def test_names_that_a_stranger_can_own_are_refused(host: str) -> None:
    """Another name with a dot may belong to a stranger, unless the browser says that it uses HTTPS."""
    assert not CHECK.accepts({"host": host})
    assert CHECK.accepts({"host": host, "sec-fetch-site": "none"})


def test_the_names_of_the_machine(tmp_path: Path) -> None:
    """The names in the listen addresses and the search domains of the resolver are accepted."""
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("# a comment\n\nnameserver 10.0.0.2\nsearch corp.example.com . Example.ORG.\noptions ndots:5\n")
    check = host_check(["mon1.example.net", ""], resolver)
    accepted = ("mon1.example.net", "a.corp.example.com", "a.example.org")
    assert all(check.accepts({"host": host}) for host in accepted)
    assert not check.accepts({"host": "a.example.net"})
    assert not host_check([], tmp_path / "missing").accepts({"host": "a.example.org"})


@pytest.mark.parametrize(
    ("origin", "foreign"),
    [
        (None, False),
        ("http://exporter:10210", False),
        ("https://Exporter:10210", False),
        ("http://exporter", True),
        ("http://evil.example", True),
        ("null", True),
        ("http://[", True),
        ("", True),
    ],
)
def test_a_foreign_origin(origin: str | None, foreign: bool) -> None:
    """An `Origin` other than this server is foreign; programs send none."""
    headers = {"host": "exporter:10210"} | ({} if origin is None else {"origin": origin})
    assert is_foreign(headers) is foreign


def test_a_foreign_page_cannot_reload() -> None:
    """A POST with the Origin of another page gets 403, and the configuration is not reloaded."""
    with serving(enable_lifecycle=True) as served:
        own = f"localhost:{served.port}"
        assert served.ask("/-/reload", method="POST", Origin="https://evil.example").status == 403
        assert served.ask("/-/reload", method="POST", Origin="null").status == 403
        assert served.backend.reloads == 0
        assert served.ask("/-/reload", method="POST", Origin=f"http://{own}").status == 200
        assert served.ask("/-/reload", method="POST").status == 200


@pytest.mark.parametrize("path", ["/", "/config", "/transforms/tfm-1", "/x", "/-/reload"])
def test_a_rebound_browser_gets_no_page(path: str) -> None:
    """Under a name that a stranger can own, pages, configuration and reload get 403, and the message has no name."""
    method = "POST" if path == "/-/reload" else "GET"
    with serving(enable_lifecycle=True) as served:
        refused = served.ask(path, method=method, Host=FOREIGN, Origin=f"http://{FOREIGN}")
        assert refused.status == 403
        assert b"example.com" not in refused.content
        assert b"--web.listen-address" in refused.content
        assert served.backend.reloads == 0
        assert served.ask(path, method=method).status in {200, 404}


def test_programs_may_use_any_name() -> None:
    """Metrics and probes are answered under any name, because they are for programs."""
    with serving() as served:
        for path in ("/metrics", "/-/healthy", "/-/ready"):
            assert served.ask(path, Host=FOREIGN).status == 200


def test_any_name_works_with_a_password_or_tls(tmp_path: Path) -> None:
    """A browser has no password and no certificate for the name of a stranger, so the name need not be checked."""
    web = WebConfig(write(tmp_path, f"basic_auth_users: {{alice: {HASH}}}"))
    with serving(web_config=web) as served:
        assert served.ask("/config", Host=FOREIGN, Authorization=header("alice", "secret")).status == 200
    ca, context = trustme.CA(), ssl.create_default_context()
    issue(ca, tmp_path)
    ca.configure_trust(context)
    web = WebConfig(write(tmp_path, "tls_server_config: {cert_file: cert.pem, key_file: key.pem}"))
    with serving(web_config=web) as served:
        assert served.ask("/config", tls=context, Host=FOREIGN).status == 200
