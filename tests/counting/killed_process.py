"""Processes that are killed before their first, second, ... write: `python -m tests.counting.killed_process FOLDER`.

FOLDER gets one folder for each write, with the state file as the kill left it and `log.jsonl`. Each line of the log
has the time, whether a scrape was under way, and the samples of a complete scrape.
"""

import itertools
import json
import os
import signal
import sys
from pathlib import Path

from exporter.state.store import open_state
from tests.counting.world import HOUR, MINUTE, NOW, Exporter, Run, World, configuration

CONFIG = configuration("tfm-a")

RUNS = (
    Run("old", NOW - MINUTE, NOW - 1, status="FAILED"),
    Run("first", NOW + 3 * MINUTE, NOW + 3 * MINUTE, status="FAILED", visible=NOW + 3 * MINUTE),
    Run("long", NOW + 3 * MINUTE, NOW + 2 * HOUR, status="TIMEOUT", visible=NOW + 3 * MINUTE),
    Run("second", NOW + HOUR, NOW + HOUR + 1, status="FAILED", execution=1.0, visible=NOW + HOUR),
)

STEPS = (
    (MINUTE, "poll"),
    (MINUTE, "scrape"),
    (2 * MINUTE, "poll"),
    (0.0, "scrape"),
    (0.0, "scrape"),
    (HOUR, "poll"),
    (0.0, "scrape"),
    (HOUR, "poll"),
    (0.0, "scrape"),
    (0.0, "scrape"),
)
"""Each step is a pair: a wait in seconds of the world's clock, and the action after the wait."""


def run_steps(folder: Path, writes: int) -> None:
    """Run all steps; kill the process before the write with this number (from 1). A scrape's answer is a write too."""
    log = os.open(folder / "log.jsonl", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    left = itertools.count(writes - 1, -1)

    def write_log(**fields: object) -> None:
        os.write(log, json.dumps(fields).encode() + b"\n")

    def count_down(_write: str) -> None:
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    world = World()
    for run in RUNS:
        world.add(run)
    state, _ = open_state(folder / "state.db", world.now)
    state._connection.execute("PRAGMA synchronous = OFF")
    state._connection.set_trace_callback(count_down)
    write_log(now=world.now, scraping=False)
    exporter = Exporter(world, CONFIG, state)
    for seconds, action in STEPS:
        world.now += seconds
        write_log(now=world.now, scraping=action == "scrape")
        if action == "poll":
            exporter.poll()
        else:
            samples, scrape = exporter.begin_scrape()
            count_down("the answer")
            write_log(now=world.now, scraping=False, samples=samples.values)
            scrape.sent()
            exporter.let_holds_end()
            exporter.exposition.publish()


def main(folder: Path) -> None:
    """Start one process after another, each killed one write later, until a process ends without a kill."""
    for writes in itertools.count(1):
        own = folder / f"{writes:04}"
        own.mkdir()
        child = os.fork()
        if not child:
            run_steps(own, writes)
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGKILL:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
