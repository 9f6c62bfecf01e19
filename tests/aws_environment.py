"""An environment without the AWS settings of this machine, and a simulator with three accounts."""

import os

import pytest

from exporter.simulator import Simulator
from tests.running import write_credentials

ONE, TWO = "111111111111", "222222222222"


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """Nothing of the machine's own AWS settings; the ambient credentials are an access key of nobody's."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    credentials = tmp_path / "credentials"
    write_credentials(credentials, one="AKIAONE", two="AKIATWO")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAAMBIENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.fixture
def simulator(environment):
    """Transforms tfm-a and tfm-b of the ambient account, tfm-one and tfm-two of the accounts of these profiles."""
    scenario = {
        "transforms": [
            {"id": "tfm-a", "name": "alpha", "tags": {"team": "blue", "cost-center": "7"}},
            {"id": "tfm-b", "name": "beta", "tags": {"team": "red"}},
            {"id": "tfm-one", "name": "same", "account": ONE},
            {"id": "tfm-two", "name": "same", "account": TWO},
        ],
        "credentials": {"keys": {"AKIAONE": ONE, "AKIATWO": TWO}},
    }
    with Simulator(scenario) as running:
        environment.setenv("AWS_ENDPOINT_URL_STS", running.url)
        yield running
