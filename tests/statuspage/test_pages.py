"""The pages show the right text for made-up reports; these tests use no browser."""

from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.counting.latest import GaugeValues, LatestRun
from exporter.counting.recent_runs import RecentRun
from exporter.exposition.snapshot import PollResult, TransformSnapshot
from exporter.glue.error_table import REASONS
from exporter.model.shard import Shard
from exporter.model.task_run import NO_PROPERTIES, Properties, TaskRun
from exporter.model.transform import Details, Lane, Target
from exporter.statuspage.exporter_health import read_health
from exporter.statuspage.pages import StatusPages
from exporter.statuspage.rows import TIME_PLACEHOLDER
from exporter.statuspage.run_strip import render_strip
from exporter.statuspage.summary import Health, TransformReport
from exporter.statuspage.times import PageTime
from exporter.telemetry import Telemetry
from tests.exposition.snapshots import snapshot

NOW = 1_790_000_000.0
PAGE_TIME = PageTime(NOW, 500.0)
LANE = Lane("default", "eu-west-1")
PAGES = StatusPages()


class Reader(HTMLParser):
    """Collects the tags, the text and the attribute values of a page."""

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


def front(
    *reports: TransformReport, pages: StatusPages = PAGES, page_time: PageTime = PAGE_TIME, **query: str
) -> Reader:
    telemetry = Telemetry(process=False)
    telemetry.create_series([one.target.lane for one in reports], REASONS)
    health = read_health(telemetry, reports, shard=Shard(), state_path=None, interval=60.0, lookback=2_592_000.0)
    return Reader(pages.front(reports, health, query, "/metrics", page_time).body)


def order(reader: Reader) -> list[str]:
    return [value.removeprefix("t-") for value in reader.values if value.startswith("t-")]


FAILED_LAST = {"FIND_MATCHES": LatestRun(success=NOW - 900, failed=NOW - 300)}
SUCCEEDED_LAST = {"FIND_MATCHES": LatestRun(success=NOW - 100, failed=NOW - 300)}
DOWN = PollResult(up=False, tried=NOW, succeeded=NOW - 90, duration=0.1, error="AccessDeniedException: not allowed")


@pytest.mark.parametrize(
    ("one", "health"),
    [
        (TransformReport(Target("tfm-a", LANE), None, (), due=None), Health.WAITING),
        (report(poll=None), Health.WAITING),
        (report(), Health.OK),
        (report(latest=SUCCEEDED_LAST), Health.OK),
        (report(latest=FAILED_LAST), Health.FAILING),
        (report(latest={**SUCCEEDED_LAST, "EVALUATION": LatestRun(timeout=NOW - 5)}), Health.FAILING),
        (report(latest=FAILED_LAST, poll=DOWN), Health.DOWN),
    ],
)
def test_health_of_a_transform(one: TransformReport, health: Health) -> None:
    """A failed poll is Down, a task type without success since its last failure is Failing, no poll yet is Waiting."""
    assert one.summary().health is health
    assert health.value in front(one).text


def test_rows_are_sorted_by_health_then_name() -> None:
    """Rows are sorted by state (Down, Failing, Waiting, OK), then by name without case, then by id."""
    reports = [
        report("tfm-1"),
        report("tfm-2", details=Details(name="Beta")),
        report("tfm-3", details=Details(name="alpha")),
        report("tfm-4", poll=None),
        report("tfm-5", latest=FAILED_LAST),
        report("tfm-6", poll=DOWN),
    ]
    assert order(front(*reports)) == [f"tfm-{number}" for number in (6, 5, 4, 3, 2, 1)]


def test_the_filter_selects_rows() -> None:
    """The filter keeps rows that contain all its words; `show` keeps rows with problems or active runs."""
    with_label = Target("tfm-2", Lane("prod", "us-east-1"), "Customers", {"team": "Data"})
    reports = [
        report("tfm-1", latest=FAILED_LAST),
        TransformReport(
            with_label,
            snapshot("tfm-2", target=with_label, gauge_values=GaugeValues({("X", "RUNNING"): 1}, {}, {"X": NOW})),
            (),
            1.0,
        ),
    ]
    expected = {
        "customers PROD": ["tfm-2"],
        "data us-east": ["tfm-2"],
        "tfm": ["tfm-1", "tfm-2"],
        "failing": ["tfm-1"],
        "prod eu-west": [],
        "": ["tfm-1", "tfm-2"],
    }
    assert {words: order(front(*reports, q=words)) for words in expected} == expected
    assert order(front(*reports, show="problems")) == ["tfm-1"]
    assert order(front(*reports, show="active")) == ["tfm-2"]
    assert order(front(*reports, show="nonsense")) == ["tfm-1", "tfm-2"]


def test_a_row_shows_the_error() -> None:
    """A row that is Down shows the error of the poll; a row that is Failing shows the error string of the run."""
    failed = run(status="FAILED", error="No such bucket")
    assert "AccessDeniedException: not allowed" in front(report(poll=DOWN)).text
    text = front(report(latest=FAILED_LAST, runs=(run(), failed))).text
    assert "FIND_MATCHES FAILED 5m ago: No such bucket" in text
    assert "FIND_MATCHES failed 5m ago" in front(report(latest=FAILED_LAST, runs=(run(),))).text


def test_a_kept_row_shows_current_times() -> None:
    """A row from an earlier request shows current times, and is rendered again when its text changes."""
    pages = StatusPages()
    one = report(latest=FAILED_LAST, runs=(run(status="FAILED", error="no-bucket"),))
    before = front(one, pages=pages).text
    assert "15m ago" in before
    assert "next in 12s" in before
    later = front(one, pages=pages, page_time=PageTime(NOW + 60, 505.0)).text
    assert "16m ago" in later
    assert "next in 7s" in later
    healed = replace(one, snapshot=replace(one.snapshot, latest=SUCCEEDED_LAST))  # type: ignore[type-var] # it is one
    assert "no-bucket" not in front(healed, pages=pages).text
    assert TIME_PLACEHOLDER not in later + front(pages=pages).text


def test_a_bar_of_the_run_strip_shows_status_time_and_duration() -> None:
    """Bars go from old to new; each has the duration as height and a tooltip. Screen readers get a summary."""
    runs = (
        run(status="RUNNING", completed=None),
        run(status="FAILED", started=NOW - 4000, completed=NOW - 3900),
        run(started=NOW - 9000, completed=NOW - 8200),
        run(status="BRAND_NEW", completed=NOW),
    )
    reader = Reader(render_strip([RecentRun(one, NO_PROPERTIES) for one in runs]).encode())
    classes = [value for value in reader.values if len(value) == 4 and value[2] == "h"]
    assert classes == ["u h6", "s h8", "f h1", "a h8"]
    assert "FAILED · FIND_MATCHES · 2026-09-21T13:06Z · 1m40s" in reader.values
    assert "Last 4 runs: 1 RUNNING, 1 FAILED, 1 SUCCEEDED, 1 BRAND_NEW" in reader.values
    assert "No runs yet" in render_strip(())


def test_unknown_counts_are_not_shown_as_zero() -> None:
    """Counts of a transform whose data is too old are "unknown"; counts of a transform without runs are "none"."""
    assert "unknown" in front(report(gauge_values=None)).text
    assert "unknown" not in front(report()).text
    page = PAGES.transform(report(gauge_values=None), 60.0, "/metrics", PAGE_TIME).body.decode()
    assert "Unknown until a poll succeeds." in page


@settings(max_examples=25, deadline=None)
@given(
    st.text(st.characters(codec="utf-8"), max_size=60),
    st.sampled_from(["<b>", "</td>", "&lt;", '"', '"><b>', "{{ 1 }}", ""]),
)
def test_text_from_outside_never_becomes_markup(text: str, markup: str) -> None:
    """No name, id, error string, log group or path changes the tags of either page."""
    pages = StatusPages()

    def tags(text: str) -> list[Counter[str]]:
        target = Target(f"tfm-{text}", LANE, f"n{text}", {"team": f"l{text}"})
        view = GaugeValues({(f"T{text}", f"S{text}"): 3}, {}, {})
        shown = snapshot(target=target, latest=FAILED_LAST, gauge_values=view, details=Details(status=f"s{text}"))
        failed = run(run_id=f"r{text}", status="FAILED", error=f"e{text}", log_group=f"g{text}")
        properties = Properties(f"s3://b{text}", True, f"s3://b{text}/", f"j{text}", f"j{text}", f"j{text}")
        odd = run(run_id="tsk-2", status=f"S{text}", task_type=f"T{text}")
        one = TransformReport(target, shown, (RecentRun(failed, properties), RecentRun(odd, NO_PROPERTIES)), 1.0)
        return [
            Counter(reader.tags)
            for reader in (front(one, pages=pages), Reader(pages.transform(one, 60.0, "/metrics", PAGE_TIME).body))
        ]

    assert tags(text + markup + text) == tags("plain")


def test_the_front_page_shows_the_health_of_the_exporter() -> None:
    """The page shows requests, throttling, waits and failed polls by reason for each lane, and the state file."""
    telemetry = Telemetry(process=False)
    telemetry.add_state_metrics()
    telemetry.create_series([LANE], REASONS)
    telemetry.api_requests.labels(*LANE, "GetMLTaskRuns", "OK").inc(1233)
    telemetry.api_requests.labels(*LANE, "GetMLTaskRuns", "ThrottlingException").inc(7)
    telemetry.poll_errors.labels(*LANE, "timeout").inc(3)
    telemetry.api_request_delay.labels(*LANE).inc(61)
    telemetry.state_write_errors.inc()
    one = report()
    health = read_health(
        telemetry, [one], shard=Shard(1, 3), state_path="/var/lib/state.db", interval=60.0, lookback=3600.0
    )
    (lane,) = health.lanes
    assert (lane.requests, lane.throttled, lane.waited, lane.errors) == (1240, 7, 61.0, (("timeout", 3),))
    text = Reader(PAGES.front([one], health, {}, "/metrics", PAGE_TIME).body).text
    for expected in (
        "1,240",
        "3 timeout",
        "1m1s",
        "/var/lib/state.db",
        "1 write to the state file failed",
        "has errors",
        "1 of 3",
    ):
        assert expected in text
