"""The commands in the runbooks can be run unchanged."""

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from exporter.simulator import Simulator
from tests.support import ROOT, run, tool, wait_for
from tests.system.staging import CREDENTIALS, Exporter, configuration

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BUSY = "tfm-b0575000000000000000000000000000000000b2"
OF_THE_HOST = ("journalctl", "systemctl", "aws logs", "localhost:9090", "$STATE")
"""Parts of commands that a test cannot run: systemd, CloudWatch, the user's Prometheus or the user's state file."""


def commands() -> list[str]:
    """Return the commands in the runbooks without duplicates."""
    texts = (path.read_text() for path in sorted((ROOT / "docs" / "runbooks").glob("*.md")))
    blocks = (block for text in texts for block in re.findall(r"^ +```sh\n(.*?)^ +```", text, re.MULTILINE | re.DOTALL))
    return sorted({re.sub("^ {3}", "", block, flags=re.MULTILINE).strip() for block in blocks})


RUNNABLE = [command for command in commands() if not any(mark in command for mark in OF_THE_HOST)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield a folder with the configuration of a running exporter, and the environment of a shell."""
    folder = tmp_path_factory.mktemp("site")
    with ExitStack() as stack:
        simulator = stack.enter_context(Simulator("demo"))
        refusal = {"kind": "access_denied", "transforms": [BUSY], "operations": ["GetMLTaskRuns"], "times": 1}
        simulator.faults.set(refusal)
        config = configuration(
            simulator.url,
            simulator.world.transform_ids(),
            {"interval": "1s"},
            discovery=[{"account": "default", "regions": ["eu-west-1"]}],
            state={"path": "state.db"},
        )
        exporter = stack.enter_context(Exporter(folder, config, "--web.enable-lifecycle"))
        succeeded = {"transform_id": BUSY, "task_type": "FIND_MATCHES", "status": "SUCCEEDED"}
        wait_for(
            lambda: exporter.metrics().value("glue_ml_task_run_duration_seconds_count", **succeeded),
            timeout=60,
            describe="the transform was refused once, is polled again, and a run of it has succeeded",
        )
        (folder / "polls-once.yaml").write_text((folder / "config.yaml").read_text().replace("state.db", "other.db"))
        simulator.world.add_run(BUSY, status="TIMEOUT")
        run_id = simulator.world.add_run(BUSY)  # for the command that cancels a run
        simulator.world.add_run(BUSY)  # this run stays active during the test
        yield (
            folder,
            {
                **CREDENTIALS,
                "PATH": f"{tool('aws').parent}:{Path(sys.executable).parent}:/usr/bin:/bin",
                "PYTHONPATH": str(ROOT),
                "AWS_ENDPOINT_URL": simulator.url,
                "AWS_REGION": "eu-west-1",
                "AWS_DEFAULT_REGION": "eu-west-1",
                "AWS_MAX_ATTEMPTS": "1",
                "NO_PROXY": "127.0.0.1",
                "TRANSFORM_ID": BUSY,
                "TASK_RUN_ID": run_id,
                "EXPORTER": f"http://{exporter.address}",
            },
        )


def test_most_commands_can_be_run_here() -> None:
    """The runbooks have commands, and the tests can run most of the commands."""
    assert len(RUNNABLE) > 20
    assert len(RUNNABLE) > 0.6 * len(commands())


@pytest.mark.parametrize("command", RUNNABLE)
def test_a_command_of_a_runbook_succeeds(command: str, site: tuple[Path, dict[str, str]]) -> None:
    """A command of a runbook, pasted into a shell, succeeds against an exporter and a simulated Glue."""
    folder, environ = site
    if "once" in command:  # a second exporter must not share the state file of the first
        command = command.replace("config.yaml", "polls-once.yaml")
    done = run("bash", "-c", f"set -o pipefail; {command}", folder=folder, environ=environ, timeout=60)
    assert done.exit_code == 0, done.stderr
    assert done.stdout or "> /dev/null" in command or "/-/reload" in command
