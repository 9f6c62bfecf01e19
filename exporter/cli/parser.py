"""The command line, read: arguments and environment to a command's options, or one line that says what is wrong."""

import argparse
import platform
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from exporter import __version__
from exporter.cli.flags import COMMANDS, FLAGS, PROGRAM, CheckConfigOptions, Command, Flag, Options
from exporter.errors import ExporterError

WIDEST_HELP = 120
"""Columns that the help fills at most."""

_DESCRIPTION = "Prometheus exporter for AWS Glue machine-learning task runs."
_EVERYWHERE = ("-h", "--help", "--version")


class UsageError(ExporterError):
    """The command line or its environment cannot be used; `str()` is one line that says why."""


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Return the options that the arguments (without the program's name) ask for; they win over `environ`.

    Raises:
        UsageError: something is unknown, missing or wrong.
        SystemExit: after `--help` or `--version` was printed.
    """
    command, arguments = _command(argv)
    flags = flags_of(command)
    literal = arguments[arguments.index("--") + 1 :] if "--" in arguments else []
    try:
        given, surplus = _parser(command, flags).parse_known_args(arguments[: len(arguments) - len(literal)])
    except argparse.ArgumentError as error:
        raise UsageError(f"{error.argument_name}: {error.message}") from error
    operands = [word for word in surplus if word != "--"]
    for word in operands:
        if word.startswith("-") or command.operand is None:
            raise UsageError(_refusal(word, command))
    values = {flag.field: _value(flag, vars(given).get(flag.field), environ) for flag in flags}
    values |= _operand_value(command, [*operands, *literal])
    if values.pop("config_check", False):
        return CheckConfigOptions(values["config_file"], live=False)
    return command.options(**values)


def flags_of(command: Command) -> list[Flag]:
    """Return the flags that a command takes, in the order of the table."""
    return [flag for flag in FLAGS if command.name in flag.commands]


def spellings(flag: Flag) -> tuple[str, ...]:
    """Return what may be typed for a flag: its name, of a switch also its contrary."""
    return (f"--{flag.name}",) if flag.metavar else (f"--{flag.name}", f"--no-{flag.name}")


def _command(argv: Sequence[str]) -> tuple[Command, list[str]]:
    """Return the command, `serve` if none is named, and the arguments without it."""
    names = [command.name for command in COMMANDS]
    known = {spelling: flag for flag in FLAGS for spelling in spellings(flag)}
    position = 0
    while position < len(argv) and argv[position].startswith("-"):
        word, has_value, _ = argv[position].partition("=")
        if word not in {*known, *_EVERYWHERE}:
            raise UsageError(f"unknown flag {word!r}; {_suggestion(word, sorted(known), 'see --help')}")
        position += 2 if word in known and known[word].metavar and not has_value else 1
    if position >= len(argv):
        return COMMANDS[0], list(argv)
    if argv[position] not in names:
        nearest = _suggestion(argv[position], names, f"expected one of {', '.join(names)}")
        raise UsageError(f"unknown command {argv[position]!r}; {nearest}")
    return COMMANDS[names.index(argv[position])], [*argv[:position], *argv[position + 1 :]]


def _suggestion(word: str, known: Sequence[str], otherwise: str) -> str:
    near = get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else otherwise


def _refusal(argument: str, command: Command) -> str:
    """Return what is wrong with an argument that the command does not take."""
    word = argument.partition("=")[0]
    if not word.startswith("-"):
        return f"unexpected argument {argument!r}; {command.name} takes only flags"
    takers = [name for flag in FLAGS if word in spellings(flag) for name in flag.commands]
    if takers:
        return f"{word} is a flag of {', '.join(takers)}, not of {command.name}"
    known = [f"--{flag.name}" for flag in flags_of(command)]
    return f"unknown flag {word!r}; {_suggestion(word, known, f'see {PROGRAM} {command.name} --help')}"


def _value(flag: Flag, texts: list[str] | None, environ: Mapping[str, str]) -> Any:
    """Return what the flag stands for: the `texts` given, else the environment's, else its default."""
    source = f"--{flag.name}"
    if texts is None and environ.get(flag.variable):
        source, text = flag.variable, environ[flag.variable]
        texts = [part.strip() for part in text.split(",")] if flag.repeatable else [text]
    values = []
    for text in texts or [flag.default]:
        try:
            values.append(flag.read(text))
        except ValueError as error:
            raise UsageError(f"{source}: {text!r} {error}") from error
    return tuple(values) if flag.repeatable else values[-1]


def _operand_value(command: Command, texts: Sequence[str]) -> dict[str, Any]:
    """Return the field of the options that carries what is given beside flags, if the command takes that."""
    operand = command.operand
    if operand is None:
        return {}
    if not operand.many and len(texts) != 1:
        raise UsageError(f"{command.name} takes one {operand.metavar}: {operand.help}")
    try:
        values = tuple(operand.read(text) for text in texts)
    except ValueError as error:
        raise UsageError(f"{operand.metavar}: {texts[0]!r} {error}") from error
    return {operand.field: values if operand.many else values[0]}


class _Switch(argparse.Action):
    """Keeps `--x` as the text `true` and `--no-x` as `false`."""

    def __call__(
        self, _parser: object, namespace: argparse.Namespace, _values: object, word: str | None = None
    ) -> None:
        setattr(namespace, self.dest, ["false" if str(word).startswith("--no-") else "true"])


def _parser(command: Command, flags: Sequence[Flag]) -> argparse.ArgumentParser:
    """Return a parser that collects each flag's texts in a list, and only of flags that are given."""
    serve = command is COMMANDS[0]
    operand = f" {command.operand.metavar}{'...' if command.operand.many else ''}" if command.operand else ""
    parser = argparse.ArgumentParser(
        prog=PROGRAM if serve else f"{PROGRAM} {command.name}",
        usage="%(prog)s [COMMAND] [FLAGS]" if serve else f"%(prog)s [FLAGS]{operand}",
        description=_beginning(command),
        epilog=_end(command),
        formatter_class=_HelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        exit_on_error=False,
        add_help=False,
    )
    group = parser.add_argument_group("flags")
    for flag in flags:
        help_text = _help_text(flag).replace("%", "%%")
        if flag.metavar:
            group.add_argument(f"--{flag.name}", dest=flag.field, action="append", metavar=flag.metavar, help=help_text)
        else:
            group.add_argument(*spellings(flag), dest=flag.field, action=_Switch, nargs=0, help=help_text)
    group.add_argument("-h", "--help", action="help", help="print this help")
    group.add_argument("--version", action="version", version=version(), help="print the version")
    return parser


# -- help -------------------------------------------------------------------------------------------------------------


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps our own lines, and puts the help of a flag below its name: names are long here."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=8, width=_width())


def _width() -> int:
    return min(WIDEST_HELP, shutil.get_terminal_size().columns) - 2


def _help_text(flag: Flag) -> str:
    words = f": {', '.join(flag.words)}" if flag.words else ""
    repeated = "; repeatable" if flag.repeatable else ""
    default = f"default: {flag.default}; " if flag.default else ""
    return f"{flag.help}{words}{repeated} ({default}{flag.variable})"


def _beginning(command: Command) -> str:
    serve = command is COMMANDS[0]
    parts = [_DESCRIPTION if serve else f"{command.help[0].upper()}{command.help[1:]}."]
    parts += [" ".join(paragraph.split()) for paragraph in command.details.strip().split("\n\n") if paragraph]
    parts = [textwrap.fill(part, _width(), break_on_hyphens=False) for part in parts]
    if serve:
        parts.append(_section("commands", ((known.name, known.help) for known in COMMANDS)))
    if command.operand:
        parts.append(_section("arguments", [(command.operand.metavar, command.operand.help)]))
    return "\n\n".join(parts)


def _end(command: Command) -> str:
    exits = (*command.exits, (2, "a wrong call"), (130, "interrupted"))
    if command is COMMANDS[0]:
        exits = exits[:-1]
    rest = [_section("exit codes", ((str(code), meaning) for code, meaning in sorted(exits)))]
    if command is COMMANDS[0]:
        rest.append(f"{PROGRAM} COMMAND --help tells more of a command.")
    return "\n\n".join(("\n  ".join(("examples:", *command.examples)), *rest))


def _section(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Return a list of terms with what they mean, each wrapped beside its term."""
    listed = list(rows)
    indent = max(len(term) for term, _ in listed) + 4
    lines = [
        textwrap.fill(f"{term:<{indent - 4}}  {meaning}", _width(), initial_indent="  ", subsequent_indent=" " * indent)
        for term, meaning in listed
    ]
    return "\n".join((f"{title}:", *lines))


def version() -> str:
    """Return the line that `--version` prints."""
    return f"{PROGRAM}, version {__version__} (python {platform.python_version()})"
