"""The tables of commands and flags. Flags have the form of Prometheus' flags.

Each flag can also be set by an environment variable. Parser, help, completion and documentation are made from
`COMMANDS` and `FLAGS`. To add a command, add a dataclass to `options` whose fields are named for its operand and its
flags (`--config.file` is `config_file`), a row to `COMMANDS`, and the name of the command to the rows of its flags.
"""

import keyword
import re
from collections.abc import Callable
from dataclasses import dataclass

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
from exporter.config.parsing import (
    Choice,
    Duration,
    Integer,
    OptionalValue,
    parse_address,
    parse_boolean,
    parse_external_url,
    parse_path,
    parse_region,
    parse_url,
)
from exporter.config.timestamps import parse_time
from exporter.logs import FORMATS, LEVELS
from exporter.model.shard import MAX_SHARDS
from exporter.model.task_run import STATUSES, TASK_TYPES

DEFAULT_PORT = 10210
PROGRAM = "glue-ml-exporter"
VARIABLE_PREFIX = "GLUE_ML_EXPORTER_"
CONFIG_FILE = "config.yaml"
SHELLS = ("bash", "zsh", "fish")
COMPLETED = "transforms"
"""The word with which a completion script asks for the transforms of the configuration."""

OUTPUTS = ("table", "json", "csv")
TABLE_LIMIT = 20
"""Runs of each transform that a table shows without `--limit`."""

SORT_COLUMNS = ("STARTED", "STATUS", "TASK_RUN_TYPE")
"""The columns by which GetMLTaskRuns can sort (``TaskRunSortColumnType`` in the AWS Glue API reference)."""


@dataclass(frozen=True, slots=True)
class Operand:
    """The positional argument of a command. Without `many` and `optional`, exactly one argument is required.

    `field` is its field in the options. A missing optional argument is None.
    """

    field: str
    metavar: str
    help: str
    read: Callable[[str], object] = str
    many: bool = False
    optional: bool = False

    @property
    def usage(self) -> str:
        """The argument in the usage of the command."""
        return f"[{self.metavar}]" if self.optional else f"{self.metavar}..." if self.many else self.metavar


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its name, the class of its options, one line of help, and examples that a user can copy."""

    name: str
    options: type[Options]
    help: str
    examples: tuple[str, ...]
    details: str = ""
    """Further paragraphs of the help, separated by empty lines."""
    exits: tuple[tuple[int, str], ...] = ((0, "success"), (1, "failure; one line says why"))
    """Exit codes and their meanings. The help adds 2 (wrong command line), and for all commands except `serve` also 130
    (interrupted)."""
    operand: Operand | None = None


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag: its name without dashes, its help, the commands that take it, and the function that reads its text.

    `read` raises ValueError with a predicate (see `exporter.config.parsing`). A flag without `metavar` is a switch. Two
    flags can have the same name if no command takes both.
    """

    name: str
    help: str
    commands: tuple[str, ...]
    read: Callable[[str], object]
    default: str = ""
    metavar: str = ""
    repeatable: bool = False
    means_other: bool = False
    """Whether the flag means something else in other commands. The name of its variable then contains its command."""

    @property
    def variable(self) -> str:
        """The environment variable whose value is used if the flag is not given."""
        name = f"{self.commands[0]}-{self.name}" if self.means_other else self.name
        return VARIABLE_PREFIX + re.sub("[.-]", "_", name).upper()

    @property
    def field(self) -> str:
        """The field of the options that holds the value. `for` is a keyword of Python, so its field is `for_`."""
        return re.sub("[.-]", "_", self.name) + ("_" if keyword.iskeyword(self.name) else "")

    @property
    def words(self) -> tuple[str, ...]:
        """The words that the flag accepts; empty if it accepts other texts."""
        return self.read.words if isinstance(self.read, Choice | OptionalValue) else ()


_SERVE_DETAILS = """
SIGHUP reloads the configuration. SIGTERM and SIGINT stop the exporter within seconds, even while a call to AWS hangs.
"""

_RUNS_DETAILS = """
Name a transform by its id, its name in the configuration, or its name in Glue. If several transforms have the name,
all of them are shown. Account and region come from the configuration. Without a configuration file the credentials come
from the environment, the profile or the role of the host, and the region from --region or the environment.

Glue filters and sorts the runs of each transform, and the runs of several transforms are merged in this order. Times
are UTC unless they have a zone, and can be relative ('2h ago', '1d12h ago').

TOOK is the time from start to end, and includes waiting. EXECUTING is the ExecutionTime that Glue reports.

A table fits the terminal; in a pipe each run is one line. json prints each run as one line with an object that has the
fields of GetMLTaskRuns. csv prints a column for each field. Set NO_COLOR to turn colours off.
"""

_AS_CONFIGURATION = "jq -s '{transforms: map({id: .TransformId, name: .TransformName, region: .Region})}'"
_TRANSFORMS_DETAILS = """
Without --discover the list has the transforms of the configuration, and those that its discovery finds. With --discover
it has every transform in the accounts and regions of the configuration, to choose from. Without a configuration file
the credentials come from the environment, the profile or the role of the host, and the region from --region or the
environment.

The newest run shows which transforms are in use. json prints each transform as one line.
"""

_ONCE_DETAILS = """
Without --with-state the command uses no state file, so that it can run beside an exporter, and the counters contain
only runs that end during the poll. With --with-state it opens the file state.path of the configuration and counts the
runs since the last call. Then nothing else may use this file.

The output file is replaced atomically: a reader sees the complete old content or the complete new content.
"""

_IAM_POLICY_DETAILS = """
With --for the output has the role too, with its trust policy. irsa and pod-identity are for the role that the exporter
runs as in EKS. cross-account is for the roles that the exporter assumes in other accounts (role_arn). What the
configuration does not contain, such as the OIDC provider of the cluster, is a variable in Terraform, a parameter in
CloudFormation, and a word in capital letters in JSON.

A role is made only in the account of its role_arn, so the same file can be applied in every account.
"""

_CHECK_CONFIG_DETAILS = """
With --web.config.file it also checks that file, and the certificate, the key and the passwords in it.

With --live it also tries every call to AWS that the exporter needs. A table shows which calls succeed, which
IAM actions are denied, and which transforms do not exist.
"""

_RULES_DETAILS = """
The settings of the rules are thresholds, severities, labels, links and the alerts that are turned off. The page
docs/alerts.md shows all of them with their defaults. A file of settings needs only those that differ.
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
        _SERVE_DETAILS,
        ((0, "stopped by a signal"), (1, "could not start; one line says why")),
    ),
    Command(
        "demo",
        DemoOptions,
        "run the exporter against the embedded Glue simulator, without AWS, credentials or configuration",
        (f"{PROGRAM} demo", f"{PROGRAM} demo --web.listen-address=:8080 --scenario=busy.yaml"),
    ),
    Command(
        "simulate",
        SimulateOptions,
        "run the Glue simulator alone, for any AWS SDK client",
        (
            f"{PROGRAM} simulate",
            f"{PROGRAM} simulate --scenario=accounts",
            "AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any aws glue get-ml-transforms --region=eu-west-1 --endpoint-url=http://127.0.0.1:10211",
        ),
    ),
    Command(
        "runs",
        RunsOptions,
        "show the runs of transforms with their status, times and errors",
        (
            f"{PROGRAM} runs customers-dedup",
            f"{PROGRAM} runs --all --status=failed --started-after='12h ago'",
            f"{PROGRAM} runs tfm-0123456789abcdef0123456789abcdef01234567 --region=eu-west-1 --limit=1",
            f"{PROGRAM} runs customers-dedup --type=find-matches --follow",
            f"{PROGRAM} runs --all --status=failed --output=json | jq -r .ErrorString",
            f"{PROGRAM} runs customers-dedup --limit=1 --exit-code > /dev/null",
        ),
        _RUNS_DETAILS,
        (
            (0, "every requested run was read"),
            (1, "a transform does not exist or could not be read; one line says why"),
            (3, "with --exit-code: a listed run is FAILED or TIMEOUT"),
        ),
        Operand(
            "transforms",
            "TRANSFORM",
            "id or name of a transform; repeatable, left out with --all",
            many=True,
        ),
    ),
    Command(
        "transforms",
        TransformsOptions,
        "list the transforms that the configuration monitors, or all transforms of a region",
        (
            f"{PROGRAM} transforms",
            f"{PROGRAM} transforms --discover --region=eu-west-1",
            f"{PROGRAM} transforms --discover --output=json | {_AS_CONFIGURATION} > found.yaml",
        ),
        _TRANSFORMS_DETAILS,
        ((0, "every transform was read"), (1, "a transform does not exist or could not be read; one line says why")),
    ),
    Command(
        "once",
        OnceOptions,
        "poll once and print the metrics, or write them to a file for node_exporter",
        (
            f"{PROGRAM} once --config.file=config.yaml",
            f"{PROGRAM} once --with-state --output=/var/lib/node_exporter/glue_ml.prom",
        ),
        _ONCE_DETAILS,
        ((0, "every poll succeeded"), (1, "a poll failed; the metrics are written nevertheless")),
    ),
    Command(
        "check-config",
        CheckConfigOptions,
        "validate the configuration and print every problem with its place in the file",
        (f"{PROGRAM} check-config --config.file=config.yaml", f"{PROGRAM} check-config --live"),
        _CHECK_CONFIG_DETAILS,
        ((0, "valid"), (1, "a problem; with --live also: a call to AWS failed")),
    ),
    Command(
        "iam-policy",
        IamPolicyOptions,
        "print the least-privilege IAM policy for the configuration",
        (
            f"{PROGRAM} iam-policy --config.file=config.yaml > policy.json",
            f"{PROGRAM} iam-policy --output=terraform --for=irsa > exporter.tf",
            f"{PROGRAM} iam-policy --output=cloudformation --for=cross-account > roles.yaml",
        ),
        _IAM_POLICY_DETAILS,
    ),
    Command(
        "rules",
        RulesOptions,
        "write the recording and alerting rules for Prometheus to a folder",
        (
            f"{PROGRAM} rules --output=/etc/prometheus/rules",
            f"{PROGRAM} rules --output=rules --thresholds=thresholds.toml",
        ),
        _RULES_DETAILS,
    ),
    Command(
        "dashboards",
        DashboardsOptions,
        "write the dashboards for Grafana to a folder",
        (f"{PROGRAM} dashboards --output=/var/lib/grafana/dashboards",),
    ),
    Command(
        "completion",
        CompletionOptions,
        "print a script with which a shell completes commands, flags and values",
        (
            f'eval "$({PROGRAM} completion bash)"',
            f"{PROGRAM} completion zsh > ~/.zfunc/_{PROGRAM}",
            f"{PROGRAM} completion fish > ~/.config/fish/completions/{PROGRAM}.fish",
        ),
        operand=Operand(
            "shell",
            "SHELL",
            f"one of {', '.join(SHELLS)}; or {COMPLETED}, for the configured names and ids",
            Choice(*SHELLS, COMPLETED),
        ),
    ),
    Command(
        "help",
        HelpOptions,
        "print the help of a command, as COMMAND --help does",
        (f"{PROGRAM} help", f"{PROGRAM} help runs"),
        operand=Operand("command", "COMMAND", "name of a command; left out for the list of commands", optional=True),
    ),
    Command("version", VersionOptions, "print the version, as --version does", (f"{PROGRAM} version",)),
)

_LOGGING = ("serve", "demo", "simulate", "once")

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
        f"the configuration file; without the flag {CONFIG_FILE}, if this file exists",
        ("runs", "transforms", "completion"),
        OptionalValue(str),
        "",
        "FILE",
    ),
    Flag(
        "config.check",
        "validate the configuration and exit, as check-config does",
        ("serve",),
        parse_boolean,
        "false",
    ),
    Flag(
        "config.enable-auto-reload",
        "reload the configuration when its file changes",
        ("serve",),
        parse_boolean,
        "false",
    ),
    Flag(
        "config.auto-reload-interval",
        "interval at which the file is checked for changes",
        ("serve",),
        Duration(at_least=0.001),
        "30s",
        "DURATION",
    ),
    Flag(
        "web.listen-address",
        "address and port of the web server; without a host all addresses",
        ("serve", "demo"),
        parse_address,
        f":{DEFAULT_PORT}",
        "HOST:PORT",
        repeatable=True,
    ),
    Flag("web.telemetry-path", "path of the metrics", ("serve",), parse_path, "/metrics", "PATH"),
    Flag(
        "web.external-url",
        "URL of the pages behind a proxy; all paths then also work below its path",
        ("serve",),
        OptionalValue(parse_external_url),
        "",
        "URL",
    ),
    Flag(
        "web.config.file",
        "YAML file with TLS, basic authentication, headers and rate limit",
        ("serve", "check-config"),
        OptionalValue(str),
        "",
        "FILE",
    ),
    Flag(
        "web.max-requests",
        "maximum number of scrapes that are answered at the same time; 0 means no limit",
        ("serve",),
        Integer(0),
        "40",
        "COUNT",
    ),
    Flag("web.enable-lifecycle", "reload the configuration on POST /-/reload", ("serve",), parse_boolean, "false"),
    Flag(
        "web.disable-exporter-metrics",
        "leave out the metrics about the process of the exporter",
        ("serve",),
        parse_boolean,
        "false",
    ),
    Flag(
        "shard.index",
        "number of this shard, from 0; without the flag the number at the end of the host name, as in a StatefulSet",
        ("serve",),
        OptionalValue(Integer(0, MAX_SHARDS - 1)),
        "",
        "NUMBER",
    ),
    Flag(
        "shard.count",
        "number of exporters that share the transforms; all have the same configuration",
        ("serve",),
        Integer(1, MAX_SHARDS),
        "1",
        "COUNT",
    ),
    Flag(
        "listen-address",
        "address and port of the simulator",
        ("simulate",),
        parse_address,
        "127.0.0.1:10211",
        "HOST:PORT",
    ),
    Flag(
        "scenario",
        "YAML file with the transforms and runs to simulate, or a built-in scenario: demo (the default) or accounts",
        ("demo", "simulate"),
        OptionalValue(str),
        "",
        "FILE",
    ),
    Flag(
        "all",
        "show all transforms of the configuration; without a configuration, all transforms of the region",
        ("runs",),
        parse_boolean,
        "false",
    ),
    Flag(
        "discover",
        "list every transform in the accounts and regions, also those that are not monitored",
        ("transforms",),
        parse_boolean,
        "false",
    ),
    Flag("region", "look only in this region", ("runs", "transforms"), OptionalValue(parse_region), "", "REGION"),
    Flag(
        "endpoint-url",
        "Glue endpoint for all accounts, instead of the endpoint of AWS",
        ("runs", "transforms"),
        OptionalValue(parse_url),
        "",
        "URL",
    ),
    Flag("type", "only runs of this task type", ("runs",), OptionalValue(Choice(*TASK_TYPES)), "", "TYPE"),
    Flag("status", "only runs with this status", ("runs",), OptionalValue(Choice(*STATUSES)), "", "STATUS"),
    Flag("started-after", "only runs that started after this time", ("runs",), OptionalValue(parse_time), "", "TIME"),
    Flag("started-before", "only runs that started before this time", ("runs",), OptionalValue(parse_time), "", "TIME"),
    Flag("sort", "the column to sort by", ("runs",), Choice(*SORT_COLUMNS), "STARTED", "COLUMN"),
    Flag("descending", "highest values first; for times, the latest first", ("runs",), parse_boolean, "true"),
    Flag(
        "limit",
        f"maximum number of runs of each transform, 0 for all; without the flag {TABLE_LIMIT} in a table, else all",
        ("runs",),
        OptionalValue(Integer(0)),
        "",
        "COUNT",
    ),
    Flag("output", "output format", ("runs",), Choice(*OUTPUTS), "table", "FORMAT", means_other=True),
    Flag("output", "output format", ("transforms",), Choice(*OUTPUTS), "table", "FORMAT", means_other=True),
    Flag(
        "output",
        "write the metrics to this file instead of stdout, e.g. glue_ml.prom",
        ("once",),
        OptionalValue(str),
        "",
        "FILE",
        means_other=True,
    ),
    Flag(
        "output",
        "folder for the files; it is created if it is missing",
        ("rules", "dashboards"),
        str,
        ".",
        "FOLDER",
        means_other=True,
    ),
    Flag(
        "thresholds",
        "TOML file with settings of the rules; without the flag the defaults",
        ("rules",),
        OptionalValue(str),
        "",
        "FILE",
    ),
    Flag(
        "with-state",
        "use the state file of the configuration, and count the runs since the last call",
        ("once",),
        parse_boolean,
        "false",
    ),
    Flag(
        "output",
        "output format",
        ("iam-policy",),
        Choice("json", "terraform", "cloudformation"),
        "json",
        "FORMAT",
        means_other=True,
    ),
    Flag(
        "for",
        "add the role and its trust policy, for this way to get credentials",
        ("iam-policy",),
        OptionalValue(Choice("irsa", "pod-identity", "cross-account")),
        "",
        "KIND",
    ),
    Flag("follow", "print new and changed runs until Ctrl-C", ("runs",), parse_boolean, "false"),
    Flag("exit-code", "exit with 3 if a listed run is FAILED or TIMEOUT", ("runs",), parse_boolean, "false"),
    Flag(
        "live",
        "also try every call to AWS that the exporter needs",
        ("check-config",),
        parse_boolean,
        "false",
    ),
    Flag(
        "log.level",
        "lowest level of messages to write",
        _LOGGING,
        Choice(*LEVELS),
        "info",
        "LEVEL",
    ),
    Flag("log.format", "format of messages", _LOGGING, Choice(*FORMATS), "logfmt", "FORMAT"),
)
"""Every flag, in the order of the help."""


def flags_of(command: Command) -> list[Flag]:
    """Return the flags that a command takes, in the order of the table."""
    return [flag for flag in FLAGS if command.name in flag.commands]


def spellings(flag: Flag) -> tuple[str, ...]:
    """Return the forms in which a flag can be typed: `--name`, and for a switch also `--no-name`."""
    return (f"--{flag.name}",) if flag.metavar else (f"--{flag.name}", f"--no-{flag.name}")
