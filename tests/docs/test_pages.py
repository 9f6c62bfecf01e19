"""What is written for people is true of the program."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from exporter.config import load_config
from exporter.flags import COMMANDS, FLAGS
from exporter.metrics import METRICS
from exporter.targets import Lane
from exporter.telemetry import Telemetry
from tests.support import ROOT, tool

PAGES = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "alerts/**/*.md") for path in ROOT.glob(pattern) if path.is_file()
)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_METRIC = re.compile(r"\bglue_ml_[a-z0-9_]+\b")
_LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(#[^)\s]*)?\)")


def blocks(page: Path, language: str) -> list[str]:
    """Give the code blocks of a page in one language."""
    return [text for name, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if name == language]


def exposed() -> set[str]:
    """Give every name that can stand in a query."""
    telemetry = Telemetry(process=False)
    telemetry.expect([Lane("default", "eu-west-1")])
    telemetry.expect_state()
    names = {metric.name for metric in METRICS}
    names |= {f.name + ("_total" if f.type == "counter" else "") for f in telemetry.registry.collect()}
    return names | {f"{name}_{suffix}" for name in names for suffix in ("bucket", "count", "sum")}


def test_generated_pages_are_up_to_date() -> None:
    """The references of metrics and of the command line are what the code makes of them today."""
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_metric_is_documented() -> None:
    """Whatever the exporter tells of Glue or itself has a row in the reference of metrics."""
    documented = set(
        re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/metrics.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert {name for name in exposed() if not re.search("_(bucket|count|sum)$", name)} == documented


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_metrics_named_in_a_page_exist(page: Path) -> None:
    """No page speaks of a metric that there is not."""
    named = set(_METRIC.findall(page.read_text(encoding="utf-8")))
    assert not {name for name in named - exposed() if not any(known.startswith(name) for known in exposed())}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    """A relative link in a page names a file or folder that is there."""
    targets = [target for target, _ in _LINK.findall(page.read_text(encoding="utf-8")) if target]
    assert not [target for target in targets if not (page.parent / target).exists()]


def test_configurations_in_the_readme_load() -> None:
    """Each configuration in the README is one that the exporter takes."""
    configurations = [text for text in blocks(ROOT / "README.md", "yaml") if "transforms:" in text]
    assert len(configurations) == 2
    for text in configurations:
        assert load_config(text, source="README.md", environ={}).transforms


def test_commands_in_the_readme_exist() -> None:
    """Each command and flag of ours in the README is one of the program."""
    for text in blocks(ROOT / "README.md", "sh"):
        for line in text.splitlines():
            words = line.split()
            if words and words[0] == "glue-ml-exporter":
                known = {f"--{flag.name}" for flag in FLAGS} | {command.name for command in COMMANDS}
                assert {word.partition("=")[0] for word in words[1:]} <= known, line


@pytest.mark.slow
def test_prometheus_takes_the_examples_of_the_readme(tmp_path: Path) -> None:
    """Promtool finds nothing wrong with the scrape configuration and the rules in the README."""
    texts = blocks(ROOT / "README.md", "yaml")
    (scrape,) = [text for text in texts if "scrape_configs" in text]
    (rules,) = [text for text in texts if "groups:" in text]
    (tmp_path / "rules.yml").write_text(rules, encoding="utf-8")
    config = {**yaml.safe_load(scrape), "rule_files": ["rules.yml"]}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    promtool = tool("promtool", version="3")
    done = subprocess.run(
        [promtool, "check", "config", tmp_path / "prometheus.yml"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_prometheus_understands_the_recommended_queries() -> None:
    """Each query of the pages about counting is one that Prometheus can parse."""
    promtool = tool("promtool", version="3")
    for text in blocks(ROOT / "docs/how-it-counts.md", "promql"):
        for query in text.split("\n\n"):
            rule = {"groups": [{"name": "q", "rules": [{"record": "q", "expr": query}]}]}
            done = subprocess.run(
                [promtool, "check", "rules"],
                input=yaml.safe_dump(rule),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, query + done.stdout + done.stderr
