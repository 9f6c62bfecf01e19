import time

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

TARGET = FaultTarget("GetMLTaskRuns", "t", "eu-west-1", "123456789012")


SCENARIO = {"transforms": [{"name": "t", "id": "t"}, {"name": "u", "id": "u"}]}


@pytest.fixture(autouse=True)
def runs(simulator):
    """Give the transform t three runs."""
    for _ in range(3):
        simulator.world.add_run("t")


def ask(simulator, transform_id="t", **more):
    """Ask for the runs of a transform once."""
    return client(simulator, timeout=0.3).get_ml_task_runs(TransformId=transform_id, **more)


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
def test_an_error_fault_is_seen_under_its_code(simulator, fault, code, status):
    """boto3 raises the error with code and HTTP status of the fault, and the log shows both."""
    simulator.faults.set(fault)
    with pytest.raises(ClientError) as raised:
        ask(simulator)
    assert raised.value.response["Error"]["Code"] == code
    assert raised.value.response["Error"]["Message"]
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert [(one.code, one.status) for one in simulator.requests.all()] == [(code, status)]


@pytest.mark.parametrize("code", ["AccessDenied", "Throttling", "ExpiredToken"])
def test_sts_has_names_of_its_own_for_the_same_faults(simulator, code):
    """A fault on AssumeRole comes in the Query protocol's form, under the code that STS uses."""
    kinds = {"AccessDenied": "access_denied", "Throttling": "throttle", "ExpiredToken": "expired_credentials"}
    simulator.faults.set({"kind": kinds[code], "operations": ["AssumeRole"]})
    sts = client(simulator, "sts")
    with pytest.raises(ClientError) as raised:
        sts.assume_role(RoleArn="arn:aws:iam::222222222222:role/r", RoleSessionName="test")
    assert raised.value.response["Error"]["Code"] == code
    assert sts.get_caller_identity()


def test_a_delay_holds_the_answer_back(simulator):
    """The answer comes, right, after the delay."""
    simulator.faults.set({"kind": "delay", "seconds": 0.15})
    began = time.monotonic()
    assert len(ask(simulator)["TaskRuns"]) == 3
    assert time.monotonic() - began >= 0.15


def test_a_delayed_error_is_late_and_an_error(simulator):
    """A delay goes together with another fault."""
    simulator.faults.set({"kind": "delay", "seconds": 0.1})
    simulator.faults.set({"kind": "throttle"})
    began = time.monotonic()
    with pytest.raises(ClientError, match="ThrottlingException"):
        ask(simulator)
    assert time.monotonic() - began >= 0.1


def test_a_hanging_request_is_accepted_and_never_answered(simulator):
    """The client runs into its read timeout, while other connections are served."""
    simulator.faults.set({"kind": "hang", "transforms": ["t"]})
    with pytest.raises(ReadTimeoutError):
        ask(simulator)
    assert ask(simulator, "u")["TaskRuns"] == []
    assert simulator.requests.count("GetMLTaskRuns", "hang") == 1
    assert simulator.requests.all()[0].status == 0


def test_a_reset_breaks_the_connection_off(simulator):
    """The client's connection is closed without an answer."""
    simulator.faults.set({"kind": "reset"})
    with pytest.raises(ConnectionClosedError):
        ask(simulator)


@pytest.mark.parametrize("body", ["truncated", "html", "empty"])
def test_garbage_is_no_answer_that_boto3_can_use(simulator, body):
    """To boto3 a body that is not JSON, sent with status 200, is a success that holds no runs."""
    simulator.faults.set({"kind": "garbage", "body": body})
    assert "TaskRuns" not in ask(simulator)


def test_an_empty_object_parses_and_holds_nothing(simulator):
    """`{}` is a success without runs, as a client must be ready for."""
    simulator.faults.set({"kind": "garbage", "body": "empty_object"})
    assert "TaskRuns" not in ask(simulator)


def test_values_of_the_wrong_type_arrive_as_sent(simulator):
    """`wrong_types` gives members of another type than documented."""
    simulator.faults.set({"kind": "garbage", "body": "wrong_types"})
    with pytest.raises((ResponseParserError, AttributeError, TypeError)):
        ask(simulator)


def test_a_repeated_token_never_ends(simulator):
    """Under `repeat_token` every page names itself as the next."""
    simulator.faults.set({"kind": "repeat_token"})
    token = ask(simulator, MaxResults=1)["NextToken"]
    for _ in range(3):
        assert ask(simulator, MaxResults=1, NextToken=token)["NextToken"] == token


@pytest.mark.parametrize("aim", ["operations", "transforms", "regions", "accounts"])
def test_a_fault_hits_only_what_it_is_aimed_at(aim):
    """Operation, transform, region and account each narrow a fault."""
    board = InjectedFaults(1)
    hit = dict(zip(("operations", "transforms", "regions", "accounts"), TARGET, strict=True))[aim]
    other = {"operations": "GetMLTransform"}.get(aim, "another")
    board.set({"kind": "throttle", aim: [hit]})
    assert board.matching(TARGET)
    assert not board.matching(TARGET._replace(**{_FIELD[aim]: other}))


_FIELD = {"operations": "operation", "transforms": "transform_id", "regions": "region", "accounts": "account"}


def test_a_fault_has_its_time_window_and_number_of_times():
    """A fault fires from `after` to `until`, counted from when it was set, and at most `times` times."""
    clock = Clock(0)
    board = InjectedFaults(1, clock)
    clock.now = 100
    number = board.set({"kind": "throttle", "after": "10s", "until": "20s", "times": 2})
    fired = []
    for second in (100, 109, 110, 111, 112, 120):
        clock.now = second
        fired.append(bool(board.matching(TARGET)))
    assert fired == [False, False, True, True, False, False]
    assert board.hits() == {number: 2}


def test_a_window_ends_by_itself():
    """After `until` a fault is over, however rarely it fired."""
    clock = Clock(0)
    board = InjectedFaults(1, clock)
    board.set({"kind": "throttle", "until": "20s"})
    clock.now = 20
    assert not board.matching(TARGET)


def test_probability_is_drawn_from_the_seed():
    """A fault of probability 0.3 fires about as often, at the same requests for the same seed."""

    def fired(seed):
        board = InjectedFaults(seed)
        board.set({"kind": "throttle", "probability": 0.3})
        return [bool(board.matching(TARGET)) for _ in range(1000)]

    assert fired(1) == fired(1) != fired(2)
    assert 250 < sum(fired(1)) < 350


def test_a_cleared_fault_is_over(simulator):
    """One fault can be cleared by its number, others stay."""
    throttle = simulator.faults.set({"kind": "throttle"})
    simulator.faults.set({"kind": "delay", "seconds": 0})
    simulator.faults.clear(throttle)
    assert ask(simulator, Sort=OLDEST_FIRST)
    assert list(simulator.faults.hits().values()) == [1]


def test_faults_of_the_scenario_are_there_from_the_start():
    """A scenario's own faults hit the first request."""
    with Simulator({"faults": [{"kind": "throttle"}]}) as simulator, pytest.raises(ClientError, match="Throttling"):
        client(simulator).list_ml_transforms()


def test_an_outage_refuses_connections_and_the_same_port_comes_back():
    """Stopped, the simulator refuses connections; started again it answers on the same port with the same world."""
    simulator = Simulator({"transforms": [{"name": "t", "id": "t"}]})
    with simulator:
        url = simulator.url
        simulator.world.add_run("t")
    with pytest.raises(EndpointConnectionError):
        ask(simulator)
    with simulator:
        assert simulator.url == url
        assert len(ask(simulator)["TaskRuns"]) == 1


def test_stopping_does_not_wait_for_a_hanging_request(simulator):
    """A simulator that holds a request without answering stops at once."""
    with Simulator({"faults": [{"kind": "hang"}]}) as one:
        with pytest.raises(ReadTimeoutError):
            client(one, timeout=0.1).list_ml_transforms()
        began = time.monotonic()
    assert time.monotonic() - began < 2
    assert ask(simulator)
