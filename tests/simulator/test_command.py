import signal
import sys

import pytest

from tests.simulator.clients import REGION
from tests.support import Process, fetch, run


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_simulate_serves_until_sigterm(tmp_path, host):
    """`simulate` prints its URL and example commands, answers requests, and exits with 0 on SIGTERM."""
    command = (sys.executable, "-m", "exporter", "simulate", f"--listen-address={host}:0")
    with Process(*command, folder=tmp_path) as simulator:
        url = simulator.wait_for_output(r"transforms at (http://\S+)")[1]
        assert f"aws --endpoint-url {url} --region {REGION} glue list-ml-transforms" in simulator.stdout
        assert fetch(f"{url}/_simulator/expected-counts").status == 200
        simulator.send(signal.SIGTERM)
        assert simulator.wait() == 0


@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        ("--scenario=none.yaml", "none.yaml: does not exist"),
        ("--listen-address=192.0.2.1:1", "cannot listen on 192.0.2.1:1: Cannot assign"),
    ],
)
def test_simulate_that_cannot_start_gives_the_reason_in_one_line(tmp_path, flag, reason):
    """With an unreadable scenario, or an address of another machine, `simulate` exits with 1 and one line on stderr."""
    simulator = run(sys.executable, "-m", "exporter", "simulate", flag, folder=tmp_path)
    assert simulator.exit_code == 1
    [line] = simulator.stderr.splitlines()
    assert line.startswith(reason)
