"""Initial values: the share of first increases that a Prometheus server does not see, by who else reads the page."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from bench.tables import Row, Target, at_most
from exporter.counting.counters import Count, Series
from exporter.exposition.initial_values import InitialValues

TITLE = "Initial hold: first increases that a server does not see"
NOTE = (
    "A counter comes back with the recorded value 7 and the true value 12. A server loses the step if its first\n"
    "sample is 12. The figure is the share of the trials in which the server with the most losses loses it. Each\n"
    "reader begins at a random offset in its interval. The values come from `InitialValues`, without a network.\n"
    "A target of 0 is the promise: each server scrapes at least once per hold. Other rows show its limits."
)
SERIES = Series("finished", "FIND_MATCHES", "FAILED")
BASE, TRUE = Count(7), Count(12)
MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Reader:
    """A client that scrapes once per ``interval`` seconds."""

    interval: float
    is_server: bool = True
    scrapes: int | None = None
    """Number of scrapes before it stops; None if it never stops."""
    completes: bool = True
    away: float = 0.0
    """Seconds for which it does not scrape at the beginning."""
    fails: int = 0
    """Number of scrapes that fail at the beginning, one per interval."""


def server(interval: float, *, away: float = 0.0, fails: int = 0) -> Reader:
    """Return a Prometheus server."""
    return Reader(interval, away=away, fails=fails)


def agent(interval: float) -> Reader:
    """Return a reader that is not a server of interest: an agent or a probe."""
    return Reader(interval, is_server=False)


CURL = Reader(1.0, is_server=False, scrapes=1)
GIVES_UP = Reader(15.0, is_server=False, completes=False)


class Scenario(NamedTuple):
    """The readers of a page, the hold, and a pause of the process: (begin, end) in seconds after the start."""

    what: str
    readers: tuple[Reader, ...]
    hold: float = 2 * MINUTE
    pause: tuple[float, float] = (0.0, 0.0)
    target: Target | None = at_most(0)


SCENARIOS = (
    Scenario("one server, 30s", (server(30),)),
    Scenario("curl first, then a server, 30s", (CURL, server(30))),
    Scenario("a client that gives up, and a server, 30s", (GIVES_UP, server(30))),
    Scenario("a server that is away for an hour", (server(30, away=3600),)),
    Scenario("a process that is paused for an hour, and a server, 30s", (server(30),), pause=(0, 3600)),
    Scenario("a server that scrapes twice per interval, 30s", (server(30), server(30))),
    Scenario("two servers, 15s", (server(15), server(15))),
    Scenario("two servers, 30s", (server(30), server(30))),
    Scenario("two servers, 60s", (server(60), server(60))),
    Scenario("two servers, 15s and 2m", (server(15), server(120))),
    Scenario("four servers, 10s, 30s, 60s, 2m", (server(10), server(30), server(60), server(120))),
    Scenario("an agent, 15s, and a server, 30s", (agent(15), server(30))),
    Scenario("a probe, 5s, an agent, 15s, curl, and two servers, 60s", (agent(5), agent(15), CURL, *[server(60)] * 2)),
    Scenario("an agent, 15s, and a server, 60s, whose first scrape fails", (agent(15), server(60, fails=1))),
    Scenario("an agent, 15s, and a server, 5m; hold 5m", (agent(15), server(300)), 5 * MINUTE),
    Scenario("an agent, 15s, and a server that is away for 10m; hold 15m", (agent(15), server(30, away=600)), 900),
    Scenario("a hold below the interval: an agent, 15s, and a server, 5m", (agent(15), server(300)), target=None),
    Scenario("an agent, 15s, and a server that is away for 10m", (agent(15), server(30, away=600)), target=None),
    Scenario("curl, then a process that is paused for 10m", (CURL, server(30)), pause=(1, 600), target=None),
    Scenario("no hold: two servers, 30s", (server(30), server(30)), 0.0, target=None),
)


def run(*, quick: bool) -> Iterator[Row]:
    """Yield a row for each scenario."""
    trials = 100 if quick else 2000
    for scenario in SCENARIOS:
        dice = random.Random(scenario.what)  # noqa: S311 - offsets of readers
        servers = [number for number, reader in enumerate(scenario.readers) if reader.is_server]
        losses = dict.fromkeys(servers, 0)
        for _ in range(trials):
            for number, count in _first_samples(scenario, dice).items():
                losses[number] += count != BASE
        shares = ", ".join(f"{count / trials:.1%}" for count in losses.values())
        hold = f"hold {scenario.hold:.0f} s; {shares}"
        yield Row(scenario.what, 100 * max(losses.values()) / trials, hold, scenario.target, "%")


def _first_samples(scenario: Scenario, dice: random.Random) -> dict[int, Count]:
    """Return the first sample of each server, by its number among the readers."""
    values = InitialValues(created_at=0.0, recorded={SERIES: BASE})
    first: dict[int, Count] = {}
    due = [reader.away + dice.random() * reader.interval for reader in scenario.readers]
    begun = [0] * len(due)
    for publication in range(1, 1_000_000):
        number = min(range(len(due)), key=due.__getitem__)
        reader, now = scenario.readers[number], due[number]
        due[number] += reader.interval
        begun[number] += 1
        if begun[number] == reader.scrapes:
            due[number] = float("inf")
        if scenario.pause[0] <= now < scenario.pause[1] or begun[number] <= reader.fails:
            continue
        # The timer publishes at the end of each hold. A publication just before each scrape has the same effect.
        values.publish({SERIES: TRUE}, now=now, tick=now, hold=scenario.hold, publication=publication)
        sample = values.served[SERIES]
        if reader.completes:
            values.scraped(publication, now)
        if reader.is_server and isinstance(sample, Count):
            first.setdefault(number, sample)
        if len(first) == sum(one.is_server for one in scenario.readers):
            return first
    raise AssertionError("a server never scrapes")
