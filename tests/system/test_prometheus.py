"""In a real Prometheus increase() equals the number of finished runs, even if the exporter is killed.

Prometheus 2 and 3 scrape the exporter, which polls the simulator. The tests kill the exporter many times with SIGKILL.
The tests compare the raw samples in Prometheus with the simulator's own count.
"""

import shutil
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import contextmanager
from itertools import pairwise

import pytest

from tests.servers import Prometheus
from tests.support import fetch
from tests.system.staging import (
    FINISHED,
    STARTED,
    Exporter,
    cell_of,
    configuration,
    increases,
    seeded_random,
    steady_port,
    wait_for,
)
from tests.system.traffic import Traffic

pytestmark = pytest.mark.slow

ID = "tfm-0123456789abcdef0123456789abcdef01234567"
SCRAPES = 0.3
SECONDS = 12
"""Time in which runs start and end while exporters are killed, in seconds."""
OBSERVED = ("glue_ml_task_run_execution_seconds_count", "glue_ml_task_run_duration_seconds_count")
COUNTED = (FINISHED, STARTED, *OBSERVED)

VERSIONS = pytest.mark.parametrize("version", ["2", "3"])


SCENARIO = {"transforms": [{"name": "customers", "id": ID}]}


@pytest.fixture
def prometheus(version, tmp_path):
    """Yield a running Prometheus that scrapes nothing yet."""
    with Prometheus(tmp_path, version=version, interval=SCRAPES) as server:
        yield server


@pytest.fixture
def traffic(simulator):
    """Return the runs of the transform: 300 finished runs and 20 open runs."""
    one = Traffic(simulator.world, ID, seed=3)
    one.past(over=300, unfinished=20)
    return one


def settings(simulator, **sections):
    """Return a configuration with a state file that polls five times a second."""
    return configuration(simulator.url, [ID], {"interval": "200ms"}, state={"path": "state.db"}, **sections)


def wait_for_the_baseline(prometheus, begun):
    """Wait for two scrapes after `begun` (epoch seconds) that show a successful poll. Runs that end later count."""

    def shown():
        tracks = prometheus.tracks("glue_ml_transform_up")
        return sum(time > begun and value == 1 for track in tracks for time, value in track.points)

    wait_for(lambda: shown() >= 2, describe="two scrapes of a transform that was polled")


def wait_until_all_is_counted(prometheus, traffic, allowed=lambda _: Counter()):
    """Wait until the increases in Prometheus equal the finished runs, and check that they stay equal.

    `allowed` returns the increases that may be missing in a metric.
    """
    traffic.wait_for_the_end()
    wanted = {FINISHED: traffic.finished(), STARTED: traffic.started(), **dict.fromkeys(OBSERVED, traffic.finished())}

    def difference():
        """Return the kinds of runs with different numbers, by metric: (in Prometheus, in the simulator)."""
        differing = {}
        for name, truth in wanted.items():
            seen = increases(prometheus.tracks(name)) + allowed(name)
            differing |= {
                (name, *cell): (seen[cell], truth[cell]) for cell in seen | truth if seen[cell] != truth[cell]
            }
        return differing

    def agree():
        return not difference()

    wait_for(agree, interval=0.1, describe=difference)
    scraped = prometheus.number("sum(count_over_time(up[10m]))")
    wait_for(lambda: prometheus.number("sum(count_over_time(up[10m]))") > scraped + 3, describe="three scrapes more")
    wait_for(agree, interval=0.1, describe=difference)  # an increase that is too large never becomes smaller


def assert_promql_agrees(prometheus):
    """Assert that PromQL's increase() equals the raw increase, apart from the error of its extrapolation."""
    for name in COUNTED:
        tracks = prometheus.tracks(name)
        exact = sum(track.increase for track in tracks)
        assert sum(track.falls for track in tracks) == prometheus.number(f"sum(resets({name}[10m]))") == 0
        assert prometheus.number(f"sum(max_over_time({name}[10m]) - min_over_time({name}[10m]))") == exact
        # increase() extrapolates by at most 1.1 scrape intervals at each end of the range.
        most = sum(track.increase * (1 + 2.2 / (len(track.points) - 1)) for track in tracks if track.increase)
        assert exact * 0.999 <= prometheus.number(f"sum(increase({name}[10m]))") <= most * 1.001


def wait_until_nothing_is_stored(prometheus):
    """Wait until Prometheus has no target. Otherwise a query could return only a part of the last scrape."""
    prometheus.point_at({})
    wait_for(lambda: not prometheus.ask("targets")["activeTargets"], describe="no target")


# -- the same instance label ------------------------------------------------------------------------------------------


@pytest.fixture
def servers(tmp_path):
    """Yield a running Prometheus of each version. They scrape nothing yet."""
    with (
        Prometheus(tmp_path / "a", version="2", interval=SCRAPES, replica="a") as first,
        Prometheus(tmp_path / "b", version="3", interval=SCRAPES, replica="b") as second,
    ):
        assert first.address
        assert second.address
        yield first, second


def test_under_one_instance_label_kills_neither_lose_nor_double_a_run(simulator, servers, traffic, tmp_path):
    """Two servers see each initial value and each finish once, although the exporter is killed, also in scrapes."""
    rng = seeded_random(11)
    port = steady_port()
    # A server may miss several scrapes in a row, because the exporter is not always up.
    config = settings(simulator, metrics={"initial_hold": "10s"})
    for server in servers:
        server.point_at({"glue": f"127.0.0.1:{port}"})
    kills = 0
    with Exporter(tmp_path, config, port=port) as exporter:
        assert exporter.address
        for server in servers:
            wait_for_the_baseline(server, 0)
        traffic.future(count=300, seconds=SECONDS)
    while simulator.world.now() < traffic.begin + SECONDS or kills < 4:
        with Exporter(tmp_path, config, port=port) as exporter:
            if rng.random() < 0.5:
                server = rng.choice(servers)
                server.wait_for_scrapes("glue")
                let_pass(simulator, rng.randrange(3) * SCRAPES)
                wait_for_a_scrape_to_begin(server)
                let_pass(simulator, rng.uniform(0, 0.01))
            else:
                let_pass(simulator, rng.uniform(0.2, 2))
            exporter.kill()
            kills += 1
    with Exporter(tmp_path, config, port=port):
        for server in servers:
            wait_until_all_is_counted(server, traffic)
    for server in servers:
        wait_until_nothing_is_stored(server)
        assert_promql_agrees(server)


def let_pass(simulator, seconds):
    """Wait until `seconds` have passed on the simulator's clock. The next kill is then at a random time."""
    end = simulator.world.now() + seconds
    wait_for(lambda: simulator.world.now() >= end, interval=0.002)


def wait_for_a_scrape_to_begin(prometheus):
    """Wait until the next scrape is due. Prometheus scrapes at fixed intervals, even if scrapes fail."""
    last = prometheus.scrapes("glue")[-1][0]
    intervals = (time.time() - last) // SCRAPES + 1
    wait_for(lambda: time.time() >= last + intervals * SCRAPES, interval=0.001)


# -- a new instance label for each process ----------------------------------------------------------------------------


@VERSIONS
def test_under_new_instance_labels_only_an_interrupted_scrape_may_lose_runs(simulator, prometheus, traffic, tmp_path):
    """If each process has a new label, finished runs are lost only when a kill interrupts a scrape."""
    # The first values of each process must equal the last values of the previous one.
    rng = seeded_random(12)
    labels_by_age = []

    def live(exporter):
        label = f"glue-{len(labels_by_age)}"
        prometheus.point_at({label: exporter.address})
        labels_by_age.append(label)
        return label

    killed_at = {}
    with Exporter(tmp_path, settings(simulator)) as exporter:
        label = live(exporter)
        wait_for_the_baseline(prometheus, 0)
        traffic.future(count=300, seconds=SECONDS)
        exporter.kill()
        killed_at[label] = time.time()
    while simulator.world.now() < traffic.begin + SECONDS or len(labels_by_age) < 4:
        with Exporter(tmp_path, settings(simulator)) as exporter:
            let_pass(simulator, rng.choice([0, 0, rng.uniform(0, 1)]))
            label = live(exporter)
            let_pass(simulator, rng.uniform(0.2, 2.5))
            if rng.random() < 0.2:
                exporter.send(signal.SIGTERM)
                assert exporter.wait(timeout=60) == 0
            exporter.kill()
            killed_at[label] = time.time()
    with Exporter(tmp_path, settings(simulator)) as exporter:
        live(exporter)
        wait_until_all_is_counted(prometheus, traffic, lambda name: lost(prometheus, name, labels_by_age, killed_at))
    wait_until_nothing_is_stored(prometheus)
    assert_promql_agrees(prometheus)


def lost(prometheus, name, labels_by_age, killed_at):
    """Return the increases between the last values of a process and the first values of the next one.

    Assert that increases are lost only if a scrape began before the kill and failed.
    """
    tracks = prometheus.tracks(name)
    shown = [
        {cell_of(track.labels): track.points for track in tracks if ("instance", label) in track.labels}
        for label in labels_by_age
    ]
    # A process without a good scrape has no samples.
    pairs = pairwise([(label, series) for label, series in zip(labels_by_age, shown, strict=True) if series])
    steps = Counter()
    for (before, its), (after, others) in pairs:
        gap = {
            cell: round(points[0][1] - its[cell][-1][1] if cell in its else points[0][1])
            for cell, points in others.items()
        }
        interrupted = [
            began for began, good in prometheus.scrapes(before) if not good and began <= killed_at[before] + 0.01
        ]
        assert interrupted or not any(gap.values()), f"{name}: {after} does not begin where {before} ended: {gap}"
        steps.update(gap)
    assert not [cell for cell, step in steps.items() if step < 0]
    return +steps


@pytest.mark.parametrize("version", ["3"])
def test_under_a_new_label_every_run_counts_whoever_else_reads_and_whenever_prometheus_comes(
    simulator, prometheus, tmp_path
):
    """Runs that failed while the exporter was down are in `increase()`, beside other readers and after a pause."""
    with Exporter(tmp_path, settings(simulator)) as exporter:
        exporter.wait_for_value(0, FINISHED, task_type="FIND_MATCHES", status="FAILED")
        exporter.send(signal.SIGTERM)
        assert exporter.wait(timeout=60) == 0
    runs = [simulator.world.add_run(ID, status="FAILED") for _ in range(5)]
    folders = [tmp_path / name for name in ("crowded", "quiet")]
    for folder in folders:
        folder.mkdir()
        shutil.copy(tmp_path / "state.db", folder)
    with (
        # This hold begins before Prometheus knows the target, which takes some seconds on a busy machine.
        Exporter(folders[0], settings(simulator, metrics={"initial_hold": "10s"})) as crowded,
        Exporter(folders[1], settings(simulator, metrics={"initial_hold": "500ms"})) as quiet,
        socket.create_connection(crowded.address.split(":")) as gives_up,
    ):
        gives_up.sendall(b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n")
        assert fetch(crowded.url(), method="HEAD").status == 200
        crowded.wait_for_value(5, "glue_ml_task_runs", task_type="FIND_MATCHES", status="FAILED")
        # Nobody scrapes this exporter while it counts the runs and then stands still for longer than its hold.
        wait_for(lambda: runs[-1] in fetch(quiet.url(f"/transforms/{ID}")).text, describe=lambda: quiet.stderr)
        quiet.send(signal.SIGSTOP)
        let_pass(simulator, 1)
        quiet.send(signal.SIGCONT)

        prometheus.point_at({"crowded": crowded.address, "quiet": quiet.address})
        with repeated(crowded.metrics):
            for label in ("crowded", "quiet"):
                wait_for_increases(prometheus, {FAILED: 5}, instance=label)
                prometheus.wait_for_scrapes(label, 2)
                for name in (FINISHED, "glue_ml_task_run_duration_seconds_count"):
                    assert increases(prometheus.tracks(f'{name}{{instance="{label}"}}')) == {FAILED: 5}


@contextmanager
def repeated(action):
    """Call the action again and again in a thread."""
    stopped = threading.Event()

    def repeat():
        while not stopped.wait(0.1):
            action()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


# -- without state, with reloads, with two servers --------------------------------------------------------------------


FAILED = ("FIND_MATCHES", "FAILED")
ONE_VERSION = pytest.mark.parametrize("version", ["3"])


@ONE_VERSION
def test_without_a_state_file_old_runs_are_never_counted(simulator, prometheus, tmp_path):
    """Without state each process counts from 0, and counts only the runs that end after its first poll."""
    port = steady_port()
    prometheus.point_at({"glue": f"127.0.0.1:{port}"})
    counted = 0
    for new_runs in (3, 0, 2, 0, 1):
        for _ in range(5):
            simulator.world.add_run(ID, status="FAILED", started=simulator.world.start - 60)
        with Exporter(tmp_path, configuration(simulator.url, [ID]), port=port) as exporter:
            assert exporter.address
            wait_for_the_baseline(prometheus, time.time())
            for _ in range(new_runs):
                simulator.world.add_run(ID, status="FAILED")
            counted += new_runs
            wait_for_increases(prometheus, {FAILED: counted})
            prometheus.wait_for_scrapes("glue", 2)
            exporter.kill()
    assert increases(prometheus.tracks(FINISHED)) == {FAILED: counted}
    assert increases(prometheus.tracks(STARTED)) == {("FIND_MATCHES", ""): counted}


def wait_for_increases(prometheus, wanted, **labels):
    """Wait until the increases of finished runs with these labels equal `wanted`."""
    selector = ",".join(f'{name}="{value}"' for name, value in labels.items())

    def seen():
        return increases(prometheus.tracks(f"{FINISHED}{{{selector}}}"))

    wait_for(lambda: seen() == wanted, describe=lambda: f"{labels} {wanted}; {seen()}", interval=0.05)


@ONE_VERSION
@pytest.mark.parametrize("state", [None, "state.db"])
def test_a_transform_added_by_a_reload_is_counted_from_its_first_run(simulator, prometheus, state, tmp_path):
    """If reloads add, remove and add a transform again, all runs that finish after the first reload are counted."""
    other = "tfm-other"
    simulator.world.add_transform({"name": "other", "id": other})
    for _ in range(50):
        simulator.world.add_run(other, status="FAILED", started=simulator.world.start - 60)
    one, both = (configuration(simulator.url, ids, state={"path": state}) for ids in ([ID], [ID, other]))

    def fail(transform_id):
        simulator.world.add_run(transform_id, status="FAILED")

    def reload(config):
        exporter.configure(config)
        exporter.send(signal.SIGHUP)

    def polls():
        return len([request for request in simulator.requests.all("GetMLTaskRuns") if request.transform_id == other])

    with Exporter(tmp_path, one) as exporter:
        prometheus.point_at({"glue": exporter.address})
        wait_for_the_baseline(prometheus, 0)
        fail(ID)
        reload(both)
        wait_for(lambda: polls() >= 2, describe="the first poll of the other transform is over")
        fail(other)
        fail(ID)
        wait_for_increases(prometheus, {FAILED: 1}, transform_id=other)
        wait_for_increases(prometheus, {FAILED: 2}, transform_id=ID)

        reload(one)
        wait_for(lambda: not prometheus.ask("query", query=f'{FINISHED}{{transform_id="{other}"}}')["result"])
        fail(other)
        fail(other)
        reload(both)
        wait_for_increases(prometheus, {FAILED: 3}, transform_id=other)
        fail(other)
        fail(ID)
        wait_for_increases(prometheus, {FAILED: 4}, transform_id=other)
        wait_for_increases(prometheus, {FAILED: 3}, transform_id=ID)
    for track in prometheus.tracks(FINISHED):
        assert track.falls == 0
