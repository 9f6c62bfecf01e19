"""The commands in the code blocks of README and docs/ run as they stand.

They run in a namespace with only the loopback interface and with empty folders /var/lib and /etc/prometheus, against a
simulator, in a folder that has the repository's files and the files that the pages show. A block of YAML or TOML
whose first line is a comment with a file name is such a file.
"""

import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from tests.docs.test_pages import PAGES
from tests.support import ROOT, TOOLS, Process, on_loopback_only, tool

USER_PAGES = [page for page in PAGES if page.parent == ROOT / "docs" or page == ROOT / "README.md"]

NOT_RUN = {
    r"pip install|/opt/|python3 -m venv": "needs a package index; tests/ship installs the wheel",
    r"docker|make image": "needs Docker; tests/ship builds the image without it",
    r"helm|kubectl": "needs Kubernetes; tests/ship renders the chart",
    r"cp packaging/systemd|install -D|systemctl": "needs systemd and root; tests/ship checks the units",
    r"make demo-prometheus": "tests/alerts/test_demo_stack.py runs it",
    r"make demo$": "installs into .venv, in which the tests run; its command is glue-ml-exporter demo, which runs here",
    r"promtool test": "tests/alerts/test_rules.py runs it",
    r"python3 -c": "tests/alerts/test_prove_that_it_pages.py runs it",
    r"htpasswd": "asks for a password on the terminal",
}
"""Commands that this test does not run, with the reason."""

SERVERS = {
    r"glue-ml-exporter demo": r"Metrics:",
    r"glue-ml-exporter simulate": r"http://\S+:\d+",
    r"(AWS_\S+ )*glue-ml-exporter (serve|--)": "listening",
    r".* --follow": r"FIND_MATCHES",
}
"""Commands that run until they are stopped, with a text of their output that shows that they work."""

EXIT_CODES = {r".* --exit-code": (0, 3)}
"""The expected exit codes of commands; 0 without an entry. The newest run of the demo may have failed."""

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "simulated",
    "AWS_SECRET_ACCESS_KEY": "simulated",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:10299",
    "AWS_REGION": "eu-west-1",
}
ALERTMANAGER = "prometheus-alertmanager --config.file=alertmanager.yml --cluster.listen-address= --storage.path=am"
ALONE = """
mount -t tmpfs none /var/lib && mkdir -p /var/lib/node_exporter /var/lib/glue-ml-exporter &&
mount -t tmpfs none "$1" && mkdir "$1/up" "$1/work" && ls /etc > "$1/etc" &&
mount -t overlay none -o "lowerdir=/etc,upperdir=$1/up,workdir=$1/work" /etc && echo alone && exec sleep 600
"""


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in one language, also those within lists."""
    pattern = re.compile(rf"^( *)```{language}\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(text) for _, text in pattern.findall(page.read_text(encoding="utf-8"))]


def lines(page: Path) -> list[list[str]]:
    """Return the commands of each shell block of a page."""
    found = [block.replace("\\\n", " ").splitlines() for block in blocks(page, "sh")]
    return [[line for line in block if line.strip() and not line.startswith("#")] for block in found]


def unrunnable(line: str) -> bool:
    """Return whether `NOT_RUN` has a reason not to run this command."""
    return any(re.match(pattern, line) for pattern in NOT_RUN)


def first_shown() -> dict[Path, list[list[str]]]:
    """Return the commands to run by page. A command that several pages show is run for the first page."""
    seen: set[str] = set()
    found: dict[Path, list[list[str]]] = {}
    for page in USER_PAGES:
        if page.name == "prove-that-it-pages.md":  # tests/alerts/test_prove_that_it_pages.py runs its commands
            continue
        for block in lines(page):
            fresh = [line for line in block if line not in seen and not unrunnable(line)]
            if fresh:
                seen.update(fresh)
                found.setdefault(page, []).append(fresh)
    return found


TO_RUN = first_shown()


class World:
    """The namespace and the folder in which commands run."""

    def __init__(self, folder: Path, pid: int) -> None:
        self.folder = folder
        self._enter = ("nsenter", "--preserve-credentials", "--user", "--net", "--mount", f"--target={pid}")

    def start(self, line: str, *, with_credentials: bool = True) -> Process:
        """Start a command as a shell does."""
        paths = [Path(sys.executable).parent, *TOOLS.glob("awscli/bin"), tool("amtool").parent]
        environ = {
            "PATH": ":".join(map(str, (*paths, "/usr/bin", "/bin", "/usr/sbin", "/sbin"))),
            "PYTHONPATH": str(ROOT),
            **(CREDENTIALS if with_credentials else {}),
        }
        command = (*self._enter, "bash", "-c", f"cd '{self.folder}' && {line}")
        return Process(*command, folder=self.folder, environ=environ)


def write_config(folder: Path, *, line: str = "") -> None:
    """Write the configuration of the README with a state file, and with a role if the command needs one."""
    role = "accounts: [{name: prod, role_arn: 'arn:aws:iam::111111111111:role/glue-ml-exporter', external_id: any}]\n"
    text = blocks(ROOT / "README.md", "yaml")[1]
    (folder / "config.yaml").write_text(role + text if "cross-account" in line else text)


def fill(folder: Path) -> None:
    """Fill a folder with the repository and the files that pages show."""
    for entry in ROOT.iterdir():
        if entry.name != ".git":
            (folder / entry.name).symlink_to(entry)
    for page in USER_PAGES:
        for text in (*blocks(page, "yaml"), *blocks(page, "toml")):
            if name := re.match(r"# ([\w.-]+\.(?:ya?ml|toml))\n", text):
                (folder / name[1]).write_text(text)
    write_config(folder)
    (folder / "alertmanager.yml").symlink_to(ROOT / "demo-stack/alertmanager.yml")
    demo = yaml.safe_load((ROOT / "exporter/simulator/scenarios/demo.yaml").read_text())
    config = yaml.safe_load((folder / "config.yaml").read_text())
    demo["transforms"] += [{"name": "listed", "id": listed} for listed in config["transforms"]]
    (folder / "scenario.yaml").write_text(yaml.safe_dump(demo))
    (folder / ".zfunc").mkdir()
    (folder / ".config/fish/completions").mkdir(parents=True)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A namespace with a simulator and the servers that commands of the pages talk to."""
    folder = tmp_path / "folder"
    folder.mkdir()
    fill(folder)
    layers = tmp_path / "layers"
    layers.mkdir()
    command = on_loopback_only(layers, more=["--mount"], script=ALONE)
    with ExitStack() as stack:
        alone = stack.enter_context(Process(*command, folder=tmp_path))
        alone.wait_for_output("^alone$")
        world = World(folder, alone.pid)
        simulator = "glue-ml-exporter simulate --listen-address=127.0.0.1:10299 --scenario=scenario.yaml"
        stack.enter_context(world.start(simulator)).wait_for_output(r"http://")
        yield world


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", TO_RUN, ids=lambda page: page.name)
def test_the_commands_of_a_page_run_as_they_stand(page: Path, world: World) -> None:
    """Each command in the code blocks of the page succeeds as it stands."""
    servers: dict[bool, Process] = {}  # the exporter and the simulator, of which one each runs at a time
    with ExitStack() as stack:
        if page.name == "alertmanager.md":
            stack.enter_context(world.start(ALERTMANAGER)).wait_for_output("Listening on")
        for block in TO_RUN[page]:
            write_config(world.folder)
            for line in block:
                ready = next((text for pattern, text in SERVERS.items() if re.match(pattern, line)), None)
                simulates = "glue-ml-exporter simulate" in line
                if ready and simulates in servers:
                    servers[simulates].kill()
                if "cross-account" in line:
                    write_config(world.folder, line=line)
                command = stack.enter_context(world.start(line, with_credentials="AWS_ACCESS_KEY_ID=" not in line))
                if ready:
                    command.wait_for_output(ready, timeout=60)
                    servers[simulates] = command
                    continue
                expected = next((code for pattern, code in EXIT_CODES.items() if re.match(pattern, line)), (0,))
                assert command.wait(timeout=120) in expected, f"{line}\n{command.stderr}\n{command.stdout}"


def test_each_reason_not_to_run_a_command_is_needed() -> None:
    """Each entry of `NOT_RUN` matches a command of a page."""
    shown = [line for page in USER_PAGES for block in lines(page) for line in block]
    assert [pattern for pattern in NOT_RUN if not any(re.match(pattern, line) for line in shown)] == []
    assert sum(len(block) for found in TO_RUN.values() for block in found) > 30
    assert shutil.which("bash")
