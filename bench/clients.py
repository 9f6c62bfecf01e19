"""Memory of the clients for accounts and regions, against boto3 used as in its guide."""

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import boto3
from botocore.config import Config as BotoConfig

from bench.measure import in_fresh_process, resident_bytes
from bench.tables import Row, at_least, at_most, megabytes
from bench.transforms import CONFIG
from exporter.config.schema import Account
from exporter.glue.client import GlueClients
from exporter.model.transform import Lane
from exporter.simulator import Simulator
from exporter.telemetry import Telemetry

TITLE = "Clients: accounts with an assumed role"
NOTE = (
    "Resident memory in a new process after each client has made a call over HTTP. It includes the session, the\n"
    "client of STS for the role, and the connections. The first client also loads the models that all clients share."
)

REGION = "eu-west-1"


def run(*, quick: bool) -> Iterator[Row]:
    """Yield a row for the memory of the first client, and rows for the memory of each further client."""
    count, stock_count = (5, 3) if quick else (50, 10)
    with Simulator({"transforms": []}) as simulator:
        first, each = in_fresh_process(ours, simulator.url, count)
        stock_first, stock_each = in_fresh_process(stock, simulator.url, stock_count)
    yield Row("the first", stock_first / first, f"{megabytes(first)} : {megabytes(stock_first)}", at_least(1))
    # The memory of a process varies by as much as a few clients need. Only the full number of clients has a target.
    yield Row("each further", stock_each / each, f"{each / 1e3:.0f} : {stock_each / 1e3:.0f} kB")
    yield Row("each further", each / 1e3, f"of {count - 1}", None if quick else at_most(750), "kB")


def ours(url: str, count: int) -> tuple[int, float]:
    """Return the bytes of the first client of the exporter, and the mean bytes of each further client."""
    accounts = tuple(Account(name=f"a{number}", role_arn=_role(number), endpoint_url=url) for number in range(count))
    os.environ["AWS_ENDPOINT_URL_STS"] = url
    clients = GlueClients(replace(CONFIG, accounts=accounts), telemetry=Telemetry(), stop=threading.Event())
    return _growth(count, lambda number: clients.client_for(Lane(f"a{number}", REGION)).transform_ids({}, page_size=1))


def stock(url: str, count: int) -> tuple[int, float]:
    """Return the same bytes for boto3, which has a session, a client of STS and a client of Glue for each role."""
    kept: list[object] = []

    def connect(number: int) -> None:
        config = BotoConfig(max_pool_connections=CONFIG.polling.concurrency)
        sts = boto3.Session(region_name=REGION).client("sts", endpoint_url=url, config=config)
        role = sts.assume_role(RoleArn=_role(number), RoleSessionName="bench")["Credentials"]
        session = boto3.Session(role["AccessKeyId"], role["SecretAccessKey"], role["SessionToken"], REGION)
        glue = session.client("glue", endpoint_url=url, config=config)
        glue.list_ml_transforms()
        kept.extend((sts, session, glue))

    return _growth(count, connect)


def _role(number: int) -> str:
    return f"arn:aws:iam::{number:012}:role/bench"


def _growth(count: int, connect: Callable[[int], object]) -> tuple[int, float]:
    before = resident_bytes()
    connect(0)
    one = resident_bytes()
    for number in range(1, count):
        connect(number)
    return one - before, (resident_bytes() - one) / (count - 1)
