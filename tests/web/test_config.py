import ssl
from pathlib import Path

import bcrypt
import pytest
import trustme

from exporter.config.problems import ConfigError
from exporter.web.config import WebConfig

HASH = bcrypt.hashpw(b"secret", b"$2b$04$abcdefghijklmnopqrstuu").decode()
OTHER_HASH = bcrypt.hashpw(b"other", b"$2b$04$abcdefghijklmnopqrstuu").decode()


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def folder(tmp_path: Path, ca: trustme.CA) -> Path:
    """A folder with cert.pem, key.pem and ca.pem, and with invalid files of each kind."""
    issue(ca, tmp_path)
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    ca.issue_cert("other").private_key_pem.write_to_path(tmp_path / "other-key.pem")
    (tmp_path / "empty.pem").write_text("")
    (tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nnonsense\n-----END ENCRYPTED PRIVATE KEY-----\n"
    (tmp_path / "broken-key.pem").write_text(encrypted)
    return tmp_path


def issue(ca: trustme.CA, folder: Path, name: str = "localhost") -> None:
    """Put a new certificate and its key into the folder."""
    issued = ca.issue_cert(name)
    issued.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))


def write(folder: Path, text: str) -> Path:
    path = folder / "web.yml"
    path.write_text(text)
    return path


def problems(folder: Path, text: str) -> list[str]:
    """Return the lines of the error for a file with this text, without the name of the file."""
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        WebConfig(path)
    return [line.removeprefix(f"{path}:").strip() for line in str(caught.value).splitlines()]


def test_an_empty_file_sets_nothing(folder: Path) -> None:
    """Without settings there is no TLS, no password and no rate limit."""
    settings = WebConfig(write(folder, "")).current
    assert settings.tls is None
    assert not settings.users
    assert not settings.headers
    assert settings.bucket is None


def test_every_key(folder: Path) -> None:
    """Every key has its effect. Relative paths start at the folder of the file."""
    settings = WebConfig(
        write(
            folder,
            f"""
tls_server_config:
  cert_file: cert.pem
  key_file: {folder}/key.pem
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
  client_allowed_sans: [prometheus, 10.0.0.1]
  min_version: TLS12
  max_version: TLS12
  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]
  prefer_server_cipher_suites: false
  curve_preferences: [X25519]
http_server_config:
  http2: false
  headers:
    Content-Security-Policy: default-src 'self'
    X-Frame-Options: sameorigin
    X-Content-Type-Options: nosniff
    X-XSS-Protection: 1; mode=block
    Strict-Transport-Security:
basic_auth_users:
  alice: {HASH}
rate_limit:
  interval: 1m30s
  burst: 5
""",
        )
    ).current
    assert settings.tls is not None
    context = settings.tls.context
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.cert_store_stats()["x509"] == 1
    assert (context.minimum_version, context.maximum_version) == (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
    assert [c["name"] for c in context.get_ciphers() if c["protocol"] == "TLSv1.2"] == ["ECDHE-ECDSA-AES128-GCM-SHA256"]
    assert not context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert settings.tls.allowed_sans == {"prometheus", "10.0.0.1"}
    assert settings.users == {"alice": HASH}
    assert settings.headers["X-Frame-Options"] == "sameorigin"
    assert settings.headers["Strict-Transport-Security"] == ""
    assert settings.bucket is not None


def test_defaults_of_tls(folder: Path) -> None:
    """The defaults are TLS 1.2 and 1.3, no client certificates, and the server's order of ciphers."""
    tls = WebConfig(write(folder, "tls_server_config: {cert_file: cert.pem, key_file: key.pem}")).current.tls
    assert tls is not None
    assert tls.context.verify_mode == ssl.CERT_NONE
    assert tls.context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert tls.context.maximum_version == ssl.TLSVersion.TLSv1_3
    assert tls.context.options & ssl.OP_CIPHER_SERVER_PREFERENCE


def test_inline_certificate_and_key(folder: Path) -> None:
    """Certificates and key can be given inline."""

    def block(name: str) -> str:
        return "|\n" + "".join(f"    {line}\n" for line in (folder / name).read_text().splitlines())

    text = f"tls_server_config:\n  cert: {block('cert.pem')}  key: {block('key.pem')}"
    text += f"  client_ca: {block('ca.pem')}  client_auth_type: VerifyClientCertIfGiven\n"
    tls = WebConfig(write(folder, text)).current.tls
    assert tls is not None
    assert tls.context.verify_mode == ssl.CERT_OPTIONAL


TLS = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n  "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nonsense", "1:1: is not a mapping; expected keys and values"),
        ("[a]", "1:1: is not a mapping; expected keys and values"),
        ("a: [", "is not YAML"),
        ("a: 1\n---\nb: 2", "2:1: a second YAML document begins here; expected only one"),
        ("\x01", "is not YAML"),
        ("tls: {}", "1:1: tls: unknown key; expected one of tls_server_config, http"),
        ("rate_limit: {}\nrate_limit: {}", "2:1: rate_limit: is given twice, first on line 1"),
        ("? [a]\n: b", "1:3: a key is a list or a mapping; expected plain text"),
        ("basic_auth_users: [a]", "1:19: basic_auth_users: a list is not a mapping"),
        (
            "basic_auth_users:\n  alice: [a]",
            "2:10: basic_auth_users.alice: a list does not belong here; expected a single value",
        ),
        ("basic_auth_users:\n  alice: secret", "2:10: basic_auth_users.alice: <secret> is not a bcrypt hash"),
        ("basic_auth_users:\n  alice:", "2:9: basic_auth_users.alice: an empty value does not belong here"),
        (f"basic_auth_users: {{'a:b': {HASH}}}", "<secret> cannot be a user name"),
        ("rate_limit: {interval: 1s}", "rate_limit.burst: is required"),
        ("rate_limit: {burst: 1}", "rate_limit.interval: is required"),
        ("rate_limit: {interval: 1 second, burst: 1}", 'rate_limit.interval: "1 second" is not a duration'),
        ("rate_limit: {interval: 1s, burst: 0}", 'rate_limit.burst: "0" is not a whole number of at least 1'),
        ("rate_limit: {interval: 1s, burst: x}", 'rate_limit.burst: "x" is not a whole number of at least 1'),
        (
            "http_server_config: {http2: true}",
            'http_server_config.http2: "true" is not possible, because the server does not offer HTTP/2',
        ),
        ("http_server_config: {http2: maybe}", 'http_server_config.http2: "maybe" is neither true nor false'),
        (
            "http_server_config: {headers: {Server: x}}",
            'headers.Server: "Server" is not a header that can be set; expected one of Con',
        ),
        ("http_server_config: {headers: {X-Frame-Options: allow}}", '"allow" is not possible; expected deny or same'),
        ('http_server_config: {headers: {X-XSS-Protection: "a\\r\\nb: c"}}', "is not one line of printable ASCII"),
        ("tls_server_config:", "cert_file: is required; expected cert_file or cert"),
        (
            "tls_server_config: {cert_file: cert.pem}",
            "1:20: tls_server_config.key_file: is required; expected key_file or key",
        ),
        (TLS + "cert: x", "tls_server_config.cert: excludes cert_file; expected one of them"),
        ("tls_server_config: {cert_file: none.pem, key_file: key.pem}", "cert_file: the file cannot be read: No such"),
        ("tls_server_config: {cert_file: empty.pem, key_file: key.pem}", "cert_file: holds no certificate in PEM"),
        ("tls_server_config: {cert_file: cert.pem, key_file: empty.pem}", "key_file: holds no private key in PEM"),
        ("tls_server_config: {cert_file: broken.pem, key_file: key.pem}", "cannot be read as PEM"),
        ("tls_server_config: {cert_file: cert.pem, key_file: other-key.pem}", "key does not belong to the certificate"),
        ("tls_server_config: {cert_file: cert.pem, key_file: broken-key.pem}", "cannot be read as PEM"),
        ('tls_server_config: {cert_file: "a\\0b", key_file: key.pem}', "the file cannot be read"),
        (TLS + "client_ca_file: ca.pem", "client_auth_type: asks no client for the certificate"),
        (TLS + "client_auth_type: RequireAndVerifyClientCert", "client_auth_type: needs client_ca_file"),
        (TLS + "client_auth_type: RequestClientCert", "accepts a certificate without verifying it"),
        (TLS + "client_auth_type: RequireAnyClientCert", "accepts a certificate without verifying it"),
        (TLS + "client_auth_type: Sometimes", '"Sometimes" is not possible; expected NoClientCert'),
        (TLS + "client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: empty.pem", "holds no certificate"),
        (TLS + "client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: broken.pem", "cannot be read as PEM"),
        (TLS + "client_allowed_sans: [a]", "client_allowed_sans: needs client_auth_type"),
        (TLS + "client_allowed_sans: a", 'client_allowed_sans: "a" is not a list'),
        (TLS + "min_version: TLS10", 'min_version: "TLS10" is not possible; expected TLS12, TLS13'),
        (TLS + "min_version: TLS13\n  max_version: TLS12", "min_version: is higher than max_version"),
        (TLS + "cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]", "is not possible; expected TLS_ECDHE_ECDSA"),
        (TLS + "cipher_suites: [TLS_AES_128_GCM_SHA256]", "has no cipher for TLS 1.2"),
        (TLS + "curve_preferences: [CurveP224]", 'curve_preferences[0]: "CurveP224" is not possible'),
        (TLS + "curve_preferences: [X25519, CurveP256]", "has several curves, but Python's ssl can prefer only one"),
        (TLS + "prefer_server_cipher_suites: 2", '"2" is neither true nor false'),
        (TLS + "sni: x", "4:3: tls_server_config.sni: unknown key; expected one of cert, cert_file"),
    ],
)
def test_mistakes_are_errors_with_their_place(folder: Path, text: str, expected: str) -> None:
    """A wrong or unsupported setting gives one line with its place and the expected value."""
    lines = problems(folder, text)
    assert any(expected in line for line in lines), lines


def test_an_encrypted_key_is_refused_without_a_prompt(folder: Path) -> None:
    """OpenSSL must not prompt for a passphrase, because a service has no terminal."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - slow to import, needed once

    key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    assert "key is encrypted" in problems(folder, TLS)[0]


def test_all_mistakes_are_listed_in_the_order_of_the_file(folder: Path) -> None:
    """One check lists every mistake."""
    lines = problems(folder, "basic_auth_users: {a: b}\nrate_limit: {burst: 0}\nmore: 1\n")
    assert [line.split(":")[0] for line in lines] == ["1", "2", "3"] or len(lines) >= 3
    assert lines == sorted(lines)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """The message names the file and the reason."""
    with pytest.raises(ConfigError, match=r"none\.yml.*No such file"):
        WebConfig(tmp_path / "none.yml")


def test_no_secret_is_ever_printed(folder: Path) -> None:
    """No message contains a hash or a key, even if the hash or key is in the wrong place of the file."""
    key = (folder / "key.pem").read_text()
    secret = key.splitlines()[1]
    texts = [
        f"basic_auth_users:\n  alice: {HASH}x\n",
        f"basic_auth_users:\n  {HASH}: alice\n",
        f"{HASH}: alice\n",
        f"basic_auth_users: {HASH}\n",
        f"tls_server_config:\n  cert_file: cert.pem\n  key_file: |\n    {key.replace(chr(10), chr(10) + '    ')}\n",
        f"tls_server_config:\n  cert_file: cert.pem\n  key: {secret}\n",
        f"basic_auth_users: {{alice: '{HASH}\n",
    ]
    for text in texts:
        shown = "\n".join(problems(folder, text))
        assert HASH[7:] not in shown
        assert secret not in shown


def test_a_change_takes_effect_at_the_second_refresh(folder: Path) -> None:
    """A changed file takes effect after two refreshes have seen the same content."""
    path = write(folder, f"basic_auth_users: {{alice: {HASH}}}")
    web = WebConfig(path)
    before = web.current
    web.refresh()
    assert web.current is before
    write(folder, f"basic_auth_users: {{bob: {OTHER_HASH}}}")
    web.refresh()
    assert web.current is before
    web.refresh()
    assert web.current.users == {"bob": OTHER_HASH}


def test_a_renewed_certificate_takes_effect(folder: Path, ca: trustme.CA) -> None:
    """New certificate files make a new context."""
    web = WebConfig(write(folder, TLS))
    before = web.current.tls
    issue(ca, folder)
    web.refresh()
    web.refresh()
    assert web.current.tls is not before


def test_a_swapped_link_is_noticed(folder: Path, ca: trustme.CA, tmp_path: Path) -> None:
    """Kubernetes renews a mounted secret by swapping a link to a directory."""
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        issue(ca, tmp_path / number)
    link = tmp_path / "..data"
    link.symlink_to("1")
    web = WebConfig(write(folder, "tls_server_config: {cert_file: ..data/cert.pem, key_file: ..data/key.pem}"))
    before = web.current.tls
    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").replace(link)
    web.refresh()
    web.refresh()
    assert web.current.tls is not before


def test_an_invalid_change_keeps_the_old_settings(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An invalid change is reported and logged once, without secrets. The next valid change takes effect."""
    loads: list[bool] = []
    web = WebConfig(write(folder, f"basic_auth_users: {{alice: {HASH}}}"), loads.append)
    before = web.current
    write(folder, "basic_auth_users: {alice: plaintext}")
    for _ in range(5):
        web.refresh()
    assert web.current is before
    assert loads == [True, False]
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    assert "plaintext" not in caplog.text + web.problem
    assert "basic_auth_users" in web.problem
    write(folder, f"basic_auth_users: {{bob: {HASH}}}")
    web.refresh()
    web.refresh()
    assert web.current.users == {"bob": HASH}
    assert web.problem == ""
    assert loads == [True, False, True]


def test_a_removed_file_keeps_the_old_settings(folder: Path) -> None:
    """After the file is removed, the server still requires the password."""
    path = write(folder, f"basic_auth_users: {{alice: {HASH}}}")
    loads: list[bool] = []
    web = WebConfig(path, loads.append)
    path.unlink()
    web.refresh()
    web.refresh()
    assert web.current.users == {"alice": HASH}
    assert loads == [True, False]


DEMANDING = f"""
tls_server_config:
  cert_file: cert.pem
  key_file: key.pem
  client_ca_file: ca.pem
  client_auth_type: RequireAndVerifyClientCert
  client_allowed_sans: [prometheus]
basic_auth_users: {{alice: {HASH}}}
"""


@pytest.mark.parametrize(
    ("before", "after", "missing"),
    [
        (DEMANDING, "", "passwords"),
        (DEMANDING, "\n", "TLS"),
        (DEMANDING, DEMANDING.partition("basic_auth_users")[0], "basic_auth_users: no longer requires passwords"),
        (DEMANDING, f"basic_auth_users: {{alice: {HASH}}}", "tls_server_config: no longer requires TLS"),
        (DEMANDING, DEMANDING.replace("  client_allowed_sans: [prometheus]\n", ""), "allowed names"),
        (
            DEMANDING,
            f"{TLS}\nbasic_auth_users: {{alice: {HASH}}}",
            "tls_server_config.client_auth_type: no longer requires client certificates",
        ),
        ("rate_limit: {interval: 1h, burst: 1}", "", "is empty"),
    ],
)
def test_a_reload_does_not_open_the_door(
    folder: Path, caplog: pytest.LogCaptureFixture, before: str, after: str, missing: str
) -> None:
    """A changed file that is empty, or requires less of clients, is refused, and the log names what is missing."""
    loads: list[bool] = []
    web = WebConfig(write(folder, before), loads.append)
    settings = web.current
    write(folder, after)
    web.refresh()
    web.refresh()
    assert web.current is settings
    assert loads == [True, False]
    assert missing in caplog.text
    write(folder, before)
    web.refresh()
    web.refresh()
    assert loads == [True, False, True]


def test_an_escape_that_is_no_character_is_reported_on_reload(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    r"""A file with "\UFFFFFFFF" or "\ud800" is refused with one line, and the reload counts as failed."""
    for text in (r'basic_auth_users: {"\UFFFFFFFF": x}', r'"\ud800": x', rf'basic_auth_users: {{"\ud800": {HASH}}}'):
        loads: list[bool] = []
        web = WebConfig(write(folder, "rate_limit: {interval: 1h, burst: 1}"), loads.append)
        write(folder, text)
        web.refresh()
        web.refresh()
        assert loads == [True, False]
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 3
    assert caplog.text.count("an escape that is no character") == 3


def test_a_defect_keeps_the_old_settings(folder: Path) -> None:
    """An exception that nobody expects does not escape from a reload, and the reload counts as failed."""
    loads: list[bool] = []

    def fail_once(loaded: bool) -> None:
        loads.append(loaded)
        if len(loads) == 2:
            raise RuntimeError

    web = WebConfig(write(folder, "rate_limit: {interval: 1h, burst: 1}"), fail_once)
    write(folder, "rate_limit: {interval: 1h, burst: 2}")
    web.refresh()
    web.refresh()
    assert loads == [True, True, False]


def test_a_certificate_without_its_new_key_waits_for_it(folder: Path, ca: trustme.CA) -> None:
    """If the new certificate arrives before its key, the old pair stays in use until the key arrives."""
    loads: list[bool] = []
    web = WebConfig(write(folder, TLS), loads.append)
    before = web.current.tls
    old_key = (folder / "key.pem").read_bytes()
    issue(ca, folder)
    new_key = (folder / "key.pem").read_bytes()
    (folder / "key.pem").write_bytes(old_key)
    web.refresh()
    web.refresh()
    assert loads == [True, False]
    assert web.current.tls is before
    (folder / "key.pem").write_bytes(new_key)
    web.refresh()
    web.refresh()
    assert web.current.tls is not before
    assert loads == [True, False, True]


def test_a_rate_limit_keeps_its_tokens_over_other_changes(folder: Path) -> None:
    """A reload keeps the tokens of a rate limit, unless the limit itself changes."""
    limit = "rate_limit: {interval: 1h, burst: 1}\n"
    web = WebConfig(write(folder, limit))
    bucket = web.current.bucket
    assert bucket is not None
    assert bucket.take() == 0
    write(folder, limit + f"basic_auth_users: {{alice: {HASH}}}")
    web.refresh()
    web.refresh()
    assert web.current.bucket is bucket
    assert web.current.users
    write(folder, limit.replace("burst: 1", "burst: 2") + f"basic_auth_users: {{alice: {HASH}}}")
    web.refresh()
    web.refresh()
    assert web.current.bucket is not bucket


def test_a_key_that_may_be_a_hash_is_not_printed(folder: Path) -> None:
    """A password hash as a key is left out of the path of the message."""
    (line,) = problems(folder, f"http_server_config: {{'{HASH}': x}}")
    assert line.startswith("1:22: http_server_config.(...): unknown key; expected one of http2, headers")


def test_a_rate_limit_of_interval_0_is_no_limit(folder: Path) -> None:
    """Interval 0 turns the rate limit off, as in the exporter-toolkit."""
    assert WebConfig(write(folder, "rate_limit: {interval: 0, burst: 1}")).current.bucket is None
