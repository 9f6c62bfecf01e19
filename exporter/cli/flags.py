"""The command line: flags in the manner of Prometheus, each also an environment variable.

`COMMANDS` and `FLAGS` are the whole truth: parser, help, completion and documentation are made from them. A new command
is a dataclass whose fields are named for its operand and its flags (`--config.file` -> `config_file`), a row in
`COMMANDS`, and its name in the rows of its flags.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from exporter.cli.options import (
    CheckConfigOptions,
    CompletionOptions,
    DemoOptions,
    IamPolicyOptions,
    OnceOptions,
    Options,
    RunsOptions,
    ServeOptions,
    SimulateOptions,
)
from exporter.config.parsing import (
    Choice,
    Maybe,
    Whole,
    parse_address,
    parse_count,
    parse_interval,
    parse_path,
    parse_region,
    parse_switch,
    parse_url,
)
from exporter.config.timestamps import parse_moment
from exporter.logs import FORMATS, LEVELS
from exporter.model.shard import MAX_SHARDS
from exporter.model.task_run import STATUSES, TASK_TYPES

DEFAULT_PORT = 10210
PROGRAM = "glue-ml-exporter"
CONFIG_FILE = "config.yaml"
SHELLS = ("bash", "zsh", "fish")
OUTPUTS = ("table", "json", "csv")
TABLE_LIMIT = 20
"""Runs of each transform that a table shows if nothing else is asked for."""

SORT_COLUMNS = ("STARTED", "STATUS", "TASK_RUN_TYPE")
"""The columns by which GetMLTaskRuns sorts (``TaskRunSortColumnType``)."""


@dataclass(frozen=True, slots=True)
class Operand:
    """What a command takes beside flags; `field` is that of its options. Without `many` it is exactly one."""

    field: str
    metavar: str
    help: str
    read: Callable[[str], object] = str
    many: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """A command: what `parse` returns for it, one line about it, examples to copy, and what else its help says."""

    name: str
    options: type[Options]
    help: str
    examples: tuple[str, ...]
    details: str = ""
    """Paragraphs, with an empty line between."""
    exits: tuple[tuple[int, str], ...] = ((0, "done"), (1, "it could not be done; one line says why"))
    """Exit codes beside 2, a wrong call, and 130, interrupted."""
    operand: Operand | None = None


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag: its name without dashes, what it is for, how its text is read, and which commands take it.

    `read` raises ValueError with a predicate (see `values`). A flag without `metavar` is a switch. Two flags may have
    one name if no command takes both.
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

    @property
    def words(self) -> tuple[str, ...]:
        """The words among which the flag chooses, if it does."""
        return self.read.words if isinstance(self.read, Choice | Maybe) else ()


_ABOUT_SERVE = """
SIGHUP reloads the configuration. SIGTERM and SIGINT stop the exporter, within seconds even while a call to AWS hangs.
"""

_ABOUT_RUNS = """
A transform is given by its id, its name in the configuration, or its name in Glue; all that have the name are shown.
Its account and region are those of the configuration. Without a configuration the credentials are the ambient ones
(environment, profile, role of the host), and the region is that of --region or the environment.

Glue itself filters and sorts, the runs of each transform by themselves. Times are UTC unless they have a zone, and
may be relative ('2h ago', '1d12h ago').

A table fits the terminal; in a pipe each run is one line. json is one object a line with the fields of GetMLTaskRuns,
csv has a column for each of them. NO_COLOR is respected.
"""

_ABOUT_ONCE = """
A file is replaced as a whole or not at all: no reader ever sees half of it.
"""

_ABOUT_CHECK_CONFIG = """
With --live it also asks AWS for everything once, as the exporter would, and shows what works, what is denied and by
which IAM action, and what is not there.
"""

COMMANDS = (
    Command(
        "serve",
        ServeOptions,
        "run the exporter (the default command)",
        (
            f"{PROGRAM} --config.file=config.yaml",
            f"{PROGRAM} serve --web.listen-address=127.0.0.1:{DEFAULT_PORT} --log.format=json",
        ),
        _ABOUT_SERVE,
        ((0, "stopped by a signal"), (1, "it could not start; one line says why")),
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
        "runs",
        RunsOptions,
        "show the runs of transforms: which, how they ended, why, since when",
        (
            f"{PROGRAM} runs customers-dedup",
            f"{PROGRAM} runs --all --status=failed --started-after='12h ago'",
            f"{PROGRAM} runs tfm-0123456789abcdef0123456789abcdef01234567 --region=eu-west-1 --limit=1",
            f"{PROGRAM} runs customers-dedup --type=find-matches --follow",
            f"{PROGRAM} runs --all --status=failed --output=json | jq -r .ErrorString",
            f"{PROGRAM} runs customers-dedup --limit=1 --exit-code > /dev/null",
        ),
        _ABOUT_RUNS,
        (
            (0, "all that was asked for was read"),
            (1, "something could not be read, or there is no such transform; one line says why"),
            (3, "with --exit-code: a run that was listed is FAILED or TIMEOUT"),
        ),
        Operand("transforms", "TRANSFORM", "the id or the name of a transform; several, or none with --all", many=True),
    ),
    Command(
        "once",
        OnceOptions,
        "poll once and print the metrics, or write them to a file for node_exporter",
        (
            f"{PROGRAM} once --config.file=config.yaml",
            f"{PROGRAM} once --output=/var/lib/node_exporter/glue_ml.prom",
        ),
        _ABOUT_ONCE,
        ((0, "all was polled"), (1, "a target failed, which the metrics tell, too")),
    ),
    Command(
        "check-config",
        CheckConfigOptions,
        "validate the configuration: every mistake with its place",
        (f"{PROGRAM} check-config --config.file=config.yaml", f"{PROGRAM} check-config --live"),
        _ABOUT_CHECK_CONFIG,
        ((0, "good"), (1, "a mistake; with --live also: something does not work")),
    ),
    Command(
        "iam-policy",
        IamPolicyOptions,
        "print the least IAM policy that the configuration needs, as JSON",
        (f"{PROGRAM} iam-policy --config.file=config.yaml > policy.json",),
    ),
    Command(
        "completion",
        CompletionOptions,
        "print a script that completes commands, flags and values in a shell",
        (
            f'eval "$({PROGRAM} completion bash)"',
            f"{PROGRAM} completion zsh > ~/.zfunc/_{PROGRAM}",
            f"{PROGRAM} completion fish > ~/.config/fish/completions/{PROGRAM}.fish",
        ),
        operand=Operand("shell", "SHELL", f"one of {', '.join(SHELLS)}", Choice(*SHELLS)),
    ),
)

_RUNNING = ("serve", "demo", "simulate", "once")

FLAGS = (
    Flag(
        "config.file",
        "the configuration file",
        ("serve", "once", "check-config", "iam-policy"),
        str,
        CONFIG_FILE,
        "FILE",
    ),
    Flag(
        "config.file",
        f"the configuration file; without: {CONFIG_FILE}, if it is there",
        ("runs",),
        Maybe(str),
        "",
        "FILE",
    ),
    Flag(
        "config.check",
        "validate the configuration and exit: the same as check-config",
        ("serve",),
        parse_switch,
        "false",
    ),
    Flag(
        "config.enable-auto-reload",
        "reload the configuration when the file has changed",
        ("serve",),
        parse_switch,
        "false",
    ),
    Flag(
        "config.auto-reload-interval",
        "how often to look for a changed file",
        ("serve",),
        parse_interval,
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
    Flag("web.telemetry-path", "the path of the metrics", ("serve",), parse_path, "/metrics", "PATH"),
    Flag("web.config.file", "TLS, basic authentication, headers and rate limit", ("serve",), Maybe(str), "", "FILE"),
    Flag(
        "web.max-requests",
        "answer at most so many scrapes at once; 0: no limit",
        ("serve",),
        parse_count,
        "40",
        "COUNT",
    ),
    Flag("web.enable-lifecycle", "allow a reload by POST to /-/reload", ("serve",), parse_switch, "false"),
    Flag(
        "web.disable-exporter-metrics",
        "leave out the metrics about the exporter's own process",
        ("serve",),
        parse_switch,
        "false",
    ),
    Flag(
        "shard.index",
        "which of the shards this is, from 0; without: the number that ends the host's name, as a StatefulSet gives it",
        ("serve",),
        Maybe(Whole(0, MAX_SHARDS - 1)),
        "",
        "NUMBER",
    ),
    Flag(
        "shard.count",
        "divide the transforms among so many exporters, each with the same configuration",
        ("serve",),
        Whole(1, MAX_SHARDS),
        "1",
        "COUNT",
    ),
    Flag("listen-address", "where the simulator answers", ("simulate",), parse_address, "127.0.0.1:10211", "HOST:PORT"),
    Flag("scenario", "what happens, as YAML; without: the built-in", ("demo", "simulate"), Maybe(str), "", "FILE"),
    Flag("all", "all transforms of the configuration; without one, of the region", ("runs",), parse_switch, "false"),
    Flag("region", "ask only in this region", ("runs",), Maybe(parse_region), "", "REGION"),
    Flag("endpoint-url", "another Glue endpoint, for all accounts", ("runs",), Maybe(parse_url), "", "URL"),
    Flag("type", "only runs of this task type", ("runs",), Maybe(Choice(*TASK_TYPES)), "", "TYPE"),
    Flag("status", "only runs that have this status", ("runs",), Maybe(Choice(*STATUSES)), "", "STATUS"),
    Flag("started-after", "only runs that started after this", ("runs",), Maybe(parse_moment), "", "TIME"),
    Flag("started-before", "only runs that started before this", ("runs",), Maybe(parse_moment), "", "TIME"),
    Flag("sort", "the order of the runs", ("runs",), Choice(*SORT_COLUMNS), "STARTED", "COLUMN"),
    Flag("descending", "the highest first, of times the latest", ("runs",), parse_switch, "true"),
    Flag(
        "limit",
        f"at most so many runs of each transform, 0 for all; without: {TABLE_LIMIT} in a table, else all",
        ("runs",),
        Maybe(parse_count),
        "",
        "COUNT",
    ),
    Flag("output", "the form of the output", ("runs",), Choice(*OUTPUTS), "table", "FORM"),
    Flag("output", "write to this file instead, e.g. glue_ml.prom", ("once",), Maybe(str), "", "FILE"),
    Flag("follow", "go on with new and changed runs as they come, until Ctrl-C", ("runs",), parse_switch, "false"),
    Flag("exit-code", "exit 3 if a run that was listed has failed or timed out", ("runs",), parse_switch, "false"),
    Flag("live", "ask AWS for everything once, too", ("check-config",), parse_switch, "false"),
    Flag(
        "log.level",
        f"write messages from this level on: {', '.join(LEVELS)}",
        _RUNNING,
        Choice(*LEVELS),
        "info",
        "LEVEL",
    ),
    Flag("log.format", f"how: {', '.join(FORMATS)}", _RUNNING, Choice(*FORMATS), "logfmt", "FORMAT"),
)
"""Every flag, in the order of the help."""


def flags_of(command: Command) -> list[Flag]:
    """Return the flags that a command takes, in the order of the table."""
    return [flag for flag in FLAGS if command.name in flag.commands]


def spellings(flag: Flag) -> tuple[str, ...]:
    """Return the forms in which a flag can be typed: `--name`, and for a switch also `--no-name`."""
    return (f"--{flag.name}",) if flag.metavar else (f"--{flag.name}", f"--no-{flag.name}")
