import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.config.parsing import Address
from exporter.web.listeners import ListenError, address_of, open_listeners
from exporter.web.server import WebServer
from tests.support import ROOT, fetch
from tests.web.serving import FakeBackend, serving

SERVE = """
import os, signal
from exporter.web.server import WebServer
from tests.web.serving import FakeBackend

server = WebServer(FakeBackend(), addresses=[("127.0.0.1", 1)])
signal.signal(signal.SIGTERM, lambda *_: server.stop())
server.start()
print("listening on", *server.addresses, flush=True)
server.run()
print("ended", flush=True)
"""

LAUNCH = """
import os, sys

os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-c", sys.argv[2]])
"""


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_several_addresses() -> None:
    """The server listens on each of several addresses."""
    with serving(addresses=[("127.0.0.1", 0), ("127.0.0.2", 0), ("localhost", 0)]) as served:
        assert len(served.server.addresses) == 3
        for address in served.server.addresses:
            assert fetch(f"http://{address}/metrics").status == 200


def test_a_port_alone_means_every_address_of_both_families() -> None:
    """`:0` accepts connections over IPv4, and over IPv6 if the machine has it."""
    with serving(addresses=[("", 0)]) as served:
        assert fetch(f"http://127.0.0.1:{served.port}/metrics").status == 200
        if has_ipv6():
            assert fetch(f"http://[::1]:{served.port}/metrics").status == 200


def test_a_listener_names_tcp_so_that_answers_are_sent_at_once() -> None:
    """A listener names TCP, so asyncio sets TCP_NODELAY; otherwise an answer would wait for 40 ms."""
    listeners = open_listeners([("127.0.0.1", 0), ("", 0)], {})
    try:
        assert [listener.proto for listener in listeners] == [socket.IPPROTO_TCP] * 2
    finally:
        for listener in listeners:
            listener.close()


def test_an_ipv6_address() -> None:
    """An IPv6 address can be bound, and the bound address is shown in brackets."""
    if not has_ipv6():
        with pytest.raises(ListenError, match=r"\[::1\]:0"):
            open_listeners([("::1", 0)], {})
        return
    with serving(addresses=[("::1", 0)]) as served:
        assert served.server.addresses == (f"[::1]:{served.port}",)
        assert fetch(f"http://[::1]:{served.port}/metrics").status == 200


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (("no-such-host.invalid", 0), "cannot listen on no-such-host.invalid:0"),
        (("192.0.2.1", 0), "cannot listen on 192.0.2.1:0: Cannot assign requested address"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_clear_line(address: Address, expected: str) -> None:
    """The error is one line with the address and the reason."""
    with pytest.raises(ListenError) as caught:
        open_listeners([address], {})
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_taken_port_is_an_error_and_leaves_nothing_open() -> None:
    """If one address fails, no socket stays open."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - no Path is needed
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            WebServer(FakeBackend(), addresses=[("127.0.0.1", 0), ("127.0.0.1", port)], environ={}).start()
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - no Path is needed


def test_the_address_of_a_unix_socket_is_its_path(tmp_path: Path) -> None:
    """The address of a Unix socket is its path."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        assert address_of(listener) == str(tmp_path / "s")


def test_sockets_for_another_process_are_ignored() -> None:
    """LISTEN_FDS is ignored unless LISTEN_PID is the id of this process."""
    listeners = open_listeners([("127.0.0.1", 0)], {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid() + 1)})
    assert len(listeners) == 1
    listeners[0].close()


@pytest.mark.parametrize("count", ["x", "-1", "0", "²"])
def test_a_malformed_number_of_passed_sockets_is_an_error(count: str) -> None:
    """LISTEN_FDS must be a number above 0."""
    with pytest.raises(ListenError, match="LISTEN_FDS"):
        open_listeners([], {"LISTEN_FDS": count, "LISTEN_PID": str(os.getpid())})


@pytest.mark.slow
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_sockets_passed_by_systemd_are_served(tmp_path: Path, family: socket.AddressFamily) -> None:
    """With LISTEN_FDS for its own process the server uses descriptor 3 and binds no address. SIGTERM ends it."""
    with socket.socket(family) as listener, socket.socket(family) as client:
        listener.bind(("127.0.0.1", 0) if family == socket.AF_INET else str(tmp_path / "s"))
        command = (sys.executable, "-c", LAUNCH, str(listener.fileno()), SERVE)
        with subprocess.Popen(
            command, cwd=ROOT, pass_fds=[listener.fileno()], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == f"listening on {address_of(listener)}\n"
            client.connect(listener.getsockname())
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == "ended\n"
        assert process.returncode == 0
