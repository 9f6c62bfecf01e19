"""A server that answers GetMLTaskRuns from canned bytes, so that a benchmark measures the cost of the client.

Every ``TransformId`` has the same history with one run per second. The history repeats a thousand runs with other ids
and times. This module also creates the clients that the benchmarks compare.
"""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import Any

import boto3
from botocore.config import Config as BotoConfig

from bench.servers import HOST
from bench.transforms import CONFIG, LANE
from exporter.glue.client import GlueClient, GlueClients
from exporter.telemetry import Telemetry

PAGE = 1000
BEGINNING = int(time.time()) // 1_000_000 * 1_000_000 - 1_000_000
"""The start of the history in UTC seconds, 11 to 24 days ago. The lookback therefore includes a million runs."""

_THOUSANDS = "@@@@"
"""The placeholder of the page number in the id and in the times of a canned run."""

_SECONDS = BEGINNING // 1_000_000


def canned_run(position: int) -> bytes:
    """Return the run at a position (0 to 999) of every page. It has about 500 bytes, as in Glue."""
    failed = position % 10 == 3
    at = f"{_SECONDS}{_THOUSANDS[:3]}{position:03d}"
    run = {
        "TransformId": f"tfm-{1:040x}",
        "TaskRunId": f"tsk-{_THOUSANDS}{position * 0x9E3779B97F4A7C15 % 2**144:036x}",
        "Status": "FAILED" if failed else "SUCCEEDED",
        "LogGroupName": "/aws-glue/mltransforms/customers-dedup",
        "Properties": {
            "TaskType": "FIND_MATCHES",
            "FindMatchesTaskRunProperties": {"JobId": f"job-{position:016x}", "JobName": "find-matches-customers"},
        },
        "StartedOn": f"<{at}.125>",
        "LastModifiedOn": f"<{at}.875>",
        "CompletedOn": f"<{at}.875>",
        "ExecutionTime": 60 + position * 37 % 5000,
    }
    if failed:
        run["ErrorString"] = "Command failed with exit code 1"
    return json.dumps(run).replace('"<', "").replace('>"', "").encode()


@cache
def _canned_runs() -> tuple[bytes, ...]:
    return tuple(map(canned_run, range(PAGE)))


def page(first: int, total: int) -> bytes:
    """Return the answer with a thousand runs, starting at number ``first`` of a history of ``total`` runs."""
    thousand, offset = divmod(first, PAGE)
    last = min(first + PAGE, total)
    runs = _canned_runs()
    head = b",".join(runs[offset : min(PAGE, offset + last - first)])
    tail = b",".join(runs[: max(0, last - (thousand + 1) * PAGE)])
    body = b",".join(filter(None, (_numbered(head, thousand), _numbered(tail, thousand + 1))))
    token = b"" if last == total else b', "NextToken": "%d"' % last
    return b'{"TaskRuns": [%s]%s}' % (body, token)


def _numbered(runs: bytes, thousand: int) -> bytes:
    return runs.replace(_THOUSANDS.encode(), b"%04d" % thousand).replace(_THOUSANDS[:3].encode(), b"%03d" % thousand)


def pages(total: int) -> Iterator[bytes]:
    """Yield all answers of a history of ``total`` runs."""
    return (page(first, total) for first in range(0, total, PAGE))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    total = 0

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        after = request.get("Filter", {}).get("StartedAfter", 0)
        first = int(request.get("NextToken") or max(0, int(after) - BEGINNING))
        body = page(min(first, self.total), self.total)
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Log nothing, because some benchmarks end by killing a client."""


def serve_glue(port: Connection, total: int) -> None:
    """Serve a history of ``total`` runs; for `servers.served`."""
    handler = type("_Handler", (_Handler,), {"total": total})
    server = _Server((HOST, 0), handler)
    port.send(server.server_port)
    server.serve_forever()


def now_after(total: int) -> float:
    """Return the time in UTC seconds at which the last of ``total`` runs ends."""
    return float(BEGINNING + total)


def our_client(port: int) -> GlueClient:
    """Return the exporter's client of this server, without a rate limit."""
    polling = CONFIG.polling.model_copy(update={"requests_per_second": 1e6})
    config = replace(CONFIG, polling=polling, endpoint_url=f"http://{HOST}:{port}")
    return GlueClients(config, telemetry=Telemetry(), stop=threading.Event()).client_for(LANE)


def stock_client(port: int) -> Any:
    """Return boto3's client of this server with default settings."""
    return boto3.client(
        "glue", region_name=LANE.region, endpoint_url=f"http://{HOST}:{port}", config=BotoConfig(tcp_keepalive=True)
    )


def stock_pages(client: Any) -> Iterator[list[dict[str, Any]]]:
    """Yield all pages with boto3 and a loop, because boto3 has no paginator for GetMLTaskRuns."""
    request = {"TransformId": "tfm-1", "MaxResults": PAGE}
    while True:
        answer = client.get_ml_task_runs(**request)
        yield answer["TaskRuns"]
        if "NextToken" not in answer:
            return
        request["NextToken"] = answer["NextToken"]
