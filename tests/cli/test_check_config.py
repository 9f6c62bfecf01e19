"""`check-config` with a web configuration."""

from pathlib import Path

import pytest

from exporter.cli.check_config import check_config
from exporter.cli.options import CheckConfigOptions
from exporter.config.problems import ConfigError

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
