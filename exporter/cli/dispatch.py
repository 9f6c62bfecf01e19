"""`main`: parse the command line, run the command that it names, and turn errors into exit codes."""

import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from exporter import logs
from exporter.cli.flags import PROGRAM
from exporter.cli.help import version
from exporter.cli.options import (
    CheckConfigOptions,
    CompletionOptions,
    DashboardsOptions,
    DemoOptions,
    HelpOptions,
    IamPolicyOptions,
    OnceOptions,
    Options,
    RulesOptions,
    RunsOptions,
    ServeOptions,
    SimulateOptions,
    TransformsOptions,
    VersionOptions,
)
from exporter.cli.parser import UsageError, help_of, parse
from exporter.cli.process import flush_stdout, prepare_streams, print_message, unblocked_signals
from exporter.model.errors import ExporterError

_SERVERS = (ServeOptions, DemoOptions, SimulateOptions)
"""The options of the commands that handle signals themselves."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of a write to a file. Only a write to stdout raises them without the name of the file."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        argv: the arguments without the name of the program; None means the arguments of the process.

    The exit code is 0 after success, 1 after a failure and 2 for a wrong command line. `serve` also returns 2 for a
    wrong configuration, because a service manager must not restart it then. The exit code is 130 (128 + SIGINT) after
    an interrupt, and 141 (128 + SIGPIPE) if the reader of the output has closed the pipe. A command can have further
    exit codes. Every error is one line on stderr.
    """
    prepare_streams()
    code, message = _outcome(sys.argv[1:] if argv is None else argv)
    unwritten = flush_stdout()
    if isinstance(unwritten, BrokenPipeError):
        code, message = 128 + signal.SIGPIPE, ""
    elif unwritten is not None:
        code, message = 1, f"stdout: {unwritten.strerror}"
    logs.flush()
    if message:
        print_message(message)
    return code


def _outcome(argv: Sequence[str]) -> tuple[int, str]:  # noqa: PLR0911 - one return for each way to end
    """Run a command; return its exit code, and the line for stderr if it has failed."""
    options: Options | None = None
    try:
        options = parse(argv, os.environ)
        return _run(options), ""
    except SystemExit as end:  # after --help and --version, and after SIGTERM during the start of a server
        return int(end.code or 0), ""
    except UsageError as error:
        return 2, f"{PROGRAM}: {error}"
    except BrokenPipeError:
        return 128 + signal.SIGPIPE, ""
    except ExporterError as error:
        return 2 if error.needs_correction and isinstance(options, ServeOptions) else 1, str(error)
    except OSError as error:
        where = error.filename or ("stdout" if error.errno in _FULL else None)
        return 1, f"{where}: {error.strerror}" if where else str(error)
    except RuntimeError as error:
        if "can't start new thread" not in str(error):
            raise
        return 1, "the system allows no more threads; raise the limit (ulimit -u, or pids.max of the container)"
    except KeyboardInterrupt:
        return 128 + signal.SIGINT, "interrupted"


def _run(options: Options) -> int:
    file = getattr(options, "config_file", None)
    if file is not None and not Path(file).exists():
        from exporter.config.problems import ConfigError, Problem

        without = f"run {PROGRAM} demo, which needs none"
        if isinstance(options, RunsOptions | TransformsOptions):
            without = "use none with --config.file= and --region"
        message = f"does not exist; name the configuration file with --config.file, or {without}"
        raise ConfigError(str(file), (Problem("", None, None, message),))
    command = _load(options)
    if isinstance(options, _SERVERS):
        return command()
    with unblocked_signals():
        return command()


def _load(options: Options) -> Callable[[], int]:  # noqa: PLR0911, PLR0912 - one branch for each command
    """Return the command to which the options belong. Each branch imports only what its command needs."""
    match options:
        case ServeOptions():
            from exporter.cli.serve import serve

            return partial(serve, options)
        case DemoOptions():
            from exporter.cli.demo import demo

            return partial(demo, options)
        case SimulateOptions():
            from exporter.cli.simulate import simulate

            return partial(simulate, options)
        case RunsOptions():
            from exporter.cli.runs.command import show_runs

            return partial(show_runs, options, sys.stdout, sys.stderr)
        case TransformsOptions():
            from exporter.cli.transforms import show_transforms

            return partial(show_transforms, options, sys.stdout, sys.stderr)
        case HelpOptions():
            return partial(_print, help_of(options.command).rstrip("\n"))
        case VersionOptions():
            return partial(_print, version())
        case OnceOptions():
            from exporter.cli.once import once

            return partial(once, options, sys.stdout.buffer)
        case CheckConfigOptions():
            from exporter.cli.check_config import check_config

            return partial(check_config, options)
        case IamPolicyOptions():
            from exporter.cli.iam.command import print_policy

            return partial(print_policy, options)
        case RulesOptions():
            from exporter.cli.rules.files import write_rules

            return partial(write_rules, options)
        case DashboardsOptions():
            from exporter.cli.dashboards.files import write_dashboards

            return partial(write_dashboards, options)
        case CompletionOptions():
            from exporter.cli.completion import print_script

            return partial(print_script, options)


def _print(text: str) -> int:
    print(text)
    return 0
