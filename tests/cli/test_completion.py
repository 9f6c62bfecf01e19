"""`completion`: the scripts, loaded and used by bash, fish and zsh."""

import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from exporter.cli.completion import completion_script
from exporter.cli.flags import COMMANDS, SHELLS, flags_of, spellings
from tests.cli.terminal import PROMPT, terminal
from tests.ship.programs import environment
from tests.support import ROOT, run, tool, wait_for

NAMES = {command.name for command in COMMANDS}
STATUSES = {"STARTING", "RUNNING", "STOPPING", "STOPPED", "SUCCEEDED", "FAILED", "TIMEOUT"}

WITH_PROGRAM = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

pytestmark = pytest.mark.slow

CASES = [
    ("", NAMES),
    ("che", {"check-config"}),
    ("--web.l", {"--web.listen-address"}),
    ("--config.file x --config.c", {"--config.check"}),
    ("runs --st", {"--status", "--started-after", "--started-before"}),
    ("runs --status ", STATUSES),
    ("runs --status ST", {"STARTING", "STOPPING", "STOPPED"}),
    ("runs some-name --output=", {"table", "json", "csv"}),
    ("runs --no-f", {"--no-follow"}),
    ("runs --limit ", set()),
    ("once --output=glue", {"glue_ml.prom"}),
    ("serve --config.file con", {"config.yaml"}),
    ("completion ", {*SHELLS, "transforms"}),
    ("runs cust", {"customers"}),
    ("runs customers tfm-", {"tfm-1", "tfm-2"}),
    ("runs --config.file=other.yml tfm-", {"tfm-3"}),
    ("runs --config.file other.yml tfm-", {"tfm-3"}),
    ("runs --config.file=missing.yml tfm-", set()),
    ("check-config --li", {"--live"}),
]


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the scripts and two files whose names can be completed."""
    for shell in SHELLS:
        (tmp_path / f"completion.{shell}").write_text(completion_script(shell))
    (tmp_path / "glue_ml.prom").touch()
    transforms = "region: eu-west-1\ntransforms: [{id: tfm-1, name: customers}, {id: tfm-2}]\n"
    (tmp_path / "config.yaml").write_text(transforms)
    (tmp_path / "other.yml").write_text("region: eu-west-1\ntransforms: [tfm-3]\n")
    return tmp_path


@pytest.mark.parametrize("shell", SHELLS)
def test_every_flag_of_every_command_is_in_every_script(shell: str) -> None:
    """The script of each shell contains every spelling of every flag."""
    text = completion_script(shell)
    for command in COMMANDS:
        for word in (spelling for flag in flags_of(command) for spelling in spellings(flag)):
            assert (f" -l {word[2:]} " if shell == "fish" else word) in text, (command.name, word)


def bash(folder: Path, line: str) -> set[str]:
    """Return what bash offers after this beginning of a line, whose words are split as readline splits them."""
    words = [word for part in ["glue-ml-exporter", *line.split(" ")] for word in re.findall("=|[^=]+|^$", part)]
    words += [""] if line.endswith("=") else []
    script = f"""
        source completion.bash
        compopt() {{ :; }}  # the real one works only during interactive completion
        COMP_WORDS=({shlex.join(words)}) COMP_CWORD={len(words) - 1}
        $(complete -p glue-ml-exporter | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = run("bash", "-c", script, folder=folder, environ=WITH_PROGRAM)
    assert (done.exit_code, done.stderr) == (0, "")
    return set(done.stdout.split())


@pytest.mark.parametrize(("line", "offered"), CASES)
def test_completion_in_bash(line, offered, folder):
    """Bash offers commands, the flags of the command, the words of the flag, or files."""
    assert bash(folder, line) == offered


def test_completion_in_fish(folder):
    """Fish offers commands, the flags of the command, the words of the flag, or files."""
    fish = tool("fish")
    functions = fish.parents[1] / "share/fish/functions"
    questions = [f"complete -C {shlex.quote(f'glue-ml-exporter {line}')}; echo =====" for line, _ in CASES]
    script = "\n".join((f"set fish_function_path {functions}", "source completion.fish", *questions))
    done = run(fish, "--no-config", "-c", script, folder=folder, environ={**environment(fish), **WITH_PROGRAM})
    assert (done.exit_code, done.stderr) == (0, "")
    answers = done.stdout.split("=====\n")
    for (line, offered), answer in zip(CASES, answers, strict=False):
        flag = re.sub("[^=]*$", "", line.split(" ")[-1])
        found = {one.split("\t")[0].removeprefix(flag) for one in answer.splitlines()}
        assert found == offered, line


def test_completion_in_zsh(folder):
    """Zsh offers the same words: it inserts a single match, and lists several matches."""
    zsh = tool("zsh")
    root = zsh.parents[1]
    functions = root / "usr/share/zsh/functions"
    path = ":".join(str(one) for one in (functions, *functions.rglob("*")) if one.is_dir())
    (modules,) = root.glob("usr/lib/*/zsh/5*")
    libraries = environment(zsh)["LD_LIBRARY_PATH"]
    (folder / "start").write_text(
        f"exec env ZDOTDIR={folder} FPATH={path} MODULE_PATH={modules} LD_LIBRARY_PATH={libraries} {zsh}\n"
    )
    (folder / ".zshrc").write_text(
        f"module_path=({modules}) PS1='{PROMPT} ' LISTMAX=0\nautoload -U compinit && compinit -u -D\n"
        "source completion.zsh\necho loaded\n"
    )
    with terminal(folder, columns=120, lines=40) as screen:
        screen.type("clear; . ./start")
        wait_for(lambda: "loaded" in screen.screen(), describe=screen.screen)
        for line, offered in CASES:
            screen.press("C-u")
            screen.press("C-l")
            wait_for(lambda: screen.screen().strip() == PROMPT, describe=screen.screen)
            screen.call("send-keys", "-l", f"glue-ml-exporter {line}")
            for _ in offered if len(offered) < 2 else "12":
                screen.press("Tab")
            wait_for(
                lambda line=line, offered=offered: words(screen.screen()) - words(line) == offered,
                describe=lambda offered=offered: f"{offered}:\n{screen.screen()}",
            )


def words(text: str) -> set[str]:
    """Return the words of a text that are expected in any of the cases."""
    return {word for _, offered in CASES for word in offered} & set(re.split(r"[\s=]+", text))
