"""A reload during polls does not interrupt the series that it does not change."""

import gc
import itertools
import threading
import weakref

import pytest

from tests.aws_environment import ONE
from tests.running import keeps_polling, running, wait_for, write_credentials

FINISHED = "glue_ml_task_runs_finished_total"
BUCKETS = "glue_ml_task_run_execution_seconds_bucket"
COUNT = "glue_ml_task_run_execution_seconds_count"
RELOADED = "glue_ml_exporter_config_last_reload_successful"


class Watcher:
    """Scrapes continuously, and keeps each value of the counter of finished runs."""

    def __init__(self, exporter):
        self._exporter = exporter
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.values = []

    def _watch(self):
        while not self._stop.wait(0.005):
            self.values.append(self._exporter.value(FINISHED, transform_id="tfm-a"))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    @property
    def has_no_gap(self):
        """Whether every scrape had the counter and it never decreased."""
        return None not in self.values and self.values == sorted(self.values)


def finish(simulator, exporter, total, **fields):
    simulator.world.add_run("tfm-a", status="SUCCEEDED", fields={"ExecutionTime": 100, **fields})
    wait_for(lambda: exporter.value(FINISHED, transform_id="tfm-a") == total)


@pytest.mark.slow
def test_a_new_interval_rate_and_labels_take_effect_without_a_gap(simulator):
    """After a reload with other intervals and labels every scrape has every series, and the counter continues."""
    with running(simulator, transforms=["tfm-a"], polling={"interval": "10s"}) as exporter:
        exporter.wait_until_up("tfm-a")
        with Watcher(exporter) as watcher:
            assert exporter.value("glue_ml_exporter_poll_interval_seconds") == 10
            quick = {**exporter.config["polling"], "interval": "100ms", "requests_per_second": "500"}
            labelled = [{"id": "tfm-a", "labels": {"team": "data"}}]
            assert exporter.reload(polling=quick, transforms=labelled) is None
            finish(simulator, exporter, 1)
            wait_for(lambda: exporter.value("glue_ml_transform_info", transform_id="tfm-a", team="data") == 1)
            assert exporter.reload(polling={**quick, "concurrency": "2", "request_timeout": "5s"}) is None
            finish(simulator, exporter, 2)
            keeps_polling(exporter, "tfm-a")
            assert exporter.value("glue_ml_exporter_poll_interval_seconds") == 0.1
        assert watcher.has_no_gap
        assert not exporter.errors()


def test_reasons_of_failures_and_expected_times_follow_a_reload(simulator):
    """After a reload the last failure has the reason of the new patterns, and the former reason is gone."""
    name = "glue_ml_task_run_last_failure_info"
    with running(simulator, transforms=["tfm-a"]) as exporter:
        exporter.wait_until_up("tfm-a")
        simulator.world.add_run("tfm-a", status="FAILED", fields={"ErrorString": "Access Denied: ORA-12170"})
        wait_for(lambda: exporter.value(name, status="FAILED", reason="access_denied") == 1)
        reasons = [{"name": "oracle", "pattern": "denied*ora-"}]
        transform = {"id": "tfm-a", "expected_interval": "1d"}
        assert exporter.reload(transforms=[transform], metrics={"failure_reasons": reasons}) is None
        wait_for(lambda: exporter.value(name, status="FAILED", reason="oracle") == 1)
        assert exporter.value(name) == 1
        wait_for(lambda: exporter.value("glue_ml_transform_expected_interval_seconds") == 86400)


def test_changed_buckets_restart_only_that_histogram(simulator):
    """If a reload changes buckets, only that histogram restarts at 0, and all other counters continue."""
    with running(simulator, transforms=["tfm-a"]) as exporter:
        exporter.wait_until_up("tfm-a")
        finish(simulator, exporter, 1)
        wait_for(lambda: exporter.value(COUNT, transform_id="tfm-a") == 1)
        with Watcher(exporter) as watcher:
            assert exporter.reload(metrics={"execution_buckets": ["50s", "150s"]}) is None
            wait_for(lambda: not exporter.value(COUNT, transform_id="tfm-a"))
            finish(simulator, exporter, 2)
        wait_for(lambda: exporter.value(BUCKETS, transform_id="tfm-a", status="SUCCEEDED", le="150.0") == 1)
        assert exporter.value(BUCKETS, transform_id="tfm-a", status="SUCCEEDED", le="50.0") == 0
        assert exporter.value(BUCKETS, transform_id="tfm-a", le="30.0") is None
        assert watcher.has_no_gap


@pytest.mark.slow
def test_changed_credentials_are_used_at_once_and_without_a_gap(simulator, environment, tmp_path):
    """After a reload that moves an account from a profile to a role, calls use the new key, and the series continue."""
    write_credentials(tmp_path / "credentials", one="AKIAONE")
    role = f"arn:aws:iam::{ONE}:role/watcher"
    transforms = [{"id": "tfm-one", "account": "one"}]
    with running(simulator, accounts=[{"name": "one", "profile": "one"}], transforms=transforms) as exporter:
        exporter.wait_until_up("tfm-one")
        simulator.world.add_run("tfm-one", status="SUCCEEDED")
        wait_for(lambda: exporter.value(FINISHED, transform_id="tfm-one") == 1)
        environment.setenv("AWS_ACCESS_KEY_ID", "AKIASOURCE")
        assert exporter.reload(accounts=[{"name": "one", "role_arn": role}]) is None
        wait_for(lambda: simulator.requests.all("GetMLTaskRuns")[-1].access_key_id.startswith("ASIA"))
        assert simulator.requests.all("AssumeRole")[0].access_key_id == "AKIASOURCE"
        keeps_polling(exporter, "tfm-one")
        assert exporter.value(FINISHED, transform_id="tfm-one") == 1
        wait_for(lambda: exporter.value("glue_ml_transform_info", transform_id="tfm-one", aws_account_id=ONE) == 1)
        assert not exporter.errors()


def test_former_clients_are_freed_by_the_reload_itself(simulator):
    """One or two reloads free the clients of a former configuration while the garbage collector is off."""
    rates = itertools.count(500)
    with running(simulator, transforms=["tfm-a"]) as exporter:
        exporter.wait_until_up("tfm-a")
        former = weakref.ref(exporter.service._clients)

        def freed():
            polling = {**exporter.config["polling"], "requests_per_second": str(next(rates))}
            assert exporter.reload(polling=polling) is None
            return former() is None

        gc.disable()
        try:
            wait_for(freed, interval=0.2)
        finally:
            gc.enable()
        keeps_polling(exporter, "tfm-a", times=1)


@pytest.mark.slow
def test_reloads_leave_no_idle_threads_behind(simulator):
    """After many reloads that replace the clients, about as many threads make calls as before them."""

    def calling():
        return sum(thread.name == "call" for thread in threading.enumerate())

    with running(simulator, transforms=["tfm-a"], polling={"interval": "50ms"}) as exporter:
        exporter.wait_until_up("tfm-a")
        before = calling()
        for seconds in range(10, 18):
            assert exporter.reload(polling={**exporter.config["polling"], "request_timeout": f"{seconds}s"}) is None
            keeps_polling(exporter, "tfm-a", times=1)
        assert calling() <= before + 4


@pytest.mark.slow
def test_the_transforms_of_a_removed_account_lose_their_series(simulator):
    """Transforms of an account that is no longer configured lose their series; polls of the others continue."""
    accounts = [{"name": "one", "profile": "one"}, {"name": "two", "profile": "two"}]
    transforms = [{"id": "tfm-one", "account": "one"}, {"id": "tfm-two", "account": "two"}]
    with running(simulator, accounts=accounts, transforms=transforms) as exporter:
        exporter.wait_until_up("tfm-one", "tfm-two")
        assert exporter.reload(accounts=accounts[:1], transforms=transforms[:1]) is None
        wait_for(lambda: exporter.monitored_ids() == {"tfm-one"})
        keeps_polling(exporter, "tfm-one")


@pytest.mark.slow
def test_a_bad_configuration_changes_nothing_and_gives_the_reason(simulator):
    """A reload that fails gives its reason, sets the metric to 0 and leaves targets, intervals and series unchanged."""
    with running(simulator, transforms=["tfm-a"]) as exporter:
        exporter.wait_until_up("tfm-a")
        before = exporter.service.effective_config()
        refused = exporter.reload(transforms=["tfm-b"], polling={"interval": "often"})
        assert '"often" is not a duration' in refused
        wait_for(lambda: exporter.value(RELOADED) == 0)
        assert exporter.service.effective_config() == before
        keeps_polling(exporter, "tfm-a")
        assert exporter.monitored_ids() == {"tfm-a"}
        assert exporter.reload(transforms=["tfm-b"], polling={"interval": "100ms"}) is None
        wait_for(lambda: exporter.value(RELOADED) == 1)
        wait_for(lambda: exporter.monitored_ids() == {"tfm-b"})


def test_a_defect_during_a_reload_ends_nothing(simulator):
    """An unexpected exception while the configuration is read fails this reload, and the next one works."""
    with running(simulator, transforms=["tfm-a"]) as exporter:
        exporter.wait_until_up("tfm-a")
        refused = exporter.reload(transforms=[object()])  # cannot be dumped as YAML
        assert refused == "a defect in this program; the log has the details"
        wait_for(lambda: exporter.value(RELOADED) == 0)
        assert exporter.reload(transforms=["tfm-a"]) is None


@pytest.mark.slow
def test_a_reload_does_not_wait_for_a_call_that_hangs(simulator):
    """A reload ends while a poll hangs, and the transform is polled again once its call has ended."""
    with running(simulator, transforms=["tfm-a", "tfm-b"], polling={"request_timeout": "2s"}) as exporter:
        exporter.wait_until_up("tfm-a", "tfm-b")
        simulator.faults.set({"kind": "hang", "transforms": ["tfm-a"], "times": 1})
        wait_for(lambda: simulator.requests.count("GetMLTaskRuns", "hang"))
        assert exporter.reload(transforms=["tfm-a", {"id": "tfm-b", "labels": {"team": "data"}}]) is None
        keeps_polling(exporter, "tfm-b")
        keeps_polling(exporter, "tfm-a", times=1)
