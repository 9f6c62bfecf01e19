"""The exceptions of this program.

ExporterError
├── ConfigError (config.problems)         a configuration file cannot be used; lists every problem with its position
├── UsageError (cli.parser)               the command line cannot be used
├── ListenError (web.listeners)           an address cannot be listened on
├── StateError                            the state file cannot be used or written
└── GlueError                             a call to AWS failed; has the reason by which it is counted
    └── Stopped (glue.rate_limit)         no failure: the exporter is stopping

The text of each is one line that says what is wrong, where, and what was expected.
"""


class ExporterError(Exception):
    """The base of all exceptions that this program raises on purpose."""


class StateError(ExporterError):
    """The state file cannot be used, or could not be written."""


class GlueError(ExporterError):
    """A call to AWS failed, and all retries that make sense are used up."""

    def __init__(
        self, reason: str, message: str, *, advice: str = "", retryable: bool = False, operation: str = ""
    ) -> None:
        """Take the ``reason`` label, the message of AWS, advice for the user, and whether a retry may succeed.

        ``operation`` is the AWS operation that answered with an error, empty if there was no answer.
        """
        super().__init__(message)
        self.reason = reason
        self.advice = advice
        self.retryable = retryable
        self.operation = operation

    def without_cause(self) -> "GlueError":
        """Return an equal error without cause and traceback, which can be kept without keeping their memory."""
        return GlueError(self.reason, str(self), advice=self.advice, retryable=self.retryable, operation=self.operation)

    @property
    def full_text(self) -> str:
        """The reason, the message and the advice in one line."""
        text = str(self) if self.reason in str(self) else f"{self.reason}: {self}"
        return f"{text}; {self.advice}" if self.advice else text
