"""Configuration: a YAML file in, a frozen `Config` out, or a `ConfigError` with every mistake and its place.

Times and texts of the command line are read here too (`durations`, `timestamps`, `parsing`). The public names load when
they are first used: they need pydantic, which takes 0.2 s of CPU that `--help` and `--version` should not spend.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.config.problems import ConfigError
    from exporter.config.settings import Config, load_config, read_config

__all__ = ["Config", "ConfigError", "load_config", "read_config"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # The modules are named here, not computed, so that the contracts of import-linter see them.
    from exporter.config import problems, settings  # noqa: PLC0415

    return getattr(problems if name == "ConfigError" else settings, name)
