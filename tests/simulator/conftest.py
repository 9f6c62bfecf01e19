import pytest

from tests.aws_environment import credentials_file, environment, simulator  # noqa: F401 - pytest finds fixtures here
from tests.simulator.clients import Clock


@pytest.fixture
def clock():
    """Return a clock that stands still until a test sets it."""
    return Clock()
