"""Rules for every test run. Fixtures are beside the tests that use them, and helpers are in support.py."""

import logging
import os
import signal
from collections.abc import Generator
from typing import TypeVar

import pytest

R = TypeVar("R", pytest.TestReport, pytest.CollectReport)


# A shell that starts `make test &` lets the tests ignore SIGINT, and a child process inherits this. The processes under
# test must end on SIGINT, as they do in a terminal.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Restore the level of the root logger, because a test that runs a command configures the log of this process."""
    level = logging.getLogger().level
    try:
        return (yield)
    finally:
        logging.getLogger().setLevel(level)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _without_skips((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _without_skips((yield))


def _without_skips(report: R) -> R:
    """Turn a skip into a failure if CI=true, because every test must run there."""
    skipped = report.skipped and not hasattr(report, "wasxfail")
    if skipped and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI=true does not allow: {report.longrepr}"
    return report
