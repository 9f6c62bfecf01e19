import subprocess
import sys

import pytest

import exporter.config
from exporter.config.problems import ConfigError
from exporter.config.settings import Config, load_config, read_config


def test_the_public_names_are_those_of_the_modules() -> None:
    """The package exports the four names that other packages import."""
    assert [getattr(exporter.config, name) for name in exporter.config.__all__] == [
        Config,
        ConfigError,
        load_config,
        read_config,
    ]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        exporter.config.nothing  # type: ignore[attr-defined] # noqa: B018 - the access itself is the test


@pytest.mark.parametrize("module", ["config", "config.durations", "config.parsing", "config.timestamps"])
def test_reading_flags_does_not_load_pydantic(module: str) -> None:
    """The modules that `--help` imports do not load pydantic or yaml, because both load slowly."""
    code = f"import exporter.{module}, sys; print(*sorted({{'pydantic', 'yaml'}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
