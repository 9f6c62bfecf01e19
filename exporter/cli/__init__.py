"""The command `glue-ml-exporter`: takes arguments and environment variables, prints text, returns an exit code.

`main` loads the code of a command only when that command runs, so that `--help` and completion are fast.
"""

from exporter.cli.dispatch import main

__all__ = ["main"]
