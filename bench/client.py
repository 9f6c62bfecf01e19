"""Two clients: `Scraper` measures single scrapes, and `requests_per_second` keeps eight connections busy."""

import http.client
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Mapping

from bench.servers import HOST

TEXT = "text/plain;version=0.0.4"
OPENMETRICS = "application/openmetrics-text;version=1.0.0"
CONNECTIONS = 8


def headers(accept: str, encoding: str) -> dict[str, str]:
    """Return the request headers of a scrape; `encoding` is gzip or identity."""
    return {"Accept": accept, "Accept-Encoding": encoding}


class Scraper:
    """Scrapes repeatedly. It uses the same connection until the server closes it."""

    def __init__(self, port: int, accept: str = TEXT, encoding: str = "gzip", path: str = "/metrics") -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=600)
        self._headers = headers(accept, encoding)
        self._path = path
        self._buffer = bytearray(1 << 20)

    def scrape(self) -> bytes:
        """Return the body of the answer without decompression."""
        with self._answer() as response:
            return response.read()

    def seconds(self) -> float:
        """Return the wall time of one scrape. The body is discarded piece by piece to save time in the client."""
        began = time.perf_counter()
        with self._answer() as response:
            while response.readinto(self._buffer):
                pass
        return time.perf_counter() - began

    def _answer(self) -> http.client.HTTPResponse:
        self._connection.request("GET", self._path, headers=self._headers)
        response = self._connection.getresponse()
        if response.status != http.client.OK:
            raise ConnectionError(f"HTTP status {response.status}")
        return response


def load_client() -> str:
    """Return the name of the client that `requests_per_second` uses."""
    return "wrk" if shutil.which("wrk") else "a client of eight Python threads"


def requests_per_second(port: int, path: str, request_headers: Mapping[str, str], duration: float) -> float:
    """Return the number of requests per second that are answered on eight keep-alive connections."""
    if shutil.which("wrk"):
        return _wrk(port, path, request_headers, duration)
    return _threads(port, path, request_headers, duration)


def _wrk(port: int, path: str, request_headers: Mapping[str, str], duration: float) -> float:
    options = [f"--header={name}: {value}" for name, value in request_headers.items()]
    url = f"http://{HOST}:{port}{path}"
    done = subprocess.run(
        ["wrk", "--threads=1", f"--connections={CONNECTIONS}", f"--duration={duration:.0f}s", *options, url],
        capture_output=True,
        text=True,
        check=True,
    )
    rate = re.search(r"Requests/sec: +([0-9.]+)", done.stdout)
    if rate is None or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise ConnectionError(done.stdout)
    return float(rate[1])


def _threads(port: int, path: str, request_headers: Mapping[str, str], duration: float) -> float:
    lines = "".join(f"{name}: {value}\r\n" for name, value in request_headers.items())
    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n".encode()
    deadline = time.perf_counter() + duration
    answered: list[int] = []

    def ask() -> None:
        count, buffer = 0, bytearray(1 << 20)
        with socket.create_connection((HOST, port), timeout=60) as connection:
            while time.perf_counter() < deadline:
                connection.sendall(request)
                _drain(connection, buffer)
                count += 1
        answered.append(count)

    threads = [threading.Thread(target=ask) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(answered) / duration


def _drain(connection: socket.socket, buffer: bytearray) -> None:
    """Read one answer completely."""
    received = connection.recv_into(buffer)
    while (end := buffer.find(b"\r\n\r\n", 0, received)) < 0:
        received += connection.recv_into(memoryview(buffer)[received:])
    length = re.search(rb"(?i)content-length: (\d+)", buffer[:end])
    if length is None or not buffer.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(bytes(buffer[:end]))
    missing = int(length[1]) - (received - end - 4)
    while missing > 0:
        missing -= connection.recv_into(buffer)
