"""The process of the command `glue-ml-exporter`, which is also `python -m exporter`."""

import signal
import sys
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run() -> NoReturn:
    """Run the command that the arguments of the process name, and exit with its exit code.

    From the first moment on, signals wait until the command can handle them. An interrupt in the middle of an import
    would be a traceback, and SIGHUP would end a server that has not installed its handler yet. At the end signals are
    ignored, because the exit code of the process is already certain.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    from exporter.cli import main  # noqa: PLC0415 - see the docstring

    try:
        code = main()
    except KeyboardInterrupt:  # a second Ctrl-C while `main` ends because of the first
        code = 128 + signal.SIGINT
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


if __name__ == "__main__":
    run()
