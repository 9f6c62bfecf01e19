"""After SIGTERM or SIGINT the exporter ends without waiting for AWS, and its state is on disk."""

import signal
import threading

import pytest

from exporter.web.limits import Limits
from tests.running import running
from tests.system.staging import FINISHED, Exporter, configuration, wait_for

pytestmark = pytest.mark.slow

STOPS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


LONGEST_STOP = 5
"""The documented limit in seconds from a signal to the end of the process."""

EVENT_LOOP_TICK = 0.1
"""Time until the main loop of uvicorn checks its stop flag again, in seconds."""

SCENARIO = {"transforms": [{"name": "a", "id": "tfm-a"}]}


def stop(exporter, number):
    """Send the signal and return the exit code. Calls in these tests hang for much longer than the timeout here."""
    exporter.send(number)
    return exporter.wait(timeout=60)


def test_all_waits_of_a_stop_add_up_to_less_than_the_documented_limit():
    """One tick of the event loop, `Limits.stop` for scrapes in flight and one second are less than the limit."""
    assert EVENT_LOOP_TICK + Limits().stop <= LONGEST_STOP - 1


def test_a_stop_waits_for_no_call_and_no_thread(simulator, tmp_path):
    """While a call hangs, `Service.stop` returns, and the interpreter does not wait for threads of the exporter."""
    before = set(threading.enumerate())
    hang = simulator.faults.set({"kind": "hang"})
    polling = {"request_timeout": "10m", "stale_after": "20m"}
    with running(simulator, transforms=["tfm-a"], polling=polling, state={"path": tmp_path / "state.db"}) as exporter:
        wait_for(lambda: simulator.faults.hits()[hang], describe="a call hangs")
        exporter.service.stop()
        left = set(threading.enumerate()) - before
        assert any(one.name.startswith("poll") for one in left), left
        assert all(one.daemon for one in left), left


@STOPS
def test_a_signal_ends_it_while_a_call_hangs(simulator, number, tmp_path):
    """While a call to Glue hangs, TERM and INT end the exporter with exit code 0."""
    polling = {"request_timeout": "10m", "stale_after": "20m"}
    with Exporter(tmp_path, configuration(simulator.url, ["tfm-a"], polling, state={"path": "state.db"})) as exporter:
        exporter.wait_for_polls("tfm-a", 1)
        hang = simulator.faults.set({"kind": "hang"})
        wait_for(lambda: simulator.faults.hits()[hang], describe="a call hangs")
        assert stop(exporter, number) == 0, exporter.stderr


@STOPS
def test_a_signal_ends_it_before_the_first_poll_is_over(simulator, number, tmp_path):
    """While the first call of the process hangs, TERM and INT end the exporter with exit code 0."""
    hang = simulator.faults.set({"kind": "hang"})
    with Exporter(tmp_path, configuration(simulator.url, ["tfm-a"], {"request_timeout": "10m"})) as exporter:
        assert exporter.address
        wait_for(lambda: simulator.faults.hits()[hang], describe="a call hangs")
        assert stop(exporter, number) == 0, exporter.stderr


def test_a_signal_ends_it_while_retries_wait_their_turn(simulator, tmp_path):
    """The exporter ends even if retries wait after throttling with a rate limit of one call in 100 s."""
    simulator.faults.set({"kind": "throttle"})
    polling = {"max_attempts": 10, "requests_per_second": 0.01}
    with Exporter(tmp_path, configuration(simulator.url, ["tfm-a"], polling)) as exporter:
        assert exporter.address
        wait_for(lambda: simulator.requests.count("GetMLTaskRuns"), describe="a throttled call")
        assert stop(exporter, signal.SIGTERM) == 0, exporter.stderr


def test_after_sigterm_the_state_file_is_complete_and_alone(simulator, tmp_path):
    """After SIGTERM the state file has no journal beside it, and a new process continues its counters."""
    config = configuration(simulator.url, ["tfm-a"], state={"path": "state.db"})
    with Exporter(tmp_path, config) as exporter:
        exporter.wait_for_polls("tfm-a", 1)
        simulator.world.add_run("tfm-a", status="FAILED")
        exporter.wait_for_value(1, FINISHED, task_type="FIND_MATCHES", status="FAILED")
        assert stop(exporter, signal.SIGTERM) == 0
    assert [file.name for file in tmp_path.glob("state.db*")] == ["state.db"]
    simulator.world.add_run("tfm-a", status="FAILED")
    with Exporter(tmp_path, config) as exporter:
        assert exporter.metrics().value(FINISHED, task_type="FIND_MATCHES", status="FAILED") in {None, 1}
        exporter.wait_for_value(2, FINISHED, task_type="FIND_MATCHES", status="FAILED")
        assert stop(exporter, signal.SIGTERM) == 0


def test_a_second_exporter_on_the_same_state_file_exits(simulator, tmp_path):
    """A second exporter with the same state file exits 1 with one line, and the first exporter goes on."""
    config = configuration(simulator.url, ["tfm-a"], state={"path": "state.db"})
    with Exporter(tmp_path, config) as first:
        first.wait_for_polls("tfm-a", 1)
        with Exporter(tmp_path, None) as second:
            assert second.wait() == 1
            [line] = second.stderr.splitlines()
            assert "state.db" in line
            assert "another process" in line
        first.wait_for_polls("tfm-a", 1)
