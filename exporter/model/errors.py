"""The exceptions of this program.

ExporterError
├── ConfigError (config.problems)         a configuration file is invalid; lists every problem with its position
├── UsageError (cli.parser)               the command line is invalid
├── ListenError (web.listeners)           the web server cannot listen on an address
├── StateError                            the state file cannot be opened, read or written
└── GlueError                             a call to AWS failed; ``reason`` is the label under which it is counted
    └── Stopped (glue.rate_limit)         the exporter was stopped during a call; this is not counted as a failure

The text of an exception names the mistake, its place and the expected value. The text has one line; the text of a
`ConfigError` has one line for each problem.
"""


class ExporterError(Exception):
    """The base class. The command line prints the text of the exception without a traceback."""

    needs_correction = False
    """Whether the same command fails again until a person corrects a file. A service manager must not restart it."""


class StateError(ExporterError):
    """The state file cannot be opened, read or written."""


class GlueError(ExporterError):
    """A call to AWS failed. If the error is retryable, all retries failed too."""

    def __init__(
        self, reason: str, message: str, *, advice: str = "", retryable: bool = False, operation: str = ""
    ) -> None:
        """Create the error of one call.

        Args:
            reason: the value of the label ``reason`` in the metrics of failures.
            message: the message from AWS.
            advice: an instruction for the user, for example to allow an IAM action; may be empty.
            retryable: whether the same call may succeed later.
            operation: the AWS operation that answered with an error; empty if AWS did not answer.
        """
        super().__init__(message)
        self.reason = reason
        self.advice = advice
        self.retryable = retryable
        self.operation = operation

    def without_cause(self) -> "GlueError":
        """Return a copy without cause and traceback, because these would keep many objects in memory."""
        return GlueError(self.reason, str(self), advice=self.advice, retryable=self.retryable, operation=self.operation)

    @property
    def full_text(self) -> str:
        """The reason, the message and the advice in one line."""
        text = str(self) if self.reason in str(self) else f"{self.reason}: {self}"
        return f"{text}; {self.advice}" if self.advice else text
