import argparse
import signal
import sys

import pytest

from exporter.simulator.__main__ import main, parse_address
from tests.simulator.clients import REGION
from tests.support import Process, fetch


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:10211", ("127.0.0.1", 10211)),
        ("[::1]:0", ("::1", 0)),
        (":80", ("0.0.0.0", 80)),  # noqa: S104  # what an empty host stands for
    ],
)
def test_an_address_is_host_and_port(text, address):
    """A listen address names host and port; IPv6 in brackets, nothing for every interface."""
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "localhost", "localhost:http", "1.2.3.4:65536", "::1:"])
def test_what_is_no_address_is_refused(text):
    """Anything else is refused with an example."""
    with pytest.raises(argparse.ArgumentTypeError, match=r"127\.0\.0\.1:10211"):
        parse_address(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_the_command_serves_until_it_is_told_to_stop(tmp_path, host):
    """`python -m exporter.simulator` prints URL and commands, answers, and ends with 0 on SIGTERM."""
    command = (sys.executable, "-m", "exporter.simulator", "--listen", f"{host}:0")
    with Process(*command, folder=tmp_path) as simulator:
        url = simulator.wait_for_output(r"transforms at (http://\S+)")[1]
        assert f"aws --endpoint-url {url} --region {REGION} glue list-ml-transforms" in simulator.stdout
        assert fetch(f"{url}/_simulator/truth").status == 200
        simulator.send(signal.SIGTERM)
        assert simulator.wait() == 0


def test_a_command_that_cannot_start_says_why_in_one_line(tmp_path, capsys):
    """A scenario that cannot be read, and an address that cannot be listened on, end the command with 1."""
    assert main(["--scenario", str(tmp_path / "none.yaml")]) == 1
    assert main(["--listen", "192.0.2.1:1"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert "none.yaml: cannot be read" in errors[0]
