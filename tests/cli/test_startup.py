"""A command loads only the modules that it needs, because commands that only print a text must start fast."""

import sys

import pytest

from tests.support import run

PROGRAM = """
import sys
from exporter.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as exit:
    code = exit.code
assert code == 0, code
print("loaded:", *sys.modules)
"""

SERVING = {"asyncio", "botocore", "jinja2", "prometheus_client", "rich", "sqlite3", "ssl", "structlog", "uvicorn"}
CONFIGURATION = {"pydantic", "yaml"}
OWN = {"exporter", "exporter.cli", "exporter.config", "exporter.model.errors", "exporter.logs", "exporter.model"}


def loaded(folder, *arguments):
    """Run a command in a process of its own and give the names of the modules that it has loaded."""
    (folder / "config.yaml").write_text("region: eu-west-1\ntransforms: [tfm-a]\n")
    done = run(sys.executable, "-c", PROGRAM, *arguments, folder=folder)
    assert done.exit_code == 0, done.stderr
    return set(done.stdout.rpartition("loaded:")[2].split())


@pytest.mark.parametrize(
    "arguments", [("--version",), ("--help",), ("runs", "--help"), ("completion", "bash")], ids=" ".join
)
def test_help_version_and_completion_load_neither_the_configuration_nor_the_exporter(arguments, tmp_path):
    """Help, version and completion load the table of flags, but not the packages of exporter and configuration."""
    modules = loaded(tmp_path, *arguments)
    assert not modules & (SERVING | CONFIGURATION)
    packages = {".".join(name.split(".")[:2]) for name in modules if name.split(".")[0] == "exporter"}
    assert packages <= OWN


@pytest.mark.parametrize("command", ["check-config", "iam-policy"])
def test_commands_about_the_configuration_load_only_what_reads_it(command, tmp_path):
    """These commands load pydantic and PyYAML, but not the packages that only a running exporter needs."""
    modules = loaded(tmp_path, command)
    assert not modules & SERVING
    assert modules >= CONFIGURATION


def test_serve_loads_no_package_that_draws_tables(tmp_path):
    """The command `serve` does not load rich or the packages that rich needs."""
    done = run(sys.executable, "-c", "import sys, exporter.cli.serve; print(*sys.modules)", folder=tmp_path)
    assert done.exit_code == 0, done.stderr
    modules = set(done.stdout.split())
    assert "exporter.service" in modules
    assert not modules & {"rich", "pygments", "markdown_it"}
