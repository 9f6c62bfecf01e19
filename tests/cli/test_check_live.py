"""`check-config --live` reports calls that succeed, denied calls and transforms that do not exist."""

import pytest

from exporter.cli.iam.policies import policies
from exporter.config.settings import read_config
from tests.aws_environment import ONE
from tests.cli.typed import Typed, configure, live

ROLE = f"arn:aws:iam::{ONE}:role/watcher"


def rows(typed: Typed) -> dict[str, tuple[str, str]]:
    """Return result and detail of each row by the column WHAT."""
    header, *lines = typed.stdout.splitlines()
    columns = [header.index(name) for name in ("WHAT", "RESULT", "DETAIL")]
    what, result, detail = columns
    return {line[what:result].strip(): (line[result:detail].strip(), line[detail:]) for line in lines}


def test_every_call_succeeds(simulator, tmp_path):
    """If every call succeeds, each discovery and transform has a row with the answer of AWS, and the exit code is 0."""
    simulator.world.add_run("tfm-a", status="FAILED")
    file = configure(tmp_path, simulator.url, transforms=[{"id": "tfm-a", "name": "mine"}], discovery=[{"name": "be*"}])
    typed = live(file)
    assert rows(typed) == {
        "discovery be*": ("ok", "1 transform"),
        "tfm-a (mine)": ("ok", "latest run FAILED, READY"),
        "tfm-b": ("ok", "no runs, READY"),
    }
    assert (typed.exit_code, typed.stderr) == (0, "")


def test_the_calls_are_those_of_the_policy(simulator, tmp_path):
    """The check calls exactly the operations that the policy of the configuration allows, once for each transform."""
    file = configure(tmp_path, simulator.url, transforms=["tfm-a"], discovery=[{"tags": {"team": "red"}}])
    live(file)
    asked = {operation: sum(codes.values()) for operation, codes in simulator.requests.counts().items()}
    assert asked == {"ListMLTransforms": 1, "GetMLTaskRuns": 2, "GetMLTaskRun": 2, "GetMLTransform": 2}
    (policy,) = policies(read_config(file, environ={})).values()
    allowed = {action for statement in policy["Statement"] for action in statement["Action"]}
    assert {f"glue:{operation}" for operation in asked} == allowed


def test_a_row_names_every_denied_action(simulator, tmp_path):
    """The row of a transform names all IAM actions that are denied for it, and other transforms are still checked."""
    simulator.faults.set(
        {"kind": "access_denied", "operations": ["GetMLTaskRun", "GetMLTransform"], "transforms": ["tfm-a"]}
    )
    typed = live(configure(tmp_path, simulator.url, transforms=["tfm-a", "tfm-b"]))
    result, detail = rows(typed)["tfm-a"]
    assert (result, detail.partition(";")[0]) == ("denied", "glue:GetMLTaskRun, glue:GetMLTransform")
    assert rows(typed)["tfm-b"][0] == "ok"
    assert typed.exit_code == 1


def test_a_denied_discovery(simulator, tmp_path):
    """The row of a discovery that is denied names the IAM action, and configured transforms are still checked."""
    simulator.faults.set({"kind": "access_denied", "operations": ["ListMLTransforms"]})
    typed = live(configure(tmp_path, simulator.url, transforms=["tfm-a"], discovery=[{"tags": {"team": "red"}}]))
    assert rows(typed)["discovery team=red"][0] == "denied"
    assert rows(typed)["discovery team=red"][1].startswith("glue:ListMLTransforms; ")
    assert rows(typed)["tfm-a"][0] == "ok"


def test_a_role_that_cannot_be_assumed(simulator, tmp_path):
    """A refused role is shown as denied sts:AssumeRole, and the other transforms of its account are not tried."""
    simulator.faults.set({"kind": "access_denied", "operations": ["AssumeRole"]})
    accounts = [{"name": "one", "role_arn": ROLE}, {"name": "here"}]
    transforms = [{"id": "tfm-one", "account": "one"}, {"id": "tfm-two", "account": "one"}]
    transforms.append({"id": "tfm-a", "account": "here"})
    typed = live(configure(tmp_path, simulator.url, accounts=accounts, transforms=transforms))
    found = rows(typed)
    assert found["tfm-one"][0] == "denied"
    assert found["tfm-one"][1].startswith("sts:AssumeRole; ")
    assert found["tfm-two"] == ("not tried", "see the failure above in this account and region")
    assert found["tfm-a"][0] == "ok"


def test_a_missing_transform_and_a_missing_endpoint(simulator, tmp_path):
    """A transform that Glue does not know is "not found"; an endpoint that does not answer is "failed"."""
    typed = live(configure(tmp_path, simulator.url, transforms=["tfm-gone", "tfm-a"]))
    assert [rows(typed)[name][0] for name in ("tfm-gone", "tfm-a")] == ["not found", "ok"]
    simulator.stop()
    typed = live(configure(tmp_path, simulator.url, transforms=["tfm-gone", "tfm-a"]))
    assert [rows(typed)[name][0] for name in ("tfm-gone", "tfm-a")] == ["failed", "not tried"]
    assert "EndpointConnectionError" in rows(typed)["tfm-gone"][1]


@pytest.mark.parametrize("allowed", [True, False])
def test_get_tags_is_checked_if_labels_come_from_tags(allowed, simulator, tmp_path):
    """If labels come from tags that are not in the filter, GetTags is called for one transform of the discovery."""
    simulator.world.tag_transform("tfm-b", {"cost-center": "7"})
    if not allowed:
        simulator.faults.set({"kind": "access_denied", "operations": ["GetTags"]})
    typed = live(configure(tmp_path, simulator.url, discovery=[{"name": "beta", "labels_from_tags": ["cost-center"]}]))
    result, detail = rows(typed)["tags"]
    assert (result, detail.partition(";")[0]) == (("ok", "1 of tfm-b") if allowed else ("denied", "glue:GetTags"))
    assert rows(typed)["tfm-b"][0] == "ok"
