"""Every file in data/ is a test case. NAME.bad.yaml breaks the rule NAME, and NAME.ok.yaml uses the feature NAME."""

from pathlib import Path

import pytest

from exporter.config.problems import ConfigError
from exporter.config.settings import load_config, masked_yaml

DATA = Path(__file__).parent / "data"
BAD = sorted(DATA.glob("*.bad.yaml"))
OK = sorted(DATA.glob("*.ok.yaml"))
ENVIRON = {"REGION": "eu-west-1", "PAGE_SIZE": "100", "WORD": "hunter2"}


def name(path: Path) -> str:
    return path.name.partition(".")[0]


@pytest.mark.parametrize("path", BAD, ids=name)
def test_bad_file(path: Path) -> None:
    """A file that breaks one rule gives one line with the place, the mistake and the expected value."""
    text = path.read_text(encoding="utf-8")
    expected = text.splitlines()[0].removeprefix("# expect: ")
    with pytest.raises(ConfigError) as caught:
        load_config(text, source=path.name, environ=ENVIRON)
    assert str(caught.value) in (f"{path.name}:{expected}", expected)


@pytest.mark.parametrize("path", BAD, ids=name)
def test_bad_file_leaks_nothing(path: Path) -> None:
    """Messages never contain the value of a variable or a password."""
    with pytest.raises(ConfigError) as caught:
        load_config(path.read_text(encoding="utf-8"), source=path.name, environ=ENVIRON)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None or "hunter2" not in str(caught.value.__context__)


@pytest.mark.parametrize("path", OK, ids=name)
def test_ok_file_survives_its_own_page(path: Path) -> None:
    """If the secrets are inserted into the text of the effective configuration, it loads as the same configuration."""
    config = load_config(path.read_text(encoding="utf-8"), source=path.name, environ=ENVIRON)
    text = masked_yaml(config).replace("<secret>", "'0123'")
    assert load_config(text, source="page", environ={}) == config


def test_enough_cases() -> None:
    """The folder data/ has enough cases."""
    assert len(BAD) > 50
    assert len(OK) > 8
