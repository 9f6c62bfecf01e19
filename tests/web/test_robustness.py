"""While clients misbehave in many ways, an honest client scrapes and gets a 200 every time."""

import asyncio
import http.client
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import psutil
import pytest

from tests.support import ROOT
from tests.web.serving import DEADLINE

pytestmark = pytest.mark.slow

MB = 1_000_000
BODY = 20 * MB
CHUNK = 500_000
SERVE = f"""
import signal, sys
from exporter.web.server import WebServer
from tests.web.serving import Body, FakeBackend

server = WebServer(FakeBackend(Body(*[b"x" * {CHUNK}] * int(sys.argv[1]))), addresses=[("127.0.0.1", 0)])
signal.signal(signal.SIGTERM, lambda *_: server.stop())
server.start()
print(server.addresses[0].rpartition(":")[2], flush=True)
server.run()
"""
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass
class ServerProcess:
    """A server with a body of `length` bytes in its own process."""

    port: int
    process: psutil.Process
    length: int

    def scrape(self, source: str = "127.0.0.1", path: str = "/metrics") -> int:
        """Ask as an honest client does, from the address `source`; return the status. Metrics have the whole body."""
        address = ("127.0.0.1", self.port)
        connection = http.client.HTTPConnection(*address, timeout=DEADLINE, source_address=(source, 0))
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            length = len(response.read())
            assert response.status != 200 or path != "/metrics" or length == self.length
            return response.status
        finally:
            connection.close()

    @property
    def rss(self) -> int:
        rss: int = self.process.memory_info().rss
        return rss


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    with running(BODY // CHUNK) as server:
        yield server


@contextmanager
def running(chunks: int) -> Iterator[ServerProcess]:
    """Yield a server whose body has this number of chunks."""
    command = (sys.executable, "-c", SERVE, str(chunks))
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            server = ServerProcess(int(process.stdout.readline()), psutil.Process(process.pid), chunks * CHUNK)
            server.scrape()
            yield server
        finally:
            process.terminate()
    assert process.returncode == 0


def check_scrapes(
    server: ServerProcess, misbehave: Callable[[], Awaitable[None]], *, clients: int, scrapes: int = 15
) -> None:
    """Scrape while `clients` clients misbehave. Every scrape gets a 200, and the server's memory stays small.

    The first scrapes may get 503: hundreds of clients that connect at the same time count for --web.max-requests until
    their answers are `Limits.patience` old.
    """

    async def main() -> None:
        before = server.rss
        started = [asyncio.Event() for _ in range(clients)]
        tasks = [asyncio.create_task(repeat(misbehave, event)) for event in started]
        await asyncio.gather(*(event.wait() for event in started))
        for _ in range(1000):
            if await asyncio.to_thread(server.scrape) == 200:
                break
        for _ in range(scrapes):
            assert await asyncio.to_thread(server.scrape) == 200
            assert server.rss - before < 100 * MB
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())


async def repeat(misbehave: Callable[[], Awaitable[None]], started: asyncio.Event) -> None:
    """Misbehave about once a second until the task is cancelled."""
    while True:
        started.set()
        with suppress(OSError, asyncio.IncompleteReadError):
            await misbehave()
        await asyncio.sleep(1)


@contextmanager
def connected(server: ServerProcess, receive_buffer: int = 0) -> Iterator[socket.socket]:
    with socket.socket() as connection:
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(5)
        connection.connect(("127.0.0.1", server.port))
        connection.setblocking(False)
        yield connection


def test_500_silent_connections(server: ServerProcess) -> None:
    """Scrapes succeed while 500 clients are connected and send nothing."""
    with ExitStack() as stack:
        silent = [stack.enter_context(connected(server)) for _ in range(500)]

        async def stay() -> None:
            await asyncio.sleep(60)

        check_scrapes(server, stay, clients=1)
        assert len(silent) == 500


def test_200_slow_readers(server: ServerProcess) -> None:
    """Scrapes succeed while 200 clients slowly read 20 MB, one kilobyte at a time."""

    async def read_slowly() -> None:
        loop = asyncio.get_running_loop()
        with connected(server, receive_buffer=8192) as connection:
            await loop.sock_sendall(connection, REQUEST)
            while await loop.sock_recv(connection, 1024):
                await asyncio.sleep(0.1)

    check_scrapes(server, read_slowly, clients=200)


def test_200_readers_that_do_not_read(server: ServerProcess) -> None:
    """Scrapes succeed while 200 clients send a request and do not read the answer."""

    async def ask_only() -> None:
        with connected(server, receive_buffer=8192) as connection:
            await asyncio.get_running_loop().sock_sendall(connection, REQUEST)
            await asyncio.sleep(60)

    check_scrapes(server, ask_only, clients=200)


def test_50_slow_writers_of_headers(server: ServerProcess) -> None:
    """Scrapes succeed while 50 clients send a head that never ends."""

    async def write_slowly() -> None:
        loop = asyncio.get_running_loop()
        with connected(server) as connection:
            await loop.sock_sendall(connection, b"GET /metrics HTTP/1.1\r\nHost: a\r\n")
            while True:
                await loop.sock_sendall(connection, b"X-More: y\r\n")
                await asyncio.sleep(0.1)

    check_scrapes(server, write_slowly, clients=50)


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
def test_malformed_and_oversized_requests(server: ServerProcess, request_: bytes) -> None:
    """Scrapes succeed while 40 clients send malformed or oversized requests."""

    async def send() -> None:
        with connected(server) as connection:
            await asyncio.get_running_loop().sock_sendall(connection, request_)
            await asyncio.get_running_loop().sock_recv(connection, 4096)

    check_scrapes(server, send, clients=40)


def test_a_flood_of_requests(server: ServerProcess) -> None:
    """Scrapes succeed while 20 clients send a request after each answer."""

    async def flood() -> None:
        loop = asyncio.get_running_loop()
        with connected(server) as connection:
            while True:
                await loop.sock_sendall(connection, b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n")
                await loop.sock_recv(connection, 4096)

    check_scrapes(server, flood, clients=20)


def test_a_flood_of_connections(server: ServerProcess) -> None:
    """Scrapes succeed while 50 clients open a connection for every request."""

    async def flood() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(100):
            with connected(server) as connection:
                await loop.sock_sendall(connection, b"GET /x HTTP/1.0\r\n\r\n")
                await loop.sock_recv(connection, 4096)

    check_scrapes(server, flood, clients=50)


def test_1000_busy_scrapers_at_one_address() -> None:
    """While 1,000 clients at one address scrape without pause, its probes, and scrapes of another one, are answered."""
    answers = 0

    async def scrape_without_pause(port: int) -> None:
        nonlocal answers
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while True:
                writer.write(REQUEST)
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                answers += 1
        finally:
            writer.close()

    async def repeat_forever(port: int) -> None:
        while True:
            with suppress(OSError, EOFError):
                await scrape_without_pause(port)
            await asyncio.sleep(0.01)

    async def main(server: ServerProcess) -> list[tuple[int, int]]:
        tasks = [asyncio.create_task(repeat_forever(server.port)) for _ in range(1000)]
        while answers < 1000:
            await asyncio.sleep(0.01)
        statuses = []
        for _ in range(10):
            probe = asyncio.to_thread(server.scrape, "127.0.0.1", "/-/healthy")
            statuses.append(tuple(await asyncio.gather(probe, asyncio.to_thread(server.scrape, "127.0.0.2"))))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return statuses

    with running(0) as server:
        assert asyncio.run(main(server)) == [(200, 200)] * 10
