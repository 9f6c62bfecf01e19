"""Reloads of a running exporter keep, remove and restore series."""

import signal

import pytest
import yaml

from tests.support import fetch
from tests.system.staging import FINISHED, STARTED, Exporter, configuration, wait_for

pytestmark = pytest.mark.slow

FAILED = {"task_type": "FIND_MATCHES", "status": "FAILED"}
LOADED = "glue_ml_exporter_config_last_reload_successful"
LOADED_AT = "glue_ml_exporter_config_last_reload_success_timestamp_seconds"


SCENARIO = {"transforms": [{"name": "a", "id": "tfm-a"}, {"name": "b", "id": "tfm-b"}]}


def fail(simulator, exporter, transform_id, total):
    """Add a failed run to the transform, and wait until the counter of failures has this value."""
    simulator.world.add_run(transform_id, status="FAILED")
    exporter.wait_for_value(total, FINISHED, transform_id=transform_id, **FAILED)


def reload(exporter, config):
    """Replace the configuration, send SIGHUP, and wait until the exporter has loaded it."""
    before = exporter.metrics().value(LOADED_AT)
    exporter.configure(config)
    exporter.send(signal.SIGHUP)
    wait_for(lambda: exporter.metrics().value(LOADED_AT) > before, describe=lambda: exporter.stderr)


def test_a_reload_keeps_the_counters_of_the_transforms_that_stay(simulator, tmp_path):
    """A reload adds one transform without counting its history. It removes another transform and only its series."""
    one, both = (configuration(simulator.url, ids) for ids in (["tfm-a"], ["tfm-a", "tfm-b"]))
    simulator.world.add_run("tfm-b", status="FAILED", started=simulator.world.start - 60)
    with Exporter(tmp_path, one) as exporter:
        exporter.wait_for_polls("tfm-a", 1)
        fail(simulator, exporter, "tfm-a", 1)

        reload(exporter, both)
        exporter.wait_for_polls("tfm-b", 1)
        samples = exporter.metrics()
        assert samples.value(FINISHED, transform_id="tfm-b", **FAILED) == 0
        assert samples.value("glue_ml_task_runs", transform_id="tfm-b", **FAILED) == 1
        assert samples.value(FINISHED, transform_id="tfm-a", **FAILED) == 1
        fail(simulator, exporter, "tfm-a", 2)
        fail(simulator, exporter, "tfm-b", 1)

        reload(exporter, one)
        wait_for(lambda: "tfm-b" not in fetch(exporter.url()).text)
        samples = exporter.metrics()
        assert samples.value(FINISHED, transform_id="tfm-a", **FAILED) == 2


def test_changed_buckets_are_one_line_in_the_log_for_each_transform(simulator, tmp_path):
    """A reload with other buckets is logged once for each transform. A reload with the same buckets is not logged."""
    ids = ["tfm-a", "tfm-b"]
    changed = configuration(simulator.url, ids, metrics={"execution_buckets": ["1m", "1h"]})
    logged = "the configured buckets have changed; histograms start again at 0"
    with Exporter(tmp_path, configuration(simulator.url, ids)) as exporter:
        exporter.wait_for_polls("tfm-b", 1)
        for _ in range(2):
            reload(exporter, changed)
            wait_for(lambda: exporter.stderr.count(logged) >= len(ids))
            exporter.wait_for_polls("tfm-a", 2)
        assert exporter.stderr.count(logged) == len(ids)


def test_a_transform_that_is_added_again_continues_its_counters(simulator, tmp_path):
    """A transform that is removed and added again keeps its counters. It counts the runs that finished in between."""
    one, both = (configuration(simulator.url, ids) for ids in (["tfm-a"], ["tfm-a", "tfm-b"]))
    with Exporter(tmp_path, both) as exporter:
        exporter.wait_for_polls("tfm-b", 1)
        fail(simulator, exporter, "tfm-b", 1)
        reload(exporter, one)
        wait_for(lambda: not exporter.metrics().select(FINISHED, transform_id="tfm-b"))
        simulator.world.add_run("tfm-b", status="FAILED")

        exporter.configure(both)
        exporter.send(signal.SIGHUP)
        seen = []

        def last():
            value = exporter.metrics().value(FINISHED, transform_id="tfm-b", **FAILED)
            seen.append(value)
            return value == 2

        wait_for(last, describe=lambda: seen)
        assert [value for value in dict.fromkeys(seen) if value is not None] == [1, 2]
        assert exporter.metrics().value(STARTED, transform_id="tfm-b", task_type="FIND_MATCHES") == 2


def test_a_bad_file_keeps_the_old_configuration(simulator, tmp_path):
    """A reload of a bad file logs one error and sets the metric to 0. Polls go on, and the next good file is loaded."""
    config = configuration(simulator.url, ["tfm-a"])
    with Exporter(tmp_path, config) as exporter:
        exporter.wait_for_polls("tfm-a", 1)
        fail(simulator, exporter, "tfm-a", 1)
        loaded_at = exporter.metrics().value(LOADED_AT)
        exporter.configure({**config, "polling": {"interval": "soon"}})
        exporter.send(signal.SIGHUP)
        exporter.wait_for_value(0, LOADED)
        fail(simulator, exporter, "tfm-a", 2)
        assert exporter.metrics().value(LOADED_AT) == loaded_at
        [line] = [line for line in exporter.stderr.splitlines() if "level=error" in line]
        assert "polling.interval" in line

        reload(exporter, config)
        samples = exporter.metrics()
        assert samples.value(LOADED) == 1
        assert samples.value(FINISHED, transform_id="tfm-a", **FAILED) == 2


def test_a_reload_over_http_answers_with_the_reason_of_its_failure(simulator, tmp_path):
    """POST /-/reload answers 200, or 500 with every mistake. Without --web.enable-lifecycle it answers 403."""
    config = configuration(simulator.url, ["tfm-a"])
    with Exporter(tmp_path, config, "--web.enable-lifecycle") as exporter:
        exporter.configure(configuration(simulator.url, ["tfm-a", "tfm-b"]))
        assert fetch(exporter.url("/-/reload"), method="POST").status == 200
        exporter.wait_for_value(1, "glue_ml_transform_up", transform_id="tfm-b")
        exporter.configure({**config, "polling": {"interval": "soon"}})
        answer = fetch(exporter.url("/-/reload"), method="POST")
        assert answer.status == 500
        assert "polling.interval" in answer.text
        exporter.wait_for_value(0, LOADED)
    with Exporter(tmp_path, config) as exporter:
        assert fetch(exporter.url("/-/reload"), method="POST").status == 403


def test_a_changed_file_is_noticed_when_a_link_above_it_is_swapped(simulator, tmp_path):
    """With auto-reload, a new target of the link to the file's folder causes a reload, as in an updated ConfigMap."""
    for folder, ids in (("v1", ["tfm-a"]), ("v2", ["tfm-a", "tfm-b"]), ("v3", ["tfm-b"])):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.yaml").write_text(yaml.safe_dump(configuration(simulator.url, ids)))
    point(tmp_path / "..data", "v1")
    (tmp_path / "config.yaml").symlink_to("..data/config.yaml")
    flags = ("--config.enable-auto-reload", "--config.auto-reload-interval=100ms")
    with Exporter(tmp_path, None, *flags) as exporter:
        exporter.wait_for_polls("tfm-a", 1)
        fail(simulator, exporter, "tfm-a", 1)
        point(tmp_path / "..data", "v2")
        exporter.wait_for_value(1, "glue_ml_transform_up", transform_id="tfm-b")
        assert exporter.metrics().value(FINISHED, transform_id="tfm-a", **FAILED) == 1
        point(tmp_path / "..data", "v3")
        exporter.wait_for_value(None, "glue_ml_transform_up", transform_id="tfm-a")
        assert exporter.stderr.count("configuration reloaded") == 2


def test_an_invalid_web_configuration_sets_a_metric_and_keeps_the_old_one(simulator, tmp_path):
    """While the web file is invalid, the old headers stay in use and the metric is 0."""
    web, shown = tmp_path / "web.yml", "glue_ml_exporter_web_config_last_reload_successful"
    web.write_text("http_server_config: {headers: {X-Frame-Options: deny}}")
    with Exporter(tmp_path, configuration(simulator.url, ["tfm-a"]), "--web.config.file=web.yml") as exporter:
        exporter.wait_for_value(1, shown)
        web.write_text("http_server_config: {headers: [deny]}")
        exporter.wait_for_value(0, shown)
        assert fetch(exporter.url()).headers["X-Frame-Options"] == "deny"
        web.write_text("http_server_config: {headers: {X-Frame-Options: sameorigin}}")
        exporter.wait_for_value(1, shown)
        assert fetch(exporter.url()).headers["X-Frame-Options"] == "sameorigin"


def point(link, target):
    """Change the target of a symbolic link atomically."""
    new = link.with_name("..new")
    new.symlink_to(target)
    new.replace(link)
