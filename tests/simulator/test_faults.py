import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError

from exporter.simulator import InjectedFaults, Simulator
from exporter.simulator.injected_faults import FaultTarget
from tests.simulator.clients import OLDEST_FIRST, Clock, client
from tests.support import wait_for

TARGET = FaultTarget("GetMLTaskRuns", "t", "eu-west-1", "123456789012")


SCENARIO = {"transforms": [{"name": "t", "id": "t"}, {"name": "u", "id": "u"}]}


@pytest.fixture(autouse=True)
def runs(simulator):
    """Give the transform t three runs."""
    for _ in range(3):
        simulator.world.add_run("t")


def ask(simulator, transform_id="t", **more):
    """Send one GetMLTaskRuns request."""
    return client(simulator).get_ml_task_runs(TransformId=transform_id, **more)


@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [
        ({"kind": "throttle"}, "ThrottlingException", 400),
        ({"kind": "server_error"}, "InternalServiceException", 500),
        ({"kind": "server_error", "status": 503}, "ServiceUnavailableException", 503),
        ({"kind": "timeout"}, "OperationTimeoutException", 400),
        ({"kind": "not_found"}, "EntityNotFoundException", 400),
        ({"kind": "expired_credentials"}, "ExpiredTokenException", 400),
        ({"kind": "access_denied"}, "AccessDeniedException", 400),
        ({"kind": "error", "code": "ConcurrentRunsExceededException"}, "ConcurrentRunsExceededException", 400),
        ({"kind": "error", "code": "TeapotException", "status": 418}, "TeapotException", 418),
    ],
)
def test_an_error_fault_has_its_code_and_status(simulator, fault, code, status):
    """boto3 raises an error with the code and the HTTP status of the fault, and the log has both."""
    simulator.faults.set(fault)
    with pytest.raises(ClientError) as raised:
        ask(simulator)
    assert raised.value.response["Error"]["Code"] == code
    assert raised.value.response["Error"]["Message"]
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert [(one.code, one.status) for one in simulator.requests.all()] == [(code, status)]


@pytest.mark.parametrize("code", ["AccessDenied", "Throttling", "ExpiredToken"])
def test_a_fault_on_sts_has_the_error_code_of_sts(simulator, code):
    """A fault on AssumeRole is a Query protocol error with the code that STS uses."""
    kinds = {"AccessDenied": "access_denied", "Throttling": "throttle", "ExpiredToken": "expired_credentials"}
    simulator.faults.set({"kind": kinds[code], "operations": ["AssumeRole"]})
    sts = client(simulator, "sts")
    with pytest.raises(ClientError) as raised:
        sts.assume_role(RoleArn="arn:aws:iam::222222222222:role/r", RoleSessionName="test")
    assert raised.value.response["Error"]["Code"] == code
    assert sts.get_caller_identity()


def test_a_delay_holds_the_answer_back(simulator):
    """A request without a fault is answered while an earlier one is delayed."""
    simulator.faults.set({"kind": "delay", "seconds": 3600, "transforms": ["t"]})
    with pytest.raises(ReadTimeoutError):
        client(simulator, timeout=0.3).get_ml_task_runs(TransformId="t")
    assert ask(simulator, "u")["TaskRuns"] == []


def test_a_delayed_answer_is_the_right_one(simulator):
    """A delayed answer is the same as the answer without a delay."""
    simulator.faults.set({"kind": "delay", "seconds": 0.05})
    assert len(ask(simulator)["TaskRuns"]) == 3


def test_a_delay_and_an_error_can_fire_together(simulator):
    """A request that meets a delay and a throttle fault gets the error after the delay."""
    delay = simulator.faults.set({"kind": "delay", "seconds": 0.05})
    throttle = simulator.faults.set({"kind": "throttle"})
    with pytest.raises(ClientError, match="ThrottlingException"):
        ask(simulator)
    assert simulator.faults.hits() == {delay: 1, throttle: 1}


def test_a_hanging_request_is_never_answered(simulator):
    """A request with the fault `hang` ends with the client's read timeout, while other requests are answered."""
    simulator.faults.set({"kind": "hang", "transforms": ["t"]})
    with pytest.raises(ReadTimeoutError):
        client(simulator, timeout=0.3).get_ml_task_runs(TransformId="t")
    assert ask(simulator, "u")["TaskRuns"] == []
    assert simulator.requests.count("GetMLTaskRuns", "hang") == 1
    assert simulator.requests.all()[0].status == 0


def test_a_reset_closes_the_connection_without_an_answer(simulator):
    """boto3 raises ConnectionClosedError."""
    simulator.faults.set({"kind": "reset"})
    with pytest.raises(ConnectionClosedError):
        ask(simulator)


@pytest.mark.parametrize("body", ["truncated", "html", "empty"])
def test_a_garbage_body_has_no_runs_for_boto3(simulator, body):
    """boto3 takes a body that is not JSON, with status 200, for a success without runs."""
    simulator.faults.set({"kind": "garbage", "body": body})
    assert "TaskRuns" not in ask(simulator)


def test_an_empty_object_has_no_runs_for_boto3(simulator):
    """boto3 takes `{}` for a success without runs."""
    simulator.faults.set({"kind": "garbage", "body": "empty_object"})
    assert "TaskRuns" not in ask(simulator)


def test_wrong_types_break_the_parser_of_boto3(simulator):
    """The members of a `wrong_types` body have other JSON types than documented."""
    simulator.faults.set({"kind": "garbage", "body": "wrong_types"})
    with pytest.raises((ResponseParserError, AttributeError, TypeError)):
        ask(simulator)


def test_a_repeated_token_makes_a_listing_endless(simulator):
    """With `repeat_token` every page has the token of the same page, so that a listing has no end."""
    simulator.faults.set({"kind": "repeat_token"})
    token = ask(simulator, MaxResults=1)["NextToken"]
    for _ in range(3):
        assert ask(simulator, MaxResults=1, NextToken=token)["NextToken"] == token


@pytest.mark.parametrize("aim", ["operations", "transforms", "regions", "accounts"])
def test_a_fault_fires_only_on_the_selected_requests(aim):
    """Operation, transform, region and account each restrict a fault."""
    faults = InjectedFaults(1)
    hit = dict(zip(("operations", "transforms", "regions", "accounts"), TARGET, strict=True))[aim]
    other = {"operations": "GetMLTransform"}.get(aim, "another")
    faults.set({"kind": "throttle", aim: [hit]})
    assert faults.matching(TARGET)
    assert not faults.matching(TARGET._replace(**{_FIELDS[aim]: other}))


_FIELDS = {"operations": "operation", "transforms": "transform_id", "regions": "region", "accounts": "account"}


def test_a_fault_fires_in_its_time_window_and_limited_times():
    """A fault fires from `after` to `until`, counted from the time of its `set` call, and at most `times` times."""
    clock = Clock(0)
    faults = InjectedFaults(1, clock)
    clock.now = 100
    number = faults.set({"kind": "throttle", "after": "10s", "until": "20s", "times": 2})
    fired = []
    for second in (100, 109, 110, 111, 112, 120):
        clock.now = second
        fired.append(bool(faults.matching(TARGET)))
    assert fired == [False, False, True, True, False, False]
    assert faults.hits() == {number: 2}


def test_a_fault_ends_at_until():
    """After `until` a fault does not fire, even if it has never fired before."""
    clock = Clock(0)
    faults = InjectedFaults(1, clock)
    faults.set({"kind": "throttle", "until": "20s"})
    clock.now = 20
    assert not faults.matching(TARGET)


def test_the_seed_decides_when_a_fault_with_a_probability_fires():
    """A fault of probability 0.3 fires on about 30 % of the requests; the seed decides on which requests."""

    def fired(seed):
        faults = InjectedFaults(seed)
        faults.set({"kind": "throttle", "probability": 0.3})
        return [bool(faults.matching(TARGET)) for _ in range(1000)]

    assert fired(1) == fired(1) != fired(2)
    assert 250 < sum(fired(1)) < 350


def test_a_cleared_fault_does_not_fire(simulator):
    """One fault can be cleared by its number; the others stay."""
    throttle = simulator.faults.set({"kind": "throttle"})
    simulator.faults.set({"kind": "delay", "seconds": 0})
    simulator.faults.clear(throttle)
    assert ask(simulator, Sort=OLDEST_FIRST)
    assert list(simulator.faults.hits().values()) == [1]


def test_faults_of_a_scenario_apply_to_the_first_request():
    """A fault of the scenario fires on the first request."""
    with Simulator({"faults": [{"kind": "throttle"}]}) as simulator, pytest.raises(ClientError, match="Throttling"):
        client(simulator).list_ml_transforms()


def test_a_stopped_simulator_refuses_connections_until_it_starts_again():
    """A simulator that starts again has the same port, transforms and runs."""
    simulator = Simulator({"transforms": [{"name": "t", "id": "t"}]})
    with simulator:
        url = simulator.url
        simulator.world.add_run("t")
    with pytest.raises(EndpointConnectionError):
        ask(simulator)
    with simulator:
        assert simulator.url == url
        assert len(ask(simulator)["TaskRuns"]) == 1


@pytest.mark.parametrize("fault", [{"kind": "hang"}, {"kind": "delay", "seconds": 3600}])
def test_stopping_resets_the_connections_of_unanswered_requests(fault):
    """`stop` does not wait for hanging or delayed requests. The clients of these requests get a connection error."""
    simulator = Simulator({"faults": [fault]})
    with simulator, ThreadPoolExecutor() as pool:
        request = pool.submit(client(simulator, timeout=60).list_ml_transforms)
        wait_for(simulator.requests.count, describe="the request is received")
        simulator.stop()
        with pytest.raises(ConnectionClosedError):
            request.result(timeout=60)


def test_stopping_resets_the_connections_that_were_just_accepted():
    """`stop` also ends connections that clients have opened at the moment before."""
    for _ in range(20):
        with Simulator({}) as simulator:
            address = urlsplit(simulator.url)
            connection = socket.create_connection((address.hostname, address.port), timeout=30)
        with connection, suppress(ConnectionError):
            assert connection.recv(1) == b""
