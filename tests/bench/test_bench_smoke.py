import sys

import pytest

from bench.__main__ import NAMES
from tests.support import ROOT, Process

TITLES = {
    "scrape": "Scrape: ours against the stock client",
    "nginx": "Sending: nginx against ours",
    "memory": "Memory: 16 concurrent slow scrapes",
    "republish": "Re-publication: one changed transform",
    "parse": "Parsing a page of 1,000 runs",
    "first_scan": "First scan: ours against stock boto3",
    "busy": "Scrapes during a first scan",
    "steady": "Steady poll: paging everything",
    "fleet": "Fleet: a cycle of idle transforms",
    "histories": "Histories: a fleet with short histories",
    "ledger": "Ledger: a million finished runs",
    "state": "State file: a million finished runs",
    "clients": "Clients: accounts with an assumed role",
    "crowd": "Crowds: scrapes, probes and polls",
    "page": "The status page: rendering against sending",
    "resize": "Shards: the transforms that a resize moves",
    "startup": "Start: commands that print a text",
    "initial_hold": "Initial hold: first increases",
}


def test_every_benchmark_has_a_test():
    """The benchmarks that are tried here are those of `python -m bench`, in its order."""
    assert tuple(TITLES) == NAMES


@pytest.mark.slow
@pytest.mark.parametrize("name", TITLES)
def test_a_benchmark_runs_and_prints_its_table(name: str, tmp_path):
    """`python -m bench --quick NAME` prints one table with at least one row, and exits with 0."""
    command = (sys.executable, "-m", "bench", "--quick", name)
    with Process(*command, folder=tmp_path, environ={"PYTHONPATH": str(ROOT)}) as bench:
        assert bench.wait(timeout=110) == 0, bench.stderr
    (title,) = [line.removeprefix("## ") for line in bench.stdout.splitlines() if line.startswith("## ")]
    assert title.startswith(TITLES[name])
    table = bench.stdout.split(f"## {title}")[1].split("\n\n")[1].splitlines()
    assert table[0].startswith("| what")
    assert len(table) > 2
