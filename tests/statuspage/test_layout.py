"""The layout of made-up pages in a browser: many transforms, an outage, a refused configuration, a phone."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from exporter.counting.latest import LatestRun
from exporter.counting.recent_runs import RecentRun
from exporter.model.shard import Shard
from exporter.model.task_run import NO_PROPERTIES
from exporter.model.transform import Details
from exporter.statuspage import TransformReport, read_health
from exporter.telemetry import Telemetry
from tests.statuspage.browsing import DESKTOP, PHONE, looking
from tests.statuspage.test_pages import DAY, DOWN, FAILED_LAST, HANGS, NOW, OLD, PAGE_TIME, PAGES, outage, report, run
from tests.web.serving import FakeBackend, serving
from tests.web.serving import Page as SentPage

pytestmark = pytest.mark.slow

_CUT_OFF = """
[...document.querySelectorAll(".transforms .id, .transforms td.success")]
  .filter(one => one.getBoundingClientRect().right > one.closest("td, th").getBoundingClientRect().right
    || (one.tagName === "TD" && one.scrollWidth > one.clientWidth))
  .map(one => one.textContent)
"""
"""The ids and times that are wider than their place."""

LONG_ERROR = "Job aborted due to stage failure: " + "no space left on device, " * 30
RUNS = tuple(
    RecentRun(run(run_id=f"tsk-{number}", started=NOW - number * 3600, completed=NOW - number * 3500), NO_PROPERTIES)
    for number in range(1, 51)
)


def transforms(count: int) -> list[TransformReport]:
    """Give this number of transforms with fifty runs; the first ones have one problem each."""
    failed = LatestRun(success=NOW - DAY, failed=NOW - 300, failed_error=LONG_ERROR)
    problems: list[dict[str, Any]] = [
        {"latest": {"FIND_MATCHES": failed}},
        {"poll": DOWN},
        {"gauge_values": HANGS},
        {"latest": OLD},
        {"details": Details(name="untrained", status="NOT_READY"), "not_ready_since": NOW - 7200},
    ]
    fine = {"details": Details(name="customers-dedup"), "latest": {"FIND_MATCHES": LatestRun(success=NOW - 60)}}
    return [
        replace(report(f"tfm-{number:040x}", **(problems[number] if number < len(problems) else fine)), recent=RUNS)
        for number in range(count)
    ]


@contextmanager
def shown(
    browser: Browser,
    reports: list[TransformReport],
    errors: Mapping[str, Any] | None = None,
    query: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[Page]:
    """Open the front page with these transforms in the browser."""
    health = read_health(
        Telemetry(process=False),
        reports,
        shard=Shard(),
        state_path=None,
        interval=60.0,
        lookback=30 * DAY,
        **(errors or {}),
    )
    page = PAGES.front(reports, health, query or {}, "/metrics", PAGE_TIME)
    with (
        serving(FakeBackend(page=SentPage(page.body, page.policy))) as served,
        looking(browser, f"127.0.0.1:{served.port}", **options) as watched,
    ):
        yield watched.go()


def height(page: Page, selector: str) -> float:
    box = page.locator(selector).first.bounding_box()
    assert box is not None
    return box["height"]


def test_three_hundred_transforms_fit_in_a_quarter_of_their_former_height(browser: Browser) -> None:
    """A row without a problem is one line. Long errors are cut to two lines. The page needed 25,900 pixels before."""
    with shown(browser, transforms(300)) as page:
        size = page.locator("html").bounding_box()
        assert size is not None
        assert size["height"] <= 25_900 / 4
        assert height(page, "tbody[id]:not(.problem)") < 20
        assert page.evaluate(_CUT_OFF) == []
        line = 16
        assert height(page, ".problem .why") <= 2 * line
        assert page.locator(".problem .why", has_text="Job aborted").inner_text() == LONG_ERROR.strip()


def test_a_phone_folds_what_has_no_problem(browser: Browser) -> None:
    """A phone shows the problems; a checkbox shows the other transforms, one line each. A filter unfolds them."""
    healthy = "tbody[id]:not(.problem)"
    with shown(browser, transforms(300), viewport=PHONE) as page:
        expect(page.locator("tbody.problem")).to_have_count(5)
        expect(page.locator(healthy).first).to_be_hidden()
        page.get_by_label("Show the 295 transforms without a problem of their own").check()
        expect(page.locator(healthy).first).to_be_visible()
        assert height(page, healthy) < 35
        assert page.locator("html").evaluate("html => html.scrollWidth") <= PHONE["width"]
    for reports, query in ((transforms(9), {}), (transforms(300), {"q": "customers"})):
        with shown(browser, reports, query=query, viewport=PHONE) as page:
            expect(page.locator(healthy).first).to_be_visible()


def test_on_a_phone_the_error_stands_under_the_name(browser: Browser) -> None:
    """The error is between the name and the other values."""
    with shown(browser, [report(latest=FAILED_LAST)], viewport=PHONE) as page:
        parts = ("tbody.problem th", "tbody.problem .facts", "tbody.problem .why", "tbody.problem td.lane")
        boxes = [page.locator(part).bounding_box() for part in parts]
        tops = [box["y"] for box in boxes if box is not None]
        assert len(tops) == 4
        assert tops == sorted(tops)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_pages_with_problems_are_accessible(browser: Browser, viewport: Any, scheme: Any) -> None:
    """On pages with every problem, an outage and a refused configuration, axe finds nothing and nothing is cut off."""
    refused = {"config_error": "config.yaml:7:3: polling.intervall: is not a setting; did you mean interval?"}
    for reports in (transforms(20), outage(4, down=4, latest=FAILED_LAST)):
        with shown(
            browser, reports, refused, {"sort": "-name"}, viewport=viewport, color_scheme=scheme, bypass_csp=True
        ) as page:
            assert page.locator("html").evaluate("html => html.scrollWidth") <= viewport["width"]
            found = Axe().run(page)
            assert found.violations_count == 0, found.generate_report()
