"""What can go wrong, as a tree.

ExporterError
├── ConfigError (document)        the configuration file cannot be used; carries every problem with its place
│   └── WebConfigError (web.webconfig)  the same for --web.config.file
├── UsageError (arguments)           the command line cannot be used
├── ListenError (web.listeners)   an address cannot be listened on
├── StateError                    the state file cannot be used, or not be written
└── GlueError                     a call to AWS has failed; carries the reason by which it is counted
    └── Stopped (pacing)          it has not: the exporter is stopping

Each reads as one line that says what, where, and what was expected.
"""


class ExporterError(Exception):
    """Anything that this program says of its own accord."""


class StateError(ExporterError):
    """The state file cannot be used, or could not be written."""


class GlueError(ExporterError):
    """A call to AWS has failed for good: retries, where they make sense, are used up."""

    def __init__(
        self, reason: str, message: str, *, advice: str = "", retryable: bool = False, operation: str = ""
    ) -> None:
        """Take the ``reason`` label, what AWS said, what the user may do, and whether trying again may help.

        ``operation`` is the one of AWS that has refused; empty if the failure is no answer.
        """
        super().__init__(message)
        self.reason = reason
        self.advice = advice
        self.retryable = retryable
        self.operation = operation

    def bare(self) -> "GlueError":
        """Return an equal error that keeps nothing of what it was raised from."""
        return GlueError(self.reason, str(self), advice=self.advice, retryable=self.retryable, operation=self.operation)

    @property
    def told(self) -> str:
        """All of it for a person: the reason, what AWS said, what may be done."""
        text = str(self) if self.reason in str(self) else f"{self.reason}: {self}"
        return f"{text}; {self.advice}" if self.advice else text
