"""The pages show the right text for made-up reports; these tests use no browser."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config.durations import parse_duration
from exporter.config.thresholds import read_thresholds
from exporter.config.timestamps import format_age
from exporter.counting.latest import GaugeValues, LatestRun
from exporter.counting.recent_runs import RecentRun
from exporter.exposition.snapshot import PollResult, TransformSnapshot
from exporter.glue.error_table import REASONS
from exporter.model.shard import Shard
from exporter.model.task_run import NO_PROPERTIES, Properties, TaskRun
from exporter.model.transform import Details, Lane, Target
from exporter.statuspage.exporter_health import read_health
from exporter.statuspage.limits import default_limits
from exporter.statuspage.pages import StatusPages, short_id
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
LIMITS = default_limits()
DAY = 86_400.0


class Reader(HTMLParser):
    """Collects the tags, the text and the attribute values of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.values: list[str] = []
        self.links: dict[str, str] = {}
        self._link = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [value or "" for _, value in attrs]
        self._link = dict(attrs).get("href") or "" if tag == "a" else ""

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] not in {"style", "script"}:
            self.texts.append(data)
        if self._link:
            self.links[data] = self._link

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.texts))


def report(transform_id: str = "tfm-a", *, runs: tuple[TaskRun, ...] = (), **changes: Any) -> TransformReport:
    shown: TransformSnapshot = snapshot(transform_id, **changes)
    return TransformReport(shown.target, shown, tuple(RecentRun(run, NO_PROPERTIES) for run in runs), due=512.0)


def run(**changes: Any) -> TaskRun:
    return TaskRun("tsk-1", "FIND_MATCHES", "SUCCEEDED", NOW - 600, NOW - 300, 200.0)._replace(**changes)


def front(
    *reports: TransformReport,
    pages: StatusPages = PAGES,
    page_time: PageTime = PAGE_TIME,
    errors: Mapping[str, Any] = MappingProxyType({}),
    **query: str,
) -> Reader:
    telemetry = Telemetry(process=False)
    telemetry.create_series([one.target.lane for one in reports], REASONS)
    for lane in errors.get("discovery_errors", ()):
        telemetry.discovery_up.labels(*lane).set(0)
    health = read_health(
        telemetry, reports, shard=Shard(), state_path=None, interval=60.0, lookback=2_592_000.0, **errors
    )
    return Reader(pages.front(reports, health, query, "/metrics", page_time).body)


def order(reader: Reader) -> list[str]:
    return [value.removeprefix("t-") for value in reader.values if value.startswith("t-")]


FAILED_LAST = {"FIND_MATCHES": LatestRun(success=NOW - 900, failed=NOW - 300)}
SUCCEEDED_LAST = {"FIND_MATCHES": LatestRun(success=NOW - 100, failed=NOW - 300)}
DOWN = PollResult(
    up=False,
    tried=NOW,
    succeeded=NOW - 90,
    duration=0.1,
    error="AccessDeniedException: not allowed",
    reason="AccessDeniedException",
    down_since=NOW - 30,
)


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
    assert one.summary(LIMITS, NOW).health is health
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
    succeeded = run(completed=NOW - 900)
    text = front(report(latest=FAILED_LAST, runs=(failed, succeeded))).text
    assert "FIND_MATCHES FAILED other for 5m success due in 6d23h Console Runbook No such bucket" in text
    assert "FIND_MATCHES FAILED" in front(report(latest=FAILED_LAST, runs=(run(),))).text


def test_a_failure_shows_the_error_and_the_log_of_the_run_that_ended_last() -> None:
    """Error, class and log are those of the run that ended last, also if another run started after it."""
    last = run(status="FAILED", started=NOW - 900, completed=NOW - 300, error="Access Denied", log_group="/last")
    short = run(status="FAILED", started=NOW - 500, completed=NOW - 400, error="Out of memory", log_group="/short")
    latest = {"FIND_MATCHES": LatestRun(failed=NOW - 300, failed_error="Access Denied")}
    (problem,) = report(latest=latest, runs=(short, last)).summary(LIMITS, NOW).problems
    assert (problem.why, problem.reason, problem.log_group) == ("Access Denied", "access_denied", "/last")


@pytest.mark.parametrize(
    ("oldest", "row", "page"),
    [
        (run(completed=NOW - 9000), "for 2h ", "Since2h ago"),
        (run(status="STOPPED", completed=NOW - 9000), "for at least 2h ", "At least since2h ago"),
    ],
)
def test_a_transform_fails_since_the_first_failure_after_the_success(oldest: TaskRun, row: str, page: str) -> None:
    """The time is that of the first failure after the latest success; "at least" if the successful run is not known."""
    ends = (("FAILED", 300), ("TIMEOUT", 3600), ("FAILED", 7200))
    failures = [run(status=status, completed=NOW - ago) for status, ago in ends]
    before = run(status="FAILED", completed=NOW - 9900)
    label = run(task_type="IMPORT_LABELS", status="FAILED", completed=NOW - 8000)
    latest = {"FIND_MATCHES": LatestRun(success=NOW - 9000, failed=NOW - 300, timeout=NOW - 3600)}
    one = report(latest=latest, runs=(*failures, label, oldest, before))
    assert f"FIND_MATCHES FAILED other {row}" in front(one).text
    assert page in Reader(PAGES.transform(one, 60.0, "/metrics", PAGE_TIME).body).text


def test_a_kept_row_shows_current_times() -> None:
    """A row from an earlier request shows current times, and is rendered again when its text changes."""
    pages = StatusPages()
    one = report(latest=FAILED_LAST, runs=(run(status="FAILED", error="no-bucket"), run(completed=NOW - 900)))
    before = front(one, pages=pages).text
    assert "15m ago" in before
    assert "for 5m" in before
    later = front(one, pages=pages, page_time=PageTime(NOW + 60, 505.0)).text
    assert "16m ago" in later
    assert "for 6m" in later
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


@pytest.mark.slow
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
    one = report()
    health = read_health(
        telemetry,
        [one],
        shard=Shard(1, 3),
        state_path="/var/lib/state.db",
        state_error="/var/lib/state.db: database or disk is full",
        interval=60.0,
        lookback=3600.0,
    )
    (lane,) = health.lanes
    assert (lane.requests, lane.throttled, lane.waited, lane.errors) == (1240, 7, 61.0, (("timeout", 3),))
    text = Reader(PAGES.front([one], health, {}, "/metrics", PAGE_TIME).body).text
    for expected in (
        "1,240",
        "3 timeout",
        "1m1s",
        "/var/lib/state.db",
        "The state file cannot be written, and counters wait until it can.",
        "database or disk is full",
        "1 of 3",
    ):
        assert expected in text


HANGS = GaugeValues({("FIND_MATCHES", "RUNNING"): 1}, {}, {"FIND_MATCHES": NOW - 9 * DAY})
OTHER_TYPE = GaugeValues({("EXPORT_LABELS", "RUNNING"): 1}, {}, {"EXPORT_LABELS": NOW - 3000})
FINE = {"FIND_MATCHES": LatestRun(success=NOW - 7000)}
OLD = {"FIND_MATCHES": LatestRun(success=NOW - 8 * DAY)}
STOPPED = (run(status="STOPPED", started=NOW - 8 * DAY, completed=NOW - 8 * DAY),)


def expecting(**expected: float) -> Target:
    return Target("tfm-a", LANE, **expected)  # type: ignore[arg-type] # only numbers


@pytest.mark.parametrize(
    ("one", "health", "said"),
    [
        (report(gauge_values=HANGS), Health.TOO_LONG, "FIND_MATCHES is active for 9d end due 8d ago"),
        (report(gauge_values=OTHER_TYPE), Health.OK, ""),
        (
            report(gauge_values=OTHER_TYPE, target=expecting(expected_duration=1800.0)),
            Health.TOO_LONG,
            "No run should be active for longer than 30m.",
        ),
        (report(gauge_values=HANGS, target=expecting(expected_duration=10 * DAY)), Health.OK, ""),
        (report(latest=OLD), Health.OVERDUE, "No FIND_MATCHES success for 8d success due 1d ago"),
        (report(latest=OLD, target=expecting(expected_interval=10 * DAY)), Health.OK, ""),
        (
            report(latest=FINE, target=expecting(expected_interval=3600.0)),
            Health.OVERDUE,
            "A run should succeed at least every 1h.",
        ),
        (report(latest={"EVALUATION": LatestRun(success=NOW - 8 * DAY)}), Health.OK, ""),
        (
            report(watched_since=NOW - 7200, target=expecting(expected_interval=3600.0)),
            Health.OVERDUE,
            "No FIND_MATCHES success for 2h success due 1h ago",
        ),
        (report(watched_since=NOW - 30 * DAY), Health.OK, ""),
        (report(runs=STOPPED), Health.OVERDUE, "No FIND_MATCHES success for 8d"),
        (
            report(details=Details(status="NOT_READY"), not_ready_since=NOW - 7200),
            Health.NOT_READY,
            "NOT_READY in Glue for 2h",
        ),
        (report(details=Details(status="READY")), Health.OK, ""),
    ],
)
def test_the_page_judges_by_the_thresholds_of_the_alerts(one: TransformReport, health: Health, said: str) -> None:
    """A run that hangs, a success that is overdue and a transform that is not READY are problems, as for the alerts."""
    assert one.summary(LIMITS, NOW).health is health
    assert said in front(one).text
    page = Reader(PAGES.transform(one, 60.0, "/metrics", PAGE_TIME).body).text
    assert health.value in page
    assert all(asked in page for asked in ("Why", "Since", "Expected", "Next step")) is bool(said)


def test_the_limits_are_those_of_the_rules() -> None:
    """The page has no thresholds of its own: its limits are the defaults of the settings of the rules."""
    alerts = read_thresholds(None).alerts
    assert parse_duration(alerts.GlueMLTaskRunActiveTooLong.at_most) == LIMITS.active
    assert parse_duration(alerts.GlueMLTaskRunNoSuccess.at_most) == LIMITS.success_interval
    assert alerts.GlueMLRegionDown.ratio == LIMITS.outage_ratio
    for problem in (
        *report(latest=FAILED_LAST, poll=DOWN, gauge_values=HANGS, details=Details(status="X"))
        .summary(LIMITS, NOW)
        .problems,
        *report(latest=OLD).summary(LIMITS, NOW).problems,
    ):
        assert problem.alert in type(alerts).model_fields
        assert LIMITS.runbook(problem.alert) == f"{LIMITS.runbook_url}/{problem.alert}.md"


def test_a_kept_row_becomes_a_problem_when_its_time_comes() -> None:
    """A row whose expectation is missed between two polls changes, although nothing was polled."""
    pages = StatusPages()
    one = report(latest=FINE, target=expecting(expected_interval=7200.0))
    assert "Overdue" not in front(one, pages=pages).text
    assert "Overdue" in front(one, pages=pages, page_time=PageTime(NOW + 300, 505.0)).text


def outage(count: int, *, down: int, since: float = NOW - 7200, **changes: Any) -> list[TransformReport]:
    poll = replace(DOWN, error="connection: refused", reason="connection", down_since=since)
    return [
        report(f"tfm-{number}", account_id="123456789012", **({"poll": poll} | changes if number < down else {}))
        for number in range(count)
    ]


def test_an_outage_is_said_once() -> None:
    """The top of the page says account, region, cause, number and since when; the rows do not repeat the cause."""
    text = front(*outage(300, down=300)).text
    assert (
        "Account default (123456789012), eu-west-1: 300 of 300 transforms down since 2026-09-21 12:13 (2h ago)" in text
    )
    assert text.count("connection: refused") == 1
    assert "Polls fail" not in text


def test_an_outage_hides_only_what_it_explains() -> None:
    """A failure that was known before, and a poll that fails for another reason, stay visible and come first."""
    reports = outage(6, down=4)
    reports[1] = report("tfm-1", poll=reports[0].snapshot.poll, latest=FAILED_LAST)  # type: ignore[union-attr] # it has one
    reports[2] = report("tfm-2", poll=DOWN)
    reader = front(*reports)
    assert "4 of 6 transforms down" in reader.text
    assert "AccessDeniedException: not allowed" in reader.text
    assert "FIND_MATCHES FAILED other for at least 5m" in reader.text
    assert order(reader)[:4] == ["tfm-2", "tfm-1", "tfm-0", "tfm-3"]


@pytest.mark.parametrize(("count", "down", "is_outage"), [(2, 2, False), (3, 2, True), (4, 2, False), (4, 3, True)])
def test_an_outage_is_what_the_alert_calls_one(count: int, down: int, is_outage: bool) -> None:
    """More than half of at least three transforms are down; a transform that does not exist is not part of it."""
    assert ("transforms down since" in front(*outage(count, down=down)).text) is is_outage
    gone = replace(DOWN, reason="EntityNotFoundException")
    assert "transforms down since" not in front(*outage(count, down=down, poll=gone)).text


def test_an_outage_begins_when_the_share_is_exceeded() -> None:
    """A transform that had been down for days before does not make the outage older."""
    reports = [*outage(1, down=1, since=NOW - 9 * DAY), *outage(4, down=4, since=NOW - 600)]
    assert "5 of 5 transforms down since 2026-09-21 14:03 (10m ago)" in front(*reports).text


def test_many_outages_do_not_fill_the_page() -> None:
    """The top of the page shows five outages and the number of the others."""
    reports = [
        replace(one, target=replace(one.target, lane=Lane(f"account-{number}", "eu-west-1")))
        for number in range(9)
        for one in outage(3, down=3)
    ]
    text = front(*reports).text
    assert text.count("transforms down since") == 5
    assert "4 more accounts and regions are down" in text


def test_a_banner_says_the_cause_and_goes_with_it() -> None:
    """A refused configuration and a failed discovery show their message while they last, and not afterwards."""
    lines = [f"config.yaml:{line}:1: key{line}: is not a setting" for line in range(1, 13)]
    errors = {
        "config_error": "\n".join(lines),
        "web_config_error": "web.yml:1:1: tls_server_confg: is not a setting",
        "discovery_errors": {LANE: "ThrottlingException: slow down"},
    }
    text = front(report(), errors=errors).text
    assert "The configuration on disk has errors and is not in use." in text
    assert lines[9] in text
    assert lines[10] not in text
    assert "2 more lines" in text
    assert "The web configuration on disk has errors and is not in use." in text
    assert "tls_server_confg" in text
    assert "Account default, eu-west-1: discovery fails, so new transforms are not found ThrottlingException" in text
    assert "alert" not in front(report()).values
    assert "discovery fails" not in front(*outage(3, down=3), errors=errors).text


def test_the_newest_failure_comes_first() -> None:
    """Of the transforms that fail, that with the newest failure comes first; in other states, the newest problem."""
    reports = [
        report(
            f"tfm-{age}",
            latest={"FIND_MATCHES": LatestRun(success=NOW - 9000, failed=NOW - age)},
            runs=(run(status="FAILED", completed=NOW - age), run(status="FAILED", completed=NOW - 8000 + age)),
        )
        for age in (500, 100, 900, 300)
    ]
    hanging = [
        report(f"tfm-{days}d", gauge_values=replace(HANGS, oldest_active={"FIND_MATCHES": NOW - days * DAY}))
        for days in (8, 7)
    ]
    expected = ["tfm-100", "tfm-300", "tfm-500", "tfm-900", "tfm-7d", "tfm-8d"]
    assert order(front(*reports, *hanging)) == expected


def test_columns_sort_by_links() -> None:
    """The head of a column is a link that sorts by it, and then one that reverses the order; no value comes last."""
    reports = [
        report(
            "tfm-1", details=Details(name="b"), latest={"FIND_MATCHES": LatestRun(success=NOW - 50, failed=NOW - 90)}
        ),
        report("tfm-2", details=Details(name="C"), latest={"FIND_MATCHES": LatestRun(success=NOW - 70)}),
        report(
            "tfm-3", details=Details(name="a"), latest={"FIND_MATCHES": LatestRun(success=NOW - 60, failed=NOW - 80)}
        ),
    ]
    expected = {
        "name": ["tfm-3", "tfm-1", "tfm-2"],
        "-name": ["tfm-2", "tfm-1", "tfm-3"],
        "success": ["tfm-2", "tfm-3", "tfm-1"],
        "failure": ["tfm-3", "tfm-1", "tfm-2"],
        "-failure": ["tfm-1", "tfm-3", "tfm-2"],
        "nonsense": ["tfm-3", "tfm-1", "tfm-2"],
    }
    assert {sort: order(front(*reports, sort=sort)) for sort in expected} == expected
    by_name = front(*reports, sort="name", q="tfm")
    assert by_name.links["Transform"] == "./?q=tfm&sort=-name"
    assert by_name.links["Last failure"] == "./?q=tfm&sort=failure"
    assert by_name.links["State"] == "./?q=tfm"
    assert by_name.values.count("ascending") == 1


def test_ids_that_differ_only_at_the_end_stay_apart() -> None:
    """A long id is cut in its middle; the whole id is in the tooltip."""
    ids = [f"tfm-{'0' * 39}{end}" for end in "ab"]
    reader = front(*(report(one, details=Details(name="same")) for one in ids))
    assert [short_id(one) for one in ids] == ["tfm-…0000000a", "tfm-…0000000b"]
    assert all(short_id(one) in reader.text and one in reader.values for one in ids)


def test_the_oldest_active_run_stands_first_on_its_page() -> None:
    """The page of a transform begins with the active runs, the oldest first."""
    active = {"status": "RUNNING", "completed": None}
    runs = (
        run(run_id="tsk-new", started=NOW - 10, **active),
        run(run_id="tsk-ended", started=NOW - 20),
        run(run_id="tsk-old", started=NOW - 900_000, **active),
    )
    page = Reader(PAGES.transform(report(runs=runs), 60.0, "/metrics", PAGE_TIME).body)
    assert [one for one in page.values if one.startswith("r-tsk")] == ["r-tsk-old", "r-tsk-new", "r-tsk-ended"]


def test_the_page_for_an_unknown_address_leads_back() -> None:
    """All links of the page for an unknown address are relative to the front page."""
    page = Reader(PAGES.not_found("../../", "/metrics", PAGE_TIME).body)
    assert page.links["All transforms"] == "../../"
    assert page.links["Metrics"] == "../../metrics"


def test_a_task_type_that_fails_is_not_overdue_too() -> None:
    """A failure without a success for days is one problem: it says when the success was due."""
    failed = {"FIND_MATCHES": LatestRun(success=NOW - 9 * DAY, failed=NOW - 300)}
    (problem,) = report(latest=failed).summary(LIMITS, NOW).problems
    assert (problem.health, problem.due) == (Health.FAILING, NOW - 2 * DAY)


@given(st.floats(-1e13, 1e13) | st.floats(-1e5, 1e5))
def test_the_age_on_the_page_is_that_of_the_log(distance: float) -> None:
    """The page shows the same age as `format_age`, to the second."""
    seconds = float(int(distance)) if abs(distance) < 1e12 else distance
    assert PageTime(seconds, 0.0).ago(0.0) == format_age(0.0, seconds)
