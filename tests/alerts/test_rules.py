import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts.generate import main
from alerts.rules import REFUSED, THROTTLED
from alerts.thresholds import read_thresholds
from exporter.config.durations import parse_duration
from exporter.glue.error_table import classify_code
from tests.alerts.vocabulary import TARGET_LABELS, exposed, problems, uses
from tests.support import ROOT, run, tool

FOLDER = ROOT / "alerts"
RUNBOOKS = ROOT / "docs" / "runbooks"
FILES = sorted(FOLDER.glob("*.yaml"))
UNIT_TESTS = sorted((FOLDER / "tests").glob("*.yaml"))
RULES = [rule for path in FILES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
THRESHOLDS = read_thresholds(FOLDER / "thresholds.toml")
VERSIONS = pytest.mark.parametrize("version", ["2", "3"])
SECTIONS = ("Meaning", "Impact", "First commands", "Usual causes")


def vocabulary() -> dict[str, frozenset[str]]:
    """Return the series of the exporter and of the recording rules, including the labels of the configuration."""
    known = dict(exposed())
    known["glue_ml_transform_info"] |= set(THRESHOLDS.joined_labels)
    for rule in RULES:
        if "record" in rule:
            known[rule["record"]] = frozenset().union(*(known[name] for name in uses(rule["expr"]).metrics))
    return known


def labels_of(template: str) -> set[str]:
    return set(re.findall(r"\$labels\.(\w+)", template))


def copy_rules(folder: Path) -> Path:
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return folder


def test_the_committed_rules_are_up_to_date() -> None:
    """The rule files in the repository are equal to the files that `make generate` writes."""
    assert main(["--check"]) == 0


def test_a_rule_file_that_was_edited_by_hand_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A rule file that differs from its thresholds fails the check, and `generate` corrects it."""
    folder = copy_rules(tmp_path / "alerts")
    edited = folder / "glue-ml-exporter.yaml"
    edited.write_text(edited.read_text().replace("for: 5m", "for: 6m"))
    assert main(["--output", str(folder), "--check"]) == 1
    assert "glue-ml-exporter.yaml is out of date; run: make generate" in capsys.readouterr().err
    assert main(["--output", str(folder)]) == 0
    assert main(["--output", str(folder), "--check"]) == 0


def test_every_metric_label_and_value_in_the_rules_exists() -> None:
    """The exporter has every metric, label and known label value in the rules."""
    known = vocabulary()
    found = {rule.get("alert") or rule["record"]: problems(rule["expr"], known) for rule in RULES}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        ("glue_ml_transform_up", "glue_ml_tranform_up", "metric glue_ml_tranform_up"),
        ('status="READY"', 'state="READY"', "label state of glue_ml_transform_status"),
        ('status="READY"', 'status="REDY"', "status 'REDY'"),
        ("by (transform_id, task_type)", "by (transform_id, tasktype)", "label tasktype"),
        ("AccessDeniedException|", "AccesDeniedException|", "reason 'AccesDeniedException'"),
        ("group_left (transform_name,", "group_left (transformname,", "label transformname"),
    ],
)
def test_a_misspelled_name_is_found(right: str, wrong: str, problem: str) -> None:
    """A misspelled metric, label or label value in a rule is reported."""
    misspelled = [rule["expr"].replace(right, wrong) for rule in RULES if right in rule["expr"]]
    assert misspelled
    assert all(problem in problems(expression, vocabulary()) for expression in misspelled)


def test_every_label_in_an_annotation_is_on_the_alert() -> None:
    """An annotation uses only labels that the result of the alert's expression has."""
    shown = {
        name: set().union(*(labels_of(text) for text in alert["annotations"].values()))
        for name, alert in ALERTS.items()
    }
    known = vocabulary()
    for name, alert in ALERTS.items():
        used = uses(alert["expr"])
        kept = used.grouped or frozenset().union(*(known[metric] for metric in used.metrics))
        recorded = {"task_type"} if any("task_type" in metric for metric in used.metrics) else set()
        assert shown[name] <= kept | recorded, name


def test_every_alert_has_severity_texts_and_links() -> None:
    """Every alert has a severity, a summary of one sentence, a description and two links."""
    for name, alert in ALERTS.items():
        assert alert["labels"]["severity"] in ("critical", "warning", "info"), name
        assert set(alert["annotations"]) == {"summary", "description", "runbook_url", "dashboard_url"}, name
        assert alert["annotations"]["summary"].endswith("."), name
        assert len(alert["annotations"]["summary"]) < 100, name
        assert alert["annotations"]["runbook_url"] == f"{THRESHOLDS.runbook_url}/{name}.md"


def test_alerts_about_a_transform_name_it_and_no_instance() -> None:
    """An alert about a transform has its name, account, region and team, and no label that differs between replicas."""
    about_transforms = {name: alert for name, alert in ALERTS.items() if "transform_id" in alert["expr"]}
    assert len(about_transforms) == 13
    for name, alert in about_transforms.items():
        grouped = uses(alert["expr"]).grouped
        assert {"transform_id", "transform_name", "aws_account", "aws_region", "team"} <= grouped, name
        assert not TARGET_LABELS & grouped, name


def test_a_failed_run_raises_an_alert_at_once() -> None:
    """The alerts about FAILED and TIMEOUT have no `for`, so they fire at the first evaluation."""
    immediate = [
        name for name, alert in ALERTS.items() if name.startswith(("GlueMLTaskRunFailed", "GlueMLTaskRunTime"))
    ]
    assert len(immediate) == 4
    assert not any("for" in ALERTS[name] for name in immediate)


def test_the_alert_on_credentials_covers_every_refusal_of_aws() -> None:
    """Every error code that means refused credentials or permissions raises the alert."""
    refusals = (
        "ExpiredTokenException",
        "ExpiredToken",
        "InvalidClientTokenId",
        "AccessDeniedException",
        "AccessDenied",
    )
    assert {classify_code(code, 400).reason for code in refusals} | {"credentials"} <= set(REFUSED)
    assert classify_code("Throttling", 429).reason == THROTTLED


def test_every_alert_has_a_runbook() -> None:
    """Every alert has a runbook with all sections, and every runbook belongs to an alert."""
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == set(ALERTS)
    for path in RUNBOOKS.glob("*.md"):
        text = path.read_text()
        assert text.startswith(f"# {path.stem}\n")
        assert tuple(re.findall(r"^## (.*)$", text, re.MULTILINE)) == SECTIONS, path.name
        commands = text.partition("## First commands")[2].partition("## Usual causes")[0]
        assert len(re.findall("^[123]\\. ", commands, re.MULTILINE)) == 3, path.name
        assert commands.count("```sh") == 3, path.name


def test_the_runbooks_name_only_existing_metrics_and_pages() -> None:
    """All metrics and linked pages in the runbooks and in the page about alerts exist."""
    known = vocabulary()
    for path in (*RUNBOOKS.glob("*.md"), ROOT / "docs" / "alerts.md"):
        text = path.read_text()
        named = set(re.findall(r"\bglue_ml_[a-z0-9_]+\b", text))
        assert {name for name in named if name not in known} == set(), path.name
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            if not link.startswith("https://"):
                assert (path.parent / link).exists(), f"{path.name}: {link}"


def test_the_page_about_alerts_lists_them_all() -> None:
    """docs/alerts.md has one row for each alert, with its severity."""
    rows = re.findall(
        r"^\| \[(\w+)\]\(runbooks/(\w+)\.md\) \| (\w+) \|", (ROOT / "docs/alerts.md").read_text(), re.MULTILINE
    )
    assert sorted(rows) == sorted((name, name, alert["labels"]["severity"]) for name, alert in ALERTS.items())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('window = "soon"', "window: Value error, 'soon' is not a duration"),
        ('window = "0s"', "window: Value error, '0s' is too short"),
        ("failure_ratio = 20", "failure_ratio: Input should be less than 1"),
        ('joined_labels = ["cost center"]', "joined_labels.0: String should match pattern"),
        ("colour = 1", "colour: Extra inputs are not permitted"),
    ],
)
def test_wrong_thresholds_are_refused_with_their_key(
    line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong threshold gives one line with the file and the key."""
    key = line.split(" = ", maxsplit=1)[0]
    text = (FOLDER / "thresholds.toml").read_text()
    changed = re.sub(f"(?m)^{key} = .*$", line, text) if f"\n{key} = " in text else f"{text}\n{line}\n"
    path = tmp_path / "thresholds.toml"
    path.write_text(changed)
    assert main(["--thresholds", str(path), "--output", str(tmp_path)]) == 1
    assert f"{path}: {message}" in capsys.readouterr().err
    assert list(tmp_path.glob("*.yaml")) == []


@pytest.mark.slow
@VERSIONS
@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_the_unit_tests_of_the_rules_pass(path: Path, version: str, tmp_path: Path) -> None:
    """The unit tests in alerts/tests/ succeed with both versions of Prometheus."""
    tested = run(tool("promtool", version=version), "test", "rules", path, folder=tmp_path, timeout=60)
    assert tested.exit_code == 0, tested.stderr + tested.stdout


def test_the_texts_of_every_alert_are_unit_tested() -> None:
    """A unit test gives the expected labels and annotations of each alert."""
    texts = yaml.safe_load((FOLDER / "tests" / "texts.yaml").read_text())["tests"]
    written = [one["alertname"] for test in texts for one in test["alert_rule_test"] if one["exp_alerts"]]
    assert sorted(written) == sorted(ALERTS)


def test_every_alert_is_unit_tested_to_be_silent_to_fire_and_to_resolve() -> None:
    """For each alert, one unit test checks the time before it fires, while it fires and after it has ended."""
    tests = [test for path in UNIT_TESTS for test in yaml.safe_load(path.read_text())["tests"]]
    incomplete = {
        name: [expected_states(name, test) for test in tests if True in expected_states(name, test)]
        for name in ALERTS
        if not any(is_complete(expected_states(name, test)) for test in tests)
    }
    assert incomplete == {}


def expected_states(name: str, test: Mapping[str, Any]) -> list[bool]:
    """Return whether the alert is expected, for each check of the alert in a unit test, in the order of time."""
    looks = []
    for one in test.get("promql_expr_test", ()):
        selected = re.search(r"\bALERTS(\{.*?\})?", one["expr"])
        if selected is not None:
            expected = any(f'alertname="{name}"' in sample["labels"] for sample in one["exp_samples"])
            matchers = dict(re.findall(r'(\w+)!?=~?"([^"]*)"', selected[1] or ""))
            whole = set(matchers) <= {"alertname", "alertstate"} and matchers.get("alertname", name) == name
            if expected or whole:
                looks.append((seconds_of(one["eval_time"]), expected))
    return [expected for _, expected in sorted(looks)]


def seconds_of(time: str) -> float:
    return 0.0 if time == "0m" else parse_duration(time)


def is_complete(states: list[bool]) -> bool:
    """Return whether an alert is silent, then fires, then is silent again."""
    return re.search("01+0", "".join(str(int(fires)) for fires in states)) is not None


@pytest.mark.parametrize("times", [("4m", "5m"), ("5m", "30m"), ("4m", "30m")])
def test_an_incomplete_unit_test_is_found(times: tuple[str, str]) -> None:
    """A unit test is incomplete if a check before, during or after firing is missing."""
    first = yaml.safe_load((FOLDER / "tests" / "failures.yaml").read_text())["tests"][0]
    assert is_complete(expected_states("GlueMLTaskRunFailedSinceSuccess", first))
    cut = {"promql_expr_test": [one for one in first["promql_expr_test"] if one["eval_time"] in times]}
    assert not is_complete(expected_states("GlueMLTaskRunFailedSinceSuccess", cut))


@pytest.mark.slow
@VERSIONS
def test_rules_made_with_other_thresholds_and_labels_work(version: str, tmp_path: Path) -> None:
    """Prometheus accepts rules that are made from other thresholds, and with other joined labels or none."""
    text = (FOLDER / "thresholds.toml").read_text()
    for number, labels in enumerate(('["team", "cost_centre"]', "[]")):
        changed = text.replace('joined_labels = ["team"]', f"joined_labels = {labels}").replace('"15m"', '"1h30m"')
        (tmp_path / "mine.toml").write_text(changed)
        folder = tmp_path / str(number)
        folder.mkdir()
        assert main(["--thresholds", str(tmp_path / "mine.toml"), "--output", str(folder)]) == 0
        rules = (folder / "glue-ml-transforms.yaml").read_text()
        assert ("cost_centre" in rules) == ("cost_centre" in labels)
        assert "[1h30m]" in rules
        checked = run(tool("promtool", version=version), "check", "rules", *folder.glob("*.yaml"), folder=tmp_path)
        assert checked.exit_code == 0, checked.stderr
