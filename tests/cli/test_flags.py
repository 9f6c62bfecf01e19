import re
import shlex
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cli.flags import COMMANDS, DEFAULT_PORT, FLAGS, Flag
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
from exporter.cli.parser import UsageError, parse, unknown_variables
from exporter.config.parsing import parse_address
from exporter.config.timestamps import PointInTime


def options(line: str, **environ: str) -> Options:
    return parse(line.split(), environ)


def serve(line: str, **environ: str) -> ServeOptions:
    found = options(line, **environ)
    assert isinstance(found, ServeOptions)
    return found


def refusal(line: str, **environ: str) -> str:
    with pytest.raises(UsageError) as caught:
        options(line, **environ)
    return str(caught.value)


def variables(**flags: str) -> dict[str, str]:
    return {f"GLUE_ML_EXPORTER_{name}": value for name, value in flags.items()}


def test_defaults() -> None:
    """Without flags, each command has the documented defaults; without a command it is `serve`."""
    assert options("") == ServeOptions(
        config_file="config.yaml",
        config_enable_auto_reload=False,
        config_auto_reload_interval=30,
        web_listen_address=(("", DEFAULT_PORT),),
        web_telemetry_path="/metrics",
        web_external_url=None,
        web_config_file=None,
        web_max_requests=40,
        web_enable_lifecycle=False,
        web_disable_exporter_metrics=False,
        shard_index=None,
        shard_count=1,
        log_level="info",
        log_format="logfmt",
    )
    assert options("demo") == DemoOptions((("", DEFAULT_PORT),), None, "info", "logfmt")
    assert options("simulate") == SimulateOptions(("127.0.0.1", 10211), None, "info", "logfmt")
    assert options("once") == OnceOptions("config.yaml", None, False, "info", "logfmt")
    assert options("check-config") == CheckConfigOptions("config.yaml", None, live=False)
    assert options("dashboards") == DashboardsOptions(".")
    assert options("completion zsh") == CompletionOptions("zsh", None)
    assert options("runs a b") == RunsOptions(
        transforms=("a", "b"),
        config_file=None,
        all=False,
        region=None,
        endpoint_url=None,
        type=None,
        status=None,
        started_after=None,
        started_before=None,
        sort="STARTED",
        descending=True,
        limit=None,
        output="table",
        follow=False,
        exit_code=False,
    )
    assert options("iam-policy") == IamPolicyOptions("config.yaml", "json", None)


@pytest.mark.parametrize(
    "line",
    ["once --config.file=x", "once --config.file x", "--config.file x once", "--config.file=x once"],
)
def test_flags_and_command_in_any_order(line: str) -> None:
    """A value follows its flag after = or a space, and flags can come before or after the command."""
    assert options(line) == OnceOptions("x", None, False, "info", "logfmt")


def test_a_value_is_not_a_command() -> None:
    """A word after a flag is the value of the flag, even if a command has the same name."""
    assert serve("--config.file once").config_file == "once"
    assert serve("serve --config.file serve") == serve("--config.file serve")


def test_config_check_is_check_config() -> None:
    """The flag --config.check does the same as the command check-config."""
    assert options("--config.check --config.file=x") == options("check-config --config.file=x")
    assert options("--web.config.file=web.yml", **variables(CONFIG_CHECK="1")) == CheckConfigOptions(
        "config.yaml", "web.yml", live=False
    )
    assert isinstance(options("--config.check --no-config.check"), ServeOptions)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":10210", ("", 10210)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("localhost:80", ("localhost", 80)),
        ("[::1]:10210", ("::1", 10210)),
        ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
        ("[::]:65535", ("::", 65535)),
    ],
)
def test_address(text: str, address: tuple[str, int]) -> None:
    """A listen address is host and port, with brackets around an IPv6 host; no host means all addresses."""
    assert parse_address(text) == address
    assert serve(f"--web.listen-address={text}").web_listen_address == (address,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "localhost:http",
        "10210",
        ":",
        "::1:80",
        "[]:80",
        "[::1]",
        "a b:1",
        ":65536",
        ":-1",
        "http://a:1",
        ":1a",
    ],
)
def test_not_an_address(text: str) -> None:
    """A text that is not a listen address is refused with examples of addresses."""
    with pytest.raises(ValueError, match=r"is not an address; expected host:port, e\.g\. :10210"):
        parse_address(text)


def test_repeatable() -> None:
    """A repeatable flag collects its values; in the environment variable commas separate them."""
    expected = (("a", 1), ("", 2))
    assert serve("--web.listen-address a:1 --web.listen-address=:2").web_listen_address == expected
    assert serve("", **variables(WEB_LISTEN_ADDRESS="a:1, :2")).web_listen_address == expected
    assert serve("--log.level=warn --log.level=error").log_level == "error"


def test_flags_win_over_the_environment() -> None:
    """An environment variable is used only if its flag is not given; an empty variable counts as not set."""
    environ = variables(LOG_LEVEL="debug", WEB_LISTEN_ADDRESS="a:1", WEB_MAX_REQUESTS="")
    assert serve("", **environ).log_level == "debug"
    assert serve("--log.level=warn", **environ).log_level == "warn"
    assert serve("--web.listen-address=:2", **environ).web_listen_address == (("", 2),)
    assert serve("", **environ).web_max_requests == 40


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1", True), ("TRUE", True), ("false", False), ("0", False)]
)
def test_switches(text: str, value: bool) -> None:
    """--x turns a switch on, and --no-x turns it off. The environment can say true or 1, false or 0."""
    environ = variables(WEB_ENABLE_LIFECYCLE=text)
    assert serve("", **environ).web_enable_lifecycle is value
    assert serve("--web.enable-lifecycle", **environ).web_enable_lifecycle is True
    assert serve("--no-web.enable-lifecycle", **environ).web_enable_lifecycle is False


def test_service_links_of_kubernetes_are_not_flags() -> None:
    """The variables that Kubernetes sets for a service named glue-ml-exporter change no option."""
    environ = variables(SERVICE_HOST="10.0.0.1", PORT="tcp://10.0.0.1:80", PORT_80_TCP_ADDR="10.0.0.1")
    assert options("", **environ) == options("")
    assert not {flag.variable for flag in FLAGS} & environ.keys()


def test_a_misspelt_variable_gets_a_suggestion() -> None:
    """A variable with the prefix of the program that no flag has is found; links of Kubernetes services are not."""
    links = variables(SERVICE_HOST="10.0.0.1", PORT="tcp://10.0.0.1:80", PORT_80_TCP_ADDR="10.0.0.1", REVISION="1")
    links |= variables(METRICS_SERVICE_PORT_HTTP="80", METRICS_PORT_80_TCP="tcp://10.0.0.1:80")
    known = {flag.variable: "x" for flag in FLAGS}
    unknown = variables(LOG_LEVLE="info", WEB_LISTENADDRESS=":1", OUTPUT="json", ZZZ="1")
    assert unknown_variables({"PATH": "/", **links, **known}) == {}
    assert unknown_variables({**links, **known, **unknown}) == {
        "GLUE_ML_EXPORTER_LOG_LEVLE": "did you mean GLUE_ML_EXPORTER_LOG_LEVEL?",
        "GLUE_ML_EXPORTER_OUTPUT": "did you mean GLUE_ML_EXPORTER_RUNS_OUTPUT?",
        "GLUE_ML_EXPORTER_WEB_LISTENADDRESS": "did you mean GLUE_ML_EXPORTER_WEB_LISTEN_ADDRESS?",
        "GLUE_ML_EXPORTER_ZZZ": "see --help",
    }


def test_a_variable_has_one_meaning() -> None:
    """Flags with the same name share a variable only if they take the same values."""
    environ = variables(RUNS_OUTPUT="csv", ONCE_OUTPUT="glue_ml.prom")
    once, runs = options("once", **environ), options("runs tfm-a", **environ)
    assert isinstance(once, OnceOptions)
    assert isinstance(runs, RunsOptions)
    assert (once.output, runs.output) == ("glue_ml.prom", "csv")
    for flag in FLAGS:
        same = [other for other in FLAGS if other.variable == flag.variable]
        assert {(other.name, other.metavar) for other in same} == {(flag.name, flag.metavar)}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("onec", "unknown command 'onec'; did you mean once?"),
        (
            "zzz",
            f"unknown command 'zzz'; expected one of {', '.join(command.name for command in COMMANDS)}",
        ),
        ("--config.fil=x", "unknown flag '--config.fil'; did you mean --config.file?"),
        ("once --config.fil x", "unknown flag '--config.fil'; did you mean --config.file?"),
        ("once --zzz", "unknown flag '--zzz'; see glue-ml-exporter once --help"),
        ("-x", "unknown flag '-x'; see --help"),
        ("--web.max=3", "unknown flag '--web.max'; did you mean --web.max-requests?"),
        ("demo --region=eu-west-1", "--region is a flag of runs, transforms, not of demo"),
        ("demo --no-follow", "--no-follow is a flag of runs, not of demo"),
        ("once again", "unexpected argument 'again'; once takes only flags"),
        ("runs a --follw", "unknown flag '--follw'; did you mean --follow?"),
        ("runz a", "unknown command 'runz'; did you mean runs?"),
        (
            "runs a --sort=start",
            "--sort: 'start' is not one of STARTED, STATUS, TASK_RUN_TYPE; did you mean STARTED?",
        ),
        (
            "runs a --started-after=soon",
            "--started-after: 'soon' is not a time; expected e.g. '2h ago', 2026-11-26 or 2026-11-26T09:00Z",
        ),
        ("runs a --region=Ireland", "--region: 'Ireland' is not an AWS region; expected e.g. eu-west-1"),
        (
            "completion",
            "completion takes one SHELL: one of bash, zsh, fish; or transforms, for the configured names and ids",
        ),
        ("completion csh", "SHELL: 'csh' is not one of bash, zsh, fish, transforms; did you mean zsh?"),
        ("--config.file", "--config.file: expected one argument"),
        ("--log.level=loud", "--log.level: 'loud' is not one of debug, info, warn, error"),
        ("--log.format=xml", "--log.format: 'xml' is not one of logfmt, json"),
        ("--web.max-requests=-1", "--web.max-requests: '-1' is not a whole number of at least 0"),
        ("--shard.count=0", "--shard.count: '0' is not a whole number from 1 to 1000"),
        ("--shard.index=-1", "--shard.index: '-1' is not a whole number from 0 to 999"),
        ("--shard.index=one", "--shard.index: 'one' is not a whole number from 0 to 999"),
        (
            "--config.auto-reload-interval=30",
            "--config.auto-reload-interval: '30' is not a duration; expected e.g. 90s, 5m, 1h30m",
        ),
        ("--config.auto-reload-interval=0s", "--config.auto-reload-interval: '0s' is too short; expected at least 1ms"),
    ],
)
def test_usage_errors(line: str, message: str) -> None:
    """An error is one line that names the flag, the value, and the expected values or a suggestion."""
    assert refusal(line) == message


def test_operands_and_flags_in_any_order() -> None:
    """Operands can come before, between or after flags; after -- every word is an operand."""
    for line in ("runs a b --limit=3", "runs a --limit 3 b", "runs --limit 3 a b", "--limit 3 runs a b"):
        found = options(line)
        assert isinstance(found, RunsOptions)
        assert (found.transforms, found.limit) == (("a", "b"), 3)
    found = options("runs a -- --limit")
    assert isinstance(found, RunsOptions)
    assert found.transforms == ("a", "--limit")


def test_words_of_the_api_in_any_case() -> None:
    """Types, statuses and columns can be written in any case, and become the words of the API."""
    found = options("runs a --type find-matches --status failed --sort Task_Run_Type --no-descending")
    assert isinstance(found, RunsOptions)
    assert (found.type, found.status, found.sort, found.descending) == (
        "FIND_MATCHES",
        "FAILED",
        "TASK_RUN_TYPE",
        False,
    )


def test_times_of_the_command_line() -> None:
    """A time is absolute, or relative to the start of the command."""
    found = parse(["runs", "a", "--started-after", "2h ago", "--started-before=2026-11-26T09:00Z"], {})
    assert isinstance(found, RunsOptions)
    assert found.started_after == PointInTime(7200, relative=True)
    assert found.started_before == PointInTime(1795683600, relative=False)


@pytest.mark.parametrize("path", ["metrics", "/", "/config", "/-/healthy", "/a b", "/m?x", "/m#x", "/<b>"])
def test_paths_that_cannot_carry_metrics(path: str) -> None:
    """The path of the metrics must be a valid path, and no other page may have the same path."""
    with pytest.raises(UsageError, match=r"--web\.telemetry-path: .* is not a path for metrics"):
        parse([f"--web.telemetry-path={path}"], {})


def test_a_mistake_in_the_environment_names_the_variable() -> None:
    """The error for a wrong value in the environment names the variable."""
    assert refusal("", **variables(LOG_LEVEL="x")).startswith("GLUE_ML_EXPORTER_LOG_LEVEL: 'x' is not one of")
    assert (
        refusal("", **variables(CONFIG_CHECK="maybe"))
        == "GLUE_ML_EXPORTER_CONFIG_CHECK: 'maybe' is neither true nor false"
    )


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the name, the version and the version of Python, with any command."""
    for line in ("--version", "once --version"):
        with pytest.raises(SystemExit) as caught:
            options(line)
        assert caught.value.code == 0
        assert re.fullmatch(
            r"glue-ml-exporter, version \d+\.\d+\.\d+ \(python 3\.\d+\.\d+\S*\)\n", capsys.readouterr().out
        )


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_of_each_command(command: object, capsys: pytest.CaptureFixture[str]) -> None:
    """The help of a command names all its flags with their variables, its examples, details and exit codes."""
    (found,) = [known for known in COMMANDS if known is command]
    with pytest.raises(SystemExit) as caught:
        options(f"{found.name} --help")
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    variables = {flag.variable for flag in FLAGS if found.name in flag.commands}
    assert set(re.findall(r"GLUE_ML_EXPORTER_[A-Z_]+", text)) == variables
    for text_of_command in (*found.examples, *found.details.split("\n\n"), *(meaning for _, meaning in found.exits)):
        assert " ".join(text_of_command.split()) in text


def own_examples() -> list[str]:
    lines = [example for command in COMMANDS for example in command.examples]
    return [line for line in lines if line.startswith("glue-ml-exporter")]


@pytest.mark.parametrize("example", own_examples())
def test_examples_are_valid(example: str) -> None:
    """The parser accepts every example of the help."""
    parse(shlex.split(re.split(" [>|] ", example)[0])[1:], {})


def test_top_level_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """The help without a command lists every command."""
    with pytest.raises(SystemExit):
        options("--help")
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert f"  {command.name} " in text


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_options_and_flags_agree(command: object) -> None:
    """The options of a command have a field for its operand and for each flag, in the order of the table."""
    (found,) = [known for known in COMMANDS if known is command]
    flags = [flag.field for flag in FLAGS if found.name in flag.commands and flag.name != "config.check"]
    operand = [found.operand.field] if found.operand else []
    assert [field.name for field in fields(found.options)] == operand + flags


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_the_table_of_flags(flag: Flag) -> None:
    """Each flag has a valid default and existing commands, and two flags of a command never share a variable."""
    flag.read(flag.default)
    assert set(flag.commands) <= {command.name for command in COMMANDS}
    same = [other for other in FLAGS if other.variable == flag.variable and set(other.commands) & set(flag.commands)]
    assert same == [flag]


@given(st.lists(st.text(max_size=10) | st.sampled_from([f"--{flag.name}" for flag in FLAGS]), max_size=5))
def test_any_command_line_gives_options_or_one_line(argv: list[str]) -> None:
    """Any command line gives options or a usage error of one line."""
    argv = [argument for argument in argv if argument not in ("-h", "--help", "--version")]
    try:
        parse(argv, {})
    except UsageError as error:
        message = str(error)
    except SystemExit as leave:
        message = f"help for {leave.code}"
    else:
        message = "options"
    assert message.isprintable()


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://a.example.com", "https://a.example.com/"),
        ("http://a.example.com:8080/b/glue-ml//", "http://a.example.com:8080/b/glue-ml/"),
    ],
)
def test_the_external_url_ends_with_a_slash(text: str, url: str) -> None:
    """The links of the pages are relative to the external URL, so it is read with one slash at its end."""
    found = parse([f"--web.external-url={text}"], {})
    assert isinstance(found, ServeOptions)
    assert found.web_external_url == url


@pytest.mark.parametrize(
    "url", ["/glue", "ftp://a/", "https://u:p@a/", "https://a/?x", "https://a/b c", "https://a/%41", "https://a/b/../c"]
)
def test_urls_that_cannot_be_the_external_url(url: str) -> None:
    """The external URL must be an http or https URL with a plain path; the error shows the form."""
    with pytest.raises(UsageError, match=r"--web\.external-url: .*; expected e\.g\. https://"):
        parse([f"--web.external-url={url}"], {})
