"""Parsing a page of a thousand runs, against stock botocore."""

from collections.abc import Iterator

import botocore.session
from botocore.parsers import ResponseParserFactory

from bench.glue import PAGE, our_client, page, serve_glue, stock_client
from bench.measure import cpu_seconds, in_turns
from bench.servers import served
from bench.tables import Row, at_least, seconds
from exporter.glue.decode import decode_page

TITLE = "Parsing a page of 1,000 runs: ours against stock boto3"
NOTE = "CPU time. The parse turns the bytes of the body into runs. The whole call also signs and sends the request."


def run(*, quick: bool) -> Iterator[Row]:
    """Yield one row for the parse and one for the whole call."""
    rounds = 3 if quick else 15
    body = page(0, PAGE)
    parser = ResponseParserFactory().create_parser("json")
    shape = botocore.session.Session().get_service_model("glue").operation_model("GetMLTaskRuns").output_shape
    answer = {"body": body, "headers": {}, "status_code": 200}
    parse = in_turns(
        rounds,
        ours=lambda: cpu_seconds(lambda: list(decode_page(body)[0])),
        stock=lambda: cpu_seconds(lambda: parser.parse(answer, shape)),
    )
    yield _row("the parse", parse)
    with served(serve_glue, PAGE) as server:
        ours, stock = our_client(server.port), stock_client(server.port)
        call = in_turns(
            rounds,
            ours=lambda: cpu_seconds(lambda: [*map(list, ours.task_run_pages("tfm-1", since=0.0, page_size=PAGE))]),
            stock=lambda: cpu_seconds(lambda: stock.get_ml_task_runs(TransformId="tfm-1", MaxResults=PAGE)),
        )
    yield _row("the whole call", call)


def _row(what: str, times: dict[str, float]) -> Row:
    absolute = f"{seconds(times['ours'])} : {seconds(times['stock'])}"
    target = at_least(10) if what == "the parse" else None
    return Row(what, times["stock"] / times["ours"], absolute, target)
