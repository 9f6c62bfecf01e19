"""The pages below a path of a proxy: nginx in front of the exporter, with a browser in front of both."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from exporter.simulator import Simulator
from tests.running import running
from tests.statuspage.browsing import looking
from tests.statuspage.nginx import nginx
from tests.support import fetch
from tests.web.serving import serving

pytestmark = pytest.mark.slow

TRANSFORMS = [{"id": "tfm-a", "name": "alpha"}, {"id": "tfm-b/c?", "name": "beta"}]


def test_every_link_works_below_the_path_of_a_proxy(browser: Browser, tmp_path: Path) -> None:
    """Pages, filter, links and updates stay below the path, whether the proxy passes the path on or cuts it off."""
    with (
        Simulator({"transforms": TRANSFORMS}) as simulator,
        running(simulator, transforms=[one["id"] for one in TRANSFORMS]) as exporter,
        serving(exporter.service, external_url="http://glue.example.com/kept/") as served,  # type: ignore[arg-type] # the real backend
        nginx(tmp_path, f"127.0.0.1:{served.port}") as proxy,
    ):
        exporter.wait_until_up("tfm-a", "tfm-b/c?")
        assert fetch(f"http://{proxy}/kept/-/healthy").status == 200
        assert fetch(f"http://127.0.0.1:{served.port}/-/healthy").status == 200
        assert b"glue_ml_transform_up" in fetch(f"http://{proxy}/kept/metrics").body
        for path in ("/kept", "/cut"):
            with looking(browser, proxy, ignore_complaints=r"404 \(Not Found\)") as watched:
                page = watched.go(f"{path}?show=all" if path == "/kept" else f"{path}/?show=all")
                assert page.url == f"http://{proxy}{path}/?show=all"
                page.get_by_role("link", name="beta").click()
                page.wait_for_url(f"**{path}/transforms/tfm-b%2Fc%3F")
                expect(page.get_by_role("heading", level=1)).to_contain_text("beta")
                page.get_by_role("link", name="All transforms").click()
                page.get_by_label("Filter").fill("alp")
                page.get_by_label("Filter").press("Enter")
                page.wait_for_url(f"**{path}/?q=alp*")
                expect(page.locator("table.transforms")).not_to_contain_text("beta")
                page.get_by_role("link", name="Metrics").click()
                assert page.url == f"http://{proxy}{path}/metrics"
                for unknown in ("/nothing", "/a/b/c", "/transforms/tfm-gone"):
                    watched.go(f"{path}{unknown}")
                    expect(page.get_by_role("heading", level=1)).to_have_text("Not found")
                    page.get_by_role("link", name="All transforms").click()
                    page.wait_for_url(f"**{path}/")


def test_the_name_of_the_external_url_is_known() -> None:
    """A browser may use the name in --web.external-url over plain HTTP; another public name is refused."""
    with serving(external_url="http://glue.example.com/ml/") as served:
        assert served.server.url == "http://glue.example.com/ml/"
        assert served.ask("/config", Host="glue.example.com").status == 200
        assert served.ask("/config", Host="other.example.com").status == 403
