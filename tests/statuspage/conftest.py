from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.aws_environment import credentials_file, environment  # noqa: F401 - pytest finds fixtures here
from tests.statuspage.browsing import chromium


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium for all tests of a module."""
    with chromium(tmp_path_factory.mktemp("browser")) as running:
        yield running
