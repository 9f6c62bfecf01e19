"""The commands of docs/prove-that-it-pages.md, up to the message in a webhook."""

import re
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, Process, on_loopback_only, tool

PAGE = (ROOT / "docs/prove-that-it-pages.md").read_text()
COMMANDS = [
    re.sub("^ {3}", "", block, flags=re.MULTILINE)
    for block in re.findall(r"^   ```sh\n(.*?)^   ```", PAGE, re.MULTILINE | re.DOTALL)
]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_five_commands_of_the_page_send_a_message(tmp_path: Path) -> None:
    """With only the loopback interface, the commands of the page alert a webhook and list the failed runs."""
    tool("prometheus")
    assert len(COMMANDS) == 5
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "alertmanager").symlink_to(tool("prometheus-alertmanager"))
    (programs / "prometheus").symlink_to(tool("prometheus"))
    receiver, runbook, *_ = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    script = "\n".join(("set -eu", receiver, *COMMANDS, runbook.replace("--limit 10", "--limit 10 > runs.txt")))
    script += "\nuntil grep -q 'no success since' received.log; do sleep 0.2; done; kill $(jobs -p); wait\n"
    environ = {"PATH": f"{programs}:{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    with Process(*on_loopback_only("bash", "-c", script), folder=tmp_path, environ=environ) as shell:
        shell.wait_for_output(r'"summary":"suppliers-always-failing: FIND_MATCHES failed', timeout=150)
        shell.wait(timeout=60)
    assert "GlueMLTaskRunFailedSinceSuccess" in (tmp_path / "received.log").read_text()
    assert "Access Denied" in (tmp_path / "runs.txt").read_text()
