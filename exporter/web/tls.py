"""Applies the TLS settings of Prometheus' web configuration to Python's ssl module.

`config_schema` refuses settings that Go's crypto/tls supports but Python's ssl module does not support.
"""

import ipaddress
import os
import ssl
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.config.problems import Loc

Refuse = Callable[[Loc, str], None]
"""A function that records a problem. It takes the key in the configuration and the message."""

VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}

CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}

CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}

TLS13_SUITES = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}

TLS12_SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
"""The names of cipher suites in Go (tls.CipherSuites) and in OpenSSL. TLS 1.3 suites cannot be chosen in Go or in
Python."""


@dataclass(frozen=True, slots=True)
class Pem:
    """Certificates or a key, from the file `path`; if `path` is None, from the configuration as `text`.

    `loc` is the key in the configuration that contains the text or the path. Messages name this key.
    """

    loc: Loc
    text: str
    path: Path | None

    def read(self) -> bytes:
        """Return the PEM text. Raises OSError if the file cannot be read."""
        return self.text.encode() if self.path is None else self.path.read_bytes()


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """A checked `tls_server_config`, without the contents of its files. Ciphers and curve have OpenSSL's names."""

    certificate: Pem
    key: Pem
    client_ca: Pem | None
    client_auth: ssl.VerifyMode
    allowed_sans: frozenset[str]
    minimum: ssl.TLSVersion
    maximum: ssl.TLSVersion
    ciphers: str | None
    curve: str | None
    prefer_server_ciphers: bool

    @property
    def files(self) -> list[Path]:
        """The paths of all files that the settings name."""
        pems = (self.certificate, self.key, self.client_ca)
        return [pem.path for pem in pems if pem is not None and pem.path is not None]


def server_context(settings: TlsSettings, refuse: Refuse) -> ssl.SSLContext:
    """Return a context for new connections; call `refuse` for each problem with the certificates and the key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = settings.minimum, settings.maximum
    if settings.ciphers is not None:
        context.set_ciphers(settings.ciphers)
    if settings.curve is not None:
        context.set_ecdh_curve(settings.curve)
    if not settings.prefer_server_ciphers:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    _load_pair(context, settings.certificate, settings.key, refuse)
    if settings.client_ca is not None:
        _load_client_ca(context, settings.client_ca, refuse)
    context.verify_mode = settings.client_auth
    return context


def names_in(certificate: dict[str, Any] | None) -> set[str]:
    """Return the subject alternative names (DNS, IP, e-mail, URI) of a certificate in the form of `getpeercert`."""
    names = (certificate or {}).get("subjectAltName", ())
    return {_canonical(name) for kind, name in names if kind in {"DNS", "IP Address", "email", "URI"}}


def is_allowed(certificate: dict[str, Any] | None, allowed_sans: Set[str]) -> bool:
    """Return whether a client with this verified certificate may connect.

    An empty `allowed_sans` allows every client.
    """
    return not allowed_sans or not names_in(certificate).isdisjoint(_canonical(name) for name in allowed_sans)


def _canonical(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name


def _is_pem(pem: Pem, label: bytes, refuse: Refuse) -> bool:
    try:
        content = pem.read()
    except (OSError, ValueError) as error:  # ValueError: the path contains a NUL
        refuse(pem.loc, f"the file cannot be read: {getattr(error, 'strerror', None) or 'no path'}")
        return False
    if label + b"-----" not in content:
        refuse(pem.loc, f"holds no {label.decode().lower()} in PEM form")
        return False
    return True


def _load_pair(context: ssl.SSLContext, certificate: Pem, key: Pem, refuse: Refuse) -> None:
    if not (_is_pem(certificate, b"CERTIFICATE", refuse) & _is_pem(key, b"PRIVATE KEY", refuse)):
        return
    try:
        with _as_file(certificate) as certificate_path, _as_file(key) as key_path:
            context.load_cert_chain(certificate_path, key_path, password=_refuse_encrypted)
    except OSError as error:  # ssl.SSLError is an OSError
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            refuse(key.loc, "the key does not belong to the certificate")
        else:
            refuse(certificate.loc, "certificate and key cannot be read as PEM")
    except ValueError:
        refuse(key.loc, "the key is encrypted; expected one without a passphrase")


def _load_client_ca(context: ssl.SSLContext, client_ca: Pem, refuse: Refuse) -> None:
    if not _is_pem(client_ca, b"CERTIFICATE", refuse):
        return
    try:
        context.load_verify_locations(cadata=client_ca.read().decode("ascii", "replace"))
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        refuse(client_ca.loc, "the certificates cannot be read as PEM")


def _refuse_encrypted() -> str:
    """Raise ValueError instead of OpenSSL's password prompt, which would wait for input on a terminal."""
    raise ValueError


@contextmanager
def _as_file(pem: Pem) -> Iterator[Path]:
    """Yield a path to the PEM text, because ssl loads certificates and keys only from paths.

    Text from the configuration is written to a file in memory.
    """
    if pem.path is not None:
        yield pem.path
        return
    descriptor = os.memfd_create("pem")
    try:
        os.write(descriptor, pem.read())
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
