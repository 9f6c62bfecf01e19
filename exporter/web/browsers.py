"""Recognizes requests that a browser sends on behalf of a foreign page.

A page of a stranger can send requests to any address that its reader's browser reaches, in two ways:

* It sends a request to this server. The browser names the page in `Origin`, so `is_foreign` recognizes it (RFC 6454
  section 7, and the Fetch standard, which has `Origin` in every POST).
* Its own name first resolves to the stranger's server, and later to this one (DNS rebinding). The browser then takes
  this server for the origin of the page, so the page can read all answers. Only `Host` has the name of the stranger.

So `HostCheck` accepts the names that no stranger can own. It accepts every name if the browser uses HTTPS, because the
stranger has no certificate for this server. A browser that uses HTTPS up to a proxy sends `Sec-Fetch-Site`, and pages
cannot set headers with this prefix (W3C, Fetch Metadata Request Headers).
"""

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

_PRIVATE_DOMAINS = (
    "corp",
    "home",
    "home.arpa",
    "internal",
    "intranet",
    "lan",
    "local",
    "localhost",
    "private",
    "svc",
    "test",
)
"""Domains in which nobody can register a name (RFC 6761, 6762 and 8375, ICANN), and in which networks have names."""


class HostCheck:
    """Accepts a `Host` if a browser cannot have been rebound to it.

    It accepts IP addresses, names without a dot, names in private domains, `names`, and names in `domains`.
    """

    def __init__(self, names: Iterable[str], domains: Iterable[str]) -> None:
        self._names = {name.lower() for name in names}
        self._domains = tuple(f".{domain.strip('.').lower()}" for domain in (*_PRIVATE_DOMAINS, *domains))

    def accepts(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request over plain HTTP with these headers (names in lower case) may be answered."""
        name = _name_in(headers.get("host", ""))
        if "." not in name or "sec-fetch-site" in headers:
            return True
        return _is_address(name) or name in self._names or name.endswith(self._domains)


def host_check(names: Iterable[str], resolver: Path = Path("/etc/resolv.conf")) -> HostCheck:
    """Return the check for this machine, which also accepts `names`.

    The host name is added to the names. Its domains are those that `resolver`
    (resolv.conf(5)) searches for names without a dot.
    """
    try:
        lines = resolver.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    fields = [line.split() for line in lines]
    domains = [domain for key, *values in filter(None, fields) if key in {"domain", "search"} for domain in values]
    return HostCheck([socket.gethostname(), *names], [one for one in domains if one != "."])


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Return whether the page that sent a request has another origin than this server.

    The scheme is not compared, because a proxy may serve HTTPS. Programs send no `Origin`.
    """
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    except ValueError:
        return True


def _name_in(host: str) -> str:
    """Return the name or address in a `Host` header, without port and brackets, in lower case."""
    name = host.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0].rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
