"""Commands within sentences and in runbooks. `test_pages` checks the commands in code blocks."""

import re
import shlex
from pathlib import Path

import pytest

from exporter.cli.flags import COMMANDS
from exporter.cli.parser import parse
from exporter.glue.botocore_setup import INTERACTIVE_OPERATIONS
from tests.docs.test_pages import PAGES
from tests.support import ROOT

NAMES = {command.name for command in COMMANDS}


def cited(page: Path) -> list[str]:
    """Return the commands between backticks in a page, except incomplete commands and names without arguments."""
    quoted = re.findall(r"`glue-ml-exporter ([^`\n]+)`", page.read_text(encoding="utf-8"))
    return [call for call in quoted if "[FLAGS]" not in call and call not in NAMES]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_sentences_can_be_typed(page: Path) -> None:
    """The command line accepts each command within a sentence."""
    for call in cited(page):
        parse(shlex.split(call), {})


def test_sentences_name_commands() -> None:
    """The search for commands within sentences finds commands."""
    assert sum(len(cited(page)) for page in PAGES) > 5


def test_runbooks_show_runs() -> None:
    """The runbooks of the alerts about task runs begin with the command `runs`."""
    pages = [page for page in PAGES if page.stem.startswith("GlueMLTaskRun")]
    texts = {page.stem: page.read_text(encoding="utf-8") for page in pages}
    assert len(texts) >= 8
    assert not [name for name, text in texts.items() if '   glue-ml-exporter runs "$TRANSFORM_ID" ' not in text]


def test_operations_of_interactive_commands_are_documented() -> None:
    """The page about permissions names each operation that only interactive commands use."""
    text = (ROOT / "docs/iam.md").read_text(encoding="utf-8")
    assert all(f"`glue:{operation}`" in text for operation in INTERACTIVE_OPERATIONS)
