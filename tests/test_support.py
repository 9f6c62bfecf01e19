import signal
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, Process, fetch, free_port, run, wait_for, wait_for_answer

PRINT_THEN_WAIT = "import signal; print('listening on 1234', flush=True); signal.pause()"


def test_wait_for_gives_the_first_truthy_value():
    """Waiting returns the first truthy result of the condition."""
    values = iter([None, 0, "here", "too late"])
    assert wait_for(lambda: next(values), interval=0) == "here"


def test_a_wait_that_times_out_names_its_condition():
    """A wait that times out names the condition and its last result."""
    with pytest.raises(AssertionError, match="not within 0 s: rain; last value: ''"):
        wait_for(lambda: "", timeout=0, describe="rain")


def test_a_process_gives_its_output_and_exit_code(tmp_path: Path):
    """A test can wait for the output of a process, send it signals, and read its exit code."""
    with Process(sys.executable, "-c", PRINT_THEN_WAIT, folder=tmp_path) as process:
        assert process.wait_for_output(r"listening on (\d+)")[1] == "1234"
        assert process.exit_code is None
        process.send(signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM


def test_a_process_does_not_outlive_its_block(tmp_path: Path):
    """The end of the block kills the process."""
    with Process(sys.executable, "-c", PRINT_THEN_WAIT, folder=tmp_path) as process:
        assert process.exit_code is None
    assert process.exit_code == -signal.SIGKILL


def test_a_wait_for_output_fails_when_the_process_ends(tmp_path: Path):
    """A process that ended without the expected output fails the test at once, with the output of the process."""
    with (
        Process(sys.executable, "-c", "raise SystemExit('no such file')", folder=tmp_path) as process,
        pytest.raises(AssertionError, match="no such file"),
    ):
        process.wait_for_output("listening", timeout=60)


def test_a_process_does_not_inherit_the_environment_of_the_machine(tmp_path: Path):
    """Credentials and settings of the machine do not reach a process that a test starts."""
    printed = run(sys.executable, "-c", "import os; print(*os.environ)", folder=tmp_path, environ={"A": "1"})
    assert set(printed.stdout.split()) - {"LC_CTYPE"} == {"A", "HOME", "PATH"}


def test_fetch_returns_error_answers(tmp_path: Path):
    """`fetch` returns an answer with an error status; it raises an exception only if no answer comes."""
    port = free_port()
    with Process(sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", folder=tmp_path):
        url = f"http://127.0.0.1:{port}"
        assert wait_for_answer(f"{url}/missing", status=404).status == 404
        listing = fetch(url)
        assert (listing.status, listing.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "stdout-" in listing.text
    with pytest.raises(OSError, match="refused"):
        fetch(url)


@pytest.mark.slow
def test_a_skipped_test_is_a_failure_in_ci(tmp_path: Path):
    """Under CI=true a run in which a test was skipped fails, and elsewhere it passes."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "test_skip.py").write_text("import pytest\ndef test_skip(): pytest.skip('no such tool')\n")
    elsewhere = run(sys.executable, "-m", "pytest", "test_skip.py", folder=tmp_path)
    in_ci = run(sys.executable, "-m", "pytest", "test_skip.py", folder=tmp_path, environ={"CI": "true"})
    assert (elsewhere.exit_code, in_ci.exit_code) == (0, 1)
    assert "no such tool" in in_ci.stdout
