"""Offenders of every kind, and meanwhile an honest client that wants its metrics within a second."""

import asyncio
import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import psutil
import pytest

from tests.support import ROOT

pytestmark = pytest.mark.slow

MB = 1_000_000
BODY = 20 * MB
SERVE = f"""
import signal
from exporter.web.server import WebServer
from tests.web.serving import Body, FakeBackend

server = WebServer(FakeBackend(Body(*[b"x" * 500_000] * {BODY // 500_000})), addresses=[("127.0.0.1", 0)])
signal.signal(signal.SIGTERM, lambda *_: server.stop())
server.start()
print(server.addresses[0].rpartition(":")[2], flush=True)
server.run()
"""
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass
class Victim:
    """A server with a body of 20 MB in a process of its own."""

    port: int
    process: psutil.Process

    def scrape(self) -> tuple[int, float]:
        """Scrape as an honest client does; return the status and the seconds it took."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        began = time.monotonic()
        try:
            connection.request("GET", "/metrics")
            response = connection.getresponse()
            length = len(response.read())
            assert response.status != 200 or length == BODY
            return response.status, time.monotonic() - began
        finally:
            connection.close()

    @property
    def rss(self) -> int:
        rss: int = self.process.memory_info().rss
        return rss


@pytest.fixture
def victim() -> Iterator[Victim]:
    with subprocess.Popen((sys.executable, "-c", SERVE), cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            victim = Victim(int(process.stdout.readline()), psutil.Process(process.pid))
            victim.scrape()
            yield victim
        finally:
            process.terminate()
    assert process.returncode == 0


def endure(victim: Victim, offend: Callable[[], Awaitable[None]], *, offenders: int, seconds: float = 4.0) -> None:
    """Run so many offenders and scrape meanwhile: each scrape gets its 200 within a second, and memory is bounded."""

    async def main() -> None:
        before = victim.rss
        tasks = [asyncio.create_task(repeat(offend)) for _ in range(offenders)]
        await asyncio.sleep(1.5)  # the wave is rolling
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status, duration = await asyncio.to_thread(victim.scrape)
            assert (status, duration < 1.0) == (200, True), f"{status} after {duration:.2f} s"
            assert victim.rss - before < 100 * MB
            await asyncio.sleep(0.2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())


async def repeat(offend: Callable[[], Awaitable[None]]) -> None:
    while True:
        with suppress(OSError, asyncio.IncompleteReadError):
            await offend()
        await asyncio.sleep(1)


@contextmanager
def connected(victim: Victim, receive_buffer: int = 0) -> Iterator[socket.socket]:
    with socket.socket() as connection:
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(5)
        connection.connect(("127.0.0.1", victim.port))
        connection.setblocking(False)
        yield connection


def test_500_silent_connections(victim: Victim) -> None:
    """500 clients that connect and say nothing are no obstacle."""
    with ExitStack() as stack:
        silent = [stack.enter_context(connected(victim)) for _ in range(500)]

        async def stay() -> None:
            await asyncio.sleep(60)

        endure(victim, stay, offenders=1)
        assert len(silent) == 500


def test_200_slow_readers(victim: Victim) -> None:
    """200 clients that take 20 MB a kilobyte at a time are no obstacle."""

    async def read_slowly() -> None:
        loop = asyncio.get_running_loop()
        with connected(victim, receive_buffer=8192) as connection:
            await loop.sock_sendall(connection, REQUEST)
            while await loop.sock_recv(connection, 1024):
                await asyncio.sleep(0.1)

    endure(victim, read_slowly, offenders=200)


def test_200_readers_that_do_not_read(victim: Victim) -> None:
    """200 clients that ask and take nothing are no obstacle."""

    async def ask_only() -> None:
        with connected(victim, receive_buffer=8192) as connection:
            await asyncio.get_running_loop().sock_sendall(connection, REQUEST)
            await asyncio.sleep(60)

    endure(victim, ask_only, offenders=200)


def test_50_slow_writers_of_headers(victim: Victim) -> None:
    """50 clients whose head never ends are no obstacle."""

    async def write_slowly() -> None:
        loop = asyncio.get_running_loop()
        with connected(victim) as connection:
            await loop.sock_sendall(connection, b"GET /metrics HTTP/1.1\r\nHost: a\r\n")
            while True:
                await loop.sock_sendall(connection, b"X-More: y\r\n")
                await asyncio.sleep(0.1)

    endure(victim, write_slowly, offenders=50)


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01garbage" * 100,
        b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 2 * MB,
        b"GET /metrics HTTP/1.1\r\n" + b"X: a\r\n" * 100_000,
        b"POST /-/reload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b"x" * 65536 + b"\r\n" * 30,
        REQUEST * 20_000,
    ],
    ids=["garbage", "long header", "many headers", "long body", "pipeline"],
)
def test_malformed_and_oversized_requests(victim: Victim, request_: bytes) -> None:
    """40 clients that send nonsense or too much are no obstacle."""

    async def send() -> None:
        with connected(victim) as connection:
            await asyncio.get_running_loop().sock_sendall(connection, request_)
            await asyncio.get_running_loop().sock_recv(connection, 4096)

    endure(victim, send, offenders=40)


def test_a_flood_of_requests(victim: Victim) -> None:
    """20 clients that ask again as soon as they have their answer are no obstacle."""

    async def flood() -> None:
        loop = asyncio.get_running_loop()
        with connected(victim) as connection:
            while True:
                await loop.sock_sendall(connection, b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n")
                await loop.sock_recv(connection, 4096)

    endure(victim, flood, offenders=20)


def test_a_flood_of_connections(victim: Victim) -> None:
    """50 clients that connect anew for every request are no obstacle."""

    async def flood() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(100):
            with connected(victim) as connection:
                await loop.sock_sendall(connection, b"GET /x HTTP/1.0\r\n\r\n")
                await loop.sock_recv(connection, 4096)

    endure(victim, flood, offenders=50)
