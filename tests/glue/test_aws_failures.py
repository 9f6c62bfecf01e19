"""Each thing that goes wrong with AWS has a name, stays where it is, and is over when its cause is."""

import socket
from contextlib import contextmanager

import pytest

from tests.aws_environment import ONE
from tests.running import keeps_polling, longest_gap, running, wait_for
from tests.support import free_port

ACCOUNTS = [{"name": "one", "profile": "one"}, {"name": "two", "profile": "two"}]
TRANSFORMS = [{"id": "tfm-one", "account": "one"}, {"id": "tfm-two", "account": "two"}]

REQUESTS = "glue_ml_exporter_api_requests_total"

ANSWERS = [
    ({"kind": "throttle"}, "ThrottlingException"),
    ({"kind": "server_error"}, "InternalServiceException"),
    ({"kind": "server_error", "status": 503}, "ServiceUnavailable"),
    ({"kind": "timeout"}, "OperationTimeoutException"),
    ({"kind": "access_denied"}, "AccessDeniedException"),
    ({"kind": "expired_credentials"}, "ExpiredTokenException"),
    ({"kind": "error", "code": "UnrecognizedClientException", "status": 400}, "UnrecognizedClientException"),
    ({"kind": "error", "code": "InvalidSignatureException", "status": 400}, "InvalidSignatureException"),
    ({"kind": "error", "code": "SomethingNewException", "status": 400}, "other"),
    ({"kind": "reset"}, "connection"),
    ({"kind": "hang"}, "timeout"),
    ({"kind": "garbage", "body": "truncated"}, "malformed_response"),
    ({"kind": "garbage", "body": "html"}, "malformed_response"),
    ({"kind": "garbage", "body": "empty_object"}, "malformed_response"),
    ({"kind": "garbage", "body": "wrong_types"}, "malformed_response"),
    ({"kind": "garbage", "body": "empty"}, "malformed_response"),
]


def fails_with(exporter, reason, **labels):
    wait_for(lambda: exporter.errors(**labels).get(reason), describe=lambda: str(exporter.errors()))


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "reason"), ANSWERS, ids=lambda value: None if isinstance(value, dict) else value)
def test_a_fault_of_one_account_is_named_there_spares_the_other_and_heals(simulator, fault, reason):
    """While one account fails, its polls count that reason and no other, the other account's all succeed."""
    with running(simulator, accounts=ACCOUNTS, transforms=TRANSFORMS, polling={"request_timeout": "1s"}) as exporter:
        exporter.wait_until_up("tfm-one", "tfm-two")
        simulator.faults.set({**fault, "accounts": [ONE], "operations": ["GetMLTaskRuns"]})
        fails_with(exporter, reason, aws_account="one")
        wait_for(lambda: exporter.up("tfm-one") == 0)
        keeps_polling(exporter, "tfm-two")
        simulator.faults.clear()
        exporter.wait_until_up("tfm-one", "tfm-two")
        assert set(exporter.errors(aws_account="one")) == {reason}
        assert not exporter.errors(aws_account="two")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"kind": "not_found"}, "EntityNotFoundException"),
        ({"kind": "access_denied"}, "AccessDeniedException"),
        ({"kind": "hang"}, "timeout"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value,
)
def test_a_fault_of_one_transform_spares_the_others_of_its_account(simulator, fault, reason):
    """A transform that is gone, forbidden or hanging does not keep its neighbour from being polled each interval."""
    polling = {"request_timeout": "700ms"}
    with running(simulator, transforms=["tfm-a", "tfm-b"], polling=polling) as exporter:
        exporter.wait_until_up("tfm-a", "tfm-b")
        simulator.faults.set({**fault, "transforms": ["tfm-a"], "operations": ["GetMLTaskRuns"]})
        wait_for(lambda: exporter.up("tfm-a") == 0)
        before = simulator.requests.all("GetMLTaskRuns")[-1].time
        keeps_polling(exporter, "tfm-b", times=12)
        times = [
            one.time
            for one in simulator.requests.all("GetMLTaskRuns")
            if one.transform_id == "tfm-b" and one.time >= before
        ]
        assert longest_gap(times) < 0.5
        assert exporter.up("tfm-b") == 1
        simulator.faults.clear()
        exporter.wait_until_up("tfm-a")
        wait_for(lambda: set(exporter.errors()) == {reason}, describe=lambda: str(exporter.errors()))


@pytest.mark.slow
def test_more_hanging_transforms_than_threads_leave_the_sound_ones_theirs(simulator):
    """Once they have failed, ten hanging transforms take turns on one thread, and a sound one keeps its interval."""
    hanging = simulator.world.add_transform({"name": "hanging", "count": 10})
    polling = {"concurrency": 4, "request_timeout": "700ms"}
    with running(simulator, transforms=[*hanging, "tfm-a", "tfm-b"], polling=polling) as exporter:
        exporter.wait_until_up(*hanging, "tfm-a", "tfm-b")
        simulator.faults.set({"kind": "hang", "transforms": hanging, "operations": ["GetMLTaskRuns"]})
        wait_for(lambda: all(exporter.up(transform_id) == 0 for transform_id in hanging))
        before = simulator.requests.all("GetMLTaskRuns")[-1].time
        keeps_polling(exporter, "tfm-b", times=12)
        polls = [one for one in simulator.requests.all("GetMLTaskRuns") if one.time >= before]
        assert longest_gap([one.time for one in polls if one.transform_id == "tfm-b"]) < 0.6
        simulator.faults.clear()
        exporter.wait_until_up(*hanging)


def test_an_outage_of_the_endpoint_is_a_connection_error_until_it_is_back(simulator):
    """A refused connection is counted as "connection", and polls go on when the endpoint listens again."""
    with running(simulator, transforms=["tfm-a"]) as exporter:
        exporter.wait_until_up("tfm-a")
        simulator.stop()
        fails_with(exporter, "connection")
        simulator.start()
        exporter.wait_until_up("tfm-a")
        wait_for(lambda: set(exporter.errors()) == {"connection"}, describe=lambda: str(exporter.errors()))


@contextmanager
def deaf_endpoint():
    """Listen, with the queue of connections full: the kernel leaves further ones without an answer."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        callers = [socket.socket() for _ in range(3)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for caller in callers:
                caller.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (lambda _: f"http://127.0.0.1:{free_port()}", "connection"),
        (lambda _: "http://glue.invalid", "dns"),
        (lambda simulator: simulator.url.replace("http:", "https:"), "tls"),
    ],
    ids=["refused", "no such host", "no TLS there"],
)
def test_an_endpoint_that_cannot_be_reached_is_named_and_heals_by_reload(simulator, url, reason):
    """A wrong endpoint_url of one account is named, spares the other account, and another one helps at once."""
    wrong = [{"name": "one", "profile": "one", "endpoint_url": url(simulator)}, ACCOUNTS[1]]
    with running(simulator, accounts=wrong, transforms=TRANSFORMS) as exporter:
        fails_with(exporter, reason, aws_account="one")
        exporter.wait_until_up("tfm-two")
        assert exporter.reload(accounts=ACCOUNTS) is None
        exporter.wait_until_up("tfm-one", "tfm-two")
        assert set(exporter.errors(aws_account="one")) == {reason}
        assert not exporter.errors(aws_account="two")


def test_a_connection_that_is_never_accepted_is_a_timeout(simulator):
    """When the endpoint does not answer the first packet, the poll fails with "timeout" after request_timeout."""
    with deaf_endpoint() as url:
        wrong = [{"name": "one", "profile": "one", "endpoint_url": url}, ACCOUNTS[1]]
        polling = {"request_timeout": "200ms"}
        with running(simulator, accounts=wrong, transforms=TRANSFORMS, polling=polling) as exporter:
            fails_with(exporter, "timeout", aws_account="one")
            exporter.wait_until_up("tfm-two")
            wait_for(lambda: set(exporter.errors()) == {"timeout"}, describe=lambda: str(exporter.errors()))


def test_pages_without_end_are_named(simulator):
    """An endpoint that gives the same NextToken for ever costs one failed poll at a time, counted as "pagination"."""
    for _ in range(3):
        simulator.world.add_run("tfm-a", status="SUCCEEDED")
    simulator.faults.set({"kind": "repeat_token", "operations": ["GetMLTaskRuns"]})
    with running(simulator, transforms=["tfm-a"], polling={"page_size": 1}) as exporter:
        fails_with(exporter, "pagination")
        simulator.faults.clear()
        exporter.wait_until_up("tfm-a")


@pytest.mark.slow
def test_retries_are_counted_attempt_by_attempt(simulator):
    """Two throttled attempts and a third that succeeds make one good poll and three counted requests."""
    simulator.faults.set({"kind": "throttle", "times": 2, "operations": ["GetMLTaskRuns"]})
    polling = {"interval": "1h", "stale_after": "2h", "max_attempts": 5}
    with running(simulator, transforms=["tfm-a"], polling=polling) as exporter:
        exporter.wait_until_up("tfm-a")
        requests = {"operation": "GetMLTaskRuns", "aws_account": "default", "aws_region": "eu-west-1"}
        wait_for(lambda: exporter.value(REQUESTS, **requests, code="OK") == 1)
        assert exporter.value(REQUESTS, **requests, code="ThrottlingException") == 2
        assert not exporter.errors()
