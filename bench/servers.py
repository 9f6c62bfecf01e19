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

START_PATIENCE = 300.0
"""Seconds: to build what is served by a thousand transforms takes a while."""

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """Return the CPU time that it has used so far."""
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system


@contextmanager
def served(serve: Callable[..., None], *args: object) -> Iterator[Server]:
    """Run a server function of some module in a fresh process, and kill it in the end.

    The function takes a pipe to which it writes the port once it listens, then `args`.
    """
    context = multiprocessing.get_context("spawn")
    parent, child = context.Pipe(duplex=False)
    process = context.Process(target=serve, args=(child, *args), daemon=True)
    process.start()
    try:
        if not parent.poll(START_PATIENCE):
            raise TimeoutError(f"{serve.__name__} does not listen")
        yield Server(parent.recv(), process.pid or 0)
    finally:
        process.kill()
        process.join()


@dataclass(frozen=True)
class _Backend:
    """The exposition as a site: what the server asks for at /metrics."""

    exposition: Exposition

    def scrape(self, format: TextFormat, encoding: Encoding) -> Scrape | None:  # noqa: A002 - the protocol's word
        return self.exposition.scrape(format, encoding)

    def prepare_scrape(self, format: TextFormat, encoding: Encoding) -> Scrape:  # noqa: A002 - the protocol's word
        return self.exposition.prepare_scrape(format, encoding)


def serve_ours(port: Connection, transforms: int, background: Callable[[], None] | None = None) -> None:
    """Serve an exposition of so many transforms with the exporter's own server; `background` runs in a thread."""
    exposition = exposition_of(map(shown, range(transforms)))
    server = WebServer(_Backend(exposition), addresses=[(HOST, 0)])
    server.start()
    threading.Thread(target=exposition.run, daemon=True).start()
    _in_background(background)
    port.send(int(server.addresses[0].rpartition(":")[2]))
    server.run()


def serve_stock(port: Connection, transforms: int, background: Callable[[], None] | None = None) -> None:
    """Serve the same samples with prometheus_client."""
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
"""Nobody's: no benchmark signs with those of the person at the keyboard."""
