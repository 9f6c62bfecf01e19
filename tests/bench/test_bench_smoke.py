import sys

import pytest

from tests.support import ROOT, Process

TABLES = (
    "Scrape: ours against the stock client",
    "Sending: nginx against ours",
    "Memory: 16 concurrent slow scrapes",
    "Re-publication: one changed transform",
    "Parsing a page of 1,000 runs",
    "First scan: ours against stock boto3",
    "Scrapes during a first scan",
    "Steady poll: paging everything",
    "Fleet: a cycle of idle transforms",
    "Histories: a fleet with short ones",
    "Ledger: a million finished runs",
    "State file: a million finished runs",
    "Clients: accounts with an assumed role",
    "The status page: rendering against sending",
    "Shards: what a resize moves",
    "Start: commands that print a text",
)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_benchmark_runs_and_prints_its_table(tmp_path):
    """`python -m bench --quick` prints one table with at least one row for each benchmark, and exits with 0."""
    with Process(sys.executable, "-m", "bench", "--quick", folder=tmp_path, environ={"PYTHONPATH": str(ROOT)}) as bench:
        assert bench.wait(timeout=180) == 0, bench.stderr
    titles = [line.removeprefix("## ") for line in bench.stdout.splitlines() if line.startswith("## ")]
    assert len(titles) == len(TABLES)
    for title, beginning in zip(titles, TABLES, strict=True):
        assert title.startswith(beginning)
        table = bench.stdout.split(f"## {title}")[1].split("\n\n")[1].splitlines()
        assert table[0].startswith("| what")
        assert len(table) > 2
