"""`check-config` with a web configuration."""

import sys
from pathlib import Path

import pytest

from exporter.cli.check_config import check_config
from exporter.cli.options import CheckConfigOptions
from exporter.config.problems import ConfigError
from tests.support import run

HASH = "$2y$10$xa9ifAIjB0D3NVRzYBXYJegibMsAk29wGSqS.a28FyV7COPDl/gli"


def check(web: Path) -> int:
    config = web.with_name("config.yaml")
    config.write_text("region: eu-west-1\ntransforms: [tfm-0123456789abcdef0123456789abcdef01234567]\n")
    return check_config(CheckConfigOptions(str(config), str(web), live=False))


def test_the_web_configuration_is_checked_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check-config --web.config.file` prints that both files are valid."""
    web = tmp_path / "web.yml"
    web.write_text(f"basic_auth_users: {{prometheus: {HASH}}}")
    assert check(web) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{web}: ok"


def test_a_missing_certificate_is_found_before_the_start(tmp_path: Path) -> None:
    """`check-config --web.config.file` names a certificate that cannot be read, with its place in the file."""
    web = tmp_path / "web.yml"
    web.write_text("tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem")
    with pytest.raises(ConfigError, match=r"web.yml:2.*cert_file"):
        check(web)


PROGRAM = """
import os, sys
from exporter.cli import main
main(["check-config"])  # loads all modules
os.geteuid() or os.seteuid(65534)
sys.exit(main(["check-config"]))
"""


def test_a_state_file_in_a_folder_of_another_user_is_no_problem(tmp_path: Path) -> None:
    """A user who may not see the folder of the state file can check the configuration, as with the systemd unit."""
    tmp_path.chmod(0o755)
    hidden = tmp_path / "hidden"
    (hidden / "state").mkdir(parents=True)
    (tmp_path / "config.yaml").write_text(
        f"region: eu-west-1\ntransforms: [tfm-a]\nstate: {{path: {hidden}/state/a.db}}\n"
    )
    hidden.chmod(0)
    checked = run(sys.executable, "-c", PROGRAM, folder=tmp_path)
    hidden.chmod(0o700)
    assert (checked.exit_code, checked.stderr) == (0, "")
    assert checked.stdout == "config.yaml: ok\n" * 2
