"""A whole exporter under 1,000 busy scrapers, 400 slow readers and a flood of passwords."""

import asyncio
import base64
import http.client
import itertools
import os
import re
import resource
import socket
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import bcrypt

from bench.client import OPENMETRICS
from bench.exporters import Company, Exporter, exporting, serve_simulator
from bench.measure import forget_peak, peak_bytes, percentile
from bench.servers import HOST, served
from bench.tables import Row, at_least, megabytes, seconds

TITLE = "Crowds: scrapes, probes and polls of a whole exporter under load"
NOTE = (
    "Each load runs for 20 s against an exporter with 200 transforms, a poll of each every 10 s, and a password.\n"
    "The load comes from one address. A scraper from another address keeps its connection and scrapes twice a second.\n"
    "Probes of /-/healthy come five times a second on new connections, half of them from the address of the load.\n"
    "Answered: status 200 within 5 s. At the end a password that was not seen before comes from another address.\n"
    "Busy scrapers send the next request after each answer, slow ones read 1 kB every 0.1 s, and the flood sends 360\n"
    "wrong passwords per second. Load generator and exporter share the cores of the machine."
)
OTHER = "127.0.0.2"
COST = 10
TIMEOUT = 5.0
_REQUESTS = r'requests_total\{[^}]*operation="GetMLTaskRuns"[^}]*\} (\S+)'


@dataclass
class Asked:
    """The results of one client: the seconds of each answer with status 200, and the number of other results."""

    answered: list[float] = field(default_factory=list)
    failed: int = 0

    @property
    def share(self) -> float:
        """Percentage of the requests that were answered."""
        return 100 * len(self.answered) / max(1, len(self.answered) + self.failed)

    @property
    def text(self) -> str:
        """The numbers of requests and the percentiles of the time, for a table."""
        total = len(self.answered) + self.failed
        if not self.answered:
            return f"0 of {total}"
        p50, last = percentile(self.answered, 0.5), max(self.answered)
        return f"{len(self.answered)} of {total}, p50 {seconds(p50)}, longest {seconds(last)}"


def run(*, quick: bool) -> Iterator[Row]:
    """Yield the rows of each load."""
    company, interval, duration = (Company(1, 1, 5), 1.0, 1.0) if quick else (Company(1, 1, 200, rate=200), 10.0, 20.0)
    with tempfile.TemporaryDirectory() as path, served(serve_simulator, company) as glue:
        folder = Path(path)
        option = f"--web.config.file={_web_config(folder)}"
        with exporting(company, glue.port, interval, folder, option) as exporter:
            while polls(exporter.port) < 2 * company.transforms:
                time.sleep(0.5)
            for name, (clients, behave) in CROWDS.items():
                yield from _rows(name, exporter, clients // 50 if quick else clients, behave, duration)


def _web_config(folder: Path) -> Path:
    users = ["scraper", *map(_new_user, CROWDS)]
    hashes = {user: bcrypt.hashpw(user.encode(), bcrypt.gensalt(COST)).decode() for user in users}
    path = folder / "web.yml"
    path.write_text("basic_auth_users:\n" + "".join(f"  {user}: {hashed}\n" for user, hashed in hashes.items()))
    return path


def _new_user(crowd: str) -> str:
    return "new-" + crowd.replace(" ", "-").replace(",", "")


def credentials(user: str, password: str | None = None) -> dict[str, str]:
    """Return the header for a user; without `password`, that of the user, whose password is the name."""
    text = base64.b64encode(f"{user}:{user if password is None else password}".encode()).decode()
    return {"Authorization": f"Basic {text}"}


def _rows(
    name: str, exporter: Exporter, clients: int, behave: Callable[[int], Awaitable[None]], duration: float
) -> Iterator[Row]:
    forget_peak(exporter.pid)
    before, began = polls(exporter.port), time.monotonic()
    with served(serve_crowd, exporter.port, clients, behave):
        scrapes, near, far = Asked(), Asked(), Asked()
        with (
            repeated(0.5, Scraping(exporter.port, scrapes)),
            repeated(0.4, lambda: probe(exporter.port, HOST, near)),
            repeated(0.4, lambda: probe(exporter.port, OTHER, far)),
        ):
            time.sleep(duration)
        login = Asked()
        ask(login, exporter.port, "/metrics", OTHER, credentials(_new_user(name)))
        took = time.monotonic() - began
    polled = polls(exporter.port) - before
    yield Row(f"{name}: scrapes answered", scrapes.share, scrapes.text, at_least(100), "%")
    yield Row(f"{name}: probes answered", near.share, f"same address: {near.text}", at_least(100), "%")
    yield Row(f"{name}: probes answered", far.share, f"another address: {far.text}", at_least(100), "%")
    yield Row(f"{name}: a new password accepted", login.share, login.text, at_least(100), "%")
    yield Row(f"{name}: polls", polled / took, f"{took:.0f} s", None, "per second")
    peak = peak_bytes(exporter.pid)
    yield Row(f"{name}: memory", peak / 1e6, f"{megabytes(peak)} peak", None, "MB")


def polls(port: int) -> float:
    """Return the number of GetMLTaskRuns requests so far. It tries again until it gets an answer."""
    headers = {"Accept": OPENMETRICS} | credentials("scraper")
    while True:
        connection = http.client.HTTPConnection(HOST, port, timeout=TIMEOUT)
        with suppress(OSError, http.client.HTTPException), closing(connection):
            connection.request("GET", "/metrics", headers=headers)
            counts = re.findall(_REQUESTS, connection.getresponse().read().decode())
            return sum(map(float, counts))
        time.sleep(0.1)


@contextmanager
def repeated(pause: float, work: Callable[[], object]) -> Iterator[None]:
    """Call `work` in a thread, with `pause` seconds between two calls, until the `with` block ends."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(pause):
            work()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def ask(asked: Asked, port: int, path: str, source: str, headers: dict[str, str]) -> None:
    """Send one request on a new connection from the address `source`, and note the result."""
    connection = http.client.HTTPConnection(HOST, port, timeout=TIMEOUT, source_address=(source, 0))
    _ask(asked, connection, path, headers)
    connection.close()


def _ask(asked: Asked, connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> None:
    began = time.perf_counter()
    try:
        connection.request("GET", path, headers=headers)
        with connection.getresponse() as response:
            response.read()
            is_answered = response.status == http.client.OK
    except (OSError, http.client.HTTPException):
        is_answered = False
        connection.close()
    took = time.perf_counter() - began
    if is_answered and took <= TIMEOUT:
        asked.answered.append(took)
    else:
        asked.failed += 1


def probe(port: int, source: str, asked: Asked) -> None:
    """Ask for the health on a new connection, as the kubelet does."""
    ask(asked, port, "/-/healthy", source, {})


class Scraping:
    """A scraper from another address than the load. It keeps its connection."""

    def __init__(self, port: int, asked: Asked) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=TIMEOUT, source_address=(OTHER, 0))
        self._asked = asked
        self._headers = {"Accept": OPENMETRICS, "Accept-Encoding": "gzip"} | credentials("scraper")

    def __call__(self) -> None:
        """Scrape once."""
        _ask(self._asked, self._connection, "/metrics", self._headers)


# -- the load, in a process of its own --------------------------------------------------------------------------------


def serve_crowd(ready: Connection, port: int, clients: int, behave: Callable[[int], Awaitable[None]]) -> None:
    """Run the clients until the process is killed; for `servers.served`."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    async def repeat() -> None:
        while True:
            with suppress(OSError, EOFError, ValueError):
                await behave(port)
            await asyncio.sleep(0.01)

    async def main() -> None:
        tasks = [asyncio.create_task(repeat()) for _ in range(clients)]
        await asyncio.sleep(1)
        ready.send(port)
        await asyncio.gather(*tasks)
        await asyncio.Event().wait()

    asyncio.run(main())


def _request(user: str, password: str | None = None, encoding: str = "gzip") -> bytes:
    headers = {"Host": HOST, "Accept": OPENMETRICS, "Accept-Encoding": encoding} | credentials(user, password)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"GET /metrics HTTP/1.1\r\n{lines}\r\n".encode()


async def busy(port: int) -> None:
    """Send a request after each answer, until the server closes the connection."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        while True:
            writer.write(_request("scraper"))
            await _read_answer(reader)
    finally:
        writer.close()


async def _read_answer(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))


async def slow(port: int) -> None:
    """Read an answer at 10 kB per second."""
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        connection.setblocking(False)
        await loop.sock_connect(connection, (HOST, port))
        await loop.sock_sendall(connection, _request("scraper", encoding="identity"))
        while await loop.sock_recv(connection, 1024):
            await asyncio.sleep(0.1)


_guesses = itertools.count()


async def flood(port: int) -> None:
    """Send a wrong password, each a new one, up to 7.2 times per second; 50 clients send 360."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        while True:
            due = asyncio.get_running_loop().time() + 1 / 7.2
            writer.write(_request("scraper", f"guess {os.getpid()} {next(_guesses)}"))
            await _read_answer(reader)
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
    finally:
        writer.close()


CROWDS: dict[str, tuple[int, Callable[[int], Awaitable[None]]]] = {
    "no load": (0, busy),
    "1,000 busy scrapers": (1000, busy),
    "400 slow readers": (400, slow),
    "a flood of passwords": (50, flood),
}
"""For each load, the number of its clients and what each does again and again."""
