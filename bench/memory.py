"""Memory of the server while slow clients read a large exposition."""

import socket
import threading
import time
from collections.abc import Iterator

from bench.client import TEXT, headers
from bench.measure import forget_peak, in_turns, peak_bytes
from bench.servers import HOST, Server, serve_ours, served
from bench.tables import Row, at_most, megabytes

TITLE = "Memory: 16 concurrent slow scrapes against one"
NOTE = "Largest resident memory of the server. Each client reads the uncompressed exposition in about two seconds."

READERS = 16


def run(*, quick: bool) -> Iterator[Row]:
    """Yield one row."""
    with served(serve_ours, 30 if quick else 505) as server:
        size = _read_slowly(server.port, pause=0)
        peaks = in_turns(
            1 if quick else 3,
            one=lambda: _peak(server, 1, size),
            many=lambda: _peak(server, READERS, size),
        )
        absolute = f"{megabytes(peaks['many'])} : {megabytes(peaks['one'])}, {megabytes(size)} each"
        yield Row(f"{READERS} scrapes of {size / 1e6:.0f} MB", peaks["many"] / peaks["one"], absolute, at_most(1.5))


def _peak(server: Server, readers: int, size: int) -> float:
    forget_peak(server.pid)
    received: list[int] = []
    threads = [
        threading.Thread(target=lambda: received.append(_read_slowly(server.port, pause=0.02))) for _ in range(readers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if [length // 1000 for length in received] != [size // 1000] * readers:
        raise ConnectionError(f"{readers} readers of {size} bytes got {received}")
    return float(peak_bytes(server.pid))


def _read_slowly(port: int, pause: float) -> int:
    """Scrape on a new connection with a pause after each part. Return the number of received bytes."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers(TEXT, "identity").items())
    received, since_pause, portion = 0, 0, 200_000
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.connect((HOST, port))
        connection.sendall(f"GET /metrics HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{lines}\r\n".encode())
        while data := connection.recv(portion):
            received += len(data)
            since_pause += len(data)
            if pause and since_pause >= portion:
                since_pause = 0
                time.sleep(pause)  # The slow client that is measured.
    return received
