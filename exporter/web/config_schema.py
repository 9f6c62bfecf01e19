"""What `--web.config.file` may say: the format of Prometheus' exporter-toolkit, read strictly.

Differences to the toolkit, all of them errors and never silence: HTTP/2, RequestClientCert, RequireAnyClientCert, TLS
below 1.2 and more than one preferred curve cannot be honoured by Python's ssl; verifying clients without `client_ca`
would let every certificate of a public authority in; both forms of one thing (`cert` and `cert_file`); a rate limit
with only one of its two numbers.
"""

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from exporter.config.document import Problem
from exporter.config.durations import parse_duration
from exporter.config.yamlnodes import Section, Value, read_sections
from exporter.web.tls import CLIENT_AUTH, CURVES, TLS12_SUITES, TLS13_SUITES, VERSIONS, Pem, TlsSettings

T = TypeVar("T")

_TOP_KEYS = {"tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"}
_TLS_KEYS = {
    "cert",
    "cert_file",
    "key",
    "key_file",
    "client_ca",
    "client_ca_file",
    "client_auth_type",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
    "curve_preferences",
}
_HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
_BCRYPT = re.compile(r"\$2[abxy]\$(?:0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}", re.ASCII)
_HEADER_TEXT = re.compile(r"[\x20-\x7e]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """One request every `interval` seconds, `burst` at once."""

    interval: float
    burst: int


@dataclass(frozen=True, slots=True)
class WebFile:
    """The web configuration file, checked but for what its files hold.

    `headers` go into every response, an empty value takes the header out; `users` are names to bcrypt hashes.
    """

    tls: TlsSettings | None
    headers: Mapping[str, str]
    users: Mapping[str, str]
    rate_limit: RateLimit | None


def read_web_file(content: bytes, folder: Path, problems: list[Problem]) -> WebFile:
    """Return what the YAML `content` says; paths in it are relative to `folder`. Mistakes go to `problems`."""
    top = read_sections(content, _TOP_KEYS, problems)
    server = top.section("http_server_config", {"http2", "headers"})
    if server.switch("http2"):
        server.refuse("http2", "HTTP/2 is not offered; expected false")
    before_tls = len(problems)
    tls = _tls(top.section("tls_server_config", _TLS_KEYS), folder) if "tls_server_config" in top else None
    return WebFile(
        tls=tls if len(problems) == before_tls else None,
        headers=_headers(server.section("headers", _HEADERS.keys())),
        users=_users(top.section("basic_auth_users", None)),
        rate_limit=_rate_limit(top.section("rate_limit", {"interval", "burst"})),
    )


def _headers(section: Section) -> dict[str, str]:
    headers = {name: value.text for name, value in section.entries()}
    for name, text in headers.items():
        choices = _HEADERS[name]
        if text and choices and text not in choices:
            section.refuse(name, f"{_shown(text)} is not possible; expected {' or '.join(choices)}")
        elif not _HEADER_TEXT.fullmatch(text):
            section.refuse(name, "is not one line of printable ASCII")
    return headers


def _users(section: Section) -> dict[str, str]:
    users = {name: value.text for name, value in section.entries()}
    for name, text in users.items():
        if not _BCRYPT.fullmatch(text):
            section.refuse(name, 'is not a bcrypt hash; expected what e.g. `htpasswd -nBC 10 ""` gives')
        if ":" in name or not name:
            section.refuse(name, "nobody can log in by this name; expected one that is not empty and has no colon")
    return users


def _rate_limit(section: Section) -> RateLimit | None:
    interval, burst = section.value("interval"), section.value("burst")
    if interval is None and burst is None:
        return None
    if interval is None or burst is None:
        section.refuse("burst" if burst is None else "interval", "missing; a rate limit needs interval and burst")
        return None
    try:
        seconds = parse_duration(interval.text)
    except ValueError as error:
        section.refuse("interval", f"{_shown(interval.text)} {error}")
        seconds = 0.0
    if not re.fullmatch(r"[1-9][0-9]{0,8}", burst.text):
        section.refuse("burst", f"{_shown(burst.text)} is not possible; expected a whole number from 1")
        return None
    return RateLimit(seconds, int(burst.text)) if seconds else None


def _tls(section: Section, folder: Path) -> TlsSettings | None:
    certificate = _pem(section, "cert", folder, required=True)
    key = _pem(section, "key", folder, required=True)
    client_ca = _pem(section, "client_ca", folder, required=False)
    client_auth = _client_auth(section, has_ca=client_ca is not None)
    minimum = _choice(section, "min_version", section.value("min_version"), VERSIONS) or ssl.TLSVersion.TLSv1_2
    maximum = _choice(section, "max_version", section.value("max_version"), VERSIONS) or ssl.TLSVersion.TLSv1_3
    if minimum > maximum:
        section.refuse("min_version", "is above max_version")
    sans = frozenset(value.text for value in section.values("client_allowed_sans"))
    if sans and client_auth != ssl.CERT_REQUIRED:
        section.refuse("client_allowed_sans", "needs client_auth_type: RequireAndVerifyClientCert")
    prefer_server_ciphers = section.switch("prefer_server_cipher_suites")
    ciphers = _ciphers(section, minimum)
    curve = _curve(section)
    if certificate is None or key is None:
        return None
    return TlsSettings(
        certificate=certificate,
        key=key,
        client_ca=client_ca,
        client_auth=client_auth,
        allowed_sans=sans,
        minimum=minimum,
        maximum=maximum,
        ciphers=ciphers,
        curve=curve,
        prefer_server_ciphers=prefer_server_ciphers is not False,
    )


def _pem(section: Section, key: str, folder: Path, *, required: bool) -> Pem | None:
    inline, file = section.value(key), section.value(f"{key}_file")
    if inline is not None and file is not None:
        section.refuse(key, f"stands beside {key}_file; expected one of them")
    if inline is not None and not hasattr(os, "memfd_create"):
        section.refuse(key, f"is possible on Linux only; expected {key}_file")
    if file is not None and file.text:
        return Pem(file, folder / file.text)
    if inline is not None and inline.text:
        return Pem(inline, None)
    if required:
        section.refuse(f"{key}_file", f"missing; expected {key}_file or {key}")
    return None


def _client_auth(section: Section, *, has_ca: bool) -> ssl.VerifyMode:
    value = section.value("client_auth_type")
    if value is not None and value.text in {"RequestClientCert", "RequireAnyClientCert", "RequireClientCert"}:
        section.refuse("client_auth_type", f"{value.text} takes certificates unverified, which is not offered")
        return ssl.CERT_REQUIRED
    mode = _choice(section, "client_auth_type", value, CLIENT_AUTH)
    if mode is None:
        mode = ssl.CERT_NONE if value is None else ssl.CERT_REQUIRED
    if has_ca and mode == ssl.CERT_NONE:
        expected = "expected VerifyClientCertIfGiven or RequireAndVerifyClientCert"
        section.refuse("client_auth_type", f"asks no client for the certificate that client_ca is for; {expected}")
    if mode != ssl.CERT_NONE and not has_ca:
        section.refuse("client_auth_type", "needs client_ca_file, or every public authority could let clients in")
    return mode


def _ciphers(section: Section, minimum: ssl.TLSVersion) -> str | None:
    known = TLS12_SUITES | dict.fromkeys(TLS13_SUITES, "")
    suites = section.values("cipher_suites")
    chosen = [_choice(section, "cipher_suites", suite, known) for suite in suites]
    names = [name for name in chosen if name]
    if suites and not names and minimum < ssl.TLSVersion.TLSv1_3:
        section.refuse("cipher_suites", "leaves none for TLS 1.2; expected one for it, or min_version: TLS13")
    return ":".join(names) or None


def _curve(section: Section) -> str | None:
    chosen = [_choice(section, "curve_preferences", curve, CURVES) for curve in section.values("curve_preferences")]
    if len(chosen) > 1:
        section.refuse("curve_preferences", "Python's ssl can prefer one curve only; expected a list of one")
    return chosen[0] if chosen else None


def _choice(section: Section, key: str, value: Value | None, choices: Mapping[str, T]) -> T | None:
    if value is None:
        return None
    if value.text not in choices:
        section.refuse(key, f"{_shown(value.text)} is not possible; expected {', '.join(choices)}")
    return choices.get(value.text)


def _shown(text: str) -> str:
    """Return a value that is no secret, quoted and cut."""
    return repr(text if len(text) <= 60 else text[:60] + "...")
