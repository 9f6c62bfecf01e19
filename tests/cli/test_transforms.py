"""The command `transforms` lists the monitored transforms, or with --discover all transforms of a region."""

import csv
import io
import shlex
import subprocess

import pytest

from exporter.cli import main
from exporter.cli.flags import COMMANDS
from exporter.cli.options import TransformsOptions
from exporter.cli.parser import UsageError, parse
from exporter.cli.transforms import show_transforms
from exporter.config.settings import load_config
from tests.cli.typed import Typed, configure
from tests.ship.programs import environment
from tests.support import EXPORTER, ROOT, run, tool

JSON = "--output=json"


@pytest.fixture(autouse=True)
def folder(environment, tmp_path):
    """Return an empty folder, the working directory of the commands."""
    environment.chdir(tmp_path)
    return tmp_path


def transforms(*arguments):
    options = parse(["transforms", *arguments], {})
    assert isinstance(options, TransformsOptions)
    out, err = io.StringIO(), io.StringIO()
    code = show_transforms(options, out, err)
    return Typed(code, out.getvalue(), err.getvalue())


def ids(typed):
    return [row["TransformId"] for row in typed.objects]


def test_the_transforms_that_the_configuration_monitors(simulator, folder):
    """The list has the configured and the discovered transforms, with their states and the start of the newest run."""
    simulator.world.add_run("tfm-a", status="FAILED", started=1_700_000_000)
    configure(
        folder, simulator.url, transforms=[{"id": "tfm-b", "name": "mine"}], discovery=[{"tags": {"team": "blue"}}]
    )
    assert transforms(JSON).objects == [
        {
            "TransformId": "tfm-b",
            "TransformName": "mine",
            "Account": "default",
            "Region": "eu-west-1",
            "Status": "READY",
            "NewestRunStartedOn": None,
        },
        {
            "TransformId": "tfm-a",
            "TransformName": "alpha",
            "Account": "default",
            "Region": "eu-west-1",
            "Status": "READY",
            "NewestRunStartedOn": "2023-11-14T22:13:20.000Z",
        },
    ]


def test_discover_lists_every_transform_of_every_account(simulator, folder):
    """--discover lists all transforms of the configured accounts and regions, and no configured one that is missing."""
    accounts = [{"name": "one", "profile": "one"}, {"name": "two", "profile": "two"}]
    listed = [{"id": "tfm-one", "account": "one", "name": "mine"}, {"id": "tfm-gone", "account": "one"}]
    configure(folder, simulator.url, accounts=accounts, transforms=listed)
    rows = transforms("--discover", JSON).objects
    assert [(row["TransformId"], row["TransformName"], row["Account"]) for row in rows] == [
        ("tfm-one", "mine", "one"),
        ("tfm-two", "same", "two"),
    ]


def test_a_configuration_from_what_is_discovered(simulator):
    """A command in the help turns the output of --discover into a valid configuration."""
    (example,) = [text for command in COMMANDS for text in command.examples if "jq -s" in text]
    jq = tool("jq")
    rows = transforms("--discover", "--region=eu-west-1", f"--endpoint-url={simulator.url}", JSON).stdout
    _, *arguments = shlex.split(example.partition("|")[2].partition(">")[0])
    made = subprocess.run(
        [jq, *arguments], env=environment(jq), input=rows, capture_output=True, text=True, check=True
    ).stdout
    config = load_config(made, source="config.yaml", environ={})
    assert [(one.id, one.name, one.region) for one in config.transforms] == [
        ("tfm-a", "alpha", "eu-west-1"),
        ("tfm-b", "beta", "eu-west-1"),
    ]


@pytest.mark.slow
def test_without_a_configuration_the_region_is_listed(simulator):
    """With a region and ambient credentials the command needs no configuration file."""
    given = ("--region=eu-west-1", f"--endpoint-url={simulator.url}", JSON)
    assert ids(transforms(*given)) == ids(transforms("--discover", *given)) == ["tfm-a", "tfm-b"]
    with pytest.raises(UsageError, match="no region: set --region or AWS_REGION"):
        transforms("--discover")


def test_without_a_configuration_in_the_image(simulator, capfd, environment):
    """The image names a file in a variable. If the file is missing, the message says how to do without it."""
    environment.setenv("GLUE_ML_EXPORTER_CONFIG_FILE", "/etc/glue-ml-exporter/none.yaml")
    command = ["transforms", "--discover", "--region=eu-west-1", f"--endpoint-url={simulator.url}"]
    assert main(command) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith("or use none with --config.file= and --region")
    assert main([*command, "--config.file="]) == 0
    assert "tfm-a" in capfd.readouterr().out


def test_a_missing_transform_is_one_line_and_exit_code_1(simulator, folder):
    """A configured transform that does not exist is reported, and the other transforms are listed."""
    configure(folder, simulator.url, transforms=["tfm-gone", "tfm-a"])
    typed = transforms()
    assert typed.exit_code == 1
    (line,) = typed.stderr.splitlines()
    assert line.startswith("tfm-gone: GetMLTransform: EntityNotFoundException: ")
    assert [line.split()[:2] for line in typed.stdout.splitlines()[1:]] == [["tfm-gone", "-"], ["tfm-a", "alpha"]]


def test_the_permissions_of_the_exporter_are_enough(simulator, folder):
    """Without the permission for GetMLTransforms, each transform is read with GetMLTransform."""
    simulator.faults.set({"kind": "access_denied", "operations": ["GetMLTransforms"]})
    configure(folder, simulator.url, transforms=["tfm-a"])
    typed = transforms(JSON)
    assert (typed.exit_code, typed.stderr) == (0, "")
    assert [row["TransformName"] for row in typed.objects] == ["alpha"]


def test_an_outage_is_one_error(simulator, folder):
    """If the endpoint does not answer, the command reports one transform and asks for no other."""
    simulator.stop()
    configure(folder, simulator.url, transforms=["tfm-a", "tfm-b"])
    typed = transforms(JSON)
    assert typed.exit_code == 1
    assert len(typed.stderr.splitlines()) == 1
    assert ids(typed) == ["tfm-a", "tfm-b"]


def test_csv_cells_are_no_formulas(simulator, folder):
    """CSV has a header and a row for each transform, and a name cannot become a formula of a spreadsheet."""
    configure(folder, simulator.url, transforms=[{"id": "tfm-a", "name": "=1+1"}])
    (row,) = csv.DictReader(io.StringIO(transforms("--output=csv").stdout))
    assert (row["TransformId"], row["TransformName"], row["Status"]) == ("tfm-a", "'=1+1", "READY")


def test_no_transforms_is_a_note(simulator, folder):
    """If a discovery finds nothing, a note says so."""
    configure(folder, simulator.url, discovery=[{"tags": {"team": "none"}}])
    typed = transforms(JSON)
    assert (typed.exit_code, typed.stdout, typed.stderr) == (0, "", "no transforms\n")


@pytest.mark.parametrize("arguments", [("help",), *(("help", command.name) for command in COMMANDS), ("version",)])
def test_help_and_version_are_the_flags(arguments, capsys):
    """The commands `help` and `version` print the same text as the flags --help and --version."""
    assert main(list(arguments)) == 0
    printed = capsys.readouterr().out
    main([*arguments[1:], f"--{arguments[0]}"])
    assert capsys.readouterr().out == printed


def test_help_of_an_unknown_command_has_a_suggestion(tmp_path):
    """`help` with a misspelt command exits with 2 and names the nearest command."""
    done = run(*EXPORTER, "help", "rnus", folder=tmp_path, environ={"PYTHONPATH": str(ROOT)})
    assert (done.exit_code, done.stderr) == (2, "glue-ml-exporter: unknown command 'rnus'; did you mean runs?\n")
