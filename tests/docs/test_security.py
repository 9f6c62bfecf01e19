import ast
import json
import re

import pytest
import yaml

from exporter.cli.iam.policies import policies
from exporter.cli.options import ServeOptions
from exporter.cli.parser import parse
from exporter.config.settings import load_config
from tests.support import ROOT

HERE = "docs/test_security.py"
WEB = "web/test_"

TESTS = {
    "The policy of `glue-ml-exporter iam-policy` has no action that writes.": [f"{HERE}::test_the_policy_only_reads"],
    "The exporter calls exactly the operations that this policy allows.": [
        "cli/test_iam_policy.py::test_the_policy_allows_exactly_the_operations_that_are_called"
    ],
    "Texts of any length in an answer of Glue are cut.": [
        "glue/test_decode.py::test_a_text_of_any_length_is_cut_to_its_limit"
    ],
    "An answer of more than 16 MiB is not read further.": [
        "glue/test_deadline.py::test_an_endless_answer_is_cut_and_not_tried_again"
    ],
    "A call that hangs ends within its limit, and its poll has failed.": [
        "glue/test_deadline.py::test_an_answer_that_drips_fails_the_poll_until_the_upstream_is_sound",
        "glue/test_deadline.py::test_a_credential_process_that_hangs_fails_the_poll_and_is_killed",
    ],
    "The process of `credential_process` is killed when its call or the exporter ends.": [
        "glue/test_deadline.py::test_a_credential_process_that_hangs_fails_the_poll_and_is_killed",
        "glue/test_deadline.py::test_a_credential_process_ends_with_the_exporter",
    ],
    "A page of more than 10,000 runs is refused.": [
        "glue/test_decode.py::test_a_page_with_too_many_runs_is_malformed",
    ],
    "Secrets of the environment, credentials and passwords in URLs reach neither the log nor messages of errors.": [
        "model/test_redaction.py::test_a_secret_of_the_environment_is_masked_in_every_form",
        "model/test_redaction.py::test_text_in_the_form_of_a_secret_is_masked",
        "test_logs.py::test_a_secret_of_the_environment_is_masked_in_every_text",
        "glue/test_secrets.py::test_a_setting_with_a_secret_that_cannot_be_used_does_not_show_it",
        "glue/test_secrets.py::test_an_upstream_that_returns_the_request_does_not_show_its_headers",
    ],
    "A message about the configuration shows the name of a variable and not its value.": [
        "config/test_config.py::test_a_message_shows_a_variable_and_not_its_value"
    ],
    "Messages of the AWS libraries, which can contain credentials, never reach the log.": [
        "test_logs.py::test_aws_libraries_are_quiet"
    ],
    "`/config` masks secrets.": ["config/test_config.py::test_external_id_is_never_shown"],
    "A password of a client is not kept in memory.": [f"{WEB}basic_auth.py::test_no_password_is_kept_in_memory"],
    "The time of a refusal does not tell whether a user exists.": [
        f"{WEB}basic_auth.py::test_each_refusal_takes_as_long_as_the_highest_cost"
    ],
    "Without `--web.config.file` the exporter uses neither TLS nor passwords.": [
        f"{WEB}routes.py::test_metrics_are_sent_chunk_by_chunk_and_reported_once"
    ],
    "`/-/healthy` and `/-/ready` never require a password.": [
        f"{WEB}basic_auth.py::test_a_password_is_asked_for_but_not_by_probes"
    ],
    "`/-/reload` is off by default.": [
        f"{HERE}::test_the_lifecycle_is_off_by_default",
        f"{WEB}routes.py::test_reload_needs_the_lifecycle_flag",
    ],
    "A page of another origin cannot reload the configuration.": [
        f"{WEB}browsers.py::test_a_foreign_page_cannot_reload"
    ],
    "Without TLS and passwords, pages, `/config` and `/-/reload` are refused under a name that a stranger can own.": [
        f"{WEB}browsers.py::test_a_rebound_browser_gets_no_page",
        f"{WEB}browsers.py::test_names_that_a_stranger_can_own_are_refused",
    ],
    "A web configuration that lost TLS, users, client certificates or allowed names is refused until a restart.": [
        f"{WEB}config.py::test_a_reload_does_not_open_the_door"
    ],
    "A client whose name or authority was taken out of the web configuration loses its open connections.": [
        f"{WEB}tls.py::test_a_client_that_is_no_longer_allowed_loses_its_open_connection",
        f"{WEB}tls.py::test_a_client_that_is_no_longer_allowed_is_refused_at_its_next_request",
    ],
    "Heads, bodies, connections and the time of each step of a request have limits.": [
        f"{WEB}connections.py::test_malformed_and_oversized_requests_are_refused",
        f"{WEB}connections.py::test_an_endless_body_ends_the_connection",
        f"{WEB}connections.py::test_the_extensions_of_chunks_count",
        f"{WEB}connections.py::test_the_number_of_connections_is_limited",
        f"{WEB}connections.py::test_an_unfinished_head_has_a_deadline",
        f"{WEB}connections.py::test_an_unfinished_body_has_a_deadline",
        f"{WEB}connections.py::test_an_answer_has_a_deadline_however_it_progresses",
        f"{WEB}tls.py::test_a_silent_handshake_has_a_deadline",
    ],
    "A malformed request gets an error, and nothing that follows it on the connection is read.": [
        f"{WEB}connections.py::test_malformed_and_oversized_requests_are_refused",
        f"{WEB}connections.py::test_nothing_is_answered_after_a_malformed_request",
    ],
    "A log that nobody reads delays neither polls nor scrapes nor signals.": [
        "system/test_streams_and_signals.py::test_a_log_that_nobody_reads_stops_nothing"
    ],
    "Log lines that do not fit into its queue are counted.": ["test_logs.py::test_a_stuck_reader_delays_no_logger"],
    "One address cannot use up the connections, the requests in flight, or the check of passwords.": [
        f"{WEB}connections.py::test_a_crowd_at_one_address_takes_no_connection_from_another",
        f"{WEB}connections.py::test_a_crowd_at_one_address_leaves_requests_to_another",
        f"{WEB}basic_auth.py::test_a_flood_of_wrong_passwords_from_one_address_delays_another_by_one_check",
    ],
    "While 1,000 clients at one address scrape without pause, probes and other scrapers are answered.": [
        f"{WEB}robustness.py::test_1000_busy_scrapers_at_one_address"
    ],
    "No text from Glue becomes markup in a page, a line in the log, or a sample in the metrics.": [
        "statuspage/test_pages.py::test_text_from_outside_never_becomes_markup",
        "test_logs.py::test_no_text_can_forge_a_line",
        "system/test_formats.py::test_a_hostile_name_stays_within_its_label",
    ],
    "Control characters in a label value become blanks.": [
        "exposition/test_text_format.py::test_a_reader_that_splits_lines_as_python_does_reads_every_name"
    ],
    "The image runs as user 10001 on a read-only root, without capabilities.": [
        "ship/test_image.py::test_built_images"
    ],
    "The image does not contain pip.": ["ship/test_image.py::test_built_images"],
    "The pods of the chart meet the Pod Security Standard `restricted`.": ["ship/test_chart.py::test_hardened"],
    "The systemd unit is confined as [docs/install.md](docs/install.md) states.": [
        "ship/test_systemd.py::test_exposure"
    ],
    "Dependencies are locked with hashes in `locks/`, and installed only if their hashes match.": [
        f"{HERE}::test_dependencies_are_locked_with_hashes"
    ],
    "GitHub actions are pinned by commit, and the base image by digest.": [
        "ship/test_release.py::test_actions_are_pinned",
        "ship/test_image.py::test_base_is_pinned",
    ],
    "A release has a bill of materials (CycloneDX) and an attestation that says where its image was built.": [
        f"{HERE}::test_a_release_has_a_bill_of_materials_and_an_attestation"
    ],
}
"""For each sentence of the promises in SECURITY.md, the tests that show it, as FILE::NAME under tests/."""


def promises() -> list[str]:
    """Return the sentences of the promises."""
    section = (ROOT / "SECURITY.md").read_text().partition("## What the exporter promises")[2].partition("```")[0]
    items = re.findall(r"^- (.*(?:\n  .*)*)", section, re.MULTILINE)
    return [sentence for item in items for sentence in re.split(r"(?<=\.) (?=[A-Z`])", " ".join(item.split()))]


def test_each_promise_names_its_tests() -> None:
    """Each sentence of the promises in SECURITY.md has tests here, and no test is for a sentence that is gone."""
    assert promises() == list(TESTS)


@pytest.mark.parametrize("name", sorted({name for names in TESTS.values() for name in names}))
def test_the_tests_of_the_promises_exist(name: str) -> None:
    """The file of a test that shows a promise has a function with its name."""
    file, _, function = name.partition("::")
    nodes = ast.walk(ast.parse((ROOT / "tests" / file).read_text()))
    assert function in [node.name for node in nodes if isinstance(node, ast.FunctionDef)]


def test_the_policy_only_reads() -> None:
    """Every action of the policies reads from Glue, or assumes the role that reads."""
    config = {
        "region": "eu-west-1",
        "accounts": [{"name": "a", "role_arn": "arn:aws:iam::123456789012:role/r"}, {"name": "b", "profile": "p"}],
        "discovery": [
            {"account": "a", "tags": {"a": "b"}, "labels_from_tags": ["c"]},
            {"account": "b", "name": "c*"},
        ],
    }
    documents = policies(load_config(json.dumps(config), source="test", environ={}))
    actions = {name for one in documents.values() for statement in one["Statement"] for name in statement["Action"]}
    assert "glue:GetMLTaskRuns" in actions
    assert {name for name in actions if not name.startswith(("glue:Get", "glue:List"))} == {"sts:AssumeRole"}


def test_the_lifecycle_is_off_by_default() -> None:
    """Without a flag, `serve` does not offer `/-/reload`."""
    options = parse(["serve"], {})
    assert isinstance(options, ServeOptions)
    assert options.web_enable_lifecycle is False


def test_dependencies_are_locked_with_hashes() -> None:
    """Every requirement in a lock has a version and a hash, and image and tests install with --require-hashes."""
    for lock in (ROOT / "locks").glob("*.txt"):
        requirements = re.findall(r"^[a-z0-9].*(?:\n    --hash.*)*", lock.read_text(), re.MULTILINE)
        assert requirements
        for requirement in requirements:
            assert re.match(r"\S+==\S+ .*\\\n    --hash=sha256:[0-9a-f]{64}", requirement), requirement
    installs = re.findall(r"-r locks/", (ROOT / "Dockerfile").read_text())
    assert len(installs) == (ROOT / "Dockerfile").read_text().count("--require-hashes")


def test_a_release_has_a_bill_of_materials_and_an_attestation() -> None:
    """The workflow of releases makes the bill of materials, and attests the provenance of the image."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    steps = [step for job in jobs.values() for step in job.get("steps", ())]  # a job may call another workflow
    assert any("sbom" in step.get("run", "") for step in steps)
    assert any(step.get("uses", "").startswith("actions/attest-build-provenance@") for step in steps)
    assert "CycloneDX" in (ROOT / "packaging/sbom").read_text()
