"""`runs` in a real terminal with 80 and with 200 columns, and in a pipe."""

import re

import pytest

from exporter.model.task_run import STATUSES
from tests.cli.terminal import PROMPT, terminal
from tests.cli.typed import configure
from tests.support import EXPORTER, ROOT, run, wait_for
from tests.system.staging import CREDENTIALS

pytestmark = pytest.mark.slow

ERROR = "Job aborted: ExecutorLostFailure (exit code 137, out of memory) in stage 3.0 of customers-dedup, see the log"
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1b[1;1HSUCCEEDED [bold]fine[/bold] \u202etxet"


@pytest.fixture
def glue(simulator, tmp_path):
    """Return a simulator with a run of each status in two transforms, which the configuration contains."""
    for transform_id in ("tfm-a", "tfm-b"):
        for number, status in enumerate(STATUSES):
            fields = {"ErrorString": {"FAILED": ERROR, "TIMEOUT": HOSTILE}.get(status)}
            started = simulator.world.start - 7200 - 60 * number
            simulator.world.add_run(
                transform_id,
                "IMPORT_LABELS" if status == "STOPPED" else "FIND_MATCHES",
                status=status,
                started=started,
                completed=started + 62 if status in STATUSES[3:] else None,
                run_id=f"tsk-{transform_id}-{status.lower()}",
                fields={name: value for name, value in fields.items() if value},
            )
    configure(tmp_path, simulator.url, transforms=[{"id": "tfm-a", "name": "customers"}, "tfm-b"])
    return simulator


def shown(screen):
    """Return the lines of a screen between the command and the next prompt."""
    return screen.split(PROMPT)[1].splitlines()[1:]


@pytest.mark.usefixtures("glue")
@pytest.mark.parametrize("columns", [80, 200])
def test_a_table_fits_the_terminal(columns, tmp_path):
    """The screen shows every status, id, error, path, job and time, and the terminal wraps no line."""
    with terminal(tmp_path, columns=columns) as screen:
        screen.type("glue-ml-exporter runs customers; echo exit $?")
        lines = shown(screen.wait_for_prompt())
        joined = screen.call("capture-pane", "-p", "-J").split(PROMPT)[1].splitlines()[1:]
    text = "\n".join(lines)
    # -J joins wrapped lines, so a line that the terminal wrapped would be longer here.
    assert max(map(len, joined)) <= columns
    assert [line.split()[0] for line in lines if re.match("[A-Z]", line)][-7:] == list(STATUSES)
    for status in STATUSES:
        assert f"tsk-tfm-a-{status.lower()}" in text
    words = " ".join(text.split())
    assert ERROR in words
    for expected in ("took 1m2s" if columns == 80 else " 1m2s ", "(2h ago)", "Log group: /aws-glue", "Job id: job-"):
        assert expected in words
    assert re.search(r"Input: ?\s*s3://\S+", text)
    assert "exit 0" in text
    assert ("STATUS" in text) is (columns == 200)


@pytest.mark.usefixtures("glue")
def test_texts_of_glue_cannot_control_the_terminal(tmp_path):
    """Escape sequences and markup in an error string are shown as text, and the title does not change."""
    with terminal(tmp_path, columns=80) as screen:
        title = screen.call("display-message", "-p", "#{pane_title}")
        screen.type("glue-ml-exporter runs customers --status=timeout")
        text = " ".join("\n".join(shown(screen.wait_for_prompt())).split())
        assert screen.call("display-message", "-p", "#{pane_title}") == title
    assert text.startswith("TIMEOUT")
    assert r"Error: \x1b]0;owned\x07\x1b[2J\x1b[1;1HSUCCEEDED [bold]fine[/bold] \u202etxet" in text


@pytest.mark.usefixtures("glue")
def test_statuses_have_colours_without_no_color(tmp_path):
    """A failed run is red and a successful run green; with NO_COLOR there are no colours."""
    with terminal(tmp_path, columns=200, lines=100) as screen:
        screen.type("glue-ml-exporter runs customers")
        screen.wait_for_prompt()
        screen.type("NO_COLOR=1 glue-ml-exporter runs customers")
        screen.wait_for_prompt(prompts=3)
        _, coloured, plain, _ = screen.screen(escapes=True).split(PROMPT)
    assert re.search(r"\x1b\[[0-9;]*31m[^\n\x1b]*FAILED", coloured)
    assert re.search(r"\x1b\[[0-9;]*32m[^\n\x1b]*SUCCEEDED", coloured)
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", plain)


@pytest.mark.usefixtures("glue")
def test_progress_is_shown_during_the_calls_and_then_removed(tmp_path):
    """During the calls the terminal shows which transform is read, later no more, and never if stdout is a pipe."""
    written = tmp_path / "written"
    with terminal(tmp_path, columns=80) as screen:
        screen.call("pipe-pane", f"cat > {written}")
        screen.type("glue-ml-exporter runs --all --limit=1 --output=csv | tee all.csv")
        screen.wait_for_prompt()
        wait_for(lambda: written.exists() and b"FIND_MATCHES" in written.read_bytes(), describe=screen.screen)
        assert b"(2 of 2)" not in written.read_bytes()
        screen.type("glue-ml-exporter runs --all --limit=1 --output=csv")
        text = screen.wait_for_prompt(prompts=3)
        wait_for(lambda: b"(2 of 2)" in written.read_bytes(), describe=screen.screen)
    assert "(2 of 2)" not in text
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 3


def test_an_interrupt_is_one_line(glue, tmp_path):
    """Ctrl-C while Glue hangs ends the command with one line and exit code 130."""
    glue.faults.set({"kind": "delay", "seconds": "1m"})
    with terminal(tmp_path, columns=80) as screen:
        screen.type("glue-ml-exporter runs customers")
        wait_for(
            lambda: screen.screen().count("customers") == 2, describe=screen.screen
        )  # the second match is the line of progress
        screen.press("C-c")
        screen.wait_for_prompt()
        screen.type("echo exit $?")
        text = screen.wait_for_prompt(prompts=3)
    assert [line.removeprefix("^C") for line in shown(text)] == ["interrupted"]
    assert "exit 130" in text


@pytest.mark.usefixtures("glue")
def test_a_pipe_gets_lines_and_can_be_closed(tmp_path):
    """In a pipe each run is one line for grep, and the command accepts that the reader closes the pipe early."""
    command = f"{' '.join(EXPORTER)} runs --all"
    shell = run(
        "bash", "-c", f"{command} | grep -c FAILED", folder=tmp_path, environ={**CREDENTIALS, "PYTHONPATH": str(ROOT)}
    )
    assert (shell.stdout, shell.stderr) == ("2\n", "")
    script = f"{command} --output=json | head -n 1 > first; echo ${{PIPESTATUS[0]}}"
    closed = run("bash", "-c", script, folder=tmp_path, environ={**CREDENTIALS, "PYTHONPATH": str(ROOT)})
    assert closed.stdout in ("0\n", "141\n")
    assert closed.stderr == ""


def test_characters_that_the_encoding_lacks_are_escaped(glue, tmp_path):
    """If the encoding of stdout lacks a character, the character is written as an escape."""
    glue.world.add_run("tfm-b", status="FAILED", fields={"ErrorString": "Größe 日本"}, run_id="tsk-odd")
    environ = {**CREDENTIALS, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "latin-1"}
    done = run(*EXPORTER, "runs", "tfm-b", "--limit=1", folder=tmp_path, environ=environ)
    assert done.exit_code == 0
    assert r"\u65e5\u672c" in done.stdout
