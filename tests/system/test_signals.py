"""SIGTERM and SIGINT: the exporter goes at once, with what it knows written down."""

import signal
import time

import pytest

from tests.support import wait_for
from tests.system.staging import FINISHED, Exporter, configuration

pytestmark = pytest.mark.slow

PROMISED = 5.0
STOPS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


SCENARIO = {"transforms": [{"name": "a", "id": "tfm-a"}]}


def stop(exporter, number):
    """Send the signal and give the exit code and the seconds that it took."""
    began = time.monotonic()
    exporter.send(number)
    return exporter.wait(timeout=2 * PROMISED), time.monotonic() - began


@STOPS
def test_a_signal_ends_it_while_a_call_hangs(simulator, number, tmp_path):
    """With a Glue call that is never answered, TERM and INT still end the exporter within 5 s, with exit code 0."""
    polling = {"request_timeout": "60s", "stale_after": "10m"}
    with Exporter(tmp_path, configuration(simulator.url, ["tfm-a"], polling, state={"path": "state.db"})) as exporter:
        exporter.wait_for_polls("tfm-a", 1)
        hang = simulator.faults.set({"kind": "hang"})
        wait_for(lambda: simulator.faults.hits()[hang], describe="a call hangs")
        code, seconds = stop(exporter, number)
        assert (code, seconds < PROMISED) == (0, True), exporter.stderr


@STOPS
def test_a_signal_ends_it_before_the_first_poll_is_over(simulator, number, tmp_path):
    """An exporter that has polled nothing yet, its first call hanging, ends the same way."""
    hang = simulator.faults.set({"kind": "hang"})
    with Exporter(tmp_path, configuration(simulator.url, ["tfm-a"], {"request_timeout": "60s"})) as exporter:
        assert exporter.address
        wait_for(lambda: simulator.faults.hits()[hang], describe="a call hangs")
        code, seconds = stop(exporter, number)
        assert (code, seconds < PROMISED) == (0, True), exporter.stderr


def test_a_signal_ends_it_while_retries_wait_their_turn(simulator, tmp_path):
    """Retries after throttling, and a rate limit of one call in 100 s, do not keep the exporter from ending in time."""
    simulator.faults.set({"kind": "throttle"})
    polling = {"max_attempts": 10, "requests_per_second": 0.01}
    with Exporter(tmp_path, configuration(simulator.url, ["tfm-a"], polling)) as exporter:
        assert exporter.address
        wait_for(lambda: simulator.requests.count("GetMLTaskRuns"), describe="a throttled call")
        code, seconds = stop(exporter, signal.SIGTERM)
        assert (code, seconds < PROMISED) == (0, True), exporter.stderr


def test_what_it_counted_is_in_the_one_state_file_when_it_has_gone(simulator, tmp_path):
    """After SIGTERM the state file stands alone, without its journal, and a new process counts on from it."""
    config = configuration(simulator.url, ["tfm-a"], state={"path": "state.db"})
    with Exporter(tmp_path, config) as exporter:
        exporter.wait_for_polls("tfm-a", 1)
        simulator.world.add_run("tfm-a", status="FAILED")
        exporter.wait_for_value(1, FINISHED, task_type="FIND_MATCHES", status="FAILED")
        assert stop(exporter, signal.SIGTERM)[0] == 0
    assert [file.name for file in tmp_path.glob("state.db*")] == ["state.db"]
    simulator.world.add_run("tfm-a", status="FAILED")
    with Exporter(tmp_path, config) as exporter:
        assert exporter.metrics().value(FINISHED, task_type="FIND_MATCHES", status="FAILED") in {None, 1}
        exporter.wait_for_value(2, FINISHED, task_type="FIND_MATCHES", status="FAILED")
        assert stop(exporter, signal.SIGTERM)[0] == 0


def test_a_second_exporter_on_the_same_state_file_says_so_and_goes(simulator, tmp_path):
    """Two exporters on one state file would miscount: the second exits 1 with one line, the first goes on."""
    config = configuration(simulator.url, ["tfm-a"], state={"path": "state.db"})
    with Exporter(tmp_path, config) as first:
        first.wait_for_polls("tfm-a", 1)
        with Exporter(tmp_path, None) as second:
            assert second.wait() == 1
            [line] = second.stderr.splitlines()
            assert "state.db" in line
            assert "another process" in line
        first.wait_for_polls("tfm-a", 1)
