"""`--web.config.file` at run time: read at the start, read again when it or a file that it names changes."""

import hashlib
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.config.document import ConfigError, Problem
from exporter.logs import get_logger
from exporter.web.config_schema import RateLimit, WebFile, read_web_file
from exporter.web.tls import server_context
from exporter.web.token_bucket import TokenBucket

log = get_logger(__name__)


class WebConfigError(ConfigError):
    """Every mistake found in the web configuration file; `str()` gives one line for each, without any secret."""


@dataclass(frozen=True, slots=True)
class ServerTls:
    """TLS for new connections; where `allowed_sans` is not empty, a client certificate has to carry one of them."""

    context: ssl.SSLContext
    allowed_sans: frozenset[str]


@dataclass(frozen=True, slots=True)
class WebSettings:
    """What holds for connections and requests that begin now.

    `headers` go into every response, an empty value takes the header out; without `users` nobody has to log in.
    """

    tls: ServerTls | None
    headers: Mapping[str, str]
    users: Mapping[str, str]
    bucket: TokenBucket | None


PLAIN = WebSettings(tls=None, headers={}, users={}, bucket=None)
"""What holds without a web configuration file."""


class WebConfig:
    """The web configuration file, and what it means at the moment.

    `current` may be read at any time, `refresh` is called about once a second, from one thread at a time. A change is
    taken over when two refreshes in a row saw the same: a file that is just being written is left alone, for half of
    it might be a valid file without users. What cannot be used is logged once and the old settings stay. What counts
    as a change is the content, so renewed links (Kubernetes swaps a directory) need no care.
    """

    def __init__(self, path: Path, on_load: Callable[[bool], None] = lambda _: None) -> None:
        """Read the file; raise WebConfigError with all its mistakes.

        ``on_load`` is told of this and each later reading whether what was read is in force.
        """
        self._path = path
        self._on_load = on_load
        self._files: list[Path] = []
        self._rate_limit: RateLimit | None = None
        self.current = PLAIN
        self._load()
        on_load(True)
        self._seen = self._loaded = self._fingerprint()

    def refresh(self) -> None:
        """Take over what has changed on disk; never raises. Blocks for the reading of some small files."""
        before, self._seen = self._seen, self._fingerprint()
        if self._seen == self._loaded or self._seen != before:
            return
        self._loaded = self._seen
        files = self._files
        try:
            self._load()
        except WebConfigError as error:
            self._on_load(False)
            log.error("web configuration not reloaded, the old one stays", problems=str(error))
        else:
            self._on_load(True)
            log.info("web configuration reloaded", file=str(self._path))
        if self._files != files:
            self._loaded = self._fingerprint()

    def _load(self) -> None:
        problems: list[Problem] = []
        try:
            content = self._path.read_bytes()
        except OSError as error:
            content = b""
            problems.append(Problem("", None, None, f"cannot be read: {error.strerror}"))
        read = read_web_file(content, self._path.parent, problems)
        self._files = read.tls.files if read.tls is not None else []
        tls = ServerTls(server_context(read.tls, problems), read.tls.allowed_sans) if read.tls is not None else None
        if problems:
            in_order = sorted(problems, key=lambda problem: (problem.line or 0, problem.column or 0))
            raise WebConfigError(str(self._path), tuple(in_order))
        self.current = WebSettings(tls, read.headers, read.users, self._bucket(read))

    def _bucket(self, read: WebFile) -> TokenBucket | None:
        limit, before = read.rate_limit, self._rate_limit
        self._rate_limit = limit
        if limit is None or limit == before:
            return self.current.bucket if limit is not None else None
        return TokenBucket(limit.interval, limit.burst, time.monotonic)

    def _fingerprint(self) -> tuple[bytes | str | None, ...]:
        return tuple(_fingerprint(path) for path in (self._path, *self._files))


def _fingerprint(path: Path) -> bytes | str | None:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except (OSError, ValueError) as error:
        return str(error)
