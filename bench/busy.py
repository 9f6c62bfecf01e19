"""Scrapes during the first scan of a million runs in the same process."""

import time
from collections.abc import Callable, Iterator
from functools import partial

from bench.client import OPENMETRICS, Scraper
from bench.glue import now_after, our_client, serve_glue
from bench.measure import percentile
from bench.servers import serve_ours, serve_stock, served
from bench.tables import Row, at_least, seconds
from bench.transforms import CONFIG, new_transform

TITLE = "Scrapes during a first scan: ours against the stock client under the same load"
NOTE = (
    "Wall time of a scrape of 300 transforms, OpenMetrics, gzip. Meanwhile a thread of the server reads the history\n"
    "of 1,000,000 runs again and again, through the real pipeline. At rest, this thread does not run.\n"
    "Scrapes are slower than at rest, because a computing thread releases the interpreter only every 5 ms\n"
    "(sys.getswitchinterval). The event loop waits for this release at least once per scrape."
)


def run(*, quick: bool) -> Iterator[Row]:
    """Yield rows that compare p50 and p99 of a scrape with the stock client, and with a scrape at rest."""
    transforms, total, duration = (10, 20_000, 1.0) if quick else (300, 1_000_000, 20.0)
    with served(serve_glue, total) as glue:
        load = partial(scan_forever, glue.port, total)
        ours = _latencies(serve_ours, transforms, load, duration)
        stock = _latencies(serve_stock, transforms, load, duration)
        rest = _latencies(serve_ours, transforms, None, duration / 2)
        stock_rest = _latencies(serve_stock, transforms, None, duration / 2)
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        busy, other, quiet = (percentile(values, share) for values in (ours, stock, rest))
        counted = f"{len(ours)} and {len(stock)} scrapes"
        yield Row(f"{name} against stock", other / busy, f"{seconds(busy)} : {seconds(other)}, {counted}", at_least(20))
        yield Row(f"{name} against rest", busy / quiet, f"{seconds(busy)} : {seconds(quiet)}")
    busy, quiet = percentile(stock, 0.5), percentile(stock_rest, 0.5)
    yield Row("stock, p50 against rest", busy / quiet, f"{seconds(busy)} : {seconds(quiet)}")


def _latencies(
    serve: Callable[..., None], transforms: int, load: Callable[[], None] | None, duration: float
) -> list[float]:
    with served(serve, transforms, load) as server:
        scraper = Scraper(server.port, OPENMETRICS)
        scraper.scrape()
        deadline = time.monotonic() + duration
        latencies = []
        while time.monotonic() < deadline or len(latencies) < 3:
            latencies.append(scraper.seconds())
            time.sleep(0.01)
    return latencies


def scan_forever(port: int, total: int) -> None:
    """Read the history again and again. Each reading starts with an empty transform."""
    glue = our_client(port)
    while True:
        new_transform().read(glue, CONFIG.polling, now_after(total), time.monotonic(), lambda: None)
