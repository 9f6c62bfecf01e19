"""The log of a running exporter: one line for each finished run and each failure, and no forged lines."""

import hashlib
import json
from datetime import UTC, datetime

import pytest

from tests.system.staging import FINISHED, Exporter, configuration, wait_for

pytestmark = pytest.mark.slow

JSON = "--log.format=json"


SCENARIO = {"transforms": [{"name": "customers", "id": "tfm-a"}]}


def lines(exporter, msg):
    """Return the lines of the log with this message."""
    return [line for line in exporter.log() if line["msg"] == msg]


def rfc3339(seconds):
    """Format a time as RFC 3339 in UTC with whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_each_finished_run_is_one_line_with_run_id_error_and_log_group(simulator, tmp_path):
    """A finished run is one line with transform, run id, type, status, times, error and log group."""
    with Exporter(tmp_path, configuration(simulator.url, ["tfm-a"]), JSON) as exporter:
        exporter.wait_for_polls("tfm-a", 1)
        now = simulator.world.now()
        failed = simulator.world.add_run(
            "tfm-a",
            "EVALUATION",
            status="FAILED",
            started=now - 90,
            completed=now,
            fields={"ErrorString": "no labels", "LogGroupName": "/glue/x", "ExecutionTime": 42},
        )
        simulator.world.add_run("tfm-a", "FIND_MATCHES", status="SUCCEEDED")
        wait_for(lambda: len(lines(exporter, "run finished")) == 2, describe=lambda: exporter.stderr)
        exporter.wait_for_polls("tfm-a", 3)
        finished = {line["run_id"]: line for line in lines(exporter, "run finished")}
        assert len(lines(exporter, "run finished")) == len(finished) == 2
        line = finished.pop(failed)
        assert {key: line[key] for key in line if key not in {"ts", "logger"}} == {
            "level": "warn",
            "msg": "run finished",
            "transform_id": "tfm-a",
            "transform_name": "customers",
            "run_id": failed,
            "task_type": "EVALUATION",
            "status": "FAILED",
            "started": rfc3339(now - 90),
            "completed": rfc3339(now),
            "execution_seconds": 42,
            "error": "no labels",
            "log_group": "/glue/x",
        }
        [succeeded] = finished.values()
        assert (succeeded["level"], succeeded["error"]) == ("info", None)


def test_old_runs_are_not_logged(simulator, tmp_path):
    """Runs that had ended before the first poll are not logged."""
    for _ in range(5):
        simulator.world.add_run("tfm-a", status="FAILED")
    with Exporter(tmp_path, configuration(simulator.url, ["tfm-a"]), JSON) as exporter:
        exporter.wait_for_polls("tfm-a", 2)
        assert not lines(exporter, "run finished")


FAULTS = {
    "ThrottlingException": {"kind": "throttle"},
    "InternalServiceException": {"kind": "server_error"},
    "timeout": {"kind": "hang"},
    "connection": {"kind": "reset"},
    "AccessDeniedException": {"kind": "access_denied"},
    "ExpiredTokenException": {"kind": "expired_credentials"},
    "malformed_response": {"kind": "garbage"},
    "EntityNotFoundException": {"kind": "not_found"},
}


def test_a_failure_that_lasts_is_one_line_when_it_begins_and_one_when_it_ends(simulator, tmp_path):
    """If many polls fail for one reason, the log has one error with advice. The next success adds one line."""
    config = configuration(simulator.url, ["tfm-a"], {"request_timeout": "1s"})
    with Exporter(tmp_path, config, JSON) as exporter:
        for number, (reason, fault) in enumerate(FAULTS.items(), start=1):
            exporter.wait_for_value(1, "glue_ml_transform_up")
            before = len(exporter.log())
            simulator.faults.set({**fault, "operations": ["GetMLTaskRuns"]})
            wait_for_failures(exporter, reason, 3)
            simulator.faults.clear()
            exporter.wait_for_value(1, "glue_ml_transform_up")
            exporter.wait_for_polls("tfm-a", 1)
            logged = exporter.log()[before:]
            assert [(line["level"], line["reason"]) for line in logged] == [("error", reason), ("info", reason)]
            assert logged[0]["advice"]
            assert exporter.metrics().value("glue_ml_exporter_log_messages_total", level="error") == number


def wait_for_failures(exporter, reason, count):
    """Wait until `count` polls have failed for this reason."""

    def failures():
        samples = exporter.metrics().select("glue_ml_exporter_poll_errors_total", reason=reason)
        return sum(samples.values())

    wait_for(lambda: failures() >= count, describe=lambda: f"{count} polls fail for {reason}: {exporter.stderr}")


def test_an_sso_session_that_has_ended_is_one_line(simulator, tmp_path):
    """Botocore logs a traceback whenever it cannot refresh credentials. It does not reach the log of the exporter."""
    aws = tmp_path / ".aws"
    (aws / "sso" / "cache").mkdir(parents=True)
    url = "https://example.awsapps.com/start"
    (aws / "config").write_text(
        f"[profile sso]\nsso_start_url = {url}\nsso_region = eu-west-1\nsso_account_id = 123456789012\n"
        "sso_role_name = reader\n"
    )
    token = {"startUrl": url, "region": "eu-west-1", "accessToken": "x", "expiresAt": "2020-01-01T00:00:00Z"}
    name = hashlib.sha1(url.encode()).hexdigest()  # noqa: S324 - botocore's name of the file
    (aws / "sso" / "cache" / f"{name}.json").write_text(json.dumps(token))
    transforms = [{"id": one, "account": "sso"} for one in ("tfm-a", "tfm-b")]
    config = configuration(simulator.url, transforms, accounts=[{"name": "sso", "profile": "sso"}])
    with Exporter(tmp_path, config, JSON, "--log.level=debug") as exporter:
        wait_for_failures(exporter, "credentials", 6)
        assert "Traceback" not in exporter.stderr
        assert [line["level"] for line in lines(exporter, "polls fail")].count("error") == 1
        assert not [line for line in exporter.log() if line["logger"].startswith(("boto", "urllib3"))]


def test_a_new_reason_for_failing_polls_is_logged(simulator, tmp_path):
    """When the reason of failing polls changes, the log has one more line."""
    with Exporter(tmp_path, configuration(simulator.url, ["tfm-a"]), JSON) as exporter:
        exporter.wait_for_value(1, "glue_ml_transform_up")
        first = simulator.faults.set({"kind": "expired_credentials"})
        wait_for(lambda: len(lines(exporter, "polls fail")) == 1)
        simulator.faults.set({"kind": "access_denied"})
        simulator.faults.clear(first)
        wait_for(lambda: len(lines(exporter, "polls fail")) == 2, describe=lambda: exporter.stderr)
        exporter.wait_for_polls("tfm-a", 3)
        logged = [line["reason"] for line in lines(exporter, "polls fail")]
        assert logged == ["ExpiredTokenException", "AccessDeniedException"]


def test_a_failing_account_is_one_line_for_any_number_of_transforms(simulator, tmp_path):
    """A failure of an account and region is logged at its start, when its extent is known, and at its end."""
    ids = ["tfm-a", *simulator.world.add_transform({"name": "more", "count": 30})]
    simulator.faults.set({"kind": "access_denied"})
    with Exporter(tmp_path, configuration(simulator.url, ids), JSON) as exporter:
        wait_for(
            lambda: (
                set(exporter.metrics().select("glue_ml_transform_up").values()) == {0}
                and len(exporter.metrics().select("glue_ml_transform_up")) == 31
            ),
        )
        assert len(lines(exporter, "polls fail")) == 1
        wait_for(lambda: lines(exporter, "polls of the account and region fail"), describe=lambda: exporter.stderr)
        simulator.faults.clear()
        wait_for(lambda: set(exporter.metrics().select("glue_ml_transform_up").values()) == {1})
        assert len(lines(exporter, "polls fail")) == 1
        [outage] = lines(exporter, "polls of the account and region fail")
        assert (outage["failing"], outage["transforms"], outage["region"]) == (31, 31, "eu-west-1")
        [end] = lines(exporter, "polls succeed again")
        assert end["failed"] == 31


HOSTILE = 'x\nts=2026-11-23T00:00:00Z level=error msg="disk full"\r\n\x1b[2J\x1b[31m\u2028{"level":"error"}\x00\x9b"'


@pytest.mark.parametrize("log_format", ["logfmt", "json"])
def test_an_error_string_cannot_forge_a_line(simulator, log_format, tmp_path):
    """Line ends, escape sequences and quotes stay within their field of the log. Each run is one printable line."""
    config = configuration(simulator.url, ["tfm-a"])
    simulator.world.alter_transform("tfm-a", {"Name": HOSTILE})
    with Exporter(tmp_path, config, f"--log.format={log_format}") as exporter:
        exporter.wait_for_polls("tfm-a", 1)
        fields = {"ErrorString": HOSTILE, "LogGroupName": HOSTILE}
        simulator.world.add_run("tfm-a", status="FAILED", run_id=f"tsk-{HOSTILE}", fields=fields)
        exporter.wait_for_value(1, FINISHED, task_type="FIND_MATCHES", status="FAILED")
        written = exporter.wait_for_output("run finished.*\n") and exporter.stderr
        logged = written.splitlines()
        assert len(logged) == 2, logged
        assert "listening" in logged[0]
        assert "disk full" in logged[1]
        assert all(char.isprintable() for char in written.replace("\n", ""))
        if log_format == "json":
            line = exporter.log()[1]
            assert (line["error"], line["log_group"], line["run_id"]) == (HOSTILE, HOSTILE, f"tsk-{HOSTILE}")


def test_an_error_message_of_the_endpoint_cannot_forge_a_line(simulator, tmp_path):
    """The code and the message of an error answer stay within one line. They are not used as label values."""
    simulator.faults.set({"kind": "error", "code": HOSTILE.replace("\x00", ""), "message": HOSTILE, "status": 400})
    with Exporter(tmp_path, configuration(simulator.url, ["tfm-a"]), JSON) as exporter:
        exporter.wait_for_value(0, "glue_ml_transform_up")
        assert [line["msg"] for line in exporter.log()] == ["listening", "polls fail"]
        samples = exporter.metrics()
        for name in ("glue_ml_exporter_poll_errors_total", "glue_ml_exporter_api_requests_total"):
            for labels in samples.select(name):
                assert not [value for _, value in labels if "disk" in value or not value.isprintable()]
