import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.cli.dispatch import main
from exporter.cli.rules.exporter_alerts import THROTTLED
from exporter.cli.rules.files import rule_files
from exporter.cli.rules.recordings import REFUSED
from exporter.config.durations import parse_duration
from exporter.config.thresholds import read_thresholds
from exporter.glue.error_table import classify_code
from tests.alerts.vocabulary import TARGET_LABELS, exposed, problems, uses
from tests.support import ROOT, run, tool

FOLDER = ROOT / "alerts"
RUNBOOKS = ROOT / "docs" / "runbooks"
FILES = sorted(FOLDER.glob("*.yaml"))
UNIT_TESTS = sorted((FOLDER / "tests").glob("*.yaml"))
RULES = [rule for path in FILES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
THRESHOLDS = read_thresholds(None)
VERSIONS = pytest.mark.parametrize("version", ["2", "3"])
SECTIONS = ("Meaning", "Impact", "First commands", "In Kubernetes", "Usual causes", "What it is not")


def vocabulary() -> dict[str, frozenset[str]]:
    """Return the series of the exporter and of the recording rules, including the labels of the configuration."""
    known = dict(exposed())
    known["glue_ml_transform_info"] |= set(THRESHOLDS.joined_labels)
    for rule in RULES:
        if "record" in rule:
            read = uses(rule["expr"]).metrics - {rule["record"]}  # a rule can read its own earlier samples
            known[rule["record"]] = frozenset().union(*(known[name] for name in read))
    return known


def labels_of(template: str) -> set[str]:
    return set(re.findall(r"\$labels\.(\w+)", template))


def test_the_committed_rules_are_up_to_date() -> None:
    """The rule files in the repository are equal to the files that `glue-ml-exporter rules` writes."""
    assert {path.name: path.read_text() for path in FILES} == rule_files(THRESHOLDS)


def test_every_metric_label_and_value_in_the_rules_exists() -> None:
    """The exporter has every metric, label and known label value in the rules."""
    known = vocabulary()
    found = {rule.get("alert") or rule["record"]: problems(rule["expr"], known) for rule in RULES}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        ("(glue_ml_transform_up{", "(glue_ml_tranform_up{", "metric glue_ml_tranform_up"),
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
        recorded |= {"reason", "operation"} if any("error_info:" in metric for metric in used.metrics) else set()
        recorded |= {"reason"} if any(metric.endswith(":refused") for metric in used.metrics) else set()
        assert shown[name] <= kept | recorded, name


def test_every_alert_has_severity_texts_and_links() -> None:
    """Every alert has a severity, a short summary, a description and a link to its runbook."""
    for name, alert in ALERTS.items():
        assert alert["labels"]["severity"] in ("critical", "warning", "info"), name
        assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}, name
        assert not alert["annotations"]["summary"].endswith("."), name
        assert len(re.sub("{{.*?}}", "", alert["annotations"]["summary"])) < 80, name
        assert alert["annotations"]["runbook_url"] == f"{THRESHOLDS.runbook_url}/{name}.md"


ABOUT_MANY = {"GlueMLTransformsUnwatched", "GlueMLRegionDown"}


def test_alerts_about_a_transform_name_it_and_no_instance() -> None:
    """An alert about a transform has its name, account, region and team, and no label that differs between replicas."""
    about_transforms = {
        name: alert for name, alert in ALERTS.items() if "transform_id" in alert["expr"] and name not in ABOUT_MANY
    }
    assert len(about_transforms) == 15
    for name, alert in about_transforms.items():
        grouped = uses(alert["expr"]).grouped
        assert {"transform_id", "transform_name", "aws_account", "aws_region", "team"} <= grouped, name
        assert not TARGET_LABELS & grouped, name


def test_the_links_follow_the_settings(tmp_path: Path) -> None:
    """The links lead to the transform, also if an address ends with a slash. Without an address there is no link."""
    (tmp_path / "mine.toml").write_text(
        'runbook_url = ""\ndashboard_url = "https://g.example/d"\nstatus_url = "https://glue.example/"\n'
    )
    files = rule_files(read_thresholds(tmp_path / "mine.toml"))
    rules = [rule for text in files.values() for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    links = {rule["alert"]: rule["annotations"] for rule in rules if "alert" in rule}
    assert all("runbook_url" not in one for one in links.values())
    stale, region = links["GlueMLDataStale"], links["GlueMLRegionDown"]
    assert stale["status_url"] == "https://glue.example/transforms/{{ $labels.transform_id | urlquery }}"
    assert stale["dashboard_url"].startswith("https://g.example/d/glue-ml-transform?var-account={{ $labels.aws_account")
    assert (region["status_url"], region["dashboard_url"]) == (
        "https://glue.example/",
        "https://g.example/d/glue-ml-exporter",
    )
    assert "localhost" not in "".join(rule_files(THRESHOLDS).values())


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
        commands = text.partition("## First commands")[2].partition("## In Kubernetes")[0]
        assert len(re.findall("^[123]\\. ", commands, re.MULTILINE)) == 3, path.name
        assert commands.count("```sh") == 3, path.name
        assert "kubectl " in text.partition("## In Kubernetes")[2].partition("## Usual causes")[0], path.name
        others = re.findall(r"\]\((\w+)\.md\)", text.partition("## What it is not")[2])
        assert len(others) == 2, path.name
        assert path.stem not in others, path.name


def test_the_runbooks_explain_the_variables_of_their_commands() -> None:
    """A runbook explains the variables of its first commands. One about a transform begins with the status page."""
    for path in RUNBOOKS.glob("*.md"):
        first = path.read_text().partition("## First commands")[2].partition("## In Kubernetes")[0]
        used = set(re.findall(r"\$\{?([A-Z_]+)", first))
        assert used <= set(re.findall(r"`([A-Z_]+)`", first)), path.name
        page = "`EXPORTER/transforms/TRANSFORM_ID`" in first.partition("\n1. ")[0]
        assert page == ("TRANSFORM_ID" in used), path.name


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
    ("toml", "message"),
    [
        ('window = "soon"', "window: 'soon' is not a duration"),
        ('window = "0s"', "window: '0s' is too short; expected e.g. 5m"),
        ('joined_labels = ["cost center"]', "joined_labels.0: String should match pattern"),
        ("colour = 1", "colour: is not a setting; see docs/alerts.md"),
        ('windw = "5m"', "windw: is not a setting; did you mean window?"),
        ("selector = {job = 'a\"b'}", "selector.job: String should match pattern"),
        ("alerts.GlueMLRegionDown.ratio = 20", "alerts.GlueMLRegionDown.ratio: Input should be less than 1"),
        ('alerts.GlueMLRegionDown.for = "soon"', "alerts.GlueMLRegionDown.for: 'soon' is not a duration"),
        (
            "alerts.GlueMLRegionDown.enable = true",
            "alerts.GlueMLRegionDown.enable: is not a setting; did you mean enabled?",
        ),
        (
            "alerts.GlueMLDataStal.enabled = true",
            "alerts.GlueMLDataStal: is not a setting; did you mean GlueMLDataStale?",
        ),
        ("window = ", "Invalid value (at end of document)"),
        ("alerts.GlueMLDataStale = 1", "alerts.GlueMLDataStale: is not a table; expected settings in it"),
        ('alert_labels."a b" = "c"', "alert_labels.a b: is not the name of a label; expected letters"),
        ("alerts = " + "[" * 3000, "is nested too deeply"),
        ("window = " + "9" * 5000, "Exceeds the limit"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line_with_its_name(
    toml: str, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A wrong setting gives one line with the file, the name of the setting and the mistake. No rules are written."""
    path = tmp_path / "thresholds.toml"
    path.write_text(toml)
    assert main(["rules", f"--thresholds={path}", f"--output={tmp_path}/new"]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"{path}: {message}")
    assert not (tmp_path / "new").exists()


def test_a_missing_file_of_settings_is_an_error_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The message names the file and what is expected."""
    assert main(["rules", f"--thresholds={tmp_path}/none.toml", f"--output={tmp_path}"]) == 1
    assert capfd.readouterr().err == (
        f"{tmp_path}/none.toml: No such file or directory; expected a TOML file with settings of the rules\n"
    )


def test_settings_change_an_alert_and_nothing_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A file with a few settings changes what it names, and all other rules are as before."""
    (tmp_path / "mine.toml").write_text(
        """
critical_task_types = ["EVALUATION"]
alert_labels = {severity = "page"}
[alerts]
GlueMLTransformDown = {enabled = false}
GlueMLTaskRunFailed = {labels = {severity = "ticket", queue = "ml"}, for = "7m", task_types = ["FIND_MATCHES"]}
"""
    )
    assert main(["rules", f"--thresholds={tmp_path}/mine.toml", f"--output={tmp_path}/new"]) == 0
    assert capfd.readouterr().out.split() == [f"{tmp_path}/new/{name}" for name in rule_files(THRESHOLDS)]
    files = [yaml.safe_load(path.read_text()) for path in (tmp_path / "new").iterdir()]
    rules = {
        rule["alert"]: rule for file in files for group in file["groups"] for rule in group["rules"] if "alert" in rule
    }
    assert set(ALERTS) - set(rules) == {"GlueMLTransformDown"}
    failed = rules.pop("GlueMLTaskRunFailed")
    assert failed["labels"] == {"severity": "ticket", "queue": "ml"}
    assert failed["for"] == "7m"
    assert 'status="FAILED",task_type=~"FIND_MATCHES"}' in failed["expr"]
    assert {rule["labels"]["severity"] for rule in rules.values()} == {"page"}
    changed = {name for name, rule in rules.items() if rule["expr"] != ALERTS[name]["expr"]}
    assert changed == {
        "GlueMLTaskRunFailedSinceSuccess",
        "GlueMLTaskRunTimedOutSinceSuccess",
        "GlueMLTaskRunNoSuccess",
    }


def test_a_selector_is_part_of_every_expression_that_reads_the_exporter(tmp_path: Path) -> None:
    """Every series of the exporter is selected by job and namespace, and the info series also by team."""
    (tmp_path / "mine.toml").write_text('selector = {job = "glue-.*", namespace = "data", team = "crm"}')
    text = "".join(rule_files(read_thresholds(tmp_path / "mine.toml")).values())
    selected = re.findall(
        r"\b(?:up|glue_ml_\w+|process_start_time_seconds)\{([^}]*)\}", re.sub(r"\w+:glue_ml_\w+(:\w+)?", "", text)
    )
    assert len(selected) > 50
    assert all(one.startswith('job=~"glue-.*",namespace=~"data"') for one in selected)
    assert 'glue_ml_transform_info{job=~"glue-.*",namespace=~"data",team=~"crm"}' in text


@pytest.mark.slow
@VERSIONS
@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_the_unit_tests_of_the_rules_pass(path: Path, version: str, tmp_path: Path) -> None:
    """The unit tests in alerts/tests/ succeed with both versions of Prometheus."""
    # With more memory the garbage collector runs less often. On one core its threads do not look for work in vain.
    environ = {"GOGC": "600", "GOMAXPROCS": "1"}
    tested = run(
        tool("promtool", version=version), "test", "rules", path, folder=tmp_path, environ=environ, timeout=100
    )
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
def test_rules_made_with_other_settings_work(version: str, tmp_path: Path) -> None:
    """Prometheus accepts rules that are made from other settings, and with other joined labels or none."""
    for number, toml in enumerate(
        (
            'joined_labels = ["team", "cost_centre"]\nwindow = "1h30m"\nselector = {team = "crm", job = ".+"}',
            'joined_labels = []\ncritical_task_types = []\nalerts.GlueMLTaskRunFailed.task_types = ["EVALUATION"]',
        )
    ):
        (tmp_path / "mine.toml").write_text(toml)
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, text in rule_files(read_thresholds(tmp_path / "mine.toml")).items():
            (folder / name).write_text(text)
        rules = (folder / "glue-ml-transforms.yaml").read_text()
        assert ("cost_centre" in rules) == ("cost_centre" in toml)
        checked = run(tool("promtool", version=version), "check", "rules", *folder.glob("*.yaml"), folder=tmp_path)
        assert checked.exit_code == 0, checked.stderr
