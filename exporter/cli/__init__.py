"""The command `glue-ml-exporter`: arguments and environment variables go in; an exit code and printed text come out.

`main` loads the code of a command only when that command runs, so that `--help` and completion are fast.
"""

from exporter.cli.dispatch import main

__all__ = ["main"]
