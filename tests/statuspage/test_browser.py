"""The pages in a browser, over HTTP, from an exporter that polls a simulator."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from exporter.simulator import Simulator
from tests.running import Running, running
from tests.statuspage.browsing import DESKTOP, PHONE, looking
from tests.web.serving import serving

pytestmark = pytest.mark.slow

HOSTILE = "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">\u202e\"'`${7*7}{{7*7}}"
HOSTILE_ID = "tfm-'\"><script>alert(1)</script>/..?#%2F&"

SCENARIO: dict[str, Any] = {
    "transforms": [
        {"id": "tfm-good", "name": "customers", "quality": {"f1": 0.9}, "labels": 12, "worker_type": "G.1X"},
        {"id": "tfm-bad", "name": "suppliers"},
        {"id": "tfm-busy", "name": "products"},
        {"id": HOSTILE_ID, "name": HOSTILE[:255]},
        {"id": "tfm-quiet", "name": "archive"},
    ]
}


class Stage:
    """A simulator with runs of every status, the exporter that polls it, and its address."""

    def __init__(self, simulator: Simulator, exporter: Running, address: str) -> None:
        self.simulator, self.exporter, self.address = simulator, exporter, address


def populate(simulator: Simulator, now: float) -> None:
    world = simulator.world
    for number in range(60):
        started = now - 90_000 + number * 1200
        world.add_run("tfm-good", status="SUCCEEDED", started=started, completed=started + 60 + number)
    world.add_run("tfm-bad", status="SUCCEEDED", started=now - 9000, completed=now - 8000)
    world.add_run(
        "tfm-bad",
        "IMPORT_LABELS",
        status="FAILED",
        started=now - 7000,
        completed=now - 6900,
        run_id="tsk-import",
        fields={
            "ErrorString": "AccessDenied: no way in",
            "LogGroupName": "/aws-glue/ml & more",
            "Properties": {
                "TaskType": "IMPORT_LABELS",
                "ImportLabelsTaskRunProperties": {"InputS3Path": "s3://bucket/labels/one.csv", "Replace": True},
            },
        },
    )
    world.add_run("tfm-busy", status="SUCCEEDED", started=now - 900_000, completed=now + 900_000, run_id="tsk-hangs")
    world.add_run("tfm-busy", status="TIMEOUT", started=now - 5000, completed=now - 4000)
    world.add_run("tfm-busy", status="STOPPED", started=now - 3000, completed=now - 2000)
    world.add_run("tfm-busy", status="SUCCEEDED", started=now - 1000, completed=now - 500)
    world.add_run(
        HOSTILE_ID,
        status="FAILED",
        started=now - 100,
        completed=now - 50,
        run_id="tsk-\"><script>document.title='pwned'</script>",
        fields={
            "ErrorString": HOSTILE + "</p></td></table>",
            "LogGroupName": "javascript:alert(1)\"><script>document.title='pwned'</script>",
            "Properties": {
                "TaskType": "FIND_MATCHES",
                "FindMatchesTaskRunProperties": {"JobName": HOSTILE, "JobRunId": "javascript:alert(1)"},
            },
        },
    )


@contextmanager
def staged(**config: Any) -> Iterator[Stage]:
    with Simulator(SCENARIO) as simulator:
        populate(simulator, time.time())
        transforms = [{"id": one, "labels": {"team": "data"}} for one in simulator.world.transform_ids()]
        with running(simulator, transforms=transforms, **config) as exporter:
            exporter.wait_until_up(*simulator.world.transform_ids())
            with serving(exporter.service) as served:  # type: ignore[arg-type] # the real backend instead of the fake
                yield Stage(simulator, exporter, f"127.0.0.1:{served.port}")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
        environ.setenv("AWS_SECRET_ACCESS_KEY", "none")
        with staged() as one:
            yield one


def names(page: Page) -> list[str]:
    return page.locator("table.transforms th[scope=row] a").all_inner_texts()


def row(page: Page, transform_id: str) -> Any:
    return page.locator(f'[id="t-{transform_id}"]')


@pytest.mark.parametrize("script", [True, False])
def test_the_front_page_shows_every_transform_the_worst_first(browser: Browser, stage: Stage, script: bool) -> None:
    """With and without JavaScript each transform has a row, and rows with problems come first."""
    with looking(browser, stage.address, java_script_enabled=script) as watched:
        page = watched.go()
        assert page.title() == "2 failing, 1 too long · glue-ml-exporter"
        order = names(page)
        assert set(order[:2]) == {"suppliers", HOSTILE[:255]}
        assert order[2:] == ["products", "archive", "customers"]
        good = row(page, "tfm-good")
        expect(good.locator("[data-label=Runs]")).to_have_text("60")
        expect(good).to_contain_text("default · eu-west-1")
        assert good.locator(".strip i").count() == 50
        assert re.fullmatch(
            r"SUCCEEDED · FIND_MATCHES · \d{4}-\d\d-\d\dT\d\d:\d\dZ · 1m59s",
            good.locator(".strip i").last.get_attribute("title") or "",
        )
        expect(good.get_by_role("img")).to_have_attribute("aria-label", "Last 50 runs: 50 SUCCEEDED")
        expect(row(page, "tfm-busy")).to_contain_text("for 10d10h")
        bad = row(page, "tfm-bad").locator(".reason")
        expect(bad).to_contain_text("IMPORT_LABELS FAILED access_denied for at least 1h55m")
        expect(bad).to_contain_text("AccessDenied: no way in")
        expect(row(page, "tfm-busy").locator(".reason")).to_contain_text("FIND_MATCHES is active for 10d10h")
        expect(page.locator("#exporter")).to_contain_text("Configuration")
        expect(page.locator("table.lanes")).to_contain_text("eu-west-1")


def test_the_page_of_a_transform_says_why_and_where_to_look(browser: Browser, stage: Stage) -> None:
    """A row links to the transform's page, which has the error string and links to log group, S3 path and job."""
    with looking(browser, stage.address) as watched:
        page = watched.go()
        page.get_by_role("link", name="suppliers").click()
        assert page.url.endswith("/transforms/tfm-bad")
        run = page.locator('[id="r-tsk-import"]')
        expect(run.locator(".error")).to_have_text("AccessDenied: no way in")
        logs = run.get_by_role("link", name="Logs: /aws-glue/ml & more")
        assert logs.get_attribute("href") == (
            "https://eu-west-1.console.aws.amazon.com/cloudwatch/home?region=eu-west-1"
            "#logsV2:log-groups/log-group/$252Faws-glue$252Fml$2520$2526$2520more"
        )
        labels = run.get_by_role("link", name="Replaced labels from s3://bucket/labels/one.csv")
        assert labels.get_attribute("href") == (
            "https://eu-west-1.console.aws.amazon.com/s3/buckets/bucket?region=eu-west-1&prefix=labels%2F"
        )
        page.get_by_role("link", name="All transforms").click()
        page.get_by_role("link", name="products").click()
        expect(page.locator('[id="r-tsk-hangs"]')).to_contain_text("RUNNING")
        assert page.locator(".runs tbody tr").first.get_attribute("id") == "r-tsk-hangs"


def test_hostile_text_stays_text(browser: Browser, stage: Stage) -> None:
    """Markup, scripts and URLs in names, ids, error strings, log groups and job names are shown as text."""
    with looking(browser, stage.address) as watched:
        page = watched.go()
        for path in ("front", "its own"):
            if path == "its own":
                page.locator("table.transforms a", has_text="pwned").click()
                page.wait_for_url("**/transforms/**")
                expect(page.locator(".error")).to_contain_text(HOSTILE + "</p></td></table>")
            assert "pwned" not in page.title() or path == "its own"
            assert page.locator("script").count() == 1
            assert page.locator("img").count() == 0
            addresses = page.eval_on_selector_all("a", "links => links.map(link => link.protocol)")
            assert set(addresses) <= {"http:", "https:"}
            expect(page.locator("body")).to_contain_text("document.title='pwned'")
        assert page.title().endswith("glue-ml-exporter")
        assert page.evaluate("document.title.startsWith('<script>')")


def test_the_filter_works_without_script(browser: Browser, stage: Stage) -> None:
    """Without JavaScript the form asks the server for rows that contain all words, and the page shows their number."""
    with looking(browser, stage.address, java_script_enabled=False) as watched:
        page = watched.go("/?show=problems")
        page.get_by_label("Filter").fill("SUPP default")
        page.get_by_role("button", name="Filter").click()
        assert page.url.endswith("/?q=SUPP+default&show=problems")
        assert names(page) == ["suppliers"]
        expect(page.locator("#count")).to_have_text("1 of 5")
        page.get_by_role("link", name="Transforms").first.click()
        assert names(page) == ["suppliers"]
        page.get_by_label("Filter").fill("nothing like it")
        page.get_by_role("button", name="Filter").click()
        page.get_by_role("link", name="Show all 5").click()
        assert len(names(page)) == 5


def test_the_filter_works_during_typing(browser: Browser, stage: Stage) -> None:
    """With script, typing updates the rows and the address of the page, and the field keeps its focus."""
    with looking(browser, stage.address) as watched:
        page = watched.go()
        page.get_by_label("Filter").press_sequentially("archive")
        expect(page.locator("table.transforms tbody")).to_have_count(1)
        assert page.url.endswith("/?q=archive")
        expect(page.get_by_label("Filter")).to_be_focused()
        page.get_by_label("Filter").fill("")
        expect(page.locator("table.transforms th[scope=row]")).to_have_count(5)
        assert page.url.endswith("/")


def test_an_update_keeps_the_position_of_the_reader(browser: Browser) -> None:
    """An update needs no reload and keeps the scroll position, the focus and the text of the filter."""
    with staged() as stage, looking(browser, stage.address, viewport={"width": 1000, "height": 420}) as watched:
        page = watched.go("/?q=s")
        page.evaluate("window.untouched = true")
        link = page.get_by_role("link", name="products")
        link.focus()
        link.scroll_into_view_if_needed()
        page.evaluate("scrollBy({ top: 40, behavior: 'instant' })")  # The page scrolls smoothly otherwise.
        top = row(page, "tfm-busy").bounding_box()
        stage.simulator.world.add_run("tfm-busy", status="FAILED", started=time.time() - 60, completed=time.time() - 1)
        expect(row(page, "tfm-busy")).to_contain_text("FIND_MATCHES FAILED")
        expect(link).to_be_focused()
        assert page.evaluate("window.untouched") is True
        assert page.evaluate("scrollY") > 0
        now = row(page, "tfm-busy").bounding_box()
        assert top is not None
        assert now is not None
        assert abs(now["y"] - top["y"]) < 2
        expect(page.get_by_label("Filter")).to_have_value("s")


def test_updates_can_be_paused(browser: Browser) -> None:
    """A paused page does not change until the reader resumes updates."""
    with staged() as stage, looking(browser, stage.address) as watched:
        page = watched.go("/transforms/tfm-quiet")
        page.get_by_role("button", name="Pause updates").click()
        stage.simulator.world.add_run("tfm-quiet", status="FAILED", started=time.time() - 60, completed=time.time() - 1)
        with looking(browser, stage.address) as other:
            expect(other.go("/transforms/tfm-quiet").locator(".runs tbody tr")).to_have_count(1)
        assert page.locator(".runs tbody tr").count() == 0
        page.get_by_role("button", name="Pause updates").click()
        expect(page.locator(".runs tbody tr")).to_have_count(1)


def test_the_page_of_a_transform_that_goes_says_so(browser: Browser) -> None:
    """If a reload removes a transform, its open page becomes the page for an unknown address, which leads back."""
    with staged() as stage, looking(browser, stage.address, ignore_complaints="404") as watched:
        page = watched.go("/transforms/tfm-quiet")
        stage.exporter.reload(transforms=["tfm-good"])
        expect(page.get_by_role("heading", name="Not found")).to_be_visible()
        expect(page).to_have_title("Not found · glue-ml-exporter")
        expect(page.locator("#problem")).to_be_empty()
        page.get_by_role("link", name="All transforms").click()
        assert names(page) == ["customers"]


def test_an_outage_is_shown_with_its_reason(browser: Browser) -> None:
    """If Glue cannot be reached, the top of the page says so once, and earlier failures stay visible."""
    with staged() as stage, looking(browser, stage.address) as watched:
        page = watched.go()
        stage.simulator.stop()
        expect(page.locator(".badge.down")).to_have_count(5)
        expect(page.locator(".alert")).to_contain_text("Account default, eu-west-1: 5 of 5 transforms down since")
        expect(page.locator(".alert")).to_contain_text("Could not connect to the endpoint URL")
        expect(row(page, "tfm-bad").locator(".reason")).to_contain_text("AccessDenied: no way in")
        expect(row(page, "tfm-good").locator(".reason")).to_have_count(0)
        expect(page).to_have_title("5 down · glue-ml-exporter")
        expect(page.locator("table.lanes")).to_contain_text("connection")


@pytest.mark.parametrize(("viewport", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
@pytest.mark.parametrize("path", ["/", "/transforms/tfm-bad", "/transforms/tfm-busy", "/?q=nothing"])
def test_the_pages_fit_and_are_accessible(
    browser: Browser, stage: Stage, path: str, viewport: Any, scheme: Any
) -> None:
    """Pages fit into 1280 pixels (light colours) and 400 pixels (dark colours), and axe finds no violation."""
    with looking(browser, stage.address, viewport=viewport, color_scheme=scheme, bypass_csp=True) as watched:
        page = watched.go(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        luminance = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)")
        assert (sum(luminance[:3]) < 200) is (scheme == "dark")
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
