"""The texts of `--help` and `--version`, made from the tables of commands and flags."""

import argparse
import platform
import shutil
import textwrap
from collections.abc import Iterable

from exporter import __version__
from exporter.cli.flags import COMMANDS, PROGRAM, Command, Flag

MAX_WIDTH = 120
"""Maximum width of the help, in columns, also in a wider terminal."""

_DESCRIPTION = "Prometheus exporter for AWS Glue machine-learning task runs."


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of description and epilog, and puts the help of a flag below its long name."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=8, width=_width())


def _width() -> int:
    return min(MAX_WIDTH, shutil.get_terminal_size().columns) - 2


def version() -> str:
    """Return the line that `--version` prints."""
    return f"{PROGRAM}, version {__version__} (python {platform.python_version()})"


def flag_help(flag: Flag) -> str:
    """Return the help of a flag with its words, its default and its environment variable."""
    words = f": {', '.join(flag.words)}" if flag.words else ""
    repeatable = "; repeatable" if flag.repeatable else ""
    default = f"default: {flag.default}; " if flag.default else ""
    return f"{flag.help}{words}{repeatable} ({default}{flag.variable})"


def text_before_flags(command: Command) -> str:
    """Return the purpose, the details and the operand of a command; for `serve` also the list of commands."""
    serve = command is COMMANDS[0]
    parts = [_DESCRIPTION if serve else f"{command.help[0].upper()}{command.help[1:]}."]
    parts += [" ".join(paragraph.split()) for paragraph in command.details.strip().split("\n\n") if paragraph]
    parts = [textwrap.fill(part, _width(), break_on_hyphens=False) for part in parts]
    if serve:
        parts.append(_section("commands", ((known.name, known.help) for known in COMMANDS)))
    if command.operand:
        parts.append(_section("arguments", [(command.operand.metavar, command.operand.help)]))
    return "\n\n".join(parts)


def text_after_flags(command: Command) -> str:
    """Return the examples and the exit codes of a command."""
    serve = command is COMMANDS[0]
    exits = [*command.exits, (2, "wrong command line or configuration" if serve else "wrong command line")]
    if not serve:  # `serve` exits with 0 after an interrupt
        exits.append((130, "interrupted"))
    parts = [
        "\n  ".join(("examples:", *command.examples)),
        _section("exit codes", ((str(code), meaning) for code, meaning in sorted(exits))),
    ]
    if serve:
        parts.append(f"{PROGRAM} COMMAND --help shows the flags of a command.")
    return "\n\n".join(parts)


def _section(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Return a list of terms with their meanings, each wrapped beside its term."""
    listed = list(rows)
    indent = max(len(term) for term, _ in listed) + 4
    lines = [
        textwrap.fill(f"{term:<{indent - 4}}  {meaning}", _width(), initial_indent="  ", subsequent_indent=" " * indent)
        for term, meaning in listed
    ]
    return "\n".join((f"{title}:", *lines))
