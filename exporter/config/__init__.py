"""Turns a YAML file into a frozen `Config`, or raises `ConfigError` with every mistake and its place.

The command line uses `durations`, `timestamps` and `parsing` to read its flags. The public names are imported at their
first use, because they import pydantic. The import of pydantic takes 0.2 s of CPU, and `--help` and `--version` do not
need pydantic.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.config.problems import ConfigError
    from exporter.config.settings import Config, load_config, read_config

__all__ = ["Config", "ConfigError", "load_config", "read_config"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # This is an import statement, because import-linter does not see an import with a computed name.
    from exporter.config import problems, settings  # noqa: PLC0415

    return getattr(problems if name == "ConfigError" else settings, name)
