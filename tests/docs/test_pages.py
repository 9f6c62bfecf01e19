"""The documentation agrees with the program."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from exporter import __version__
from exporter.cli.flags import COMMANDS, FLAGS
from exporter.cli.iam.grants import grants_of
from exporter.cli.iam.output import as_json
from exporter.cli.parser import parse
from exporter.config.schema import (
    Account,
    DiscoveryEntry,
    File,
    Metrics,
    Polling,
    State,
    TransformEntry,
    Web,
)
from exporter.config.sections import Section
from exporter.config.settings import load_config
from exporter.exposition.metrics import METRICS
from exporter.glue.error_table import REASONS
from exporter.model.transform import Lane
from exporter.simulator.quantities import Strict
from exporter.simulator.scenario import (
    Credentials,
    ExplicitRun,
    Fault,
    Quality,
    Role,
    Scenario,
    Task,
    Transform,
    build_scenario,
)
from exporter.telemetry import Telemetry
from exporter.web.config_schema import HttpServerSection, RateLimitSection, TlsSection, WebFile
from tests.support import ROOT, run, tool

SECTIONS = {
    "accounts[]": Account,
    "transforms[]": TransformEntry,
    "discovery[]": DiscoveryEntry,
    "polling": Polling,
    "metrics": Metrics,
    "web": Web,
    "state": State,
}
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "alerts/**/*.md", "helm/**/*.md")
    for path in ROOT.glob(pattern)
    if path.is_file()
)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_METRIC = re.compile(r"\bglue_ml_[a-z0-9_]+\b")
_LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(#[^)\s]*)?\)")


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in one language."""
    return [text for name, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if name == language]


def exposed() -> set[str]:
    """Return every metric name that a query can use."""
    telemetry = Telemetry(process=False)
    telemetry.create_series([Lane("default", "eu-west-1")], REASONS)
    telemetry.add_state_metrics()
    telemetry.add_web_config_metrics()
    names = {metric.name for metric in METRICS}
    names |= {f.name + ("_total" if f.type == "counter" else "") for f in telemetry.registry.collect()}
    return names | {f"{name}_{suffix}" for name in names for suffix in ("bucket", "count", "sum")}


def test_generated_pages_are_up_to_date() -> None:
    """The references of metrics, configuration and command line agree with the code."""
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_metric_is_documented() -> None:
    """Every metric about Glue and about the exporter has a row in the reference."""
    documented = set(
        re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/metrics.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert {name for name in exposed() if not re.search("_(bucket|count|sum)$", name)} == documented


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_metrics_named_in_a_page_exist(page: Path) -> None:
    """Every metric that a page names exists."""
    named = set(_METRIC.findall(page.read_text(encoding="utf-8")))
    assert not {name for name in named - exposed() if not any(known.startswith(name) for known in exposed())}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_have_a_target(page: Path) -> None:
    """A relative link in a page names an existing file or folder."""
    targets = [target for target, _ in _LINK.findall(page.read_text(encoding="utf-8")) if target]
    assert not [target for target in targets if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_configurations_load(page: Path) -> None:
    """The exporter accepts each configuration in a page. The test adds region and transform to an incomplete one."""
    for text in blocks(page, "yaml"):
        keys = yaml.safe_load(text).keys()
        if keys <= File.model_fields.keys():
            missing = {"region": "region: eu-west-1", "transforms": "transforms: [{id: tfm-1, account: prod}]"}
            rest = [line for key, line in missing.items() if key not in keys]
            assert load_config("\n".join([text, *rest]), source=page.name, environ={"GLUE_EXTERNAL_ID": "some-id"})


def test_the_readme_shows_configurations() -> None:
    """The README has the smallest configuration, and one with a state file."""
    keys = [set(yaml.safe_load(text)) for text in blocks(ROOT / "README.md", "yaml")]
    assert {"region", "transforms"} in keys
    assert {"region", "transforms", "state"} in keys


@pytest.mark.parametrize("name", ["README.md", "docs/iam.md"])
def test_a_policy_in_a_page_is_that_of_the_command(name: str) -> None:
    """A policy in a page is equal to the output of `iam-policy` for a configuration with listed transforms."""
    shown = [json.loads(text) for text in blocks(ROOT / name, "json")]
    (policy,) = [one for one in shown if any(part.get("Sid") == "ReadTransforms" for part in one["Statement"])]
    transforms = [
        {"id": arn.rpartition("/")[2], "region": arn.split(":")[3]} for arn in policy["Statement"][0]["Resource"]
    ]
    config = load_config(yaml.safe_dump({"transforms": transforms}), source=name, environ={})
    assert json.loads(as_json(grants_of(config, None))) == policy


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_command_line_accepts_commands_in_pages(page: Path) -> None:
    """The command line accepts each command in a page."""
    for line in re.findall(r"^ *glue-ml-exporter(?:$| (?=[a-z-]).*)", page.read_text(encoding="utf-8"), re.MULTILINE):
        parse(shlex.split(re.split("[|>;]", line.replace("$AWS_REGION", "eu-west-1"))[0])[1:], {})


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of every command in the shell examples of a page."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").replace("$AWS_REGION", "eu-west-1").splitlines():
            lexer = shlex.shlex(line.partition(" #")[0], posix=True, punctuation_chars="|;&<>")
            lexer.whitespace_split, lexer.commenters = True, ""
            command: list[str] = []
            for word in lexer:
                if set(word) <= set("|;&"):
                    yield command
                    command = []
                else:
                    command.append(word)
            yield command


def arguments(command: list[str]) -> list[str] | None:
    """Return the exporter's arguments in a command that starts it by a path, in a container or in a pod."""
    for position, word in enumerate(command):
        image = command[0] == "docker" and re.fullmatch(r"ghcr\.io/\S+:\S+", word)
        first = position == 0 or command[position - 1] == "--"
        if image or (first and re.fullmatch(r"(\S+/)?glue-ml-exporter", word)):
            rest = command[position + 1 :]
            return rest[: rest.index(">")] if ">" in rest else rest
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_command_line_accepts_commands_in_containers(page: Path) -> None:
    """The command line accepts the arguments in examples that start the exporter by a path, a container or a pod."""
    for command in commands(page):
        if (passed := arguments(command)) is not None:
            parse(passed, {})


def test_commands_in_containers_are_found() -> None:
    """The search for commands in containers finds the commands in the installation page."""
    found = [passed for command in commands(ROOT / "docs/install.md") if (passed := arguments(command)) is not None]
    assert found == [["demo"], ["demo"], []]


def test_reasons_in_troubleshooting_exist() -> None:
    """Each reason of a failed poll in the troubleshooting page is a possible value of the label `reason`."""
    telemetry = Telemetry(process=False)
    telemetry.create_series([Lane("default", "eu-west-1")], REASONS)
    (errors,) = [family for family in telemetry.registry.collect() if family.name == "glue_ml_exporter_poll_errors"]
    rows = re.findall(r"^\| reason ([^|]*) \|", (ROOT / "docs/troubleshooting.md").read_text("utf-8"), re.MULTILINE)
    named = {reason for row in rows for reason in re.findall(r"`(\w+)`", row)}
    assert len(named) > 5
    assert named <= {sample.labels["reason"] for sample in errors.samples}


def test_the_readme_links_to_every_page() -> None:
    """The README links to every page in docs/."""
    linked = {target for target, _ in _LINK.findall((ROOT / "README.md").read_text(encoding="utf-8"))}
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= linked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_images_in_examples_are_of_this_version(page: Path) -> None:
    """An example that names an image uses the current version."""
    versions = re.findall(r"ghcr\.io/\S*glue-ml-exporter:([0-9][\w.]*)", page.read_text(encoding="utf-8"))
    assert set(versions) <= {__version__}


def test_every_key_of_the_configuration_is_documented() -> None:
    """The reference of the configuration has each key of each section of the schema."""
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE))
    plain = {"region", "endpoint_url", "transform_details", "accounts", "transforms", "discovery"}
    expected = plain | {f"{name}.{key}" for name, section in SECTIONS.items() for key in section.model_fields}
    assert documented == expected


@pytest.mark.parametrize("section", [WebFile, TlsSection, HttpServerSection, RateLimitSection])
def test_every_key_of_the_web_configuration_is_documented(section: type[Section]) -> None:
    """The page about TLS and passwords names each key of the web configuration."""
    text = (ROOT / "docs/web.md").read_text(encoding="utf-8")
    assert not [key for key in section.model_fields if not re.search(rf"[`.]{key}[`.]", text)]


@pytest.mark.parametrize("part", [Scenario, Transform, Task, ExplicitRun, Fault, Role, Credentials, Quality])
def test_every_key_of_a_scenario_is_documented(part: type[Strict]) -> None:
    """The page about the simulator names each key of a scenario."""
    text = (ROOT / "docs/simulator.md").read_text(encoding="utf-8")
    assert not [key for key in part.model_fields if f"`{key}`" not in text]


def test_the_scenario_of_the_simulator_page_is_valid() -> None:
    """The simulator accepts the scenario in the page about the simulator."""
    (text,) = [text for text in blocks(ROOT / "docs/simulator.md", "yaml") if "seed" in text]
    assert len(build_scenario(yaml.safe_load(text)).transforms) == 2


def test_every_endpoint_is_documented() -> None:
    """The page about HTTP names exactly the paths that the server answers."""
    text = (ROOT / "docs/web.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(/[^`]*)` \|", text, re.MULTILINE))
    source = (ROOT / "exporter/web/routes.py").read_text(encoding="utf-8")
    answered = set(re.findall(r'^            "(/[^"]*)": \(_', source, re.MULTILINE))
    assert documented == answered | {"/metrics", "/transforms/ID"}


def test_every_flag_and_command_is_documented() -> None:
    """The reference of the command line has each command and each flag with its variable."""
    text = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
    assert not [command.name for command in COMMANDS if f"`glue-ml-exporter {command.name}`" not in text]
    assert not [flag.name for flag in FLAGS if f"`--{flag.name}" not in text or f"`{flag.variable}`" not in text]


@pytest.mark.slow
def test_prometheus_accepts_the_examples_of_the_readme(tmp_path: Path) -> None:
    """Promtool accepts the scrape configuration and the rules in the README."""
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


def queries(page: Path) -> list[str]:
    """Return the queries of a page: code blocks in PromQL, and texts in backticks with a PromQL function."""
    blocked = [query for text in blocks(page, "promql") for query in text.split("\n\n")]
    called = re.findall(r"`((?:sum|rate|increase|max|time)\b[^`]*\bglue_ml_[^`]*)`", page.read_text(encoding="utf-8"))
    return [*blocked, *(query.replace("\\|", "|") for query in called)]


@pytest.mark.slow
def test_prometheus_understands_the_recommended_queries(tmp_path: Path) -> None:
    """Prometheus can parse each query in a page."""
    found = {page: queries(page) for page in PAGES}
    assert {"how-it-counts.md", "migrate.md", "troubleshooting.md"} <= {page.name for page in PAGES if found[page]}
    groups = [
        {"name": str(page.relative_to(ROOT)), "rules": [{"record": f"q{number}", "expr": query}]}
        for page in PAGES
        for number, query in enumerate(found[page])
    ]
    unique = [{**group, "name": f"{number} {group['name']}"} for number, group in enumerate(groups)]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": unique}), encoding="utf-8")
    done = run(tool("promtool", version="3"), "check", "rules", "queries.yml", folder=tmp_path)
    assert done.exit_code == 0, done.stdout + done.stderr


README_ALERTS = """
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
- interval: 1m
  input_series:
  - {series: 'glue_ml_task_runs_finished_total{transform_id="a",transform_name="n",task_type="FIND_MATCHES",status="FAILED"}', values: '0x20 1x180'}
  - {series: 'glue_ml_task_run_last_failure_timestamp_seconds{transform_id="a",transform_name="n",task_type="FIND_MATCHES",status="FAILED"}', values: '_x20 1200x180'}
  - {series: 'glue_ml_task_run_last_success_timestamp_seconds{transform_id="a",transform_name="n",task_type="FIND_MATCHES"}', values: '_x60 3600x140'}
  - {series: 'glue_ml_transform_up{transform_id="a",transform_name="n"}', values: '1x180'}
  alert_rule_test:
  - {eval_time: 15m, alertname: GlueMLTaskRunFailed}
  - {eval_time: 15m, alertname: GlueMLTaskRunFailedSinceSuccess}
  - eval_time: 25m
    alertname: GlueMLTaskRunFailed
    exp_alerts: [{exp_labels: {severity: warning, transform_id: a, transform_name: n, task_type: FIND_MATCHES, status: FAILED}, exp_annotations: {summary: A FIND_MATCHES run of n ended as FAILED.}}]
  - {eval_time: 50m, alertname: GlueMLTaskRunFailed}
  - eval_time: 50m
    alertname: GlueMLTaskRunFailedSinceSuccess
    exp_alerts: [{exp_labels: {severity: critical, transform_id: a, transform_name: n, task_type: FIND_MATCHES}, exp_annotations: {summary: n has not succeeded since its last FIND_MATCHES run failed.}}]
  - {eval_time: 70m, alertname: GlueMLTaskRunFailedSinceSuccess}
  - {eval_time: 70m, alertname: GlueMLTransformDown}
"""  # noqa: E501 - one series, one line


@pytest.mark.slow
@pytest.mark.parametrize("version", ["2", "3"])
def test_the_alerts_of_the_readme_work(version: str, tmp_path: Path) -> None:
    """The first README alert fires after a failure and ends. The second alert fires until a run succeeds."""
    (rules,) = [text for text in blocks(ROOT / "README.md", "yaml") if "groups:" in text]
    (tmp_path / "rules.yml").write_text(rules, encoding="utf-8")
    (tmp_path / "tests.yml").write_text(README_ALERTS, encoding="utf-8")
    done = run(tool("promtool", version=version), "test", "rules", "tests.yml", folder=tmp_path)
    assert done.exit_code == 0, done.stdout + done.stderr
