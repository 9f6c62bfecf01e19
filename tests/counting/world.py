"""A simulated Glue with known runs, an exporter without threads or network, and the `increase()` of Prometheus.

The exporter's code is the real one. The world replaces the calls to AWS, and a test decides when a poll takes place.
"""

import re
import shutil
import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from pathlib import Path

from exporter.config.settings import Config, load_config
from exporter.exposition.formats import Encoding, TextFormat
from exporter.exposition.publisher import Exposition, Scrape
from exporter.model.errors import GlueError
from exporter.model.task_run import RunPage, TaskRun
from exporter.model.transform import Details, Lane
from exporter.polling.monitored_transform import MonitoredTransform
from exporter.polling.poller import Poller
from exporter.polling.targets import configured_targets
from exporter.state.store import StateFile, open_state
from exporter.telemetry import Telemetry

NOW = 1_790_000_000.0
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
HOLD = 2 * MINUTE
BOUNDS = (60.0, 600.0)

FINISHED = "glue_ml_task_runs_finished_total"
STARTED = "glue_ml_task_runs_started_total"
RUNS = "glue_ml_task_runs"
EXECUTION = "glue_ml_task_run_execution_seconds"
DURATION = "glue_ml_task_run_duration_seconds"

RunKind = tuple[str, str]

_SAMPLE = re.compile(r"^(\w+)\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def configuration(
    *transforms: str,
    buckets: tuple[float, ...] = BOUNDS,
    hold: float = HOLD,
    lookback: float = 30 * DAY,
    overlap: float = 15 * MINUTE,
    resync_interval: float = 6 * HOUR,
    page_size: int = 1000,
) -> Config:
    """Return a configuration of these transforms; times are seconds. ``hold`` is `metrics.initial_hold`."""
    config = _plain_configuration(transforms)
    polling = config.polling.model_copy(
        update={"lookback": lookback, "overlap": overlap, "resync_interval": resync_interval, "page_size": page_size}
    )
    metrics = config.metrics.model_copy(update={"execution_buckets": buckets, "initial_hold": hold})
    return replace(config, polling=polling, metrics=metrics)


@cache
def _plain_configuration(transforms: tuple[str, ...]) -> Config:
    text = f"{{region: eu-west-1, transforms: {list(transforms)}, transform_details: false}}"
    return load_config(text, source="test", environ={})


@dataclass(eq=False)
class Run:
    """One run of the world, with its future; all times are UTC seconds."""

    id: str
    started: float
    ends: float
    task_type: str = "FIND_MATCHES"
    status: str = "SUCCEEDED"
    """The status when it has ended."""
    execution: float | None = None
    times_after: float = 0.0
    """Seconds from the end until Glue shows CompletedOn and ExecutionTime."""
    visible: float = 0.0
    """Glue lists the run from this time on."""
    shows_start: bool = True
    hidden: bool = False
    """Whether Glue answers at present that it does not know the run."""
    first_final: str = ""
    """The first final status, if the status has changed after the end."""
    error: str | None = None
    """The ErrorString after the end."""

    def at(self, now: float) -> TaskRun:
        """Return the run as Glue shows it at ``now``."""
        started = self.started if self.shows_start else None
        if now < self.ends:
            return TaskRun(self.id, self.task_type, "RUNNING", started)
        if now < self.ends + self.times_after:
            return TaskRun(self.id, self.task_type, self.status, started)
        return TaskRun(self.id, self.task_type, self.status, started, self.ends, self.execution, self.error)


@dataclass
class World:
    """A simulated Glue with its transforms, runs and faults. It is passed in as `GlueClients` and as `GlueClient`."""

    now: float = NOW
    skew: float = 0.0
    """Seconds by which the exporter's host clock is ahead."""
    order: str = "ascending"
    """How the server sorts: "ascending" by start, as requested, or "descending", or "by id"."""
    duplicates: int = 0
    """Number of runs of a page that the next page repeats."""
    drift: float = 0.0
    """Seconds that pass with each call except the first."""
    fails_after: int | None = None
    """Number of calls that succeed before all later calls fail; None if all calls succeed."""
    pages_before_expiry: int | None = None
    """Number of pages of a listing before its token expires; None if tokens do not expire."""
    listed: int | None = None
    """Number of runs that listings show, the oldest ones; None if they show all."""
    denied: set[str] = field(default_factory=set)
    """Ids of the runs whose look-up is denied."""
    look_ups_lag: float = 0.0
    """Seconds by which the state of a run in a look-up is old."""
    calls: list[str] = field(default_factory=list)
    runs: dict[str, dict[str, Run]] = field(default_factory=lambda: defaultdict(dict))
    shown_open: set[str] = field(default_factory=set)
    """Ids of the runs that Glue has shown before their end; tests clear it."""
    account_id: str = ""
    details: Callable[[str], Details] = field(default=lambda _: Details())
    """The answer of GetMLTransform for a transform id."""
    gives_dates: bool = True
    """Whether the answers have a ``Date``."""
    date_error: float = 0.0
    """Seconds by which the ``Date`` of the answers is too late."""
    dated: bool = False
    """Whether an answer with a ``Date`` was given."""

    def add(self, run: Run, transform_id: str = "tfm-a") -> Run:
        """Add a run, and return it."""
        self.runs[transform_id][run.id] = run
        return run

    def host_time(self) -> float:
        """Return the time of the exporter's host clock."""
        return self.now + self.skew

    # -- as GlueClients -------------------------------------------------------------------------------------------

    longest_call = 0.0
    """The longest time of a call in seconds."""

    def client_for(self, _lane: Lane) -> "World":
        """Return this world as the client for any account and region."""
        return self

    # -- as GlueClient --------------------------------------------------------------------------------------------

    @property
    def aws_clock(self) -> "WorldClock":
        """Return the clock of AWS, which shows the world's time."""
        return WorldClock(self)

    def task_run_pages(self, transform_id: str, *, since: float, page_size: int) -> Iterator[RunPage]:
        """Yield pages as a server with offsets for tokens: each page is cut from the list at the time of its call."""
        offset, more = 0, True
        while more:
            self._call("GetMLTaskRuns")
            if self.pages_before_expiry is not None and offset >= self.pages_before_expiry * page_size:
                raise GlueError("InvalidInputException", "the token has expired", operation="GetMLTaskRuns")
            listed = self._listed(transform_id, int(since) - 1)
            page = listed[max(0, offset - self.duplicates) : offset + page_size]
            yield RunPage.of(self._show(run) for run in page)
            offset += page_size
            more = offset < len(listed)

    def task_run(self, transform_id: str, run_id: str) -> RunPage:
        """Return a page with one run."""
        self._call("GetMLTaskRun")
        if run_id in self.denied:
            raise GlueError("AccessDeniedException", "not allowed", operation="GetMLTaskRun")
        run = self.runs[transform_id][run_id]
        if run.hidden:
            raise GlueError("EntityNotFoundException", "there is no such run")
        return RunPage.of([self._show(run, self.look_ups_lag)])

    def _listed(self, transform_id: str, after: float) -> list[Run]:
        runs = [run for run in self.visible(transform_id) if run.started > after]
        runs = sorted(runs, key=lambda run: run.started)[: self.listed]
        if self.order == "by id":
            return sorted(runs, key=lambda run: run.id)
        return sorted(runs, key=lambda run: (run.started, run.id), reverse=self.order == "descending")

    def _show(self, run: Run, lag: float = 0.0) -> TaskRun:
        shown = run.at(self.now - lag)
        if not shown.final:
            self.shown_open.add(run.id)
        return shown

    def _call(self, operation: str) -> None:
        if self.calls:
            self.now += self.drift
        self.calls.append(operation)
        if self.fails_after is not None and len(self.calls) > self.fails_after:
            raise GlueError("connection", "the connection was reset")
        self.dated |= self.gives_dates

    # -- the true values ------------------------------------------------------------------------------------------

    def visible(self, transform_id: str) -> list[Run]:
        """Return the runs that Glue lists now."""
        return [run for run in self.runs[transform_id].values() if run.visible <= self.now and not run.hidden]

    def ended(self, transform_id: str) -> list[Run]:
        """Return the runs that Glue lists as final now."""
        return [run for run in self.visible(transform_id) if run.ends <= self.now]


@dataclass
class WorldClock:
    """The clock of AWS. The monotonic clock of the exporter's host shows the world's time too."""

    world: World

    def now(self) -> float | None:
        """Return the present time; None if no answer has had a ``Date`` yet."""
        return self.time_at(self.world.now)

    def time_at(self, instant: float) -> float | None:
        """Return the time of a monotonic instant; None if no answer has had a ``Date`` yet."""
        return instant + self.world.date_error if self.world.dated else None


@dataclass(frozen=True)
class Samples:
    """The values of one scrape, by metric name and labels as in the exposition text."""

    values: Mapping[str, float]

    def of(self, name: str, transform_id: str = "tfm-a") -> dict[tuple[str, ...], float]:
        """Return a metric of one transform by the values of its other labels, in the order of the label names."""
        found = {}
        for key, value in self.values.items():
            metric, _, labels = key.partition("{")
            pairs = dict(_LABEL.findall(labels))
            if metric == name and pairs.pop("transform_id", "") == transform_id:
                del pairs["transform_name"]
                found[tuple(pairs[label] for label in sorted(pairs))] = value
        return found

    def finished(self, transform_id: str = "tfm-a") -> dict[RunKind, int]:
        """Return the counters of finished runs that are not 0, by type and status."""
        of = self.of(FINISHED, transform_id)
        return {(task_type, status): int(value) for (status, task_type), value in of.items() if value}


class Exporter:
    """One process of the exporter without threads: a test calls each poll, publication and scrape."""

    def __init__(
        self,
        world: World,
        config: Config,
        state: Path | StateFile | None = None,
    ) -> None:
        """Start the process; ``state`` is the path of its state file, or an open state file."""
        self.world = world
        self.config = config
        self.telemetry = Telemetry(process=False)
        self.state = open_state(state, world.host_time())[0] if isinstance(state, Path) else state
        if self.state is not None:
            self.telemetry.add_state_metrics()
        self._skipped = 0.0
        self.exposition = Exposition(self.telemetry, self.state, tick=lambda: world.now + self._skipped)
        self.poller = Poller(
            config,
            world,  # type: ignore[arg-type] # the world acts as GlueClients
            self.exposition,
            self.telemetry,
            self.state,
            stop=threading.Event(),
            now=world.host_time,
            monotonic=lambda: world.now,
        )
        self.reload(config)

    def reload(self, config: Config) -> None:
        """Apply another configuration."""
        self.config = config
        self.poller.monitor(config, self.world, configured_targets(config), {})  # type: ignore[arg-type] # see above

    def monitored_transform(self, transform_id: str) -> MonitoredTransform:
        """Return a transform of the poller."""
        return self.poller._transforms[transform_id]

    def poll(self, transform_id: str = "tfm-a") -> bool:
        """Poll once and publish the result; return whether the poll succeeded."""
        up = self.poll_quietly(transform_id)
        self.exposition.publish()
        return up

    def poll_quietly(self, transform_id: str = "tfm-a") -> bool:
        """Poll once without a publication; return whether the poll succeeded."""
        self.world.calls.clear()
        transform = self.monitored_transform(transform_id)
        assert transform.job is not None
        transform.job.work()
        return transform.poll is not None and transform.poll.up

    def scrape(self) -> Samples:
        """Scrape, receive the whole answer, let the holds end, and publish."""
        samples, scrape = self.begin_scrape()
        scrape.sent()
        self.let_holds_end()
        self.exposition.publish()
        return samples

    def let_holds_end(self) -> None:
        """Move the monotonic clock of the process past the end of each hold that has begun. Glue's time stays."""
        self._skipped += self.config.metrics.initial_hold

    def begin_scrape(self) -> tuple[Samples, Scrape]:
        """Begin a scrape; it is complete after ``sent()`` of the returned `Scrape`."""
        variant = (TextFormat.TEXT, Encoding.IDENTITY)
        scrape = self.exposition.scrape(*variant) or self.exposition.prepare_scrape(*variant)
        text = b"".join(scrape.chunks).decode()
        values = {
            f"{name}{{{labels}}}": float(value)
            for name, labels, value in _SAMPLE.findall(text)
            if not name.startswith("glue_ml_exporter_")
        }
        return Samples(values), scrape

    def totals(self, transform_id: str = "tfm-a") -> dict[RunKind, int]:
        """Return the ledger's counters of finished runs, which a scrape may not show yet."""
        ledger = self.monitored_transform(transform_id).ledger
        return {
            (series.task_type, series.status): total.value  # type: ignore[union-attr] # that family is counters
            for series, total in ledger.totals.items()
            if series.family == "finished"
        }

    def close(self) -> None:
        """Close the state file."""
        if self.state is not None:
            self.state.close()

    def kill(self) -> None:
        """Stop as after SIGKILL: the state file and its WAL stay as they are at this moment."""
        if self.state is not None:
            left = _files_left(self.state.path)
            self.state.close()
            for name, content in left.items():
                path = self.state.path.with_name(name)
                path.unlink(missing_ok=True)
                if content is not None:
                    path.write_bytes(content)


def _files_left(path: Path) -> dict[str, bytes | None]:
    names = [path.name, f"{path.name}-wal"]
    return {name: file.read_bytes() if (file := path.with_name(name)).exists() else None for name in names}


def copy_state(path: Path, to: Path) -> Path:
    """Copy a state file with its WAL, which has the writes since the last checkpoint; return the path of the copy."""
    to.parent.mkdir(parents=True, exist_ok=True)
    for suffix in ("", "-wal"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            shutil.copyfile(part, to.with_name(to.name + suffix))
    return to


class Prometheus:
    """All samples of all scrapes, and the increases over them."""

    def __init__(self) -> None:
        self.samples: dict[tuple[str, str], list[float]] = defaultdict(list)

    def take(self, instance: str, samples: Samples) -> None:
        """Store one scrape of a target with this instance label."""
        for series, value in samples.values.items():
            self.samples[instance, series].append(value)

    def increase(self, name: str) -> Counter[str]:
        """Return `sum without (instance) (increase(name))` over all samples, by series.

        A fall is a reset, after which the value counts from 0; the first sample of a series counts nothing.
        """
        total: Counter[str] = Counter()
        for (_, series), values in self.samples.items():
            if series.partition("{")[0] == name:
                pairs = pairwise(values)
                total[series] += sum(after - before if after >= before else after for before, after in pairs)
        return +total

    def falls(self) -> list[str]:
        """Return the counters and buckets whose value has ever fallen under one instance label."""
        return [
            series
            for (_, series), values in self.samples.items()
            if series.partition("{")[0].endswith(("_total", "_bucket", "_count"))
            and any(after < before for before, after in pairwise(values))
        ]


def by_kind(increase: Mapping[str, float], transform_id: str = "tfm-a") -> dict[RunKind, int]:
    """Return the increases of finished runs by type and status."""
    return {run_kind: int(value) for run_kind, value in Samples(increase).finished(transform_id).items()}


def run_kinds(runs: Sequence[Run]) -> dict[RunKind, int]:
    """Return the number of runs by type and first final status."""
    return dict(Counter((run.task_type, run.first_final or run.status) for run in runs))


class Connection:
    """A connection to the state file that calls a function before and after each statement."""

    def __init__(self, connection: sqlite3.Connection, on_statement: Callable[[str, bool], None]) -> None:
        """Call ``on_statement`` with the text of each statement and whether it is done."""
        self._connection = connection
        self._on_statement = on_statement

    def cursor(self) -> "Connection":
        return self

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, statement: str, *parameters: object) -> sqlite3.Cursor:
        self._on_statement(statement, False)
        cursor = self._connection.execute(statement, *parameters)
        self._on_statement(statement, True)
        return cursor

    def executemany(self, statement: str, rows: Sequence[object]) -> None:
        for row in rows:
            self.execute(statement, row)

    def close(self) -> None:
        self._connection.close()


def traced(state: StateFile, on_statement: Callable[[str, bool], None]) -> StateFile:
    """Return the same open state file, with a call of ``on_statement`` before and after each statement."""
    return StateFile(state.path, Connection(state._connection, on_statement))  # type: ignore[arg-type] # acts like one
