"""The AWS environment of a test: a simulated Glue, and no AWS settings of this machine."""

import os
import time

import pytest

from exporter.simulator import Simulator
from tests.running import write_credentials

ONE, TWO = "111111111111", "222222222222"

THREE_ACCOUNTS = {
    "transforms": [
        {"id": "tfm-a", "name": "alpha", "tags": {"team": "blue", "cost-center": "7"}},
        {"id": "tfm-b", "name": "beta", "tags": {"team": "red"}},
        {"id": "tfm-one", "name": "same", "account": ONE},
        {"id": "tfm-two", "name": "same", "account": TWO},
    ],
    "credentials": {"keys": {"AKIAONE": ONE, "AKIATWO": TWO}},
}
"""tfm-a and tfm-b belong to the ambient account, tfm-one and tfm-two to the accounts of the profiles one and two."""


@pytest.fixture(scope="session")
def credentials_file(tmp_path_factory):
    """Return a shared credentials file with the profiles one and two."""
    path = tmp_path_factory.mktemp("aws") / "credentials"
    write_credentials(path, one="AKIAONE", two="AKIATWO")
    return path


@pytest.fixture(autouse=True)
def environment(monkeypatch, credentials_file):
    """Remove this machine's AWS and proxy settings, and set a made-up access key."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAAMBIENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials_file))
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.fixture
def clock():
    """Return the clock of the simulator; a folder whose tests set the time defines another one."""
    return time.time


@pytest.fixture
def simulator(request, environment, clock):
    """Run the simulator with the `SCENARIO` of the test's module, or with `THREE_ACCOUNTS` if it has none."""
    with Simulator(getattr(request.module, "SCENARIO", THREE_ACCOUNTS), clock=clock) as running:
        environment.setenv("AWS_ENDPOINT_URL_STS", running.url)
        yield running
