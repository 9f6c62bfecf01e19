"""A scrape over HTTP, against prometheus_client with the same samples."""

import re
from collections.abc import Iterator

from bench.client import OPENMETRICS, TEXT, Scraper
from bench.measure import in_turns
from bench.servers import Server, serve_ours, serve_stock, served
from bench.tables import Row, at_least, megabytes, seconds

TITLE = "Scrape: ours against the stock client, same samples"
NOTE = (
    "Wall time of one scrape over HTTP. Each server has its own process. Prometheus requests gzip. The metrics of the\n"
    "stock client are built before, so it only renders and compresses them. Without compression, our server spends\n"
    "most of its time on copying bytes to the socket. The table about nginx shows the least time that this needs."
)

FORMATS = {"text": TEXT, "OpenMetrics": OPENMETRICS}


def run(*, quick: bool) -> Iterator[Row]:
    """Yield a row for each number of transforms, format and encoding."""
    for transforms in (10,) if quick else (10, 100, 300, 1000):
        with served(serve_ours, transforms) as ours, served(serve_stock, transforms) as stock:
            _check_samples(ours, stock)
            for name, accept in FORMATS.items():
                for encoding in ("gzip", "identity"):
                    scrapers = Scraper(ours.port, accept, encoding), Scraper(stock.port, accept, encoding)
                    what = f"{transforms} transforms, {name}, {encoding}"
                    yield _row(what, *scrapers, repetitions=1 if quick or transforms > 300 else 5)


def _row(what: str, ours: Scraper, stock: Scraper, repetitions: int) -> Row:
    size = len(ours.scrape())
    times = in_turns(
        repetitions,
        ours=lambda: in_turns(9, scrape=ours.seconds)["scrape"],
        stock=stock.seconds,
    )
    absolute = f"{seconds(times['ours'])} : {seconds(times['stock'])}, {megabytes(size)}"
    target = at_least(100) if what.startswith("300 ") else None
    return Row(what, times["stock"] / times["ours"], absolute, target)


def _check_samples(ours: Server, stock: Server) -> None:
    """Raise ValueError unless both servers show the same samples of the transforms."""
    for accept in FORMATS.values():
        lines = [set(_transform_lines(Scraper(server.port, accept, "identity").scrape())) for server in (ours, stock)]
        if lines[0] != lines[1]:
            raise ValueError(f"the servers differ: {sorted(lines[0] ^ lines[1])[:2]}")


def _transform_lines(body: bytes) -> list[bytes]:
    return re.findall(rb"^glue_ml_t.*$", body, re.MULTILINE)
