"""Make the pictures of the documentation from the demo: `make pictures`.

The demo runs with a real Prometheus and Alertmanager until an alert fires and the graphs have some minutes of data. A
headless Chromium then photographs the pages, and a terminal records `runs`. `docs/pictures/shown.json` has the texts
that each picture shows: its headings, column heads and labels. A test compares them with the program.

    python -m docs.make_pictures
"""

import base64
import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import Browser, Page
from rich.console import Console
from rich.text import Text

from tests.statuspage.browsing import DESKTOP, PHONE, chromium
from tests.support import EXPORTER, ROOT, Process, fetch, free_port, tool, wait_for

FOLDER = ROOT / "docs/pictures"
SHOWN = FOLDER / "shown.json"
FAILING = "/transforms/tfm-fa11ed000000000000000000000000000000003a"
GRAPH_SECONDS = 240
"""How long Prometheus scrapes before its picture, in seconds: the range of the graphs and up to a minute."""
COLUMNS = 110
WIDTH = 1000
"""The width of the pictures of Prometheus, in pixels."""

PAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "status-page": ("/", {"viewport": DESKTOP}),
    "status-page-dark": ("/", {"viewport": DESKTOP, "color_scheme": "dark"}),
    "status-page-phone": ("/", {"viewport": PHONE, "device_scale_factor": 1.5}),
    "transform": (FAILING, {"viewport": DESKTOP}),
}
"""The pictures of the exporter's own pages: path, and options of the browser."""

LONGEST = {"status-page-phone": 1200, "transform": 1000}
"""How far a picture may go down the page, in pixels, where this is not the height of the window."""

QUERIES = (
    "sum by (status) (increase(glue_ml_task_runs_finished_total[1m]))",
    'sum by (transform_name) (increase(glue_ml_task_runs_finished_total{status="FAILED"}[2m])) >= 2',
    "max by (job) (time() - glue_ml_transform_last_successful_poll_timestamp_seconds)",
)
"""The queries of the picture of Prometheus."""

RUNS = ("runs", "suppliers-always-failing", "--limit=6")
"""The command of the picture of the terminal."""

_TEXTS = """() => [...document.querySelectorAll("h1, h2, thead th, label, legend, button")]
    .filter(one => one.checkVisibility()).map(one => one.innerText)"""


_ROW_ENDS = """() => [...document.querySelectorAll("table.transforms tbody, table:not(.transforms) tbody tr")]
    .map(one => one.getBoundingClientRect().bottom + window.scrollY)"""

_ONLY_GRAPHS = """
.navbar, .query-history, .execute_btn, .expression_select, .eval_stats, .spinner, .nav-tabs, #add_graph,
[name=remove], .graph_container > .clearfix:first-child { display: none !important }
.query_form .col-lg-10 { flex: none; max-width: 100% }
body { padding-top: 8px !important }
* { transition: none !important }
"""
"""Hides the controls of Prometheus, so that the queries, the graphs and their legends fill the picture."""

_PLACE = """one => {
    const {x, y, width, height} = one.getBoundingClientRect();
    return {x, y: y + window.scrollY, width, height};
}"""


def shown_by(page: Page) -> list[str]:
    """Return the headings, column heads and labels that a page shows, once each, without numbers.

    Statuses are left out, because a table has a column only for the statuses that occur.
    """
    texts = (re.sub(r"\s+", " ", re.sub(r"\d+", "#", text)).strip() for text in page.evaluate(_TEXTS))
    return sorted({text for text in texts if text and not re.fullmatch("[A-Z_]+", text)})


def shown_by_terminal(output: str) -> list[str]:
    """Return the names of the fields that a recorded list of runs shows."""
    return sorted(set(re.findall(r"[A-Z][a-z ]+(?=:\s)", Text.from_ansi(output).plain)))


def photograph(page: Page, name: str, **clip: Any) -> None:
    """Write what the page shows now as WebP, which is a fifth of the size of PNG."""
    session = page.context.new_cdp_session(page)
    taken = session.send("Page.captureScreenshot", {"format": "webp", "quality": 75, **clip})
    (FOLDER / f"{name}.webp").write_bytes(base64.b64decode(taken["data"]))


def make_page_pictures(browser: Browser, exporter: str) -> dict[str, list[str]]:
    """Take a picture of each page of the exporter. Return the text of each page by the name of its picture."""
    shown = {}
    for name, (path, options) in PAGES.items():
        context = browser.new_context(**options)
        page = context.new_page()
        page.goto(f"http://{exporter}{path}")
        shown[name] = shown_by(page)
        height = _last_row_end(page, LONGEST.get(name, options["viewport"]["height"]))
        clip = {"x": 0, "y": 0, "width": options["viewport"]["width"], "height": height, "scale": 1}
        photograph(page, name, captureBeyondViewport=True, clip=clip)
        context.close()
    return shown


def _last_row_end(page: Page, longest: int) -> float:
    """Return the end of the last row that ends within the first `longest` pixels, so that no row is cut."""
    return max(end for end in page.evaluate(_ROW_ENDS) if end <= longest) + 1


def make_prometheus_pictures(browser: Browser, prometheus: str) -> None:
    """Photograph the graphs of the queries and the alert that fires in Prometheus.

    The graphs end at a whole minute. They do not begin at one, because its label would cover a label of the other axis.
    """
    context = browser.new_context(viewport={"width": WIDTH, "height": 1800})
    page = context.new_page()
    graph = {"tab": "0", "stacked": "0", "range_input": "170s", "end_input": f"{datetime.now(UTC):%Y-%m-%d %H:%M}"}
    graphs = [{"expr": query, **graph} for query in QUERIES]
    fields = {f"g{number}.{key}": value for number, graph in enumerate(graphs) for key, value in graph.items()}
    page.goto(f"http://{prometheus}/classic/graph?{urlencode(fields)}")
    page.wait_for_function(f"document.querySelectorAll('.rickshaw_graph svg path').length >= {len(QUERIES)}")
    page.wait_for_load_state("networkidle")
    page.add_style_tag(content=_ONLY_GRAPHS)
    page.evaluate("window.scrollTo(0, 0)")  # the page scrolls to its last query
    page.evaluate("document.activeElement.blur()")
    photograph(page, "prometheus", captureBeyondViewport=True, clip=_graphs(page))
    page.goto(f"http://{prometheus}/classic/alerts")
    page.locator("tr.alert_header", has_text="GlueMLTaskRunFailedSinceSuccess").click()
    page.wait_for_timeout(500)  # the details unfold
    box = page.locator("tr.alert_details:visible").evaluate(_PLACE)
    photograph(page, "alert", captureBeyondViewport=True, clip={**box, "scale": 1})
    context.close()


def _graphs(page: Page) -> dict[str, int]:
    last = page.locator(".graph_wrapper").last.evaluate(_PLACE)
    return {"x": 0, "y": 0, "width": WIDTH, "height": last["y"] + last["height"], "scale": 1}


def record_runs(folder: Path) -> str:
    """Return the output of `runs` in a terminal, with its colours."""
    with Process(*EXPORTER, "simulate", "--listen-address=127.0.0.1:0", folder=folder) as simulator:
        endpoint = simulator.wait_for_output(r"(http://\S+:\d+)")[1]
        (folder / "config.yaml").write_text(
            f"region: eu-west-1\nendpoint_url: {endpoint}\n"
            "transforms:\n- {id: tfm-fa11ed000000000000000000000000000000003a, name: suppliers-always-failing}\n"
        )
        return in_terminal(*EXPORTER, *RUNS, folder=folder)


def in_terminal(*command: str | Path, folder: Path) -> str:
    """Run a command whose stdout is a terminal, and return what it writes there."""
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm-256color",
        "AWS_ACCESS_KEY_ID": "simulated",
        "AWS_SECRET_ACCESS_KEY": "simulated",
    }
    program = subprocess.Popen(command, cwd=folder, env=environ, stdout=writer, stderr=subprocess.DEVNULL)  # noqa: S603 - this package's own command
    os.close(writer)
    chunks = []
    try:
        while chunk := os.read(reader, 65536):
            chunks.append(chunk)
    except OSError:  # Linux reports the end of a terminal as an error
        pass
    os.close(reader)
    if program.wait():
        raise SystemExit(f"{command} has failed")
    return b"".join(chunks).decode().replace("\r\n", "\n")


def draw_terminal(output: str, name: str) -> None:
    """Write what a terminal shows as SVG, with the fonts of the reader."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ glue-ml-exporter {' '.join(RUNS)}"), Text.from_ansi(output), sep="\n")
    svg = console.export_svg(title="", unique_id="runs")
    (FOLDER / f"{name}.svg").write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL), encoding="utf-8")


def main() -> int:
    """Make all pictures, and write what they show."""
    FOLDER.mkdir(exist_ok=True)
    exporter, prometheus, alertmanager = (f"127.0.0.1:{free_port()}" for _ in range(3))
    path = f"{tool('prometheus', version='prometheus').parent}:{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        output = record_runs(folder)
        draw_terminal(output, "runs")
        flags = (f"--exporter={exporter}", f"--prometheus={prometheus}", f"--alertmanager={alertmanager}")
        environ = {"PATH": path, "PYTHONPATH": str(ROOT)}
        with Process(sys.executable, ROOT / "demo-stack/local.py", *flags, folder=folder, environ=environ) as demo:
            began = time.monotonic()
            wait_for(lambda: _fires(alertmanager), timeout=600, interval=2, describe=lambda: demo.stderr)
            time.sleep(max(0.0, GRAPH_SECONDS - (time.monotonic() - began)))
            with chromium(folder) as browser:
                shown = make_page_pictures(browser, exporter)
                make_prometheus_pictures(browser, prometheus)
    shown["runs"] = shown_by_terminal(output)
    SHOWN.write_text(json.dumps(shown, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


def _fires(alertmanager: str) -> bool:
    try:
        return "GlueMLTaskRunFailedSinceSuccess" in fetch(f"http://{alertmanager}/api/v2/alerts").text
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
