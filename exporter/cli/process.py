"""The process of a command: its standard streams, and its signals until the command handles them."""

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper

_STDOUT, _STDERR = 1, 2

_MESSAGE_TIMEOUT = 1.0
"""Seconds that a message to stderr may wait for a full pipe. A command that has failed must end."""


def prepare_streams() -> None:
    """Open the closed standard streams, and let stdout write each character.

    A closed stream becomes `/dev/null`. Otherwise the next file or socket that the process opens would get its number,
    and texts for stderr would go into that file. A character that the encoding of stdout does not have is written as an
    escape.
    """
    for descriptor in (0, _STDOUT, _STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is `descriptor`
            os.set_inheritable(descriptor, True)
    if sys.stdout is None:
        sys.stdout = os.fdopen(_STDOUT, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(_STDERR, "w", encoding="utf-8", closefd=False)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def flush_stdout() -> OSError | None:
    """Write the rest of the output. Return the error if this fails; then the rest of the output is discarded."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # The interpreter flushes stdout at its end. The text in the buffer would then raise the error again.
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)
        return error
    return None


def print_message(text: str) -> None:
    """Print the text on stderr. If stderr cannot be written, or not in a second, the text is discarded.

    `sys.stderr` is not used, because a text that cannot be written stays in its buffer. The interpreter would then exit
    with code 120.
    """
    rest = f"{text}\n".encode(errors="backslashreplace")
    pipe = select.poll()
    pipe.register(_STDERR, select.POLLOUT)
    with suppress(OSError):
        # A pipe that is ready takes this number of bytes without blocking (pipe(7)).
        while rest and pipe.poll(_MESSAGE_TIMEOUT * 1000):
            rest = rest[os.write(_STDERR, rest[: select.PIPE_BUF]) :]


@contextmanager
def unblocked_signals() -> Iterator[None]:
    """Let signals reach the process in the body of the `with` statement, also those that waited (see `__main__`)."""
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
