"""`runs` in this process: which transforms, in which form, what goes wrong, and the exit code."""

import csv
import io
import json
import socket
from datetime import UTC, datetime

import boto3
import pytest
from botocore.utils import parse_timestamp

from exporter.cli.output.fields import CSV_COLUMNS
from exporter.cli.parser import UsageError
from exporter.model.task_run import STATUSES, TASK_TYPES
from exporter.simulator import Simulator
from tests.aws_environment import ONE, TWO
from tests.cli.typed import QUICK, configure, runs

JSON = "--output=json"
WHOLE_ID = "tfm-0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def folder(environment, tmp_path):
    """Every command is typed in a folder of its own."""
    environment.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def glue(simulator):
    """Give a simulator with a run of every status in tfm-a, the FAILED one with an error, and one run in tfm-b."""
    for number, status in enumerate(STATUSES):
        started = simulator.world.start - 1000 + number
        fields = {"ErrorString": "Out of memory"} if status == "FAILED" else None
        simulator.world.add_run("tfm-a", status=status, started=started, run_id=f"tsk-{status.lower()}", fields=fields)
    simulator.world.add_run("tfm-b", "EVALUATION", status="SUCCEEDED", run_id="tsk-b", started=simulator.world.start)
    return simulator


# -- which transforms -------------------------------------------------------------------------------------------------


def test_a_transform_by_id_or_name_of_the_configuration(glue, folder):
    """An id or a name in the configuration stands for a transform, without a question to Glue about names."""
    configure(folder, glue.url, transforms=[{"id": "tfm-a", "name": "mine"}, "tfm-b"])
    assert runs("mine", JSON).run_ids == runs("tfm-a", JSON).run_ids == [f"tsk-{s.lower()}" for s in STATUSES[::-1]]
    assert runs("tfm-b", "mine", "--limit=1", JSON).run_ids == ["tsk-b", "tsk-timeout"]
    assert set(glue.requests.counts()) == {"GetMLTaskRuns"}


def test_a_transform_by_the_name_that_glue_knows(glue, folder):
    """A name that only Glue knows is found in the account and region of the configuration."""
    configure(folder, glue.url, transforms=["tfm-a"])
    assert runs("beta", JSON).run_ids == ["tsk-b"]
    assert runs("tfm-b", JSON).run_ids == ["tsk-b"]


def test_all_that_have_a_name_are_shown(glue, folder):
    """A name stands for every transform that has it, in whatever account."""
    for transform_id in ("tfm-one", "tfm-two"):
        glue.world.add_run(transform_id, status="FAILED", run_id=f"tsk-{transform_id}")
    accounts = [{"name": "one", "profile": "one"}, {"name": "two", "profile": "two"}]
    configure(folder, glue.url, accounts=accounts, discovery=[{"account": "one"}, {"account": "two"}])
    assert runs("same", JSON).run_ids == ["tsk-tfm-one", "tsk-tfm-two"]
    assert {one.account for one in glue.requests.all("GetMLTaskRuns")} == {ONE, TWO}


def test_all_of_the_configuration(glue, folder):
    """--all is what is configured and what is discovered, each once."""
    configure(folder, glue.url, transforms=["tfm-b"], discovery=[{"tags": {"team": "blue"}}, {"name": "bet*"}])
    assert runs("--all", "--limit=1", JSON).run_ids == ["tsk-b", "tsk-timeout"]


def test_without_a_configuration(glue):
    """Region, endpoint and ambient credentials suffice, for ids, for names, and for all transforms of the region."""
    given = ("--region=eu-west-1", f"--endpoint-url={glue.url}", "--limit=1", JSON)
    assert runs("tfm-b", *given).run_ids == runs("beta", *given).run_ids == ["tsk-b"]
    assert runs("--all", *given).run_ids == ["tsk-timeout", "tsk-b"]


def test_the_region_of_the_environment_or_of_the_profile(glue, folder, environment):
    """Without --region it is AWS_REGION, else what the profile says; without any, one line says what to do."""
    given = ("tfm-b", f"--endpoint-url={glue.url}", JSON)
    with pytest.raises(UsageError, match=r"no region: set --region or AWS_REGION, or name a configuration file"):
        runs(*given)
    (folder / "aws").write_text("[default]\nregion = eu-west-1\n")
    environment.setenv("AWS_CONFIG_FILE", str(folder / "aws"))
    assert runs(*given).run_ids == ["tsk-b"]
    environment.setenv("AWS_REGION", "us-east-1")
    assert runs(*given).run_ids == ["tsk-b"]
    assert [one.region for one in glue.requests.all("GetMLTransforms")] == ["eu-west-1", "us-east-1"]


def test_one_region_of_a_configuration(glue, folder):
    """--region leaves out the transforms of other regions, and looks for others in that region."""
    configure(folder, glue.url, transforms=["tfm-a", {"id": "tfm-x", "region": "us-east-1"}])
    assert runs("--all", "--region=eu-west-1", "--limit=1", JSON).run_ids == ["tsk-timeout"]
    assert {one.region for one in glue.requests.all("GetMLTaskRuns")} == {"eu-west-1"}
    assert "no transform 'tfm-gone' in default us-east-1; " in runs("tfm-gone", "--region=us-east-1").stderr


def test_a_whole_id_is_asked_for_as_it_is(folder):
    """Where there is one account and region, an id in full needs no right but that to its runs."""
    with Simulator({"transforms": [{"id": WHOLE_ID, "name": "whole"}]}) as glue:
        configure(folder, glue.url, transforms=["tfm-a"])
        assert runs(WHOLE_ID).exit_code == 0
        assert set(glue.requests.counts()) == {"GetMLTaskRuns"}


def test_an_endpoint_for_all_accounts(glue, folder):
    """--endpoint-url wins over those of the configuration."""
    account = {"name": "a", "endpoint_url": "http://127.0.0.1:9"}
    configure(folder, "http://127.0.0.1:9", accounts=[account], transforms=["tfm-b"])
    assert runs("tfm-b", f"--endpoint-url={glue.url}", JSON).run_ids == ["tsk-b"]


# -- forms ------------------------------------------------------------------------------------------------------------


def check(shape, value, place="TaskRun"):
    """Hold a value of JSON against a shape of the service model; AssertionError with the place where it differs."""
    if shape.type_name == "structure":
        assert value.keys() <= shape.members.keys(), place
        for name, member in value.items():
            check(shape.members[name], member, f"{place}.{name}")
    elif shape.type_name == "timestamp":
        assert parse_timestamp(value).tzinfo is not None, place
    else:
        kinds = {"string": str, "integer": int, "boolean": bool}
        assert type(value) is kinds[shape.type_name], place
        assert value in (getattr(shape, "enum", None) or [value]), place


def test_json_lines_have_the_fields_of_the_api(glue, folder):
    """Each line is an object of the documented shape, with every documented member of its kind of run."""
    for task_type in TASK_TYPES:
        glue.world.add_run("tfm-a", task_type, status="FAILED")
    configure(folder, glue.url, transforms=["tfm-a"])
    shape = boto3.session.Session()._session.get_service_model("glue").shape_for("TaskRun")
    found = runs("tfm-a", JSON).objects
    for run in found:
        check(shape, run)
    assert {name for run in found for name in run} == shape.members.keys()
    assert {name for run in found for name in run["Properties"]} == shape.members["Properties"].members.keys()


def test_json_keeps_what_glue_adds_later(glue, folder):
    """A member, a type and a status that are not documented yet are shown as they are."""
    fields = {"Cost": {"Dollars": 1.5}, "Status": "PAUSED", "Properties": {"TaskType": "DREAM"}}
    glue.world.add_run("tfm-b", run_id="tsk-new", started=glue.world.start + 5, fields=fields)
    configure(folder, glue.url, transforms=["tfm-b"])
    (new,) = [run for run in runs("tfm-b", JSON).objects if run["TaskRunId"] == "tsk-new"]
    assert {name: new[name] for name in fields} == fields
    assert "PAUSED     DREAM" in runs("tfm-b").stdout


def test_csv_has_a_column_for_every_documented_field(glue, folder):
    """The header has every member of the documented shape by its path, and the rows the values of the JSON lines."""
    shape = boto3.session.Session()._session.get_service_model("glue").shape_for("TaskRun")

    def paths(shape, path=""):
        for name, member in shape.members.items():
            yield from paths(member, f"{path}{name}.") if member.type_name == "structure" else [f"{path}{name}"]

    configure(folder, glue.url, transforms=["tfm-a"])
    rows = list(csv.DictReader(io.StringIO(runs("tfm-a", "--output=csv").stdout)))
    assert set(rows[0]) == set(paths(shape)) == set(CSV_COLUMNS)
    for row, run in zip(rows, runs("tfm-a", JSON).objects, strict=True):
        assert {name: row[name] for name in ("TaskRunId", "Status", "StartedOn")}.items() <= run.items()
        assert row["ExecutionTime"] == str(run.get("ExecutionTime", ""))
        assert row["Properties.FindMatchesTaskRunProperties.JobId"].startswith("job-")


def test_a_line_for_each_run_in_a_pipe(glue, folder):
    """In a pipe the table is one line for each run, under a header, without colours, with all that there is to say."""
    configure(folder, glue.url, transforms=["tfm-a", "tfm-b"])
    header, *lines = runs("tfm-a", "tfm-b").stdout.splitlines()
    assert header.split() == ["STATUS", "TYPE", "STARTED", "TOOK", "TRANSFORM", "RUN", "DETAILS"]
    assert [line.split()[0] for line in lines] == [*STATUSES[::-1], "SUCCEEDED"]
    (failed,) = [line for line in lines if line.startswith("FAILED")]
    started = datetime.fromtimestamp(glue.world.start - 1000 + STATUSES.index("FAILED"), UTC)
    for text in (
        f"{started:%Y-%m-%d %H:%M:%SZ} (1",
        "m",
        " ago)",
        "tsk-failed",
        "Error: Out of memory",
        "Job id: job-",
    ):
        assert text in failed
    assert "  beta " in lines[-1]
    assert "\x1b" not in "".join(lines)


HOSTILE = '=1+1\n\x1b[2J\x1b]0;x\x07SUCCEEDED,"a"\r\n@x \u202e\u2028 \x9b31m <b>[red]ü日本'


@pytest.mark.parametrize("output", ["table", "json", "csv"])
def test_nothing_that_glue_says_can_forge_output(output, glue, folder):
    """Error strings, ids, types and names leave no control character, no further line and no formula in any form."""
    fields = {"ErrorString": HOSTILE, "LogGroupName": HOSTILE, "Properties": {"TaskType": HOSTILE}, "Status": HOSTILE}
    glue.world.add_run("tfm-b", run_id=f"tsk-{HOSTILE}", started=glue.world.start + 9, fields=fields)
    configure(folder, glue.url, transforms=[{"id": "tfm-b", "name": "mine"}, "tfm-a"])
    typed = runs("mine", "tfm-a", "--limit=1", f"--output={output}")
    lines = typed.stdout.split("\n")[:-1]
    assert len(lines) == (2 if output == "json" else 3)
    assert all(line.isprintable() for line in lines)
    if output == "json":
        assert json.loads(lines[0])["ErrorString"] == HOSTILE
    if output == "csv":
        for cell in next(csv.reader([lines[1]])):
            assert not cell.startswith(("=", "+", "-", "@"))
        assert "'=1+1" in lines[1]


def test_what_no_date_and_no_number_is(glue, folder):
    """Times and durations of the wrong kind, or beyond all calendars, are shown as they are."""
    odd = {"StartedOn": 1e15, "CompletedOn": "soon", "LastModifiedOn": True, "ExecutionTime": -5, "Properties": None}
    glue.world.add_run("tfm-b", run_id="tsk-odd", started=glue.world.start + 9, fields=odd)
    configure(folder, glue.url, transforms=["tfm-b"])
    for output in ("table", "csv", "json"):
        typed = runs("tfm-b", f"--output={output}")
        assert (typed.exit_code, typed.stderr) == (0, "")
        assert "tsk-odd" in typed.stdout
        assert "soon" in typed.stdout


# -- limits and exit codes --------------------------------------------------------------------------------------------


def test_a_limit_is_for_each_transform_and_asks_for_no_more(glue, folder):
    """--limit takes the first runs of each transform, in one request of that size and one more."""
    configure(folder, glue.url, transforms=["tfm-a", "tfm-b"])
    assert runs("--all", "--limit=2", JSON).run_ids == ["tsk-timeout", "tsk-failed", "tsk-b"]
    assert [one.params["MaxResults"] for one in glue.requests.all("GetMLTaskRuns")] == [3, 3]


def test_a_limit_over_several_pages(glue, folder):
    """A limit above the page size is taken from several pages; 0 takes all."""
    configure(folder, glue.url, transforms=["tfm-a"], polling={**QUICK, "page_size": "2"})
    assert runs("tfm-a", "--limit=5", JSON).run_ids == runs("tfm-a", JSON).run_ids[:5]
    assert len(runs("tfm-a", "--limit=0", JSON).run_ids) == len(STATUSES)


def test_a_table_has_the_latest_and_says_if_there_are_more(glue, folder):
    """Without a limit a table shows the 20 latest runs and tells that there are more; JSON and CSV have all."""
    for number in range(20):
        glue.world.add_run("tfm-b", status="SUCCEEDED", started=glue.world.start - 10 - number)
    configure(folder, glue.url, transforms=["tfm-b"])
    typed = runs("tfm-b")
    assert len(typed.stdout.splitlines()) == 1 + 20
    assert typed.stderr == "tfm-b has more runs; --limit=0 shows all\n"
    assert len(runs("tfm-b", JSON).run_ids) == len(runs("tfm-b", "--output=csv").stdout.splitlines()) - 1 == 21


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("tfm-a",), 0),
        (("tfm-a", "--exit-code"), 3),
        (("tfm-a", "--exit-code", "--status=timeout"), 3),
        (("tfm-a", "--exit-code", "--status=succeeded"), 0),
        (("tfm-b", "--exit-code"), 0),
        (("tfm-a", "tfm-gone", "--exit-code"), 3),
        (("tfm-b", "tfm-gone", "--exit-code"), 1),
        (("tfm-b", "tfm-gone"), 1),
    ],
    ids=str,
)
def test_exit_codes(arguments, code, glue, folder):
    """0 if all was read, 1 if not, and with --exit-code 3 if a run that was listed is FAILED or TIMEOUT."""
    configure(folder, glue.url, transforms=["tfm-a", "tfm-b"])
    assert runs(*arguments).exit_code == code


# -- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_misspelt_name_gets_a_suggestion(glue, folder):
    """A name that is nowhere is one line with where it was looked for and the nearest that there is."""
    configure(folder, glue.url, transforms=[{"id": "tfm-a", "name": "customers"}])
    typed = runs("custmers", "bata", "tfm-a", "--limit=1", JSON)
    assert typed.stderr.splitlines() == [
        "no transform 'custmers' in default eu-west-1; did you mean customers?",
        "no transform 'bata' in default eu-west-1; did you mean beta?",
    ]
    assert (typed.exit_code, typed.run_ids) == (1, ["tsk-timeout"])


def test_one_transform_that_fails_hurts_no_other(glue, folder):
    """A transform that is gone or denied is one line with what AWS said and what to do; the others are shown."""
    configure(folder, glue.url, transforms=["tfm-a", "tfm-gone", "tfm-b"])
    glue.faults.set({"kind": "access_denied", "transforms": ["tfm-a"]})
    typed = runs("--all", JSON)
    assert (typed.exit_code, typed.run_ids) == (1, ["tsk-b"])
    denied, gone = typed.stderr.splitlines()
    assert denied.startswith("tfm-a: GetMLTaskRuns: AccessDeniedException: ")
    assert "glue-ml-exporter iam-policy" in denied
    assert gone.startswith("tfm-gone: GetMLTaskRuns: EntityNotFoundException: ")


def test_an_endpoint_that_is_not_there_is_told_once(glue, folder):
    """Where nothing answers, the first transform says so, and the others of that account and region are not tried."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        accounts = [
            {"name": "down", "endpoint_url": f"http://127.0.0.1:{nobody.getsockname()[1]}"},
            {"name": "up", "endpoint_url": glue.url},
        ]
        transforms = [{"id": f"tfm-{number}", "account": "down"} for number in range(3)]
        transforms.append({"id": "tfm-b", "account": "up"})
        configure(folder, glue.url, accounts=accounts, transforms=transforms)
        typed = runs("--all", JSON)
    first, rest = typed.stderr.splitlines()
    assert first.startswith("tfm-0: EndpointConnectionError: ")
    assert rest == "skipped 2 more transforms of the same account and region"
    assert (typed.exit_code, typed.run_ids) == (1, ["tsk-b"])


def test_what_was_read_before_an_endpoint_failed_is_not_told_to_be_missing(glue, folder):
    """Only the transforms that were really left out are counted as not asked for."""
    configure(folder, glue.url, transforms=["tfm-b", "tfm-a", "tfm-one"])
    glue.faults.set({"kind": "expired_credentials", "transforms": ["tfm-a"]})
    typed = runs("--all", JSON)
    assert typed.run_ids == ["tsk-b"]
    assert typed.stderr.splitlines()[1:] == ["skipped 1 more transforms of the same account and region"]


def test_an_error_message_cannot_forge_a_line(glue, folder):
    """What AWS says of a failure is one printable line, whatever is in it."""
    configure(folder, glue.url, transforms=["tfm-a"])
    glue.faults.set({"kind": "error", "code": "SomethingElse", "message": HOSTILE, "transforms": ["tfm-a"]})
    lines = runs("tfm-a").stderr.split("\n")[:-1]
    assert len(lines) == 1
    assert lines[0].isprintable()


def test_names_that_are_denied_do_no_harm_to_ids(glue, folder):
    """Without the right to the names of transforms, a table shows ids, and only a name cannot be looked for."""
    glue.faults.set({"kind": "access_denied", "operations": ["GetMLTransforms"]})
    configure(folder, glue.url, transforms=["tfm-a", "tfm-b"])
    shown = runs("--all", "--limit=1")
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert "  tfm-b " in shown.stdout
    asked = runs("beta")
    assert asked.exit_code == 1
    assert "GetMLTransforms: AccessDeniedException" in asked.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "runs: expected ids or names of transforms, or --all"),
        (("tfm-a", "--all"), "runs: expected ids or names of transforms, or --all"),
        (("tfm-a", "--follow", "--exit-code"), "--exit-code: cannot be combined with --follow, which does not end"),
        (
            ("tfm-a", "--started-after=1h ago", "--started-before=2h ago"),
            "--started-after: is not before --started-before",
        ),
    ],
    ids=str,
)
def test_contradictions_are_refused(arguments, message):
    """Arguments that cannot go together are refused in one line."""
    with pytest.raises(UsageError) as caught:
        runs(*arguments)
    assert str(caught.value) == message


def test_nothing_to_show_is_said(glue, folder):
    """A list without runs is an empty output, a note, and success: an empty history is no failure."""
    configure(folder, glue.url, transforms=["tfm-b"])
    typed = runs("tfm-b", "--status=failed", "--exit-code")
    assert (typed.exit_code, typed.stdout, typed.stderr) == (0, "", "no matching runs\n")
