"""`simulate` and `demo` refuse a scenario that cannot be used."""

import json

import pytest

from exporter.config.settings import load_config
from exporter.simulator import Simulator
from tests.support import EXPORTER, ROOT, Process, free_port, run, wait_for


@pytest.mark.slow
@pytest.mark.parametrize("command", ["simulate", "demo"])
def test_a_scenario_that_cannot_be_used_is_one_line(command, tmp_path):
    """If the file is missing or has an unknown key, the command prints one line and exits with 1."""
    (tmp_path / "bad.yaml").write_text("transformz: []\n")
    (tmp_path / "quote.yaml").write_text('transforms:\n  - name: "a\n    id: "b"\n')
    for name, problem in (
        ("missing.yaml", "does not exist; expected a file or a built-in scenario ("),
        ("bad.yaml", "transformz: unknown key"),
        ("quote.yaml", '2:11: the quotation mark " here is not closed on this line'),
    ):
        done = run(*EXPORTER, command, f"--scenario={name}", folder=tmp_path, environ={"PYTHONPATH": str(ROOT)})
        assert done.exit_code == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith((f"{name}: {problem}", f"{name}:{problem}"))


@pytest.mark.slow
def test_the_lines_of_the_banner_make_an_exporter_of_two_accounts(tmp_path):
    """With the variables and the configuration of the banner, `transforms` finds both accounts through their roles."""
    serve = (*EXPORTER, "simulate", "--scenario=accounts", f"--listen-address=127.0.0.1:{free_port()}")
    with Process(*serve, folder=tmp_path, environ={"PYTHONPATH": str(ROOT)}) as simulator:
        wait_for(lambda: "discovery:" in simulator.stdout, describe=lambda: simulator.stderr)
        banner, _, configuration = simulator.stdout.partition("which needs these variables too:\n\n")
        words = " ".join(line for line in banner.splitlines() if line.startswith("  export ")).split()
        environ = dict(word.split("=", 1) for word in words if "=" in word)
        assert set(environ) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_STS"}
        (tmp_path / "config.yaml").write_text(configuration)
        listed = run(*EXPORTER, "transforms", "--output=json", folder=tmp_path, environ=environ)
        assert listed.exit_code == 0, listed.stderr
        found = [json.loads(line) for line in listed.stdout.splitlines()]
        assert [(one["Account"], one["TransformName"]) for one in found] == [
            ("111111111111", "customers-dedup"),
            ("222222222222", "products-match"),
        ]


def test_a_scenario_of_one_account_needs_no_roles():
    """The configuration for the default scenario has no accounts, and the exporter accepts it."""
    with Simulator() as simulator:
        config = load_config(simulator.configuration(), source="banner", environ={})
    assert [account.name for account in config.accounts] == ["default"]
    assert config.endpoint_url == simulator.url
