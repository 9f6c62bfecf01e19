"""`main`: parse the command line, run the command that it names, and turn errors into exit codes."""

import os
import signal
import sys
from collections.abc import Sequence

from exporter import logs
from exporter.cli.flags import PROGRAM
from exporter.cli.options import (
    CheckConfigOptions,
    CompletionOptions,
    DashboardsOptions,
    DemoOptions,
    IamPolicyOptions,
    OnceOptions,
    Options,
    RunsOptions,
    ServeOptions,
    SimulateOptions,
)
from exporter.cli.parser import UsageError, parse
from exporter.model.errors import ExporterError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        argv: the arguments without the name of the program; None means the arguments of the process.

    The exit code is 0 after success, 1 after a failure and 2 for a wrong command line. It is 130 (128 + SIGINT) after
    an interrupt, and 141 (128 + SIGPIPE) if the reader of the output has closed the pipe. A command can have further
    exit codes. Every error is one line on stderr.
    """
    try:
        code = _run(parse(sys.argv[1:] if argv is None else argv, os.environ))
        sys.stdout.flush()
        logs.flush()
    except UsageError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The interpreter closes stdout at exit. Text that is still in the buffer would then raise the error again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (ExporterError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    return code


def _run(options: Options) -> int:  # noqa: PLR0911 - one return for each command
    """Run the command to which the options belong. Each branch imports only what its command needs."""
    match options:
        case ServeOptions():
            from exporter.cli.serve import serve

            return serve(options)
        case DemoOptions():
            from exporter.cli.demo import demo

            return demo(options)
        case SimulateOptions():
            from exporter.cli.simulate import simulate

            return simulate(options)
        case RunsOptions():
            from exporter.cli.output.progress import lossless_stdout
            from exporter.cli.runs.command import show_runs

            return show_runs(options, lossless_stdout(), sys.stderr)
        case OnceOptions():
            from exporter.cli.once import once

            return once(options, sys.stdout.buffer)
        case CheckConfigOptions():
            from exporter.cli.check_config import check_config

            return check_config(options)
        case IamPolicyOptions():
            from exporter.cli.iam_policy import print_policy

            return print_policy(options)
        case DashboardsOptions():
            from exporter.cli.dashboards import write_dashboards

            return write_dashboards(options)
        case CompletionOptions():
            from exporter.cli.completion import completion_script

            print(completion_script(options.shell), end="")
            return 0
