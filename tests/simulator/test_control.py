import json

import pytest

from exporter.simulator.control import Control
from exporter.simulator.messages import HttpRequest
from tests.simulator.clients import client
from tests.support import fetch

SCENARIO = {"transforms": [{"name": "t", "id": "t"}]}


def call(simulator, method, path, **parameters):
    """Send a control request. Return the status and the JSON answer."""
    body = json.dumps(parameters).encode() if parameters else None
    answer = fetch(f"{simulator.url}/_simulator/{path}", method=method, body=body)
    return answer.status, json.loads(answer.body)


def test_runs_can_be_added_altered_finished_and_removed_over_http(simulator):
    """The control routes for runs do the same as the methods of `World`."""
    status, answer = call(simulator, "POST", "runs", transform_id="t", task_type="EVALUATION", run_id="mine")
    assert (status, answer) == (200, {"run_id": "mine"})
    call(simulator, "PATCH", "runs", transform_id="t", run_id="mine", fields={"LogGroupName": "/x"})
    call(simulator, "POST", "runs/finish", transform_id="t", run_id="mine", status="FAILED")
    record = client(simulator).get_ml_task_run(TransformId="t", TaskRunId="mine")
    assert (record["Status"], record["LogGroupName"]) == ("FAILED", "/x")
    assert call(simulator, "DELETE", "runs", transform_id="t", run_id="mine")[0] == 200
    assert simulator.world.runs("t") == []


def test_runs_can_be_started_cancelled_and_listed_over_http(simulator):
    """A run with drawn times can be started, cancelled and listed over HTTP."""
    run_id = call(simulator, "POST", "runs/start", transform_id="t", task_type="IMPORT_LABELS")[1]["run_id"]
    answer = call(simulator, "POST", "runs/cancel", transform_id="t", run_id=run_id)[1]
    assert answer == {"status": "STOPPING"}
    listed = json.loads(fetch(f"{simulator.url}/_simulator/runs?transform_id=t").body)
    assert listed["runs"] == simulator.world.runs("t")


def test_expected_counts_can_be_read_over_http(simulator):
    """GET expected-counts returns the same as `World.expected_counts`, also with `since`."""
    simulator.world.add_run("t", status="SUCCEEDED", started=simulator.world.start - 60)
    old = simulator.world.start - 500
    simulator.world.add_run("t", status="FAILED", started=old - 1, completed=old)
    assert call(simulator, "GET", "expected-counts")[1] == simulator.world.expected_counts()
    since = call(simulator, "GET", f"expected-counts?since={old}")[1]["transforms"]["t"]
    assert [one["status"] for one in since["completions"]] == ["FAILED", "SUCCEEDED"]


def test_faults_can_be_set_counted_and_cleared_over_http(simulator):
    """A fault that is set over HTTP fires, is counted, and ends when it is cleared."""
    number = call(simulator, "POST", "faults", kind="throttle", operations=["GetMLTransform"])[1]["number"]
    glue = client(simulator)
    with pytest.raises(glue.exceptions.ClientError, match="ThrottlingException"):
        glue.get_ml_transform(TransformId="t")
    assert call(simulator, "GET", "faults")[1] == {"hits": {str(number): 1}}
    call(simulator, "DELETE", "faults", number=number)
    assert glue.get_ml_transform(TransformId="t")


def test_transforms_can_be_added_altered_and_removed_over_http(simulator):
    """Transforms can be added, altered, listed and removed over HTTP."""
    status, answer = call(simulator, "POST", "transforms", name="new", count=2, tags={"a": "b"})
    assert status == 200
    first, second = answer["transform_ids"]
    call(simulator, "PATCH", "transforms", transform_id=first, fields={"Status": "DELETING"})
    call(simulator, "DELETE", "transforms", transform_id=second)
    assert call(simulator, "GET", "transforms")[1] == {"transform_ids": ["t", first]}
    assert client(simulator).get_ml_transform(TransformId=first)["Status"] == "DELETING"


def test_the_request_log_can_be_read_and_cleared_over_http(simulator):
    """The logged requests and their counts can be read and cleared over HTTP."""
    client(simulator).get_ml_task_runs(TransformId="t", MaxResults=7)
    answer = call(simulator, "GET", "requests?operation=GetMLTaskRuns")[1]
    assert answer["counts"] == {"GetMLTaskRuns": {"OK": 1}}
    assert answer["requests"][0]["params"] == {"TransformId": "t", "MaxResults": 7}
    call(simulator, "DELETE", "requests")
    assert simulator.requests.count() == 0


@pytest.mark.parametrize(
    ("method", "path", "parameters", "status"),
    [
        ("POST", "runs", {"transform_id": "t", "colour": "red"}, 400),
        ("POST", "runs", {"transform_id": "t", "started": "soon"}, 400),
        ("POST", "runs", {"transform_id": "nowhere"}, 404),
        ("POST", "runs/finish", {"transform_id": "t", "run_id": "nothing"}, 404),
        ("POST", "runs/finish", {"transform_id": "t", "run_id": "nothing", "status": "RUNNING"}, 400),
        ("POST", "transforms", {"name": "x", "id": "t"}, 400),
        ("POST", "faults", {"kind": "gremlin"}, 400),
        ("PUT", "runs", {"transform_id": "t"}, 404),
        ("GET", "secrets", {}, 404),
    ],
)
def test_a_wrong_control_request_gets_an_error_with_the_reason(simulator, method, path, parameters, status):
    """A wrong parameter gets 400, an unknown transform, run or path gets 404, and each answer has the reason."""
    got, answer = call(simulator, method, path, **parameters)
    assert (got, bool(answer["error"])) == (status, True)


@pytest.mark.parametrize("body", [b"[]", b"{", b"7"])
def test_a_control_body_that_is_not_a_json_object_is_refused(simulator, body):
    """A body that is not a JSON object is a 400."""
    assert fetch(f"{simulator.url}/_simulator/runs", method="POST", body=body).status == 400


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("::ffff:127.0.0.1", {}, 200),
        ("10.0.0.7", {}, 404),
        ("fe80::1%eth0", {}, 404),
        ("127.0.0.1", {"origin": "https://elsewhere.example"}, 404),
    ],
)
def test_only_clients_on_this_machine_can_control_the_simulator(simulator, peer, headers, status):
    """Requests from loopback addresses are answered; other addresses and requests with an `Origin` header get 404."""
    control = Control(simulator.world, simulator.faults, simulator.requests)
    request = HttpRequest("GET", "/_simulator/expected-counts", headers, b"", peer)
    assert control.handle(request).status == status


def test_the_request_log_counts_by_operation_and_code(simulator):
    """Requests are counted by operation and code; `OK` stands for success."""
    glue = client(simulator)
    glue.list_ml_transforms()
    glue.get_ml_transform(TransformId="t")
    with pytest.raises(glue.exceptions.EntityNotFoundException):
        glue.get_ml_transform(TransformId="u")
    log = simulator.requests
    assert (log.count(), log.count("GetMLTransform"), log.count("GetMLTransform", "OK")) == (3, 2, 1)
    assert log.counts()["GetMLTransform"] == {"EntityNotFoundException": 1, "OK": 1}
    assert [one.transform_id for one in log.all("GetMLTransform")] == ["t", "u"]
