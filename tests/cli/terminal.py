"""A real terminal (tmux) in which tests type commands."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ship.programs import environment
from tests.support import ROOT, tool, wait_for
from tests.system.staging import CREDENTIALS

PROMPT = "ready>"


class Terminal:
    """A terminal in which a shell runs, with `PROMPT` as its prompt."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self._folder = folder

    def call(self, *arguments: str) -> str:
        """Run a command of tmux and return its output."""
        command = (self._program, "-S", self._folder / "tmux", "-f", "/dev/null", *arguments)
        environ = {**environment(self._program), **CREDENTIALS, "HOME": str(self._folder), "LC_ALL": "C.UTF-8"}
        return subprocess.run(
            command, cwd=self._folder, env=environ, capture_output=True, text=True, timeout=30, check=True
        ).stdout

    def type(self, text: str) -> None:
        """Type a line and press Enter."""
        self.call("send-keys", "-l", text)
        self.call("send-keys", "Enter")

    def press(self, key: str) -> None:
        """Press a key, given by its name in tmux."""
        self.call("send-keys", key)

    def screen(self, *, escapes: bool = False) -> str:
        """Return the text of the screen, with `escapes` also the sequences that colour it."""
        return self.call("capture-pane", "-p", *(["-e"] if escapes else []))

    def wait_for_prompt(self, prompts: int = 2) -> str:
        """Wait until the screen has this many prompts, and return its text."""
        wait_for(lambda: self.screen().count(PROMPT) == prompts, timeout=30, describe=self.screen)
        return self.screen()


@contextmanager
def terminal(folder: Path, *, columns: int, lines: int = 60) -> Iterator[Terminal]:
    """Open a terminal in a folder, with the exporter on its PATH; skip the test if tmux is not installed."""
    one = Terminal(tool("tmux"), folder)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shell = shlex.join(("env", f"PATH={path}", f"PYTHONPATH={ROOT}", f"PS1={PROMPT} ", "bash", "--norc", "--noprofile"))
    one.call("new-session", "-d", "-x", str(columns), "-y", str(lines), shell)
    try:
        wait_for(lambda: PROMPT in one.screen(), describe=one.screen)
        yield one
    finally:
        one.call("kill-server")
