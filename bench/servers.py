"""Servers under test, each in a process of its own."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

import psutil
from prometheus_client import start_http_server

from bench.transforms import exposition_of, shown, stock_registry
from exporter.exposition.formats import Encoding, TextFormat
from exporter.exposition.publisher import Exposition, Scrape
from exporter.web.server import WebServer

START_TIMEOUT = 300.0
"""Seconds. It is long, because a server builds all its transforms before it listens."""

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Server:
    """A running server."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """Return the CPU time that the process has used so far."""
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system


@contextmanager
def served(serve: Callable[..., None], *args: object) -> Iterator[Server]:
    """Run the function `serve` in a new process, which is killed at the end.

    The function gets a pipe and `args`. It writes its port to the pipe when it listens.
    """
    context = multiprocessing.get_context("spawn")
    parent, child = context.Pipe(duplex=False)
    process = context.Process(target=serve, args=(child, *args), daemon=True)
    process.start()
    try:
        if not parent.poll(START_TIMEOUT):
            raise TimeoutError(f"{serve.__name__} does not listen")
        yield Server(parent.recv(), process.pid or 0)
    finally:
        process.kill()
        process.join()


@dataclass(frozen=True)
class _Backend:
    """The backend of a server that answers only at /metrics."""

    exposition: Exposition

    def scrape(self, format: TextFormat, encoding: Encoding) -> Scrape | None:  # noqa: A002 - the protocol's word
        return self.exposition.scrape(format, encoding)

    def prepare_scrape(self, format: TextFormat, encoding: Encoding) -> Scrape:  # noqa: A002 - the protocol's word
        return self.exposition.prepare_scrape(format, encoding)


def serve_ours(port: Connection, transforms: int, background: Callable[[], None] | None = None) -> None:
    """Serve the metrics of this number of transforms with the exporter's server; `background` runs in a thread."""
    exposition = exposition_of(map(shown, range(transforms)))
    server = WebServer(_Backend(exposition), addresses=[(HOST, 0)])
    server.start()
    threading.Thread(target=exposition.run, daemon=True).start()
    _in_background(background)
    port.send(int(server.addresses[0].rpartition(":")[2]))
    server.run()


def serve_stock(port: Connection, transforms: int, background: Callable[[], None] | None = None) -> None:
    """Serve the same samples with the server of prometheus_client."""
    server, _ = start_http_server(0, HOST, stock_registry(list(map(shown, range(transforms)))))
    _in_background(background)
    port.send(server.server_port)
    signal.pause()


def _in_background(work: Callable[[], None] | None) -> None:
    if work is not None:
        os.environ.update(CREDENTIALS)
        threading.Thread(target=work, daemon=True).start()


CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "simulated",
    "AWS_SECRET_ACCESS_KEY": "simulated",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""Invented credentials, so that no benchmark uses those of the user."""
