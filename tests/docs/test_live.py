"""A running exporter serves the metrics in the reference."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.cli.flags import DEFAULT_PORT
from tests.support import EXPORTER, ROOT, Process, fetch, wait_for

pytestmark = pytest.mark.slow

ONLY_WITH_A_FILE = {
    "glue_ml_exporter_state_write_errors_total",
    "glue_ml_exporter_state_last_write_timestamp_seconds",
    "glue_ml_exporter_web_config_last_reload_successful",
    "glue_ml_exporter_web_config_last_reload_success_timestamp_seconds",
}


class Row(NamedTuple):
    kind: str
    labels: frozenset[str]


def documented() -> dict[str, Row]:
    """Return the rows of the reference, by metric."""
    found = {}
    for line in (ROOT / "docs/metrics.md").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\| `(\w+)` \| (\w+) \| ([^|]*) \|", line):
            labels = set(re.findall(r"`(\w+)`", match[3]))
            about_glue = not match[1].startswith("glue_ml_exporter_")
            found[match[1]] = Row(
                match[2], frozenset(labels | ({"transform_id", "transform_name"} if about_glue else set()))
            )
    return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a demo that has polled everything and has counted a finished run."""
    with Process(*EXPORTER, "demo", "--web.listen-address=127.0.0.1:0", folder=tmp_path_factory.mktemp("demo")) as demo:
        port = demo.wait_for_output(r"Metrics: +http://localhost:(\d+)/metrics")[1]
        url = f"http://127.0.0.1:{port}/metrics"

        def busy() -> bool:
            text = fetch(url).text
            return re.search(r"^glue_ml_task_run_duration_seconds_count\{.*\} [1-9]", text, re.MULTILINE) is not None

        wait_for(busy, timeout=60, describe=lambda: demo.stderr)
        yield url


def test_everything_served_is_documented_and_vice_versa(demo: str) -> None:
    """A live exporter serves the names and types of the reference, except metrics that need a file."""
    served = {family.name: family.type for family in parse_text(fetch(demo).text) if family.name.startswith("glue_ml_")}
    always = {name: row for name, row in documented().items() if name not in ONLY_WITH_A_FILE}
    rows = {name.removesuffix("_total"): row.kind for name, row in always.items()}
    assert served == rows
    assert documented().keys() >= ONLY_WITH_A_FILE


def test_the_samples_of_the_readme_are_those_of_the_demo(demo: str) -> None:
    """The demo serves each sample that the README shows."""
    samples = re.findall(r"^(glue_ml_\w+\{.*\}) \S+$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(samples) == 6
    wait_for(lambda: set(samples) <= {line.rpartition(" ")[0] for line in fetch(demo).text.splitlines()}, timeout=60)


def test_labels_are_as_documented(demo: str) -> None:
    """Each live sample has exactly the labels that the reference gives its metric, and the team of the demo."""
    rows = {name.removesuffix("_total"): row for name, row in documented().items()}
    expected = {name: {row.labels} for name, row in rows.items()}
    expected["glue_ml_transform_info"] = {rows["glue_ml_transform_info"].labels | {"team"}}
    labels = defaultdict(set)
    for family in parse_text(fetch(demo).text):
        for sample in family.samples:
            labels[family.name].add(frozenset(sample.labels) - {"le"})
    found = {name: sets for name, sets in labels.items() if name.startswith("glue_ml_")}
    assert len(found) > 30
    assert found == {name: expected[name] for name in found}


def test_a_demo_shows_every_metric_about_glue(demo: str) -> None:
    """The demo serves every documented metric about transforms, except the errors of polls: all its polls succeed."""
    with_samples = {family.name for family in parse_text(fetch(demo).text) if family.samples}
    about_glue = {name for name in documented() if not name.startswith("glue_ml_exporter_")}
    missing = {name for name in about_glue if name.removesuffix("_total") not in with_samples}
    assert missing == {"glue_ml_transform_last_poll_error_info"}


def test_openmetrics_of_a_demo_names_runs(demo: str) -> None:
    """A live exporter serves OpenMetrics on request. The exemplar of an increased counter has the run id."""
    answer = fetch(demo, headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    families = {family.name: family for family in parse_openmetrics(answer.text)}
    exemplars = [sample.exemplar for sample in families["glue_ml_task_runs_finished"].samples if sample.exemplar]
    assert all(exemplar.labels["task_run_id"].startswith("tsk-") for exemplar in exemplars)
    assert exemplars


def test_the_readme_names_the_default_port() -> None:
    """The README gives the default address of the metrics."""
    text = Path(ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"localhost:(\d+)", text)) == {str(DEFAULT_PORT)}
