"""Opens listening sockets for hosts and ports, or uses the sockets that systemd passed to the process.

A socket unit of systemd starts the process with open sockets, whose descriptors begin at 3 (sd_listen_fds(3)). The
variable `LISTEN_PID` is then the id of this process, and `LISTEN_FDS` is the number of sockets. In this case the server
uses these sockets and ignores the configured addresses.
"""

import errno
import os
import socket
from collections.abc import Mapping, Sequence

from exporter.config.parsing import Address, format_address
from exporter.model.errors import ExporterError

_FIRST_PASSED_DESCRIPTOR = 3
_BACKLOG = 1024
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}


class ListenError(ExporterError):
    """The server cannot listen. The text is one line with the address and the reason."""


def open_listeners(addresses: Sequence[Address], environ: Mapping[str, str]) -> list[socket.socket]:
    """Return a listening stream socket for every address.

    An empty host and `::` listen on IPv4 and IPv6. If one address fails, the sockets of all other addresses are closed.

    Raises:
        ListenError: an address cannot be bound, or systemd passed a descriptor that is not a stream socket.
    """
    if environ.get("LISTEN_PID") == str(os.getpid()) and (passed := environ.get("LISTEN_FDS")):
        return _passed_listeners(passed)
    listeners: list[socket.socket] = []
    try:
        listeners.extend(_bind(address) for address in addresses)
    except ListenError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def address_of(listener: socket.socket) -> str:
    """Return the bound address, as `127.0.0.1:10210`, `[::]:10210` or the path of a Unix socket."""
    name = listener.getsockname()
    if listener.family == socket.AF_INET6:
        return f"[{name[0]}]:{name[1]}"
    return f"{name[0]}:{name[1]}" if listener.family == socket.AF_INET else os.fsdecode(name)


def _passed_listeners(count: str) -> list[socket.socket]:
    if not (count.isascii() and count.isdigit() and int(count) > 0):
        raise ListenError(f"LISTEN_FDS: {count!r} is not a number of sockets")
    return [_passed_listener(_FIRST_PASSED_DESCRIPTOR + offset) for offset in range(int(count))]


def _passed_listener(descriptor: int) -> socket.socket:
    try:
        listener = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ListenError(f"descriptor {descriptor} passed by systemd: {error.strerror}; expected a socket") from error
    listener.set_inheritable(False)
    if listener.type != socket.SOCK_STREAM:
        raise ListenError(f"descriptor {descriptor} passed by systemd is not a stream socket; expected ListenStream=")
    listener.listen(_BACKLOG)
    return listener


def _bind(address: Address) -> socket.socket:
    host, port = address
    try:
        if host in {"", "::"}:
            return _bind_both_families(port)
        # If a name has both families, IPv4 is used, as in Go. `localhost` is then the same address as in Prometheus.
        found = sorted(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), key=lambda entry: entry[0])
        return _bind_to(found[0][0], found[0][4])
    except OSError as error:
        raise ListenError(f"cannot listen on {format_address(address)}: {error.strerror}") from error


def _bind_both_families(port: int) -> socket.socket:
    try:
        return _bind_to(socket.AF_INET6, ("::", port))
    except OSError as error:
        if error.errno not in _NO_IPV6:
            raise
        return _bind_to(socket.AF_INET, ("0.0.0.0", port))  # noqa: S104 - `:port` means every interface


def _bind_to(family: socket.AddressFamily, name: tuple[object, ...]) -> socket.socket:
    # asyncio sets TCP_NODELAY only on sockets whose protocol is given here. Without TCP_NODELAY, each answer waits for
    # 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if name[0] == "::" else 1)
        listener.bind(name)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
