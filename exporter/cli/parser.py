"""Parses arguments and environment variables to the options of a command. An error is one line.

argparse gets its flags from the table of flags, and it only collects texts. This module converts the texts to values,
in the same way for arguments, environment variables and defaults. An error names the flag or the variable that contains
the text.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from exporter.cli.flags import COMMANDS, FLAGS, PROGRAM, VARIABLE_PREFIX, Command, Flag, flags_of, spellings
from exporter.cli.help import HelpFormatter, flag_help, text_after_flags, text_before_flags, version
from exporter.cli.options import CheckConfigOptions, Options
from exporter.model.errors import ExporterError

_SERVICE_VARIABLE = re.compile(r"\w+_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?)")

_FLAGS_OF_ALL_COMMANDS = ("-h", "--help", "--version")


class UsageError(ExporterError):
    """The command line or the environment is wrong; `str()` is one line that says why."""


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Return the options of the command that the arguments name.

    Args:
        argv: the arguments without the name of the program.
        environ: the environment variables, for flags that are not among the arguments.

    Raises:
        UsageError: a command, a flag, an argument or a value is unknown, missing or wrong.
        SystemExit: after `--help` or `--version` was printed.
    """
    command, arguments = _split_command(argv)
    flags = flags_of(command)
    literal = arguments[arguments.index("--") + 1 :] if "--" in arguments else []
    try:
        given, rest = _argparser(command, flags).parse_known_args(arguments[: len(arguments) - len(literal)])
    except argparse.ArgumentError as error:
        raise UsageError(f"{error.argument_name}: {error.message}") from error
    operands = [word for word in rest if word != "--"]
    for word in operands:
        if word.startswith("-") or command.operand is None:
            raise UsageError(_unexpected(word, command))
    values = {flag.field: _flag_value(flag, vars(given).get(flag.field), environ) for flag in flags}
    values |= _operand_value(command, [*operands, *literal])
    if values.pop("config_check", False):
        return CheckConfigOptions(values["config_file"], values["web_config_file"], live=False)
    return command.options(**values)


def help_of(name: str | None) -> str:
    """Return the help of the command with this name; for None that of the whole program.

    Raises:
        UsageError: there is no such command.
    """
    command = COMMANDS[0] if name is None else _command_named(name)
    return _argparser(command, flags_of(command)).format_help()


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with the prefix of this program that no flag has, each with a suggestion for the user.

    Kubernetes sets variables for each Service of the namespace, as for links of Docker. For a Service that is named
    `glue-ml-exporter` they have the prefix of this program, and they are left out.
    """
    known = [flag.variable.removeprefix(VARIABLE_PREFIX) for flag in FLAGS]
    suggestions = {}
    for variable in sorted(environ):
        name = variable.removeprefix(VARIABLE_PREFIX)
        if name == variable or name in (*known, "REVISION") or _SERVICE_VARIABLE.fullmatch(variable):
            continue
        # Without the prefix, because texts that have it in common are similar.
        near = get_close_matches(name, known, n=1)
        suggestions[variable] = f"did you mean {VARIABLE_PREFIX}{near[0]}?" if near else "see --help"
    return suggestions


def _split_command(argv: Sequence[str]) -> tuple[Command, list[str]]:
    """Return the command, `serve` if no command is named, and the arguments without it.

    Flags may come before the command. If a flag takes a value, the word after it is its value and not the command.
    """
    known = {spelling: flag for flag in FLAGS for spelling in spellings(flag)}
    position = 0
    while position < len(argv) and argv[position].startswith("-"):
        word, has_value, _ = argv[position].partition("=")
        if word not in {*known, *_FLAGS_OF_ALL_COMMANDS}:
            raise UsageError(f"unknown flag {word!r}; {_suggestion(word, sorted(known), 'see --help')}")
        position += 2 if word in known and known[word].metavar and not has_value else 1
    if position >= len(argv):
        return COMMANDS[0], list(argv)
    return _command_named(argv[position]), [*argv[:position], *argv[position + 1 :]]


def _command_named(word: str) -> Command:
    names = [command.name for command in COMMANDS]
    if word not in names:
        nearest = _suggestion(word, names, f"expected one of {', '.join(names)}")
        raise UsageError(f"unknown command {word!r}; {nearest}")
    return COMMANDS[names.index(word)]


def _suggestion(word: str, known: Sequence[str], otherwise: str) -> str:
    near = get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else otherwise


def _unexpected(argument: str, command: Command) -> str:
    """Return the error for an argument that the command does not take."""
    word = argument.partition("=")[0]
    if not word.startswith("-"):
        return f"unexpected argument {argument!r}; {command.name} takes only flags"
    others = [name for flag in FLAGS if word in spellings(flag) for name in flag.commands]
    if others:
        return f"{word} is a flag of {', '.join(others)}, not of {command.name}"
    known = [f"--{flag.name}" for flag in flags_of(command)]
    return f"unknown flag {word!r}; {_suggestion(word, known, f'see {PROGRAM} {command.name} --help')}"


def _flag_value(flag: Flag, texts: list[str] | None, environ: Mapping[str, str]) -> Any:
    """Return the value of a flag: read from the `texts` given, else from the environment, else from its default."""
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
    """Return the field of the options that holds the operand; nothing if the command takes no operand."""
    operand = command.operand
    if operand is None:
        return {}
    if operand.optional and not texts:
        return {operand.field: None}
    if not operand.many and len(texts) != 1:
        raise UsageError(f"{command.name} takes one {operand.metavar}: {operand.help}")
    try:
        values = tuple(operand.read(text) for text in texts)
    except ValueError as error:
        raise UsageError(f"{operand.metavar}: {texts[0]!r} {error}") from error
    return {operand.field: values if operand.many else values[0]}


class _SwitchAction(argparse.Action):
    """Stores the text `true` for `--x` and `false` for `--no-x`."""

    def __call__(
        self, _parser: object, namespace: argparse.Namespace, _values: object, word: str | None = None
    ) -> None:
        setattr(namespace, self.dest, ["false" if str(word).startswith("--no-") else "true"])


def _argparser(command: Command, flags: Sequence[Flag]) -> argparse.ArgumentParser:
    """Return a parser that stores, for each flag that is given, a list of its values as text."""
    serve = command is COMMANDS[0]
    operand = f" {command.operand.usage}" if command.operand else ""
    parser = argparse.ArgumentParser(
        prog=PROGRAM if serve else f"{PROGRAM} {command.name}",
        usage="%(prog)s [COMMAND] [FLAGS]" if serve else f"%(prog)s [FLAGS]{operand}",
        description=text_before_flags(command),
        epilog=text_after_flags(command),
        formatter_class=HelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        exit_on_error=False,
        add_help=False,
    )
    group = parser.add_argument_group("flags")
    for flag in flags:
        text = flag_help(flag).replace("%", "%%")
        if flag.metavar:
            group.add_argument(f"--{flag.name}", dest=flag.field, action="append", metavar=flag.metavar, help=text)
        else:
            group.add_argument(*spellings(flag), dest=flag.field, action=_SwitchAction, nargs=0, help=text)
    group.add_argument("-h", "--help", action="help", help="print this help")
    group.add_argument("--version", action="version", version=version(), help="print the version")
    return parser
