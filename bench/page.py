"""The status page: the time to render it against the time to send its bytes."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import NamedTuple

from bench.client import Scraper
from bench.measure import in_turns, wall_seconds
from bench.servers import HOST, served
from bench.tables import Row, at_most, megabytes, seconds
from bench.transforms import LANE, NOW, shown
from exporter.counting.recent_runs import LIMIT, RecentRun
from exporter.glue.error_table import REASONS
from exporter.model.shard import Shard
from exporter.model.task_run import Properties, TaskRun
from exporter.statuspage import HtmlPage, PageTime, StatusPages, TransformReport, read_health
from exporter.telemetry import Telemetry
from exporter.web.server import WebServer

TITLE = "The status page: rendering against sending"
NOTE = (
    "Wall time. Sending is a GET of the rendered page, uncompressed, over loopback to another process. Between two\n"
    "renderings every transform is polled again. This is the worst case, because only transforms that were polled\n"
    "again are rendered again. The first rendering of a process draws the strips of all runs."
)

_STATUSES = ("SUCCEEDED",) * 8 + ("FAILED", "TIMEOUT")


def run(*, quick: bool) -> Iterator[Row]:
    """Yield a row for a rendering after all transforms were polled again, and one for the first rendering."""
    count = 30 if quick else 300
    reports = [_report(number) for number in range(count)]
    telemetry = Telemetry()
    telemetry.create_series([LANE], REASONS)
    polls = iter(range(1_000_000))
    pages = StatusPages()

    def polled_again() -> list[TransformReport]:
        tried = NOW + 10.0 * next(polls)
        return [_polled(report, tried) for report in reports]

    def render(pages: StatusPages, reports: list[TransformReport]) -> HtmlPage:
        health = read_health(telemetry, reports, shard=Shard(), state_path=None, interval=60.0, lookback=2_592_000.0)
        return pages.front(reports, health, {}, "/metrics", PageTime(NOW + 10.0 * next(polls), 0.0))

    def rendering() -> float:
        following = polled_again()
        return wall_seconds(lambda: render(pages, following))

    body = render(pages, reports).body
    with served(serve_page, body) as server:
        client = Scraper(server.port, encoding="identity", path="/")
        times = in_turns(
            3 if quick else 25,
            render=rendering,
            send=client.seconds,
            first=lambda: wall_seconds(lambda: render(StatusPages(), reports)),
        )
    for what, name, target in (("after polls of all", "render", at_most(5)), ("first rendering", "first", None)):
        absolute = f"{seconds(times[name])} : {seconds(times['send'])}, {megabytes(len(body))}"
        yield Row(f"{count} transforms, {LIMIT} runs each, {what}", times[name] / times["send"], absolute, target)


def serve_page(port: Connection, body: bytes) -> None:
    """Serve `body` with the server of the exporter."""
    server = WebServer(_Backend(HtmlPage(body, "")), addresses=[(HOST, 0)])  # type: ignore[arg-type] # the path / needs no more of a backend
    server.start()
    port.send(int(server.addresses[0].rpartition(":")[2]))
    server.run()


class _Backend(NamedTuple):
    """A backend with one page, which was rendered before."""

    page: HtmlPage

    def status_page(self, _query: Mapping[str, str], _telemetry_path: str) -> HtmlPage:
        return self.page


def _report(number: int) -> TransformReport:
    snapshot = shown(number).snapshot
    return TransformReport(snapshot.target, snapshot, tuple(_runs(number)), due=float(number))


def _runs(number: int) -> Iterator[RecentRun]:
    dice = random.Random(number)  # noqa: S311 - made-up runs
    for position in range(LIMIT):
        status, started = dice.choice(_STATUSES), NOW - position * 3600 - dice.randrange(1000)
        error = "Insufficient IP addresses in subnet." if status == "FAILED" else None
        run_id, ended = f"tsk-{dice.getrandbits(160):040x}", started + dice.randrange(60, 5000)
        run = TaskRun(run_id, "FIND_MATCHES", status, started, ended, 50.0, error, "/aws-glue/mltransforms")
        yield RecentRun(run, Properties(job_name="find-matches", job_run_id=f"jr_{position}"))


def _polled(report: TransformReport, tried: float) -> TransformReport:
    snapshot = report.snapshot
    if snapshot is None or snapshot.poll is None:
        return report
    return replace(report, snapshot=replace(snapshot, poll=replace(snapshot.poll, tried=tried, succeeded=tried)))
