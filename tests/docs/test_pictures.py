"""The pictures of the documentation show what the program shows."""

import json
import re
from pathlib import Path

import pytest

from docs.make_pictures import (
    FOLDER,
    PAGES,
    QUERIES,
    RUNS,
    SHOWN,
    record_runs,
    shown_by,
    shown_by_terminal,
)
from exporter.cli.parser import parse
from tests.docs.test_pages import PAGES as DOCUMENTS
from tests.docs.test_pages import exposed
from tests.statuspage.browsing import chromium
from tests.support import EXPORTER, Process, fetch, wait_for

LARGEST_BYTES = 200_000


def pictures() -> list[Path]:
    return sorted(path for path in FOLDER.iterdir() if path != SHOWN)


def test_every_picture_is_in_a_page_with_a_description() -> None:
    """Each picture is small and is shown in a page, with a text for people who cannot see it."""
    texts = "\n".join(page.read_text(encoding="utf-8") for page in DOCUMENTS)
    shown = {name: alt for alt, name in re.findall(r"!\[([^\]]*)\]\([^)]*pictures/([^)]+)\)", texts)}
    assert {path.name for path in pictures()} == shown.keys()
    assert all(len(alt) > 20 for alt in shown.values())
    assert [path.name for path in pictures() if path.stat().st_size > LARGEST_BYTES] == []


def test_no_picture_loads_anything() -> None:
    """A picture in SVG names no other host except the namespaces of XML."""
    for path in FOLDER.glob("*.svg"):
        hosts = re.findall(r"https?://([^/\"' )]+)", path.read_text(encoding="utf-8"))
        assert set(hosts) <= {"www.w3.org", "www.textualize.io"}


def test_the_queries_of_the_picture_use_metrics_that_exist() -> None:
    """Each query in the picture of Prometheus uses metrics of the exporter."""
    assert {name for query in QUERIES for name in re.findall(r"glue_ml_\w+", query)} <= exposed()
    assert parse(list(RUNS), {})


@pytest.mark.slow
def test_the_pages_show_what_their_pictures_show(tmp_path: Path) -> None:
    """The headings, column heads and labels of the pages are those of their pictures; if not, run `make pictures`."""
    recorded = json.loads(SHOWN.read_text(encoding="utf-8"))
    with Process(*EXPORTER, "demo", "--web.listen-address=127.0.0.1:0", folder=tmp_path) as demo:
        address = f"127.0.0.1:{demo.wait_for_output(r'Metrics: +http://localhost:([0-9]+)/')[1]}"
        wait_for(lambda: fetch(f"http://{address}/-/ready").status == 200, timeout=60)
        with chromium(tmp_path) as browser:
            for name, (path, options) in PAGES.items():
                page = browser.new_context(**options).new_page()
                page.goto(f"http://{address}{path}")
                assert set(shown_by(page)) == set(recorded[name]), name


@pytest.mark.slow
def test_the_command_shows_what_its_picture_shows(tmp_path: Path) -> None:
    """The command `runs` prints the fields that its picture shows; if not, run `make pictures`."""
    assert shown_by_terminal(record_runs(tmp_path)) == json.loads(SHOWN.read_text(encoding="utf-8"))["runs"]
