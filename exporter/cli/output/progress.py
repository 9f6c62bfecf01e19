"""The progress, notes and errors of a command on stderr."""

from typing import Self, TextIO

from exporter.cli.output.fields import printable
from exporter.model.errors import GlueError
from exporter.polling.poll_log import TRANSFORM_REASONS

_IDENTITY_OPERATIONS = ("AssumeRole", "GetCallerIdentity")
# A policy can allow a call for single transforms, so a denied call says nothing about the next transform.
_REASONS_OF_ONE_TRANSFORM = TRANSFORM_REASONS | {"AccessDeniedException"}

_CLEAR_LINE = "\r\x1b[K"
_MAX_PROGRESS = 78
"""Maximum number of characters in a line of progress. In a terminal of 80 columns, a longer line would wrap and could
not be cleared."""


class Progress:
    """Shows the progress in one line that is overwritten. Notes and errors get new lines.

    The progress is shown only if stderr and stdout are terminals. If stdout is a pipe to a pager, for example, the
    pager draws on the same terminal.
    """

    def __init__(self, stream: TextIO, output: TextIO) -> None:
        """Take stderr, and stdout."""
        self._stream = stream
        self._is_terminal = stream.isatty() and output.isatty()
        self._line_shown = False
        self.errors = 0
        """Number of reported errors."""

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the line of progress, also after an exception."""
        self.clear()

    def show(self, text: str) -> None:
        """Replace the line of progress."""
        if self._is_terminal:
            self._stream.write(f"{_CLEAR_LINE}{printable(text)[:_MAX_PROGRESS]}")
            self._stream.flush()
            self._line_shown = True

    def clear(self) -> None:
        """Remove the line of progress. Call it before something else is written to the terminal."""
        if self._line_shown:
            self._stream.write(_CLEAR_LINE)
            self._stream.flush()
            self._line_shown = False

    def note(self, text: str) -> None:
        """Print a line that is not about a failure."""
        self.clear()
        print(printable(text), file=self._stream, flush=True)

    def error(self, text: str) -> None:
        """Print a line about a failure, and count it."""
        self.errors += 1
        self.note(text)


def error_text(error: GlueError) -> str:
    """Return the message of AWS and the advice to the user, in one line."""
    return f"{error}; {error.advice}" if error.advice else str(error)


def affects_lane(error: GlueError) -> bool:
    """Return whether the failure concerns the whole account and region, so that its other transforms would fail too."""
    return error.operation in _IDENTITY_OPERATIONS or error.reason not in _REASONS_OF_ONE_TRANSFORM
