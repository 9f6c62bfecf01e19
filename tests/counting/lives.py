"""A process that is killed, really, before each of its writes in turn: `python -m tests.counting.lives FOLDER`.

For each number there is a folder with the state file as the kill has left it and `told.jsonl`, what the process had
told by then: the time, whether a scrape was under way, and what finished scrapes have shown.
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
    Run("old", NOW, NOW, status="FAILED"),
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
"""Seconds that pass, and what the process does then."""


def live(folder: Path, writes: int) -> None:
    """Live through all steps, or until so many writes, of a statement or of an answer, were about to begin."""
    told = os.open(folder / "told.jsonl", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    left = itertools.count(writes - 1, -1)

    def tell(**what: object) -> None:
        os.write(told, json.dumps(what).encode() + b"\n")

    def count_down(_write: str) -> None:
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    world = World()
    for run in RUNS:
        world.add(run)
    state, _ = open_state(folder / "state.db", world.now)
    state._connection.execute("PRAGMA synchronous = OFF")
    state._connection.set_trace_callback(count_down)
    tell(now=world.now, scraping=False)
    exporter = Exporter(world, CONFIG, state)
    for seconds, act in STEPS:
        world.now += seconds
        tell(now=world.now, scraping=act == "scrape")
        if act == "poll":
            exporter.poll()
        else:
            samples, scrape = exporter.begin_scrape()
            count_down("the answer")
            tell(now=world.now, scraping=False, samples=samples.values)
            scrape.sent()
            exporter.exposition.publish()


def main(folder: Path) -> None:
    """Live again and again, each time to the next write, until a life has reached its end."""
    for writes in itertools.count(1):
        own = folder / f"{writes:04}"
        own.mkdir()
        child = os.fork()
        if not child:
            live(own, writes)
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGKILL:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
