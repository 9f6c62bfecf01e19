"""The command line: flags in the manner of Prometheus, each also an environment variable.

`COMMANDS` and `FLAGS` are the whole truth: parser, help and documentation are made from them. A new command is a
dataclass whose fields are named for its flags (`--config.file` -> `config_file`), a row in `COMMANDS`, and its name in
the rows of its flags.
"""

import argparse
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from exporter import __version__
from exporter.durations import parse_duration
from exporter.errors import ExporterError
from exporter.logs import FORMATS, LEVELS
from exporter.sharding import MAX_SHARDS

DEFAULT_PORT = 10210
PROGRAM = "glue-ml-exporter"

Address = tuple[str, int]
"""Host and port to listen on; an empty host means all addresses, port 0 a free one."""


class UsageError(ExporterError):
    """The command line or its environment cannot be used; `str()` is one line that says why."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """`serve`: run the exporter."""

    config_file: str
    config_enable_auto_reload: bool
    config_auto_reload_interval: float
    web_listen_address: tuple[Address, ...]
    web_telemetry_path: str
    web_config_file: str | None
    web_max_requests: int
    web_enable_lifecycle: bool
    web_disable_exporter_metrics: bool
    shard_index: int | None
    shard_count: int
    log_level: str
    log_format: str


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """`demo`: run the exporter against the embedded simulator."""

    web_listen_address: tuple[Address, ...]
    scenario: str | None
    log_level: str
    log_format: str


@dataclass(frozen=True, slots=True)
class SimulateOptions:
    """`simulate`: run the simulator alone."""

    listen_address: Address
    scenario: str | None
    log_level: str
    log_format: str


@dataclass(frozen=True, slots=True)
class OnceOptions:
    """`once`: poll once and print the metrics."""

    config_file: str
    log_level: str
    log_format: str


@dataclass(frozen=True, slots=True)
class CheckConfigOptions:
    """`check-config`: validate the configuration."""

    config_file: str


@dataclass(frozen=True, slots=True)
class IamPolicyOptions:
    """`iam-policy`: print the least IAM policy."""

    config_file: str


Options = ServeOptions | DemoOptions | SimulateOptions | OnceOptions | CheckConfigOptions | IamPolicyOptions


@dataclass(frozen=True, slots=True)
class Command:
    """A command: what `parse` returns for it, one line about it, and examples to copy."""

    name: str
    options: type[Options]
    help: str
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag: its name without dashes, what it is for, how its text is read, and which commands take it.

    `read` raises ValueError with a predicate (`is not ...; expected ...`). A flag without `metavar` is a switch.
    """

    name: str
    help: str
    commands: tuple[str, ...]
    read: Callable[[str], object]
    default: str = ""
    metavar: str = ""
    repeatable: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that stands in for the flag."""
        return "GLUE_ML_EXPORTER_" + re.sub("[.-]", "_", self.name).upper()

    @property
    def field(self) -> str:
        """The field of the options that carries the flag."""
        return re.sub("[.-]", "_", self.name)


def parse_address(text: str) -> Address:
    """Return host and port of `:10210`, `127.0.0.1:0`, `localhost:80` or `[::1]:10210`."""
    match = re.fullmatch(
        r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[^\s:\[\]/]*)):(?P<port>[0-9]{1,5})", text
    )
    if match is None or int(match["port"]) > 65535:
        raise ValueError("is not an address; expected host:port, e.g. :10210, 127.0.0.1:10210 or [::1]:10210")
    return match["v6"] or match["host"] or "", int(match["port"])


def _path(text: str) -> str:
    if not re.fullmatch(r"/[A-Za-z0-9._~/-]+", text) or re.fullmatch("/(-/.*|config)", text):
        raise ValueError("is not a path for metrics; expected e.g. /metrics, and not /config or below /-/")
    return text


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError("is not a whole number of 0 or more")
    return int(text)


def _shard_index(text: str) -> int | None:
    if text and (not re.fullmatch("[0-9]{1,9}", text) or int(text) >= MAX_SHARDS):
        raise ValueError(f"is not a whole number from 0 to {MAX_SHARDS - 1}")
    return int(text) if text else None


def _shard_count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= MAX_SHARDS:
        raise ValueError(f"is not a whole number from 1 to {MAX_SHARDS}")
    return int(text)


def _interval(text: str) -> float:
    seconds = parse_duration(text)
    if not seconds:
        raise ValueError("is too short; expected e.g. 30s")
    return seconds


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError("is not one of true, false, 1, 0")
    return text.lower() in ("true", "1")


def _optional(text: str) -> str | None:
    return text or None


def _choice(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"is not one of {', '.join(words)}")
        return text

    return read


COMMANDS = (
    Command(
        "serve",
        ServeOptions,
        "run the exporter (the default command)",
        (
            f"{PROGRAM} --config.file=config.yaml",
            f"{PROGRAM} serve --web.listen-address=127.0.0.1:{DEFAULT_PORT} --log.format=json",
        ),
    ),
    Command(
        "demo",
        DemoOptions,
        "run the exporter against the embedded Glue simulator: no AWS, no credentials, no configuration",
        (f"{PROGRAM} demo", f"{PROGRAM} demo --web.listen-address=:8080 --scenario=busy.yaml"),
    ),
    Command(
        "simulate",
        SimulateOptions,
        "run the Glue simulator alone, for any AWS SDK client",
        (f"{PROGRAM} simulate", "aws glue get-ml-transforms --endpoint-url http://127.0.0.1:10211"),
    ),
    Command(
        "once",
        OnceOptions,
        "poll once and print the metrics; exit 0 if all was polled, 1 if a target failed",
        (f"{PROGRAM} once --config.file=config.yaml",),
    ),
    Command(
        "check-config",
        CheckConfigOptions,
        "validate the configuration: every mistake with its place; exit 0 or 1",
        (f"{PROGRAM} check-config --config.file=config.yaml",),
    ),
    Command(
        "iam-policy",
        IamPolicyOptions,
        "print the least IAM policy that the configuration needs, as JSON",
        (f"{PROGRAM} iam-policy --config.file=config.yaml > policy.json",),
    ),
)

_DESCRIPTION = "Prometheus exporter for AWS Glue machine-learning task runs."

_RUNNING = ("serve", "demo", "simulate", "once")

FLAGS = (
    Flag(
        "config.file",
        "the configuration file",
        ("serve", "once", "check-config", "iam-policy"),
        str,
        "config.yaml",
        "FILE",
    ),
    Flag("config.check", "validate the configuration and exit: the same as check-config", ("serve",), _switch, "false"),
    Flag(
        "config.enable-auto-reload",
        "reload the configuration when the file has changed",
        ("serve",),
        _switch,
        "false",
    ),
    Flag(
        "config.auto-reload-interval",
        "how often to look for a changed file",
        ("serve",),
        _interval,
        "30s",
        "DURATION",
    ),
    Flag(
        "web.listen-address",
        "where to serve metrics; without host: on all addresses",
        ("serve", "demo"),
        parse_address,
        f":{DEFAULT_PORT}",
        "HOST:PORT",
        repeatable=True,
    ),
    Flag("web.telemetry-path", "the path of the metrics", ("serve",), _path, "/metrics", "PATH"),
    Flag("web.config.file", "TLS, basic authentication, headers and rate limit", ("serve",), _optional, "", "FILE"),
    Flag("web.max-requests", "answer at most so many scrapes at once; 0: no limit", ("serve",), _count, "40", "COUNT"),
    Flag("web.enable-lifecycle", "allow a reload by POST to /-/reload", ("serve",), _switch, "false"),
    Flag(
        "web.disable-exporter-metrics",
        "leave out the metrics about the exporter's own process",
        ("serve",),
        _switch,
        "false",
    ),
    Flag(
        "shard.index",
        "which of the shards this is, from 0; without: the number that ends the host's name, as a StatefulSet gives it",
        ("serve",),
        _shard_index,
        "",
        "NUMBER",
    ),
    Flag(
        "shard.count",
        "divide the transforms among so many exporters, each with the same configuration",
        ("serve",),
        _shard_count,
        "1",
        "COUNT",
    ),
    Flag("listen-address", "where the simulator answers", ("simulate",), parse_address, "127.0.0.1:10211", "HOST:PORT"),
    Flag("scenario", "what happens, as YAML; without: the built-in", ("demo", "simulate"), _optional, "", "FILE"),
    Flag(
        "log.level",
        f"write messages from this level on: {', '.join(LEVELS)}",
        _RUNNING,
        _choice(*LEVELS),
        "info",
        "LEVEL",
    ),
    Flag("log.format", f"how: {', '.join(FORMATS)}", _RUNNING, _choice(*FORMATS), "logfmt", "FORMAT"),
)
"""Every flag, in the order of the help."""


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Return the options that the arguments (without the program's name) ask for; they win over `environ`.

    Raises:
        UsageError: something is unknown, missing or wrong.
        SystemExit: after `--help` or `--version` was printed.
    """
    command, arguments = _command(argv)
    flags = [flag for flag in FLAGS if command.name in flag.commands]
    try:
        given, surplus = _parser(command, flags).parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UsageError(f"{error.argument_name}: {error.message}") from error
    if surplus:
        raise UsageError(_refusal(surplus[0], command))
    values = {flag.field: _value(flag, vars(given).get(flag.field), environ) for flag in flags}
    if values.pop("config_check", False):
        return CheckConfigOptions(values["config_file"])
    return command.options(**values)


def _command(argv: Sequence[str]) -> tuple[Command, list[str]]:
    """Return the command, `serve` if none is named, and the arguments without it."""
    names = [command.name for command in COMMANDS]
    valued = {f"--{flag.name}" for flag in FLAGS if flag.metavar}
    lone = {f"--{no}{flag.name}" for flag in FLAGS for no in ("", "no-") if not flag.metavar}
    position = 0
    while position < len(argv) and argv[position].startswith("-"):
        word, has_value, _ = argv[position].partition("=")
        if word not in {*valued, *lone, "-h", "--help", "--version"}:
            raise UsageError(f"unknown flag {word!r}; {_suggestion(word, sorted(valued | lone), 'see --help')}")
        position += 2 if word in valued and not has_value else 1
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
    others = {f"--{no}{flag.name}": flag.commands for flag in FLAGS for no in ("", "no-")}
    if word in others:
        return f"{word} is a flag of {', '.join(others[word])}, not of {command.name}"
    known = [f"--{flag.name}" for flag in FLAGS if command.name in flag.commands]
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


class _Switch(argparse.Action):
    """Keeps `--x` as the text `true` and `--no-x` as `false`."""

    def __call__(
        self, _parser: object, namespace: argparse.Namespace, _values: object, word: str | None = None
    ) -> None:
        setattr(namespace, self.dest, ["false" if str(word).startswith("--no-") else "true"])


def _parser(command: Command, flags: Sequence[Flag]) -> argparse.ArgumentParser:
    """Return a parser that collects each flag's texts in a list, and only of flags that are given."""
    serve = command is COMMANDS[0]
    parser = argparse.ArgumentParser(
        prog=PROGRAM if serve else f"{PROGRAM} {command.name}",
        usage="%(prog)s [COMMAND] [FLAGS]" if serve else "%(prog)s [FLAGS]",
        description=f"{_DESCRIPTION}\n\n{_command_list()}"
        if serve
        else f"{command.help[0].upper()}{command.help[1:]}.",
        epilog="\n  ".join(("examples:", *command.examples)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument("--version", action="version", version=version())
    for flag in flags:
        repeated = "; repeatable" if flag.repeatable else ""
        help_text = f"{flag.help}{repeated} (default: {flag.default or 'none'}; {flag.variable})".replace("%", "%%")
        if flag.metavar:
            parser.add_argument(
                f"--{flag.name}", dest=flag.field, action="append", metavar=flag.metavar, help=help_text
            )
        else:
            names = (f"--{flag.name}", f"--no-{flag.name}")
            parser.add_argument(*names, dest=flag.field, action=_Switch, nargs=0, help=help_text)
    return parser


def _command_list() -> str:
    return "\n".join(("commands:", *(f"  {command.name:<13} {command.help}" for command in COMMANDS)))


def version() -> str:
    """Return the line that `--version` prints."""
    return f"{PROGRAM}, version {__version__} (python {platform.python_version()})"
