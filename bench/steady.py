"""A poll without changes for several lengths of the history, against a client that reads the whole history."""

import time
from collections.abc import Iterator

from bench.glue import now_after, our_client, serve_glue, stock_client, stock_pages
from bench.measure import cpu_seconds, in_turns
from bench.servers import served
from bench.tables import Row, seconds
from bench.transforms import CONFIG, new_transform

TITLE = "Steady poll: paging everything with stock boto3 against ours"
NOTE = (
    "CPU time of one poll without changes. There is one run per second, so the overlap of 15 minutes has 900 runs.\n"
    "Above 10,000 runs, the figures of stock boto3 are extrapolated. It reads all pages, and each page costs the same."
)
MEASURED = 10_000


def run(*, quick: bool) -> Iterator[Row]:
    """Yield a row for each length of the history."""
    stock_per_run = 0.0
    for total in (1000, 3000) if quick else (1000, 10_000, 100_000, 1_000_000):
        with served(serve_glue, total) as server:
            glue, stock = our_client(server.port), stock_client(server.port)
            monitored, now = new_transform(), now_after(total)

            def poll() -> None:
                monitored.read(glue, CONFIG.polling, now, time.monotonic(), lambda: None)  # noqa: B023 - called in this round

            def page_everything() -> None:
                for _ in stock_pages(stock):  # noqa: B023 - called in this round
                    pass

            poll()
            contestants = {"ours": lambda: cpu_seconds(poll)}
            if total <= MEASURED:
                contestants["stock"] = lambda: cpu_seconds(page_everything)
            times = in_turns(1 if quick else 5, **contestants)
        stock_per_run = times["stock"] / total if "stock" in times else stock_per_run
        naive = times.get("stock", stock_per_run * total)
        note = "" if "stock" in times else ", extrapolated"
        yield Row(f"{total:,} runs", naive / times["ours"], f"{seconds(times['ours'])} : {seconds(naive)}{note}")
