"""`check-config`: validate the configuration, and with `--live` also the permissions in AWS."""

import os
import sys
from contextlib import suppress
from pathlib import Path

from exporter.cli.options import CheckConfigOptions
from exporter.config.settings import Config, read_config


def check_config(options: CheckConfigOptions) -> int:
    """Print that the configuration is valid, and with `--live` also the answers of AWS. Return the exit code.

    With `--web.config.file` this file is checked too, with the certificates and keys that it names.

    Raises:
        ConfigError: a file is not valid; the error lists every problem of this file with its place.
    """
    config = read_config(Path(options.config_file), environ=os.environ)
    print(f"{options.config_file}: ok", flush=True)
    _note_missing_folder(config, options.config_file)
    if options.web_config_file:
        # This module loads ssl, which takes longer than the check of a file.
        from exporter.web.config import WebConfig  # noqa: PLC0415

        WebConfig(Path(options.web_config_file))
        print(f"{options.web_config_file}: ok", flush=True)
    if not options.live:
        return 0
    # This module loads botocore and rich, which takes longer than the check of a file.
    from exporter.cli.check_live import check_live  # noqa: PLC0415

    return check_live(config, sys.stdout, sys.stderr)


def _note_missing_folder(config: Config, file: str) -> None:
    """Print a note if the folder of the state file does not exist.

    This is no mistake in the configuration, because the exporter may run on another host or in a container.
    """
    if config.state.path is None:
        return
    folder = Path(config.state.path).absolute().parent
    with suppress(OSError):  # this user may not look into the folder above
        if not folder.is_dir():
            where = f"{file}: state.path: the folder {folder}"
            print(f"{where} does not exist on this host; create it where the exporter runs", file=sys.stderr)
