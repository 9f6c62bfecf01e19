"""Sends the requests of all AWS clients: an answer has a limited size, and a call can be interrupted.

`Transport` is a handler of botocore's event "before-send": it returns the response, so botocore does not send the
request itself. It uses botocore's own HTTP session with other classes of connections.
"""

import io
import os
import socket
import threading
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
    AWSPreparedRequest,
    AWSResponse,
)
from botocore.exceptions import HTTPClientError
from botocore.httpsession import URLLib3Session
from botocore.session import Session
from botocore.utils import get_environ_proxies

from exporter.glue.deadline import current_call
from exporter.glue.error_table import bad_proxy, too_large, unusable_credentials
from exporter.model.errors import GlueError

MAX_ANSWER = 16 * 2**20
"""Largest answer in bytes, with its headers. The largest page has 1,000 runs. If each text of a run has the longest
documented length, a run has about 8 kB; usually it has less than 1 kB."""

_SECRET_HEADERS = ("Authorization", "X-Amz-Security-Token", "x-amz-sso_bearer_token")
"""The headers that contain secrets, or are made of them."""


class _Counted(io.RawIOBase):
    """The bytes of one answer as they come from the socket. Reading more than `MAX_ANSWER` bytes raises `GlueError`.

    The bytes are counted here and not at the body, because the lines between the chunks of a body have no limit either.
    """

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw
        self._left = MAX_ANSWER

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        size = self._raw.readinto(buffer)
        self._left -= size or 0
        if self._left < 0:
            raise too_large(MAX_ANSWER)
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(AWSHTTPConnection.response_class):  # type: ignore[misc] # botocore ships no types
    """An answer that is read through `_Counted`."""

    fp: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fp = io.BufferedReader(_Counted(self.fp.detach()))


class _Interruptible:
    """Lets the current call shut down the connection, from the first byte of its handshake on."""

    response_class = _Response
    sock: Any
    _handshake: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        new: socket.socket = super()._new_conn()  # type: ignore[misc] # of urllib3's connection
        # During the TLS handshake, the descriptor belongs to an object that is not visible yet.
        self._handshake = new.dup()
        return new

    def connect(self) -> None:
        current_call().on_interrupt(self._shut_down)
        try:
            super().connect()  # type: ignore[misc] # of urllib3's connection
        finally:
            handshake, self._handshake = self._handshake, None
            if handshake is not None:
                handshake.close()

    def request(self, *args: Any, **kwargs: Any) -> Any:
        current_call().on_interrupt(self._shut_down)
        return super().request(*args, **kwargs)  # type: ignore[misc] # of urllib3's connection

    def _shut_down(self) -> None:
        for sock in (self._handshake, self.sock):
            if sock is not None:
                with suppress(OSError):  # the connection may be closed already
                    sock.shutdown(socket.SHUT_RDWR)


class _HttpConnection(_Interruptible, AWSHTTPConnection):  # type: ignore[misc] # botocore ships no types
    pass


class _HttpsConnection(_Interruptible, AWSHTTPSConnection):  # type: ignore[misc] # botocore ships no types
    pass


class _HttpPool(AWSHTTPConnectionPool):  # type: ignore[misc] # botocore ships no types
    ConnectionCls = _HttpConnection


class _HttpsPool(AWSHTTPSConnectionPool):  # type: ignore[misc] # botocore ships no types
    ConnectionCls = _HttpsConnection


class _HttpSession(URLLib3Session):  # type: ignore[misc] # botocore ships no types
    """botocore's HTTP session with the connections of this module."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
        self._manager.pool_classes_by_scheme = self._pool_classes_by_scheme

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        call = current_call()
        try:
            return super().send(request)
        except HTTPClientError as error:
            # botocore wraps an exception that it does not know, and would send the request again.
            cause = error.kwargs.get("error")
            if isinstance(cause, GlueError):
                raise cause from None
            raise
        finally:
            # The connection is in the pool again, and other calls use it.
            call.on_interrupt(None)


class Transport:
    """Sends the requests of all clients of one boto3 session, those of the sources of credentials included."""

    def __init__(self, session: Session, *, timeout: float, max_connections: int) -> None:
        """Take the botocore session.

        ``timeout`` is the longest wait for a connection, and for each part of an answer, in seconds. At most
        ``max_connections`` connections to a host are kept open.
        """
        self._session = session
        self._timeout = timeout
        self._max_connections = max_connections
        self._lock = threading.Lock()
        self._sessions: dict[tuple[str, str], _HttpSession] = {}

    def send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        """Return the response to a request. Raises `GlueError`, or an exception of botocore."""
        secrets = _secrets_in(request)
        current_call().secrets = secrets
        _check_credentials(secrets)
        return self._session_for(request.url).send(request)

    def close(self) -> None:
        """Close the connections that no call uses."""
        with self._lock:
            sessions = list(self._sessions.values())
        for session in sessions:
            session.close()

    def _session_for(self, url: str) -> _HttpSession:
        """Return the HTTP session for the host of a URL; NO_PROXY can exclude a host from the proxy."""
        parts = urlsplit(url)
        key = (parts.scheme, parts.netloc)
        with self._lock:
            if key not in self._sessions:
                self._sessions[key] = self._new_session(url, parts.scheme)
            return self._sessions[key]

    def _new_session(self, url: str, scheme: str) -> _HttpSession:
        proxies = get_environ_proxies(url)
        if scheme in proxies and not _is_proxy(proxies[scheme]):
            lower = f"{scheme}_proxy"
            raise bad_proxy(lower if os.environ.get(lower) else lower.upper())
        return _HttpSession(
            timeout=(self._timeout, self._timeout),
            proxies=proxies,
            # The same order as in botocore's EndpointCreator, which has refused a blank name.
            verify=self._session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE") or True,
            max_pool_connections=self._max_connections,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)],
        )


def _is_proxy(url: str) -> bool:
    """Return whether a text is the URL of an HTTP proxy, with or without its scheme.

    If a password contains an unencoded `/`, `?` or `#`, this character ends the host, and the `@` comes after it.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # the port is no number
        return False
    return bool(usable) and "@" not in f"{parts.path}{parts.query}{parts.fragment}"


def _secrets_in(request: AWSPreparedRequest) -> list[str]:
    values = (request.headers.get(name) for name in _SECRET_HEADERS)
    return [value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in values if value]


def _check_credentials(secrets: list[str]) -> None:
    """Raise `GlueError` if a header that is made of credentials cannot be sent. HTTP would only name the header."""
    if not all(text.isascii() and text.isprintable() for text in secrets):
        raise unusable_credentials()
