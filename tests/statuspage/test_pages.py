"""What the pages say of standings that are made up, without a browser."""

from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.counting.latest import GaugeValues, LatestRun
from exporter.counting.recent_runs import RecentRun
from exporter.errors import GlueError
from exporter.exposition.snapshot import PollResult, TransformSnapshot
from exporter.glue.error_table import REASONS
from exporter.model.shard import Shard
from exporter.model.task_run import NO_PROPERTIES, Properties, TaskRun
from exporter.model.transform import Details, Lane, Target
from exporter.statuspage import console_links as consoles
from exporter.statuspage.exporter_health import health_of
from exporter.statuspage.pages import StatusPages
from exporter.statuspage.rows import GAP
from exporter.statuspage.run_strip import marks
from exporter.statuspage.summary import Health, TransformReport
from exporter.statuspage.times import Moment
from exporter.telemetry import Telemetry
from tests.exposition.snapshots import snapshot

NOW = 1_790_000_000.0
MOMENT = Moment(NOW, 500.0)
LANE = Lane("default", "eu-west-1")
PAGES = StatusPages()


class Reader(HTMLParser):
    """Reads a page as a browser does: its tags, its text, its links."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.values: list[str] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [value or "" for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)


def report(transform_id: str = "tfm-a", *, runs: tuple[TaskRun, ...] = (), **changes: Any) -> TransformReport:
    shown: TransformSnapshot = snapshot(transform_id, **changes)
    return TransformReport(shown.target, shown, tuple(RecentRun(run, NO_PROPERTIES) for run in runs), due=512.0)


def run(**changes: Any) -> TaskRun:
    return TaskRun("tsk-1", "FIND_MATCHES", "SUCCEEDED", NOW - 600, NOW - 300, 200.0)._replace(**changes)


def front(*reports: TransformReport, pages: StatusPages = PAGES, moment: Moment = MOMENT, **query: str) -> Reader:
    telemetry = Telemetry(process=False)
    telemetry.expect([one.target.lane for one in reports], REASONS)
    health = health_of(telemetry, reports, shard=Shard(), state_path=None, interval=60.0, lookback=2_592_000.0)
    return Reader(pages.front(reports, health, query, "/metrics", moment).body)


def order(reader: Reader) -> list[str]:
    return [value.removeprefix("t-") for value in reader.values if value.startswith("t-")]


FAILED = {"FIND_MATCHES": LatestRun(success=NOW - 900, failed=NOW - 300)}
WELL_AGAIN = {"FIND_MATCHES": LatestRun(success=NOW - 100, failed=NOW - 300)}
DOWN = PollResult(up=False, tried=NOW, succeeded=NOW - 90, duration=0.1, trouble="AccessDeniedException: not allowed")


@pytest.mark.parametrize(
    ("one", "health"),
    [
        (TransformReport(Target("tfm-a", LANE), None, (), due=None), Health.WAITING),
        (report(poll=None), Health.WAITING),
        (report(), Health.OK),
        (report(latest=WELL_AGAIN), Health.OK),
        (report(latest=FAILED), Health.FAILING),
        (report(latest={**WELL_AGAIN, "EVALUATION": LatestRun(timeout=NOW - 5)}), Health.FAILING),
        (report(latest=FAILED, poll=DOWN), Health.DOWN),
    ],
)
def test_what_there_is_to_worry_about(one: TransformReport, health: Health) -> None:
    """Down beats failing, a type that has not succeeded since it failed is failing, and no poll is no news."""
    assert one.summary().health is health
    assert health.value in front(one).text


def test_the_worst_comes_first() -> None:
    """Down, failing, waiting, well; within each by name, as people read names, then by id."""
    reports = [
        report("tfm-1"),
        report("tfm-2", details=Details(name="Beta")),
        report("tfm-3", details=Details(name="alpha")),
        report("tfm-4", poll=None),
        report("tfm-5", latest=FAILED),
        report("tfm-6", poll=DOWN),
    ]
    assert order(front(*reports)) == [f"tfm-{number}" for number in (6, 5, 4, 3, 2, 1)]


def test_the_filter() -> None:
    """All words have to be in name, id, account, region, label or state; `show` chooses problems or active ones."""
    labelled = Target("tfm-2", Lane("prod", "us-east-1"), "Customers", {"team": "Data"})
    reports = [
        report("tfm-1", latest=FAILED),
        TransformReport(
            labelled,
            snapshot("tfm-2", target=labelled, view=GaugeValues({("X", "RUNNING"): 1}, {}, {"X": NOW})),
            (),
            1.0,
        ),
    ]
    chosen = {
        "customers PROD": ["tfm-2"],
        "data us-east": ["tfm-2"],
        "tfm": ["tfm-1", "tfm-2"],
        "failing": ["tfm-1"],
        "prod eu-west": [],
        "": ["tfm-1", "tfm-2"],
    }
    assert {words: order(front(*reports, q=words)) for words in chosen} == chosen
    assert order(front(*reports, show="problems")) == ["tfm-1"]
    assert order(front(*reports, show="active")) == ["tfm-2"]
    assert order(front(*reports, show="nonsense")) == ["tfm-1", "tfm-2"]


def test_a_line_tells_why() -> None:
    """A transform that is down tells what AWS said, one that fails the error string of the run."""
    failed = run(status="FAILED", error="No such bucket")
    assert "AccessDeniedException: not allowed" in front(report(poll=DOWN)).text
    text = front(report(latest=FAILED, runs=(run(), failed))).text
    assert "FIND_MATCHES FAILED 5m ago: No such bucket" in text
    assert "FIND_MATCHES failed 5m ago" in front(report(latest=FAILED, runs=(run(),))).text


def test_times_move_on_while_lines_are_kept() -> None:
    """A line that was rendered before shows the times of this moment, and what a poll has changed."""
    pages = StatusPages()
    one = report(latest=FAILED, runs=(run(status="FAILED", error="no-bucket"),))
    before = front(one, pages=pages).text
    assert "15m ago" in before
    assert "next in 12s" in before
    later = front(one, pages=pages, moment=Moment(NOW + 60, 505.0)).text
    assert "16m ago" in later
    assert "next in 7s" in later
    healed = replace(one, snapshot=replace(one.snapshot, latest=WELL_AGAIN))  # type: ignore[type-var] # it is one
    assert "no-bucket" not in front(healed, pages=pages).text
    assert GAP not in later + front(pages=pages).text


def test_a_mark_tells_status_time_and_duration() -> None:
    """Marks run from old to new, as high as the run was long, each with its text; the whole has one for the ears."""
    runs = (
        run(status="RUNNING", completed=None),
        run(status="FAILED", started=NOW - 4000, completed=NOW - 3900),
        run(started=NOW - 9000, completed=NOW - 8200),
        run(status="BRAND_NEW", completed=NOW),
    )
    reader = Reader(marks([RecentRun(one, NO_PROPERTIES) for one in runs]).encode())
    classes = [value for value in reader.values if len(value) == 4 and value[2] == "h"]
    assert classes == ["u h6", "s h8", "f h1", "a h8"]
    assert "FAILED · FIND_MATCHES · 2026-09-21T13:06Z · 1m40s" in reader.values
    assert "Last 4 runs: 1 RUNNING, 1 FAILED, 1 SUCCEEDED, 1 BRAND_NEW" in reader.values
    assert "No runs yet" in marks(())


def test_what_is_unknown_is_not_shown_as_nothing() -> None:
    """Counts of a transform whose data are too old are unknown, not zero; without runs there are none."""
    assert "unknown" in front(report(view=None)).text
    assert "unknown" not in front(report()).text
    page = PAGES.transform(report(view=None), 60.0, "/metrics", MOMENT).body.decode()
    assert "Unknown until a poll succeeds." in page


@settings(max_examples=25, deadline=None)
@given(
    st.text(st.characters(codec="utf-8"), max_size=60),
    st.sampled_from(["<b>", "</td>", "&lt;", '"', '"><b>', "{{ 1 }}", ""]),
)
def test_no_text_from_outside_becomes_markup(text: str, sharp: str) -> None:
    """Whatever a name, an id, an error string, a log group or a path says: the tags of both pages stay the same."""
    pages = StatusPages()

    def tags(said: str) -> list[Counter[str]]:
        target = Target(f"tfm-{said}", LANE, f"n{said}", {"team": f"l{said}"})
        view = GaugeValues({(f"T{said}", f"S{said}"): 3}, {}, {})
        shown = snapshot(target=target, latest=FAILED, view=view, details=Details(status=f"s{said}"))
        told = run(run_id=f"r{said}", status="FAILED", error=f"e{said}", log_group=f"g{said}")
        properties = Properties(f"s3://b{said}", True, f"s3://b{said}/", f"j{said}", f"j{said}", f"j{said}")
        odd = run(run_id="tsk-2", status=f"S{said}", task_type=f"T{said}")
        one = TransformReport(target, shown, (RecentRun(told, properties), RecentRun(odd, NO_PROPERTIES)), 1.0)
        return [
            Counter(reader.tags)
            for reader in (front(one, pages=pages), Reader(pages.transform(one, 60.0, "/metrics", MOMENT).body))
        ]

    assert tags(text + sharp + text) == tags("plain")


@pytest.mark.parametrize(
    ("region", "domain"),
    [
        ("eu-west-1", "eu-west-1.console.aws.amazon.com"),
        ("cn-north-1", "cn-north-1.console.amazonaws.cn"),
        ("us-gov-west-1", "us-gov-west-1.console.amazonaws-us-gov.com"),
    ],
)
def test_consoles_lie_in_the_partition_of_the_region(region: str, domain: str) -> None:
    """Links to Glue, CloudWatch and S3 lead to the consoles of the region's own partition."""
    assert consoles.glue(region) == f"https://{domain}/glue/home?region={region}"
    assert consoles.log_group(region, "/aws-glue/ml") == (
        f"https://{domain}/cloudwatch/home?region={region}#logsV2:log-groups/log-group/$252Faws-glue$252Fml"
    )
    assert consoles.job_run(region, "a b", "jr_1") == (
        f"https://{domain}/gluestudio/home?region={region}#/job/a%20b/run/jr_1"
    )
    assert (
        consoles.s3(region, "s3://bucket/a/b.csv") == f"https://{domain}/s3/buckets/bucket?region={region}&prefix=a%2F"
    )


def test_no_link_where_none_is_known() -> None:
    """Where there is no public console, or no path, the text stands without a link."""
    assert consoles.glue("us-iso-east-1") is None
    assert consoles.s3("us-iso-east-1", "s3://bucket/a") is None
    assert consoles.s3("eu-west-1", "javascript:alert(1)") is None
    assert consoles.log_group("eu-west-1", None) is None
    assert consoles.job_run("eu-west-1", "a", None) is None


def test_the_exporter_tells_how_it_does() -> None:
    """Requests, throttling, waiting and failed polls by reason stand there by account and region, and the state."""
    telemetry = Telemetry(process=False)
    telemetry.expect_state()
    telemetry.expect([LANE], REASONS)
    telemetry.api_requests.labels(*LANE, "GetMLTaskRuns", "OK").inc(1233)
    telemetry.api_requests.labels(*LANE, "GetMLTaskRuns", "ThrottlingException").inc(7)
    telemetry.poll_errors.labels(*LANE, "timeout").inc(3)
    telemetry.api_request_delay.labels(*LANE).inc(61)
    telemetry.state_write_errors.inc()
    one = report()
    health = health_of(
        telemetry, [one], shard=Shard(1, 3), state_path="/var/lib/state.db", interval=60.0, lookback=3600.0
    )
    (lane,) = health.lanes
    assert (lane.requests, lane.throttled, lane.waited, lane.errors) == (1240, 7, 61.0, (("timeout", 3),))
    text = Reader(PAGES.front([one], health, {}, "/metrics", MOMENT).body).text
    for expected in (
        "1,240",
        "3 timeout",
        "1m1s",
        "/var/lib/state.db",
        "1 write to the state file failed",
        "refused",
        "1 of 3",
    ):
        assert expected in text


def test_a_failed_poll_is_told_once_and_with_advice() -> None:
    """The reason by which it is counted stands there once, then what AWS said and what the reader may do."""
    said = GlueError("AccessDeniedException", "GetMLTaskRuns: AccessDeniedException: no", advice="allow it")
    assert said.told == "GetMLTaskRuns: AccessDeniedException: no; allow it"
    assert GlueError("timeout", "no answer within 30s").told == "timeout: no answer within 30s"
