"""The command `runs` finds transforms, prints runs in each format, and reports errors and exit codes."""

import csv
import io
import json
import re
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
OF_THE_TRANSFORM = ("TransformName", "Account", "Region")
COMPLETE_ID = "tfm-0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def folder(environment, tmp_path):
    """Return an empty folder, the working directory of the commands."""
    environment.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def glue(simulator):
    """Return a simulator with a run of every status in tfm-a, the FAILED one with an error, and one run in tfm-b."""
    for number, status in enumerate(STATUSES):
        started = simulator.world.start - 1000 + number
        fields = {"ErrorString": "Out of memory"} if status == "FAILED" else None
        simulator.world.add_run("tfm-a", status=status, started=started, run_id=f"tsk-{status.lower()}", fields=fields)
    simulator.world.add_run("tfm-b", "EVALUATION", status="SUCCEEDED", run_id="tsk-b", started=simulator.world.start)
    return simulator


# -- lookup of transforms ---------------------------------------------------------------------------------------------


def test_lookup_by_configured_id_or_name(glue, folder):
    """A configured id or name finds its transform without asking Glue for names."""
    configure(folder, glue.url, transforms=[{"id": "tfm-a", "name": "mine"}, "tfm-b"])
    assert runs("mine", JSON).run_ids == runs("tfm-a", JSON).run_ids == [f"tsk-{s.lower()}" for s in STATUSES[::-1]]
    assert runs("tfm-b", "mine", "--limit=1", JSON).run_ids == ["tsk-b", "tsk-timeout"]
    assert set(glue.requests.counts()) == {"GetMLTaskRuns"}


def test_lookup_by_the_name_in_glue(glue, folder):
    """A name that is not configured is looked up in Glue, in the account and region of the configuration."""
    configure(folder, glue.url, transforms=["tfm-a"])
    assert runs("beta", JSON).run_ids == ["tsk-b"]
    assert runs("tfm-b", JSON).run_ids == ["tsk-b"]


def test_all_transforms_with_the_name_are_shown(glue, folder):
    """A name finds every transform that has it, in all accounts."""
    for transform_id in ("tfm-one", "tfm-two"):
        glue.world.add_run(transform_id, status="FAILED", run_id=f"tsk-{transform_id}")
    accounts = [{"name": "one", "profile": "one"}, {"name": "two", "profile": "two"}]
    configure(folder, glue.url, accounts=accounts, discovery=[{"account": "one"}, {"account": "two"}])
    assert runs("same", JSON).run_ids == ["tsk-tfm-one", "tsk-tfm-two"]
    assert {one.account for one in glue.requests.all("GetMLTaskRuns")} == {ONE, TWO}


def test_all_shows_configured_and_discovered_transforms_once(glue, folder):
    """--all shows the configured and the discovered transforms, each once."""
    configure(folder, glue.url, transforms=["tfm-b"], discovery=[{"tags": {"team": "blue"}}, {"name": "bet*"}])
    assert runs("--all", "--limit=1", JSON).run_ids == ["tsk-b", "tsk-timeout"]


@pytest.mark.slow
def test_without_a_configuration(glue):
    """With a region, an endpoint and ambient credentials, ids, names and --all work without a configuration."""
    given = ("--region=eu-west-1", f"--endpoint-url={glue.url}", "--limit=1", JSON)
    assert runs("tfm-b", *given).run_ids == runs("beta", *given).run_ids == ["tsk-b"]
    assert runs("--all", *given).run_ids == ["tsk-b", "tsk-timeout"]


def test_the_configuration_file_of_the_environment(glue, folder):
    """The path of the configuration can come from the environment, so that `runs NAME` needs no flag in a container."""
    other = folder / "etc"
    other.mkdir()
    file = configure(other, glue.url, transforms=[{"id": "tfm-b", "name": "mine"}])
    environ = {"GLUE_ML_EXPORTER_CONFIG_FILE": str(file)}
    assert runs("mine", JSON, environ=environ).run_ids == ["tsk-b"]


def test_the_region_of_the_environment_or_of_the_profile(glue, folder, environment):
    """Without --region the region is that of AWS_REGION or of the profile; without any, one line says what to set."""
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
    """--region leaves out the transforms of other regions, and names are looked up in that region."""
    configure(folder, glue.url, transforms=["tfm-a", {"id": "tfm-x", "region": "us-east-1"}])
    assert runs("--all", "--region=eu-west-1", "--limit=1", JSON).run_ids == ["tsk-timeout"]
    assert {one.region for one in glue.requests.all("GetMLTaskRuns")} == {"eu-west-1"}
    assert "no transform 'tfm-gone' in default us-east-1; " in runs("tfm-gone", "--region=us-east-1").stderr


def test_a_complete_id_needs_no_lookup(folder):
    """With one account and region, a complete id needs only the permission for GetMLTaskRuns."""
    with Simulator({"transforms": [{"id": COMPLETE_ID, "name": "whole"}]}) as glue:
        configure(folder, glue.url, transforms=["tfm-a"])
        assert runs(COMPLETE_ID).exit_code == 0
        assert set(glue.requests.counts()) == {"GetMLTaskRuns"}


def test_all_runs_are_in_one_order(glue, folder):
    """The runs of several transforms come in one order, newest first, also if each transform needs several pages."""
    starts = [glue.world.start - 10_000 * number for number in range(1, 13)]
    for number, start in enumerate(starts):
        glue.world.add_run("tfm-a" if number % 3 else "tfm-b", status="SUCCEEDED", started=start)
    configure(folder, glue.url, transforms=["tfm-a", "tfm-b"], polling={**QUICK, "page_size": "2"})
    assert order_of(runs("--all", JSON)) == sorted(order_of(runs("--all", JSON)), reverse=True)
    assert len(order_of(runs("--all", JSON))) == len(STATUSES) + 1 + 12
    ascending = order_of(runs("tfm-b", "tfm-a", "--no-descending", JSON))
    assert ascending == order_of(runs("--all", JSON))[::-1]
    by_status = [run["Status"] for run in runs("--all", "--sort=status", "--no-descending", JSON).objects]
    assert by_status == sorted(by_status)


def order_of(typed):
    """Return the start times of the printed runs."""
    return [run["StartedOn"] for run in typed.objects]


def test_many_transforms_are_read_in_small_pages(folder):
    """To merge the runs of many transforms, a page of each is in memory, so that their pages are smaller."""
    with Simulator({"transforms": [{"name": "many", "count": 400}]}) as glue:
        configure(folder, glue.url, discovery=[{}])
        assert runs("--all", JSON).exit_code == 0
        assert {one.params["MaxResults"] for one in glue.requests.all("GetMLTaskRuns")} == {50}


@pytest.mark.parametrize("output", ["json", "csv"])
def test_each_run_has_its_transform_account_and_region(output, glue, folder):
    """JSON and CSV have id, name, account and region of the transform of each run."""
    glue.world.add_run("tfm-one", status="FAILED")
    accounts = [{"name": "default"}, {"name": "one", "profile": "one"}]
    configure(
        folder, glue.url, accounts=accounts, transforms=[{"id": "tfm-one", "account": "one", "region": "us-east-1"}]
    )
    typed = runs("--all", f"--output={output}")
    (run,) = typed.objects if output == "json" else csv.DictReader(io.StringIO(typed.stdout))
    assert [run[name] for name in ("TransformId", "TransformName", "Account", "Region")] == [
        "tfm-one",
        "same",
        "one",
        "us-east-1",
    ]


def test_names_that_are_not_unique_carry_the_id(folder):
    """If two transforms have the same name, the id follows the name, cut in the middle."""
    ids = [f"tfm-{'0' * 38}a1", f"tfm-{'0' * 38}b2", "tfm-short"]
    with Simulator({"transforms": [{"id": one, "name": "same" if "0" in one else "other"} for one in ids]}) as glue:
        for one in ids:
            glue.world.add_run(one, status="FAILED")
        configure(folder, glue.url, discovery=[{}])
        text = runs("--all").stdout
    for label in ("same (tfm-0000...0000a1)", "same (tfm-0000...0000b2)", " other "):
        assert label in text


def test_an_endpoint_for_all_accounts(glue, folder):
    """--endpoint-url replaces the endpoints of the configuration."""
    account = {"name": "a", "endpoint_url": "http://127.0.0.1:9"}
    configure(folder, "http://127.0.0.1:9", accounts=[account], transforms=["tfm-b"])
    assert runs("tfm-b", f"--endpoint-url={glue.url}", JSON).run_ids == ["tsk-b"]


# -- output formats ---------------------------------------------------------------------------------------------------


def check(shape, value, path="TaskRun"):
    """Compare a value of JSON with a shape of the service model; AssertionError with the path of a difference."""
    if shape.type_name == "structure":
        assert value.keys() <= shape.members.keys(), path
        for name, member in value.items():
            check(shape.members[name], member, f"{path}.{name}")
    elif shape.type_name == "timestamp":
        assert parse_timestamp(value).tzinfo is not None, path
    else:
        kinds = {"string": str, "integer": int, "boolean": bool}
        assert type(value) is kinds[shape.type_name], path
        assert value in (getattr(shape, "enum", None) or [value]), path


def test_json_lines_have_the_fields_of_the_api(glue, folder):
    """Each line is an object of the documented shape, and the lines together have every documented member."""
    for task_type in TASK_TYPES:
        glue.world.add_run("tfm-a", task_type, status="FAILED")
    configure(folder, glue.url, transforms=["tfm-a"])
    shape = boto3.session.Session()._session.get_service_model("glue").shape_for("TaskRun")
    found = runs("tfm-a", JSON).objects
    for run in found:
        check(shape, {name: value for name, value in run.items() if name not in OF_THE_TRANSFORM})
    assert {name for run in found for name in run} == {*shape.members, *OF_THE_TRANSFORM}
    assert {name for run in found for name in run["Properties"]} == shape.members["Properties"].members.keys()


def test_json_keeps_members_that_glue_adds_later(glue, folder):
    """A member, a type and a status that are not documented are shown as they are."""
    fields = {"Cost": {"Dollars": 1.5}, "Status": "PAUSED", "Properties": {"TaskType": "DREAM"}}
    glue.world.add_run("tfm-b", run_id="tsk-new", started=glue.world.start + 5, fields=fields)
    configure(folder, glue.url, transforms=["tfm-b"])
    (new,) = [run for run in runs("tfm-b", JSON).objects if run["TaskRunId"] == "tsk-new"]
    assert {name: new[name] for name in fields} == fields
    assert "PAUSED     DREAM" in runs("tfm-b").stdout


def test_csv_has_a_column_for_every_documented_field(glue, folder):
    """The header names every member of the documented shape by its path, and rows have the values of the JSON lines."""
    shape = boto3.session.Session()._session.get_service_model("glue").shape_for("TaskRun")

    def paths(shape, path=""):
        for name, member in shape.members.items():
            yield from paths(member, f"{path}{name}.") if member.type_name == "structure" else [f"{path}{name}"]

    configure(folder, glue.url, transforms=["tfm-a"])
    rows = list(csv.DictReader(io.StringIO(runs("tfm-a", "--output=csv").stdout)))
    assert set(rows[0]) == {*paths(shape), *OF_THE_TRANSFORM} == set(CSV_COLUMNS)
    for row, run in zip(rows, runs("tfm-a", JSON).objects, strict=True):
        assert {name: row[name] for name in ("TaskRunId", "Status", "StartedOn")}.items() <= run.items()
        assert row["ExecutionTime"] == str(run.get("ExecutionTime", ""))
        assert row["Properties.FindMatchesTaskRunProperties.JobId"].startswith("job-")


def test_a_line_for_each_run_in_a_pipe(glue, folder):
    """In a pipe the table has a header and one line for each run, with all details and without colours."""
    configure(folder, glue.url, transforms=["tfm-a", "tfm-b"])
    header, *lines = runs("tfm-a", "tfm-b").stdout.splitlines()
    assert header.split() == ["STATUS", "TYPE", "STARTED", "TOOK", "EXECUTING", "TRANSFORM", "RUN", "DETAILS"]
    assert [line.split()[0] for line in lines] == ["SUCCEEDED", *STATUSES[::-1]]
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
    assert "  beta " in lines[0]
    assert "\x1b" not in "".join(lines)


HOSTILE = '=1+1\n\x1b[2J\x1b]0;x\x07SUCCEEDED,"a"\r\n@x \u202e\u2028 \x9b31m <b>[red]ü日本'


@pytest.mark.parametrize("output", ["table", "json", "csv"])
def test_texts_of_glue_cannot_forge_output(output, glue, folder):
    """Texts from Glue cannot add a control character, a line or a formula to any format."""
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


def test_times_and_durations_of_the_wrong_type(glue, folder):
    """Times and durations of the wrong type, or outside the calendar, are shown as they are."""
    odd = {"StartedOn": 1e15, "CompletedOn": "soon", "LastModifiedOn": True, "ExecutionTime": -5, "Properties": None}
    glue.world.add_run("tfm-b", run_id="tsk-odd", started=glue.world.start + 9, fields=odd)
    configure(folder, glue.url, transforms=["tfm-b"])
    for output in ("table", "csv", "json"):
        typed = runs("tfm-b", f"--output={output}")
        assert (typed.exit_code, typed.stderr) == (0, "")
        assert "tsk-odd" in typed.stdout
        assert "soon" in typed.stdout


# -- limits and exit codes --------------------------------------------------------------------------------------------


def test_a_limit_applies_to_each_transform_and_each_request(glue, folder):
    """--limit shows the first runs of each transform, and a request asks for one more run than the limit."""
    configure(folder, glue.url, transforms=["tfm-a", "tfm-b"])
    assert runs("--all", "--limit=2", JSON).run_ids == ["tsk-b", "tsk-timeout", "tsk-failed"]
    assert [one.params["MaxResults"] for one in glue.requests.all("GetMLTaskRuns")] == [3, 3]


def test_a_limit_over_several_pages(glue, folder):
    """A limit above the page size is read from several pages; 0 reads all runs."""
    configure(folder, glue.url, transforms=["tfm-a"], polling={**QUICK, "page_size": "2"})
    assert runs("tfm-a", "--limit=5", JSON).run_ids == runs("tfm-a", JSON).run_ids[:5]
    assert len(runs("tfm-a", "--limit=0", JSON).run_ids) == len(STATUSES)


def test_a_table_shows_the_latest_runs_and_a_note_if_there_are_more(glue, folder):
    """Without --limit a table shows the 20 latest runs and a note that there are more; JSON and CSV show all."""
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
    """Success gives 0, an error gives 1, and with --exit-code a listed FAILED or TIMEOUT run gives 3."""
    configure(folder, glue.url, transforms=["tfm-a", "tfm-b"])
    assert runs(*arguments).exit_code == code


# -- errors -----------------------------------------------------------------------------------------------------------


def test_a_misspelt_name_gets_a_suggestion(glue, folder):
    """An unknown name is one line with the accounts and regions that were searched and the nearest name."""
    configure(folder, glue.url, transforms=[{"id": "tfm-a", "name": "customers"}])
    typed = runs("custmers", "bata", "tfm-a", "--limit=1", JSON)
    assert typed.stderr.splitlines() == [
        "no transform 'custmers' in default eu-west-1; did you mean customers?",
        "no transform 'bata' in default eu-west-1; did you mean beta?",
    ]
    assert (typed.exit_code, typed.run_ids) == (1, ["tsk-timeout"])


def test_a_transform_that_fails_does_not_stop_the_others(glue, folder):
    """A missing or denied transform is one line with the error of AWS and advice; the others are shown."""
    configure(folder, glue.url, transforms=["tfm-a", "tfm-gone", "tfm-b"])
    glue.faults.set({"kind": "access_denied", "transforms": ["tfm-a"]})
    typed = runs("--all", JSON)
    assert (typed.exit_code, typed.run_ids) == (1, ["tsk-b"])
    denied, gone = typed.stderr.splitlines()
    assert denied.startswith("alpha: GetMLTaskRuns: AccessDeniedException: ")
    assert "glue-ml-exporter iam-policy" in denied
    assert gone.startswith("tfm-gone: GetMLTaskRuns: EntityNotFoundException: ")


def test_an_endpoint_that_does_not_answer_is_one_error(glue, folder):
    """If an endpoint does not answer, one transform of the lane has an error and the others are skipped."""
    with socket.socket() as unanswered:
        unanswered.bind(("127.0.0.1", 0))
        accounts = [
            {"name": "down", "endpoint_url": f"http://127.0.0.1:{unanswered.getsockname()[1]}"},
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


def test_only_unread_transforms_count_as_skipped(glue, folder):
    """A transform that was read before its lane failed is not counted as skipped."""
    configure(folder, glue.url, transforms=["tfm-b", "tfm-a", "tfm-one"])
    glue.faults.set({"kind": "expired_credentials", "transforms": ["tfm-a"]})
    typed = runs("--all", JSON)
    assert typed.run_ids == ["tsk-b"]
    assert typed.stderr.splitlines()[1:] == ["skipped 1 more transforms of the same account and region"]


def test_an_error_message_cannot_forge_a_line(glue, folder):
    """The error message of AWS is one printable line, also if it contains control characters."""
    configure(folder, glue.url, transforms=["tfm-a"])
    glue.faults.set({"kind": "error", "code": "SomethingElse", "message": HOSTILE, "transforms": ["tfm-a"]})
    lines = runs("tfm-a").stderr.split("\n")[:-1]
    assert len(lines) == 1
    assert lines[0].isprintable()


def test_ids_work_without_the_permission_for_names(glue, folder):
    """If GetMLTransforms is denied, a table shows ids, and only the lookup of a name fails."""
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
    """Options that contradict each other are refused in one line."""
    with pytest.raises(UsageError) as caught:
        runs(*arguments)
    assert str(caught.value) == message


def test_no_matching_runs_is_a_note(glue, folder):
    """Without matching runs the output is empty, a note says so, and the exit code is 0."""
    configure(folder, glue.url, transforms=["tfm-b"])
    typed = runs("tfm-b", "--status=failed", "--exit-code")
    assert (typed.exit_code, typed.stdout, typed.stderr) == (0, "", "tfm-b has no matching runs\n")
    assert runs("--all", "--status=failed").stderr == "no matching runs\n"


def test_a_new_transform_has_no_runs(glue, folder):
    """The note names each transform without runs; with --all only if no transform has runs."""
    configure(folder, glue.url, transforms=[{"id": "tfm-new", "name": "my-brand-new"}, "tfm-b"])
    glue.world.add_transform({"id": "tfm-new", "name": "my-brand-new"})
    typed = runs("my-brand-new", "tfm-b", JSON)
    assert (typed.exit_code, typed.run_ids, typed.stderr) == (0, ["tsk-b"], "my-brand-new has no runs\n")
    assert runs("--all").stderr == ""


def test_took_is_the_whole_time_and_executing_a_part_of_it(glue, folder):
    """`took` is the time from start to end, as on the status page, and the time of execution stands beside it."""
    fields = {"ExecutionTime": 60}
    glue.world.add_run("tfm-b", status="FAILED", started=1_700_000_000, completed=1_700_003_660, fields=fields)
    configure(folder, glue.url, transforms=["tfm-b"])
    (line,) = [line for line in runs("tfm-b").stdout.splitlines() if line.startswith("FAILED")]
    assert re.search(r" ago\) +1h1m +1m +tsk-", line)
