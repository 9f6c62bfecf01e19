"""Reads `--web.config.file` at the start, and again after each change of this file or of a file that it names."""

import hashlib
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.config.document import Document, read_text
from exporter.config.problems import ConfigError
from exporter.logs import get_logger
from exporter.web.config_schema import SECRETS, RateLimitSection, WebFile, contradictions, tls_settings
from exporter.web.tls import server_context
from exporter.web.token_bucket import TokenBucket

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServerTls:
    """TLS for new connections. If `allowed_sans` is not empty, a client certificate must have one of these names.

    `authorities` are the certificates, in DER, of which one must have signed the certificate of a client.
    """

    context: ssl.SSLContext
    allowed_sans: frozenset[str]
    authorities: frozenset[bytes]

    def accepts_the_clients_of(self, earlier: "ServerTls | None") -> bool:
        """Return whether this and the `earlier` TLS settings accept the same clients."""
        return earlier is self or (
            earlier is not None
            and self.allowed_sans == earlier.allowed_sans
            and self.authorities == earlier.authorities
            and self.context.verify_mode == earlier.context.verify_mode
        )


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The settings for connections and requests that begin now.

    `headers` are added to every response. A header with an empty value is removed from the responses instead. `users`
    maps names to bcrypt hashes. If `users` is empty, requests need no password.
    """

    tls: ServerTls | None
    headers: Mapping[str, str]
    users: Mapping[str, str]
    bucket: TokenBucket | None


_FEWER_DEMANDS = "no longer requires {}; only a restart of the exporter can turn this off"

PLAIN = WebSettings(tls=None, headers={}, users={}, bucket=None)
"""The settings without a web configuration file."""


class WebConfig:
    """The web configuration file and the settings that it gives now.

    Any thread may read `current` at any time. Call `refresh` about once a second, from one thread at a time.

    A change takes effect after two refreshes in a row have read the same content. A file may still be incomplete at the
    first refresh, and the first half of a file can be a valid file without users. If the new content has an error, the
    error is logged once and the old settings stay in use. Content that would stop asking clients for TLS, for a
    certificate or for a password counts as an error, because a write that was cut short looks the same. The files are
    compared by content, because Kubernetes renews a mounted secret by changing a symbolic link in its path.
    """

    def __init__(self, path: Path, on_load: Callable[[bool], None] = lambda _: None) -> None:
        """Read the file. Raises ConfigError with all problems of the file.

        `on_load` is called after this reading and each later reading. It gets True if the file is now in use, else
        False.
        """
        self._path = path
        self._on_load = on_load
        self._files: list[Path] = []
        self._rate_limit = RateLimitSection()
        self.current = PLAIN
        self.problem = ""
        """Why the content on disk is not in use; empty if it is."""
        self._load()
        on_load(True)
        self._seen = self._loaded = self._fingerprint()

    def refresh(self) -> None:
        """Use the changes on disk. This method never raises. It blocks while it reads a few small files."""
        before, self._seen = self._seen, self._fingerprint()
        if self._seen == self._loaded or self._seen != before:
            return
        self._loaded = self._seen
        files = self._files
        try:
            self._load()
            self.problem = ""
            self._on_load(True)
            log.info("web configuration reloaded", file=str(self._path))
        except ConfigError as error:
            self.problem = str(error)
            self._on_load(False)
            log.error("web configuration not reloaded, the old one stays", problems=str(error))
        except Exception:  # without the file, the server goes on with the old settings
            self.problem = "a defect in this program; the log has the details"
            self._on_load(False)
            log.exception("web configuration not reloaded because of a defect in this program; please report it")
        if self._files != files:
            self._loaded = self._fingerprint()

    def _load(self) -> None:
        document = Document(read_text(self._path), str(self._path), secrets=SECRETS)
        file = document.validated(WebFile, contradictions)
        document.raise_problems()
        self._refuse_fewer_demands(file, document)
        tls = None
        if file.tls_server_config is not None:
            settings = tls_settings(file.tls_server_config, self._path.parent)
            self._files = settings.files
            context = server_context(settings, document.refuse)
            document.raise_problems()
            tls = ServerTls(context, settings.allowed_sans, frozenset(context.get_ca_certs(binary_form=True)))
        else:
            self._files = []
        bucket = self._bucket(file.rate_limit)
        self.current = WebSettings(tls, file.http_server_config.headers, file.basic_auth_users, bucket)

    def _refuse_fewer_demands(self, file: WebFile, document: Document) -> None:
        """Refuse a file without a demand on clients that the settings in use make."""
        before, after = self.current, file.tls_server_config
        if before != PLAIN and not document.values:
            document.refuse((), "is empty; only a restart of the exporter can turn all settings off")
        if before.users and not file.basic_auth_users:
            document.refuse(("basic_auth_users",), _FEWER_DEMANDS.format("passwords"))
        if before.tls is not None and after is None:
            document.refuse(("tls_server_config",), _FEWER_DEMANDS.format("TLS"))
        elif before.tls is not None and after is not None:
            if before.tls.context.verify_mode > after.client_auth_type:
                document.refuse(("tls_server_config", "client_auth_type"), _FEWER_DEMANDS.format("client certificates"))
            if before.tls.allowed_sans and not after.client_allowed_sans:
                document.refuse(("tls_server_config", "client_allowed_sans"), _FEWER_DEMANDS.format("allowed names"))
        document.raise_problems()

    def _bucket(self, limit: RateLimitSection) -> TokenBucket | None:
        """Return the bucket for `limit`.

        If the limit is the same as before, this is the present bucket, which keeps its tokens.
        """
        before, self._rate_limit = self._rate_limit, limit
        if limit == before:
            return self.current.bucket
        return TokenBucket(limit.interval, limit.burst, time.monotonic) if limit.interval and limit.burst else None

    def _fingerprint(self) -> tuple[bytes | str | None, ...]:
        return tuple(_fingerprint(path) for path in (self._path, *self._files))


def _fingerprint(path: Path) -> bytes | str | None:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except (OSError, ValueError) as error:
        return str(error)
