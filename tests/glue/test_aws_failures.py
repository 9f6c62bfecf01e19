"""A failure of AWS is counted with its reason and affects only the account or transform that it concerns."""

import socket
from collections import Counter
from contextlib import contextmanager

import pytest

from tests.aws_environment import ONE
from tests.running import keeps_polling, running, wait_for
from tests.support import free_port

ACCOUNTS = [{"name": "one", "profile": "one"}, {"name": "two", "profile": "two"}]
TRANSFORMS = [{"id": "tfm-one", "account": "one"}, {"id": "tfm-two", "account": "two"}]

REQUESTS = "glue_ml_exporter_api_requests_total"

FAULTS = [
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


def polls(simulator):
    """Return the number of polls of each transform."""
    return Counter(one.transform_id for one in simulator.requests.all("GetMLTaskRuns"))


def fails_with(exporter, reason, **labels):
    wait_for(lambda: exporter.errors(**labels).get(reason), describe=lambda: str(exporter.errors()))


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "reason"), FAULTS, ids=lambda value: None if isinstance(value, dict) else value)
def test_a_fault_of_one_account_fails_only_its_polls_until_it_ends(simulator, fault, reason):
    """While one account fails, its polls fail with a single reason, and all polls of the other account succeed."""
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
def test_a_fault_of_one_transform_does_not_delay_the_others_of_its_account(simulator, fault, reason):
    """While polls of one transform fail or hang, another transform of the account is polled at its interval."""
    polling = {"request_timeout": "700ms"}
    with running(simulator, transforms=["tfm-a", "tfm-b"], polling=polling) as exporter:
        exporter.wait_until_up("tfm-a", "tfm-b")
        simulator.faults.set({**fault, "transforms": ["tfm-a"], "operations": ["GetMLTaskRuns"]})
        wait_for(lambda: exporter.up("tfm-a") == 0)
        before = polls(simulator)
        keeps_polling(exporter, "tfm-b", times=12)
        since = polls(simulator) - before
        # If tfm-b had to wait for each hanging poll of tfm-a, both transforms would have the same number of polls.
        share = 2 if fault["kind"] == "hang" else 0.5
        assert since["tfm-b"] >= share * since["tfm-a"]
        assert exporter.up("tfm-b") == 1
        simulator.faults.clear()
        exporter.wait_until_up("tfm-a")
        wait_for(lambda: set(exporter.errors()) == {reason}, describe=lambda: str(exporter.errors()))


@pytest.mark.slow
def test_more_hanging_transforms_than_threads_do_not_delay_healthy_ones(simulator):
    """After their first failure ten hanging transforms share one thread, so a healthy one is polled in time."""
    hanging = simulator.world.add_transform({"name": "hanging", "count": 10})
    polling = {"concurrency": 4, "request_timeout": "700ms"}
    with running(simulator, transforms=[*hanging, "tfm-a", "tfm-b"], polling=polling) as exporter:
        exporter.wait_until_up(*hanging, "tfm-a", "tfm-b")
        simulator.faults.set({"kind": "hang", "transforms": hanging, "operations": ["GetMLTaskRuns"]})
        wait_for(lambda: all(exporter.up(transform_id) == 0 for transform_id in hanging))
        before = polls(simulator)
        keeps_polling(exporter, "tfm-b", times=12)
        since = polls(simulator) - before
        # If tfm-b shared the thread of the hanging transforms, each of them would have as many polls as tfm-b.
        assert since["tfm-b"] >= 2 * sum(since[one] for one in hanging)
        simulator.faults.clear()
        exporter.wait_until_up(*hanging)


def test_an_endpoint_that_refuses_connections_is_a_connection_error_until_it_is_back(simulator):
    """A refused connection is counted as "connection", and polls succeed when the endpoint listens again."""
    with running(simulator, transforms=["tfm-a"]) as exporter:
        exporter.wait_until_up("tfm-a")
        simulator.stop()
        fails_with(exporter, "connection")
        simulator.start()
        exporter.wait_until_up("tfm-a")
        wait_for(lambda: set(exporter.errors()) == {"connection"}, describe=lambda: str(exporter.errors()))


@contextmanager
def deaf_endpoint():
    """Listen with a full queue of connections, so that the kernel does not answer new connections."""
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
def test_a_wrong_endpoint_fails_only_its_account_until_a_reload_corrects_it(simulator, url, reason):
    """With a wrong endpoint_url only the polls of that account fail, until a reload corrects the address."""
    wrong = [{"name": "one", "profile": "one", "endpoint_url": url(simulator)}, ACCOUNTS[1]]
    with running(simulator, accounts=wrong, transforms=TRANSFORMS) as exporter:
        fails_with(exporter, reason, aws_account="one")
        exporter.wait_until_up("tfm-two")
        assert exporter.reload(accounts=ACCOUNTS) is None
        exporter.wait_until_up("tfm-one", "tfm-two")
        assert set(exporter.errors(aws_account="one")) == {reason}
        assert not exporter.errors(aws_account="two")


def test_a_connection_that_is_not_accepted_is_a_timeout(simulator):
    """If the endpoint does not accept a connection, the poll fails with "timeout" after request_timeout."""
    with deaf_endpoint() as url:
        wrong = [{"name": "one", "profile": "one", "endpoint_url": url}, ACCOUNTS[1]]
        polling = {"request_timeout": "200ms"}
        with running(simulator, accounts=wrong, transforms=TRANSFORMS, polling=polling) as exporter:
            fails_with(exporter, "timeout", aws_account="one")
            exporter.wait_until_up("tfm-two")
            wait_for(lambda: set(exporter.errors()) == {"timeout"}, describe=lambda: str(exporter.errors()))


def test_endless_pages_are_counted_as_pagination(simulator):
    """When the endpoint repeats a NextToken, the poll fails with the reason "pagination"."""
    for _ in range(3):
        simulator.world.add_run("tfm-a", status="SUCCEEDED")
    simulator.faults.set({"kind": "repeat_token", "operations": ["GetMLTaskRuns"]})
    with running(simulator, transforms=["tfm-a"], polling={"page_size": 1}) as exporter:
        fails_with(exporter, "pagination")
        simulator.faults.clear()
        exporter.wait_until_up("tfm-a")


@pytest.mark.slow
def test_retries_are_counted_attempt_by_attempt(simulator):
    """Two throttled attempts and a successful third one are one successful poll and three counted requests."""
    simulator.faults.set({"kind": "throttle", "times": 2, "operations": ["GetMLTaskRuns"]})
    polling = {"interval": "1h", "stale_after": "2h", "max_attempts": 5}
    with running(simulator, transforms=["tfm-a"], polling=polling) as exporter:
        exporter.wait_until_up("tfm-a")
        requests = {"operation": "GetMLTaskRuns", "aws_account": "default", "aws_region": "eu-west-1"}
        wait_for(lambda: exporter.value(REQUESTS, **requests, code="OK") == 1)
        assert exporter.value(REQUESTS, **requests, code="ThrottlingException") == 2
        assert not exporter.errors()
