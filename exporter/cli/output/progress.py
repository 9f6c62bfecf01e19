"""What a command tells the person who waits for it, on stderr: how far it is, and what went wrong."""

import sys
from collections.abc import Callable
from typing import Self, TextIO

from exporter.cli.output.fields import printable
from exporter.errors import GlueError
from exporter.polling.poll_log import TRANSFORM_REASONS

_OF_IDENTITY = ("AssumeRole", "GetCallerIdentity")
_OF_TRANSFORM = TRANSFORM_REASONS | {"AccessDeniedException"}  # a policy may name single transforms

_CLEAR_LINE = "\r\x1b[K"


class Report:
    """Tells progress in one line that is written over, on a terminal only; complaints in a line each."""

    def __init__(self, stream: TextIO) -> None:
        """Take stderr."""
        self._stream = stream
        self._live = stream.isatty()
        self._told = False
        self.complaints = 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave no line of progress behind, whatever has happened."""
        self.clear()

    def progress(self, text: str) -> None:
        """Tell how far it is."""
        if self._live:
            self._stream.write(f"{_CLEAR_LINE}{printable(text)[:78]}")
            self._stream.flush()
            self._told = True

    def clear(self) -> None:
        """Take the line of progress away: something else is about to be written."""
        if self._told:
            self._stream.write(_CLEAR_LINE)
            self._stream.flush()
            self._told = False

    def note(self, text: str) -> None:
        """Tell something that is nobody's fault."""
        self.clear()
        print(printable(text), file=self._stream, flush=True)

    def complain(self, text: str) -> None:
        """Tell what could not be done."""
        self.complaints += 1
        self.note(text)


def told(error: GlueError) -> str:
    """Return what AWS said and what may be done about it, in one line."""
    return f"{error}; {error.advice}" if error.advice else str(error)


def concerns_lane(error: GlueError) -> bool:
    """Whether a failure is that of a whole account and region: the next transform there will fare no better."""
    return error.operation in _OF_IDENTITY or error.reason not in _OF_TRANSFORM


def lossless_stdout() -> TextIO:
    """Return stdout, which writes a character that its encoding has not as an escape and never gives up over it."""
    reconfigure: Callable[..., None] | None = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    return sys.stdout
