"""Defines and checks the keys of `--web.config.file`, in the format of Prometheus' exporter-toolkit.

See https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md. Settings that this server does
not support are errors: HTTP/2, client certificates that are not verified, TLS below 1.2, and more than one preferred
curve, which Python's ssl cannot set.

Three more cases are errors here, but not in the toolkit:

* Client certificates are verified without `client_ca`. Certificates of all public authorities would be accepted.
* A setting has both of its forms, such as `cert` and `cert_file`.
* A rate limit has only one of its two numbers.
"""

import os
import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, Field, model_validator

from exporter.config.document import Contradiction
from exporter.config.parsing import parse_boolean
from exporter.config.problems import Loc, shown
from exporter.config.sections import Boolean, Duration, PositiveCount, Section, read_by
from exporter.web.tls import CLIENT_AUTH, CURVES, TLS12_SUITES, TLS13_SUITES, VERSIONS, Pem, TlsSettings

T = TypeVar("T")

SECRETS = frozenset({"basic_auth_users", "cert", "cert_file", "key", "key_file", "client_ca", "client_ca_file"})
"""Messages do not contain the values of these keys. The keys for paths are included, because a user may put a private
key where its path belongs."""

_TLS: Loc = ("tls_server_config",)
_HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
_UNVERIFIED = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")


def _one_of(choices: Mapping[str, T]) -> BeforeValidator:
    def parse(text: str) -> T:
        if text not in choices:
            raise ValueError(f"is not possible; expected {', '.join(choices)}")
        return choices[text]

    return read_by(parse)


def _client_auth(text: str) -> ssl.VerifyMode:
    if text in _UNVERIFIED:
        raise ValueError("accepts a certificate without verifying it, which the server does not offer")
    if text not in CLIENT_AUTH:
        raise ValueError(f"is not possible; expected {', '.join(CLIENT_AUTH)}")
    return CLIENT_AUTH[text]


def _no_http2(text: str) -> bool:
    if parse_boolean(text):
        raise ValueError("is not possible, because the server does not offer HTTP/2; expected false")
    return False


def _header_name(text: str) -> str:
    if text not in _HEADERS:
        raise ValueError(f"is not a header that can be set; expected one of {', '.join(_HEADERS)}")
    return text


def _header_text(text: str) -> str:
    if not re.fullmatch(r"[\x20-\x7e]*", text):
        raise ValueError("is not one line of printable ASCII")
    return text


def _user_name(text: str) -> str:
    if ":" in text or not text:
        raise ValueError("cannot be a user name (RFC 7617); expected a name that is not empty and has no colon")
    return text


def _bcrypt_hash(text: str) -> str:
    if not re.fullmatch(r"\$2[abxy]\$(?:0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}", text):
        raise ValueError('is not a bcrypt hash; expected e.g. the output of `htpasswd -nBC 10 ""`')
    return text


Text = Annotated[str, read_by(str)]
HeaderName = Annotated[str, read_by(_header_name)]
# A header without a value becomes the empty text, which removes the header from the responses.
HeaderText = Annotated[str, read_by(_header_text), BeforeValidator(lambda value: "" if value is None else value)]
UserName = Annotated[str, read_by(_user_name)]
BcryptHash = Annotated[str, read_by(_bcrypt_hash)]
Version = Annotated[ssl.TLSVersion, _one_of(VERSIONS)]
CipherSuite = Annotated[str, _one_of(TLS12_SUITES | dict.fromkeys(TLS13_SUITES, ""))]
Curve = Annotated[str, _one_of(CURVES)]


class TlsSection(Section):
    """The section `tls_server_config`. Ciphers and curves become their OpenSSL names; a TLS 1.3 cipher becomes ""."""

    cert: Text | None = None
    cert_file: Text | None = None
    key: Text | None = None
    key_file: Text | None = None
    client_ca: Text | None = None
    client_ca_file: Text | None = None
    client_auth_type: Annotated[ssl.VerifyMode, read_by(_client_auth)] = ssl.CERT_NONE
    client_allowed_sans: tuple[Text, ...] = ()
    min_version: Version = ssl.TLSVersion.TLSv1_2
    max_version: Version = ssl.TLSVersion.TLSv1_3
    cipher_suites: tuple[CipherSuite, ...] = ()
    prefer_server_cipher_suites: Boolean = True
    curve_preferences: tuple[Curve, ...] = ()

    def has(self, key: str) -> bool:
        """Return whether `key` is given inline or as a file."""
        return getattr(self, key) is not None or getattr(self, f"{key}_file") is not None


class HttpServerSection(Section):
    """The section `http_server_config`."""

    http2: Annotated[bool, read_by(_no_http2)] = False
    headers: dict[HeaderName, HeaderText] = Field(default_factory=dict)


class RateLimitSection(Section):
    """The section `rate_limit`: one request every `interval` seconds, at most `burst` at once.

    Interval 0 means no limit.
    """

    interval: Duration | None = None
    burst: PositiveCount | None = None


class WebFile(Section):
    """The whole web configuration file."""

    tls_server_config: TlsSection | None = None
    http_server_config: HttpServerSection = HttpServerSection()
    basic_auth_users: dict[UserName, BcryptHash] = Field(default_factory=dict)
    rate_limit: RateLimitSection = RateLimitSection()

    @model_validator(mode="before")
    @classmethod
    def _empty_tls_is_an_error(cls, data: object) -> object:
        """Read `tls_server_config:` without a value as a section without a certificate, which is an error.

        Other empty values mean the default. For this section, the default would be a server without TLS.
        """
        if isinstance(data, dict) and "tls_server_config" in data and not data["tls_server_config"]:
            return data | {"tls_server_config": {}}
        return data


def tls_settings(section: TlsSection, folder: Path) -> TlsSettings:
    """Return the settings of a section without problems. Its paths are relative to `folder`."""
    return TlsSettings(
        certificate=_pem(section, "cert", folder),
        key=_pem(section, "key", folder),
        client_ca=_pem(section, "client_ca", folder) if section.has("client_ca") else None,
        client_auth=section.client_auth_type,
        allowed_sans=frozenset(section.client_allowed_sans),
        minimum=section.min_version,
        maximum=section.max_version,
        ciphers=":".join(filter(None, section.cipher_suites)) or None,
        curve=next(iter(section.curve_preferences), None),
        prefer_server_ciphers=section.prefer_server_cipher_suites,
    )


def _pem(section: TlsSection, key: str, folder: Path) -> Pem:
    text, file = getattr(section, key), getattr(section, f"{key}_file")
    return Pem((*_TLS, key), text, None) if file is None else Pem((*_TLS, f"{key}_file"), "", folder / file)


def contradictions(file: WebFile) -> Iterator[Contradiction]:
    """Yield the values that contradict each other. A model cannot find them, because it checks each value alone."""
    if file.tls_server_config is not None:
        yield from _pem_rules(file.tls_server_config)
        yield from _client_auth_rules(file.tls_server_config)
        yield from _protocol_rules(file.tls_server_config)
    yield from _header_rules(file.http_server_config.headers)
    limit = file.rate_limit
    for key, value, other in (("interval", limit.interval, limit.burst), ("burst", limit.burst, limit.interval)):
        if value is None and other is not None:
            yield ("rate_limit", key), "is required; a rate limit needs interval and burst", ()


def _pem_rules(tls: TlsSection) -> Iterator[Contradiction]:
    for key in ("cert", "key", "client_ca"):
        inline, file = (*_TLS, key), (*_TLS, f"{key}_file")
        if getattr(tls, key) is not None and getattr(tls, f"{key}_file") is not None:
            yield inline, f"excludes {key}_file; expected one of them", (file,)
        elif getattr(tls, key) is not None and not hasattr(os, "memfd_create"):
            yield inline, f"is possible on Linux only; expected {key}_file", ()
        elif not tls.has(key) and key != "client_ca":
            yield file, f"is required; expected {key}_file or {key}", (inline,)


def _client_auth_rules(tls: TlsSection) -> Iterator[Contradiction]:
    place, ca = (*_TLS, "client_auth_type"), ((*_TLS, "client_ca"), (*_TLS, "client_ca_file"))
    mode = tls.client_auth_type
    if tls.has("client_ca") and mode == ssl.CERT_NONE:
        expected = "expected VerifyClientCertIfGiven or RequireAndVerifyClientCert"
        yield place, f"asks no client for the certificate that client_ca verifies; {expected}", ca
    if mode != ssl.CERT_NONE and not tls.has("client_ca"):
        yield place, "needs client_ca_file; without it every public authority could admit clients", ca
    if tls.client_allowed_sans and mode != ssl.CERT_REQUIRED:
        yield (*_TLS, "client_allowed_sans"), "needs client_auth_type: RequireAndVerifyClientCert", (place,)


def _protocol_rules(tls: TlsSection) -> Iterator[Contradiction]:
    minimum, suites, curves = (*_TLS, "min_version"), (*_TLS, "cipher_suites"), (*_TLS, "curve_preferences")
    if tls.min_version > tls.max_version:
        yield minimum, "is higher than max_version", ((*_TLS, "max_version"),)
    if tls.cipher_suites and not any(tls.cipher_suites) and tls.min_version < ssl.TLSVersion.TLSv1_3:
        yield suites, "has no cipher for TLS 1.2; expected one, or min_version: TLS13", (minimum,)
    if len(tls.curve_preferences) > 1:
        yield curves, "has several curves, but Python's ssl can prefer only one; expected a list of one", ()


def _header_rules(headers: Mapping[str, str]) -> Iterator[Contradiction]:
    for name, text in headers.items():
        choices = _HEADERS[name]
        if text and choices and text not in choices:
            message = f"{shown(text)} is not possible; expected {' or '.join(choices)}"
            yield ("http_server_config", "headers", name), message, ()
