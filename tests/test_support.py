import signal
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, Process, fetch, free_port, run, wait_for, wait_for_answer

SPEAK_THEN_WAIT = "import signal; print('listening on 1234', flush=True); signal.pause()"


def test_wait_for_gives_the_first_truthy_value():
    """Waiting returns the first truthy result of the condition."""
    values = iter([None, 0, "here", "too late"])
    assert wait_for(lambda: next(values), interval=0) == "here"


def test_wait_for_names_what_did_not_come():
    """A wait that times out names the condition and its last result."""
    with pytest.raises(AssertionError, match="not within 0 s: rain; last value: ''"):
        wait_for(lambda: "", timeout=0, describe="rain")


def test_a_process_tells_what_it_wrote_and_how_it_ended(tmp_path: Path):
    """A test can wait for the output of a process, send it signals, and read its exit code."""
    with Process(sys.executable, "-c", SPEAK_THEN_WAIT, folder=tmp_path) as process:
        assert process.wait_for_output(r"listening on (\d+)")[1] == "1234"
        assert process.exit_code is None
        process.send(signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM


def test_a_process_does_not_outlive_its_block(tmp_path: Path):
    """The end of the block kills the process."""
    with Process(sys.executable, "-c", SPEAK_THEN_WAIT, folder=tmp_path) as process:
        assert process.exit_code is None
    assert process.exit_code == -signal.SIGKILL


def test_output_that_can_no_longer_come_is_not_waited_for(tmp_path: Path):
    """A process that ended without the expected output fails the test at once, with what it wrote."""
    with (
        Process(sys.executable, "-c", "raise SystemExit('no such file')", folder=tmp_path) as process,
        pytest.raises(AssertionError, match="no such file"),
    ):
        process.wait_for_output("listening", timeout=60)


def test_a_process_sees_nothing_of_the_machines_environment(tmp_path: Path):
    """Credentials and settings of the machine do not reach a process that a test starts."""
    printed = run(sys.executable, "-c", "import os; print(*os.environ)", folder=tmp_path, environ={"A": "1"})
    assert set(printed.stdout.split()) - {"LC_CTYPE"} == {"A", "HOME", "PATH"}


def test_fetch_gives_answers_that_are_errors(tmp_path: Path):
    """An HTTP error status is an answer like any other; only silence is an exception."""
    port = free_port()
    with Process(sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", folder=tmp_path):
        url = f"http://127.0.0.1:{port}"
        assert wait_for_answer(f"{url}/missing", status=404).status == 404
        listing = fetch(url)
        assert (listing.status, listing.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "stdout-" in listing.text
    with pytest.raises(OSError, match="refused"):
        fetch(url)


def test_a_skipped_test_is_a_failure_in_ci(tmp_path: Path):
    """Under CI=true a run in which a test was skipped fails, and elsewhere it passes."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "test_skip.py").write_text("import pytest\ndef test_skip(): pytest.skip('no such tool')\n")
    elsewhere = run(sys.executable, "-m", "pytest", "test_skip.py", folder=tmp_path)
    in_ci = run(sys.executable, "-m", "pytest", "test_skip.py", folder=tmp_path, environ={"CI": "true"})
    assert (elsewhere.exit_code, in_ci.exit_code) == (0, 1)
    assert "no such tool" in in_ci.stdout
