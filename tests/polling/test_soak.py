"""An exporter process under random faults, reloads and traffic at the same time."""

import os
import random
import re
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from statistics import median

import psutil
import pytest
import yaml

from exporter.simulator import Simulator
from tests.aws_environment import ONE, TWO
from tests.running import wait_for
from tests.support import EXPORTER, Process, fetch, wait_for_answer

SECONDS = float(os.environ.get("SOAK_SECONDS", "40"))
ROLE = f"arn:aws:iam::{ONE}:role/watcher"
REGIONS = ("eu-west-1", "us-east-1")
FINAL = ("SUCCEEDED", "FAILED", "STOPPED", "TIMEOUT")
TYPES = ("EVALUATION", "FIND_MATCHES", "EXPORT_LABELS")
FAULTS = (
    {"kind": "throttle", "probability": 0.05},
    {"kind": "server_error", "probability": 0.3},
    {"kind": "reset", "probability": 0.3},
    {"kind": "hang", "probability": 0.1},
    {"kind": "delay", "probability": 0.5, "seconds": 0.2},
    {"kind": "garbage", "probability": 0.3, "body": "truncated"},
    {"kind": "garbage", "probability": 0.3, "body": "html"},
    {"kind": "garbage", "probability": 0.3, "body": "empty_object"},
    {"kind": "expired_credentials", "probability": 0.3},
    {"kind": "access_denied", "probability": 0.3, "operations": ["AssumeRole", "GetMLTransform", "ListMLTransforms"]},
    {"kind": "repeat_token", "probability": 0.3},
)


def configuration(simulator, rng):
    """Return a random configuration; all of them monitor the same transforms."""
    one = rng.choice([{"name": "one", "role_arn": ROLE}, {"name": "one", "profile": "one"}])
    ids = [transform_id for transform_id in simulator.world.transform_ids() if transform_id.startswith("tfm-listed")]
    listed = [{"id": one_id, "account": "two", "labels": {"team": rng.choice("abc")}} for one_id in ids]
    return {
        "region": REGIONS[0],
        "endpoint_url": simulator.url,
        "accounts": [one, {"name": "two", "profile": "two"}],
        "transforms": listed,
        "discovery": [{"account": "one", "regions": list(REGIONS), "interval": rng.choice(["300ms", "500ms"])}],
        "transform_details": rng.choice(["true", "false"]),
        "metrics": {"initial_hold": "1s"},
        "polling": {
            "interval": rng.choice(["50ms", "70ms"]),
            "lookback": "5m",
            "overlap": "5s",
            "resync_interval": "5s",
            "page_size": rng.choice(["10", "1000"]),
            "request_timeout": rng.choice(["400ms", "500ms"]),
            "max_attempts": "2",
            "requests_per_second": rng.choice(["200", "300"]),
            "stale_after": "1m",
        },
    }


def world():
    transforms = [{"id": f"tfm-listed-{n}", "name": f"listed-{n}", "account": TWO} for n in range(4)]
    for region in REGIONS:
        found = {"account": ONE, "region": region}
        transforms += [{"id": f"tfm-found-{region}-{n}", "name": f"found-{n}", **found} for n in range(4)]
    return {
        "transforms": transforms,
        "credentials": {"keys": {"AKIAONE": ONE, "AKIATWO": "222222222222"}, "lifetime": "5s"},
    }


@dataclass
class Traffic:
    """Starts and ends runs at random times, and counts the ended runs."""

    simulator: Simulator
    rng: random.Random
    open: list[tuple[str, str, str]] = field(default_factory=list)
    finished: Counter = field(default_factory=Counter)

    def step(self):
        transform_id, task_type = self.rng.choice(self.simulator.world.transform_ids()), self.rng.choice(TYPES)
        self.open.append((transform_id, task_type, self.simulator.world.add_run(transform_id, task_type)))
        while self.open and self.rng.random() < 0.5:
            self.finish(self.open.pop(self.rng.randrange(len(self.open))))

    def finish(self, run):
        transform_id, task_type, run_id = run
        status = self.rng.choice(FINAL)
        self.simulator.world.finish_run(transform_id, run_id, status)
        self.finished[transform_id, task_type, status] += 1


@dataclass
class Footprint:
    """Repeated samples of the resources that the process uses."""

    process: psutil.Process
    memory: list[float] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def sample(self):
        self.memory.append(self.process.memory_info().rss / 2**20)
        self.threads.append(self.process.num_threads())
        self.files.append(self.process.num_fds())

    def text(self):
        series = {"memory": self.memory, "threads": self.threads, "files": self.files}
        return "\n".join(f"{name}: {values[:: max(1, len(values) // 12)]}" for name, values in series.items())


FINISHED = re.compile(
    r'^glue_ml_task_runs_finished_total\{status="(\w+)",task_type="(\w+)",transform_id="([\w-]+)",.*\} ([1-9].*)$',
    re.MULTILINE,
)


def counted(url):
    found = FINISHED.findall(fetch(url).text)
    return Counter(
        {(transform_id, task_type, status): float(value) for status, task_type, transform_id, value in found}
    )


def third(values, number):
    return values[len(values) * number // 3 : len(values) * (number + 1) // 3]


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 240)
def test_under_faults_and_reloads_counts_are_right_and_nothing_grows(tmp_path, simulator_environment):
    """Under polls, faults and reloads, each run is counted once, and memory, threads and files do not grow."""
    rng = random.Random(5)  # noqa: S311 - a simulation
    file = tmp_path / "config.yaml"
    with Simulator(world()) as simulator:
        file.write_text(yaml.safe_dump(configuration(simulator, rng)))
        arguments = ("serve", "--web.listen-address=127.0.0.1:0", "--log.level=info")
        with Process(*EXPORTER, *arguments, folder=tmp_path, environ=simulator_environment(simulator)) as process:
            url = listening(process)
            wait_for_answer(url, timeout=60)
            wait_for(lambda: fetch(url).text.count("glue_ml_transform_up{") == 12, timeout=60)
            traffic, footprint = Traffic(simulator, rng), Footprint(psutil.Process(process.pid))
            ends, next_reload = time.monotonic() + SECONDS, 0.0
            while time.monotonic() < ends:
                traffic.step()
                if rng.random() < 0.3:
                    simulator.faults.clear()
                    simulator.faults.set(dict(rng.choice(FAULTS)))
                if time.monotonic() > next_reload:
                    next_reload = time.monotonic() + 1
                    file.write_text(yaml.safe_dump(configuration(simulator, rng)))
                    process.send(signal.SIGHUP)
                    footprint.sample()
                counts = counted(url)
                assert all(counts[key] <= traffic.finished[key] for key in counts)
                wait_for_requests(simulator, 5)
            simulator.faults.clear()
            for run in traffic.open:
                traffic.finish(run)
            wait_for(lambda: counted(url) == traffic.finished, timeout=90, describe=lambda: difference(url, traffic))
            assert process.exit_code is None
            assert "Traceback" not in process.stderr
            process.send(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
    print(footprint.text(), dict(simulator.requests.counts()), sum(traffic.finished.values()))
    assert sum(traffic.finished.values()) > SECONDS / 4
    # Faults open and close connections, so the peaks are random. A leak raises the median.
    for values in (footprint.threads, footprint.files):
        assert median(third(values, 2)) <= median(third(values, 1)) + 15, footprint.text()
    growth = max(third(footprint.memory, 2)) - max(third(footprint.memory, 1))
    # New series still appear in the first minutes.
    assert growth < (10 if SECONDS < 300 else 4), footprint.text()


def wait_for_requests(simulator, count):
    """Wait until the simulator has received `count` more requests."""
    before = simulator.requests.count()
    wait_for(lambda: simulator.requests.count() >= before + count)


def difference(url, traffic):
    counts, finished = counted(url), traffic.finished
    return {key: (counts[key], finished[key]) for key in finished if counts[key] != finished[key]}


def listening(process):
    address = process.wait_for_output(r"addresses=\"?([^\"\s,]+)", timeout=60)[1]
    return f"{address}/metrics" if address.startswith("http") else f"http://{address}/metrics"


@pytest.fixture
def simulator_environment(tmp_path):
    """Return the environment of a process whose profiles one and two are the simulator's accounts."""

    def environ(simulator):
        credentials = tmp_path / "credentials"
        lines = [f"[{name}]\naws_access_key_id = {key}\naws_secret_access_key = x\n" for name, key in KEYS.items()]
        credentials.write_text("".join(lines))
        return {
            "AWS_ACCESS_KEY_ID": "AKIAONE",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL_STS": simulator.url,
        }

    return environ


KEYS = {"one": "AKIAONE", "two": "AKIATWO"}
