"""`check-config`: validate the configuration, and with `--live` also the permissions in AWS."""

import os
import sys
from pathlib import Path

from exporter.cli.options import CheckConfigOptions
from exporter.config.settings import read_config


def check_config(options: CheckConfigOptions) -> int:
    """Print that the configuration is valid, and with `--live` also the answers of AWS. Return the exit code.

    Raises:
        ConfigError: the configuration is not valid; the error lists every problem with its place in the file.
    """
    config = read_config(Path(options.config_file), environ=os.environ)
    print(f"{options.config_file}: ok", flush=True)
    if not options.live:
        return 0
    # This module loads botocore and rich, which takes longer than the check of a file.
    from exporter.cli.check_live import check_live  # noqa: PLC0415

    return check_live(config, sys.stdout, sys.stderr)
