"""`glue-ml-exporter once` and `check-config`: exit codes and output."""

import signal
import stat

import pytest
import yaml

from exporter.cli.once import replace_file
from tests.support import EXPORTER, Process, run
from tests.system.staging import CREDENTIALS, FINISHED, Samples, configuration, wait_for

pytestmark = pytest.mark.slow


SCENARIO = {"transforms": [{"name": "a", "id": "tfm-a"}, {"name": "b", "id": "tfm-b"}]}


@pytest.fixture(autouse=True)
def failed_run(simulator):
    """Add a failed run to the transform tfm-a."""
    simulator.world.add_run("tfm-a", status="FAILED", started=simulator.world.start - 60)


def call(folder, command, config, *flags):
    """Run a command with this configuration, and wait until it ends."""
    (folder / "config.yaml").write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    return run(*EXPORTER, command, "--config.file=config.yaml", *flags, folder=folder, environ=CREDENTIALS)


def test_once_prints_the_metrics_of_a_scrape(simulator, tmp_path):
    """`once` polls every transform, prints their metrics on stdout and exits 0."""
    done = call(tmp_path, "once", configuration(simulator.url, ["tfm-a", "tfm-b"]))
    assert done.exit_code == 0, done.stderr
    samples = Samples(done.stdout)
    up = {dict(labels)["transform_id"]: value for labels, value in samples.select("glue_ml_transform_up").items()}
    assert up == {"tfm-a": 1, "tfm-b": 1}
    assert samples.value("glue_ml_task_runs", transform_id="tfm-a", task_type="FIND_MATCHES", status="FAILED") == 1
    assert set(samples.select(FINISHED).values()) == {0}


def test_once_exits_1_when_a_transform_cannot_be_polled(simulator, tmp_path):
    """When one transform fails, `once` prints the metrics of the others, writes the error to stderr, and exits 1."""
    done = call(tmp_path, "once", configuration(simulator.url, ["tfm-a", "tfm-gone"]))
    assert done.exit_code == 1
    samples = Samples(done.stdout)
    assert samples.value("glue_ml_transform_up", transform_id="tfm-a") == 1
    assert samples.value("glue_ml_transform_up", transform_id="tfm-gone") == 0
    assert samples.value("glue_ml_exporter_poll_errors_total", reason="EntityNotFoundException") >= 1
    assert len(done.stderr.splitlines()) == 1
    assert "tfm-gone" in done.stderr


def test_once_polls_each_transform_once(simulator, tmp_path):
    """Even if one transform is slow, `once` reads the runs of each transform only once. All counters stay at 0."""
    simulator.faults.set({"kind": "delay", "seconds": "1s", "transforms": ["tfm-b"], "times": 1})
    done = call(tmp_path, "once", configuration(simulator.url, ["tfm-a", "tfm-b"]))
    assert done.exit_code == 0
    asked = [request.transform_id for request in simulator.requests.all("GetMLTaskRuns")]
    assert sorted(asked) == ["tfm-a", "tfm-b"]


def test_once_with_state_counts_the_runs_since_the_last_call(simulator, tmp_path):
    """`once --with-state` holds no series at its initial value, because each process writes the metrics once."""
    config = configuration(simulator.url, ["tfm-a"], state={"path": "state.db"}, metrics={"initial_hold": "1h"})
    seen = []
    for _ in range(3):
        done = call(tmp_path, "once", config, "--with-state")
        assert done.exit_code == 0, done.stderr
        seen.append(Samples(done.stdout).value(FINISHED, task_type="FIND_MATCHES", status="FAILED"))
        simulator.world.add_run("tfm-a", status="FAILED")
    assert seen == [0, 1, 2]


def test_once_without_state_runs_beside_an_exporter(simulator, tmp_path):
    """`once` does not touch the state file, which an exporter locks; --with-state reports the lock."""
    config = configuration(simulator.url, ["tfm-a"], state={"path": "state.db"})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    serve = (*EXPORTER, "serve", "--web.listen-address=127.0.0.1:0")
    with Process(*serve, folder=tmp_path, environ=CREDENTIALS) as exporter:
        wait_for(lambda: "listening" in exporter.stderr, describe=lambda: exporter.stderr)
        assert call(tmp_path, "once", config).exit_code == 0
        done = call(tmp_path, "once", config, "--with-state")
        assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
        assert "state.db" in done.stderr


def test_once_with_state_needs_a_path(simulator, tmp_path):
    """`once --with-state` exits 1 with one line if the configuration has no state file."""
    done = call(tmp_path, "once", configuration(simulator.url, ["tfm-a"]), "--with-state")
    line = "--with-state: config.yaml has no state.path; expected the path of a state file\n"
    assert (done.exit_code, done.stderr) == (1, line)


def test_once_exits_1_when_the_endpoint_does_not_answer(simulator, tmp_path):
    """If no server listens at the endpoint, `once` exits 1 with one line that names the reason."""
    simulator.stop()
    done = call(tmp_path, "once", configuration(simulator.url, ["tfm-a", "tfm-b"]))
    assert done.exit_code == 1
    assert [line for line in done.stderr.splitlines() if "reason=connection" in line] == done.stderr.splitlines()
    assert len(done.stderr.splitlines()) == 1


def test_once_writes_a_file_for_node_exporter(simulator, tmp_path):
    """With --output `once` writes the metrics to a file that every user can read, and prints nothing."""
    old = tmp_path / "glue_ml.prom"
    old.write_text("old")
    old.chmod(0o600)
    done = call(tmp_path, "once", configuration(simulator.url, ["tfm-a", "tfm-gone"]), f"--output={old.name}")
    assert (done.exit_code, done.stdout) == (1, "")
    samples = Samples(old.read_text())
    assert samples.value("glue_ml_transform_up", transform_id="tfm-a") == 1
    assert samples.value("glue_ml_transform_up", transform_id="tfm-gone") == 0
    assert stat.filemode(old.stat().st_mode) == "-rw-r--r--"
    assert {path.name for path in tmp_path.iterdir() if ".prom" in path.name} == {old.name}


def test_a_file_that_cannot_be_written_is_one_line(simulator, tmp_path):
    """If the folder does not exist, `once` exits 1 with one line, and polls nothing."""
    done = call(tmp_path, "once", configuration(simulator.url, ["tfm-a"]), "--output=nowhere/glue_ml.prom")
    assert done.exit_code == 1
    [line] = done.stderr.splitlines()
    assert line == "--output: nowhere/glue_ml.prom: the folder does not exist; create it or name another file"
    assert not simulator.requests.all()


def test_the_output_file_is_replaced_atomically(tmp_path):
    """The old file stays until the new file is complete, and no other file ends in .prom, even after a failed write."""
    file = tmp_path / "glue_ml.prom"
    file.write_bytes(b"old")

    def chunks(*, fail):
        yield b"new "
        assert file.read_bytes() == b"old"
        assert [path for path in tmp_path.iterdir() if path.suffix == ".prom"] == [file]
        if fail:
            raise OSError("disk full")
        yield b"content"

    with pytest.raises(OSError, match="disk full"):
        replace_file(file, chunks(fail=True))
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_bytes() == b"old"
    replace_file(file, chunks(fail=False))
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_bytes() == b"new content"


@pytest.mark.parametrize(
    "command", [("once",), ("once", "--output=x.prom"), ("check-config", "--live"), ("runs", "tfm-a")], ids=" ".join
)
def test_an_interrupt_while_glue_hangs_is_one_line(command, simulator, tmp_path):
    """Ctrl-C while a call to Glue hangs ends a command at once, with one line and exit code 130."""
    simulator.faults.set({"kind": "delay", "seconds": "1m"})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(configuration(simulator.url, ["tfm-a"])))
    with Process(*EXPORTER, *command, "--config.file=config.yaml", folder=tmp_path, environ=CREDENTIALS) as process:
        wait_for(lambda: any(simulator.faults.hits().values()), describe=lambda: process.stderr)
        process.send(signal.SIGINT)
        assert process.wait(timeout=50) == 130
    assert process.stderr == "interrupted\n"
    assert not list(tmp_path.glob("*.prom"))


GOOD = "region: eu-west-1\ntransforms: [tfm-a]\n"
BAD = "region: eu-west-1\ntransforms: [tfm-a, tfm-a]\npolling: {interval: 5 minutes, intervall: 5m}\n"


@pytest.mark.parametrize(("command", "flags"), [("check-config", ()), ("serve", ("--config.check",))])
def test_a_configuration_is_checked_without_polling(command, flags, tmp_path):
    """For a bad file check-config and --config.check exit 1 and print line and column of every mistake."""
    good = call(tmp_path, command, GOOD, *flags)
    assert (good.exit_code, good.stderr) == (0, "")
    bad = call(tmp_path, command, BAD, *flags)
    assert bad.exit_code == 1
    places = [line.split(": ")[0] for line in bad.stderr.splitlines()]
    assert places == ["config.yaml:2:21", "config.yaml:3:21", "config.yaml:3:32"]


def test_a_missing_folder_of_the_state_is_a_note(tmp_path):
    """check-config says that the folder of the state file is missing, and the configuration is nevertheless valid."""
    done = call(tmp_path, "check-config", f"{GOOD}state: {{path: {tmp_path}/missing/state.db}}\n")
    assert (done.exit_code, done.stdout) == (0, "config.yaml: ok\n")
    assert done.stderr.startswith(f"config.yaml: state.path: the folder {tmp_path}/missing does not exist on this host")


@pytest.mark.parametrize("command", ["serve", "once", "check-config"])
def test_a_missing_configuration_file_is_one_line(command, tmp_path):
    """If the configuration file does not exist, a command exits 1, `serve` 2, with one line that names it."""
    done = run(*EXPORTER, command, "--config.file=missing.yaml", folder=tmp_path, environ=CREDENTIALS)
    assert done.exit_code == (2 if command == "serve" else 1)
    [line] = done.stderr.splitlines()
    assert line.startswith("missing.yaml: does not exist; name the configuration file with --config.file, or run ")
    assert done.stdout == ""


def test_an_unknown_flag_exits_2(tmp_path):
    """An unknown flag gives one line on stderr and exit code 2."""
    done = run(*EXPORTER, "serve", "--config.fil=x", folder=tmp_path)
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1
