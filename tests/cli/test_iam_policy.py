"""The policy of `iam-policy` allows exactly the calls that the exporter makes."""

import json
import os

import pytest
import yaml

from exporter.cli.iam.policies import OWN_IDENTITY, policies
from exporter.config.settings import load_config
from exporter.simulator import Simulator
from tests.aws_environment import ONE, TWO
from tests.running import running, wait_for
from tests.support import EXPORTER, run

ID = "tfm-0123456789abcdef0123456789abcdef01234567"
ROLE = f"arn:aws:iam::{ONE}:role/glue-ml-exporter"
NEEDS_NO_PERMISSION = {"GetCallerIdentity"}


def policy_of(**config):
    text = yaml.safe_dump({"region": "eu-west-1", **config}).replace(": false", ": 'false'")
    return policies(load_config(text, source="test", environ={}))


def actions(documents):
    return {action for document in documents.values() for one in document["Statement"] for action in one["Action"]}


def statements(documents, identity=OWN_IDENTITY):
    return {one["Sid"]: one for one in documents[identity]["Statement"]}


FEATURES = {
    "runs alone": ({"transforms": ["tfm-a"], "transform_details": False}, {"GetMLTaskRuns", "GetMLTaskRun"}),
    "details": ({"transforms": ["tfm-a"]}, {"GetMLTaskRuns", "GetMLTaskRun", "GetMLTransform"}),
    "discovery": (
        {"discovery": [{}], "transform_details": False},
        {"GetMLTaskRuns", "GetMLTaskRun", "ListMLTransforms"},
    ),
    "discovery by name": (
        {"discovery": [{"name": "al*"}], "transform_details": False},
        {"GetMLTaskRuns", "GetMLTaskRun", "GetMLTransform", "ListMLTransforms"},
    ),
    "labels from the filter's tags": (
        {"discovery": [{"tags": {"team": "blue"}, "labels_from_tags": ["team"]}], "transform_details": False},
        {"GetMLTaskRuns", "GetMLTaskRun", "ListMLTransforms"},
    ),
    "labels from other tags": (
        {"discovery": [{"labels_from_tags": ["team"]}], "transform_details": False},
        {"GetMLTaskRuns", "GetMLTaskRun", "ListMLTransforms", "GetTags"},
    ),
    "expected times from tags": (
        {"discovery": [{"expected_duration_tag": "longest"}], "transform_details": False},
        {"GetMLTaskRuns", "GetMLTaskRun", "ListMLTransforms", "GetTags"},
    ),
    "a role": (
        {"accounts": [{"name": "one", "role_arn": ROLE}], "transforms": ["tfm-one"], "transform_details": False},
        {"GetMLTaskRuns", "GetMLTaskRun", "AssumeRole"},
    ),
}


@pytest.mark.parametrize(("config", "operations"), FEATURES.values(), ids=FEATURES)
def test_the_policy_allows_exactly_the_operations_that_are_called(simulator, config, operations):
    """The policy of a configuration allows the operations that the exporter calls with it, and no others."""
    for transform_id in ("tfm-a", "tfm-one"):
        # The exporter calls GetMLTaskRun for a run that is missing from the list.
        simulator.world.add_run(transform_id, run_id=f"tsk-{transform_id}")
    with running(simulator, **config) as exporter:
        wait_for(exporter.service.is_ready)
        wait_for(lambda: exporter.value("glue_ml_task_runs", status="RUNNING") == 1)
        for transform_id in ("tfm-a", "tfm-one"):
            simulator.world.remove_run(transform_id, f"tsk-{transform_id}")
        wait_for(lambda: simulator.requests.count("GetMLTaskRun"))
        called = set(simulator.requests.counts())
    allowed = {action.partition(":")[2] for action in actions(policy_of(**config))}
    assert called - NEEDS_NO_PERMISSION == allowed == operations


def test_resources_are_the_configured_transforms():
    """Each configured transform is a resource with its region; only the unknown account id is a wildcard."""
    one, two = ID, ID.replace("0", "f")
    documents = policy_of(transforms=[one, {"id": two, "region": "us-east-1"}])
    assert statements(documents)["ReadTransforms"]["Resource"] == [
        f"arn:aws:glue:eu-west-1:*:mlTransform/{one}",
        f"arn:aws:glue:us-east-1:*:mlTransform/{two}",
    ]
    assert actions(documents) == {"glue:GetMLTaskRun", "glue:GetMLTaskRuns", "glue:GetMLTransform"}


def test_a_role_reads_glue_and_the_own_identity_assumes_it():
    """The ARNs for a role contain its account id, and the policy of the exporter itself allows only sts:AssumeRole."""
    other = f"arn:aws:iam::{TWO}:role/x"
    documents = policy_of(
        accounts=[{"name": "one", "role_arn": ROLE}, {"name": "two", "role_arn": other}],
        transforms=[{"id": ID, "account": "one"}, {"id": "tfm-2", "account": "two"}],
    )
    assert set(documents) == {ROLE, other, OWN_IDENTITY}
    assert statements(documents, ROLE)["ReadTransforms"]["Resource"] == [
        f"arn:aws:glue:eu-west-1:{ONE}:mlTransform/{ID}"
    ]
    assert statements(documents) == {
        "AssumeRoles": {
            "Sid": "AssumeRoles",
            "Effect": "Allow",
            "Action": ["sts:AssumeRole"],
            "Resource": [ROLE, other],
        }
    }


def test_a_discovery_by_tags_reads_only_transforms_with_these_tags():
    """The tags of a discovery are a condition for reading its transforms; ListMLTransforms gets the resource ``*``."""
    documents = policy_of(
        discovery=[{"tags": {"monitor": "true"}, "regions": ["eu-west-1", "us-east-1"]}], transforms=[ID]
    )
    found = statements(documents)
    assert found["ReadDiscoveredTransforms"]["Condition"] == {"StringEquals": {"aws:ResourceTag/monitor": "true"}}
    assert found["ReadDiscoveredTransforms"]["Resource"] == [
        "arn:aws:glue:eu-west-1:*:mlTransform/*",
        "arn:aws:glue:us-east-1:*:mlTransform/*",
    ]
    assert found["ReadTransforms"]["Resource"] == [f"arn:aws:glue:eu-west-1:*:mlTransform/{ID}"]
    assert found["FindTransforms"]["Resource"] == ["*"]


def test_a_discovery_without_filter_covers_configured_transforms():
    """If all transforms of a region are discovered, the policy does not list a configured transform separately."""
    documents = policy_of(discovery=[{}], transforms=[ID, {"id": "tfm-2", "region": "us-east-1"}])
    assert statements(documents)["ReadTransforms"]["Resource"] == ["arn:aws:glue:us-east-1:*:mlTransform/tfm-2"]


def test_each_statement_has_its_own_sid():
    """Two discoveries make two statements with different Sids, and equal statements become one."""
    found = policy_of(discovery=[{"tags": {"a": "1"}}, {"tags": {"b": "2"}}, {"tags": {"a": "1"}, "name": "x*"}])
    names = [one["Sid"] for one in found[OWN_IDENTITY]["Statement"]]
    assert names == ["ReadDiscoveredTransforms", "ReadDiscoveredTransforms2", "FindTransforms"]


@pytest.mark.parametrize(
    ("region", "partition"),
    [("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("us-iso-east-1", "aws-iso")],
)
def test_the_partition_is_that_of_the_region(region, partition):
    """An ARN starts with the partition of its region."""
    resources = statements(policy_of(region=region, transforms=["tfm-1"]))["ReadTransforms"]["Resource"]
    assert resources == [f"arn:{partition}:glue:{region}:*:mlTransform/tfm-1"]


def test_profiles_have_policies_of_their_own():
    """A profile and the ambient credentials are two identities."""
    documents = policy_of(
        accounts=[{"name": "here"}, {"name": "there", "profile": "there"}],
        transforms=[{"id": "tfm-1", "account": "here"}, {"id": "tfm-2", "account": "there"}],
    )
    assert set(documents) == {OWN_IDENTITY, "profile there"}


def test_an_account_without_transforms_gets_no_policy():
    """An identity that makes no call is not printed."""
    documents = policy_of(
        accounts=[{"name": "a"}, {"name": "b", "profile": "b"}], transforms=[{"id": "tfm-t", "account": "a"}]
    )
    assert set(documents) == {OWN_IDENTITY}


@pytest.mark.slow
def test_the_command_prints_json(tmp_path):
    """`iam-policy` prints a single policy as it is, and several by identity, without a call to AWS."""
    (tmp_path / "config.yaml").write_text(f"region: eu-west-1\ntransforms: [{ID}]\n")
    printed = run(*EXPORTER, "iam-policy", folder=tmp_path)
    assert printed.exit_code == 0, printed.stderr
    assert json.loads(printed.stdout)["Version"] == "2012-10-17"
    (tmp_path / "config.yaml").write_text(
        f"region: eu-west-1\ntransforms: [{ID}]\naccounts: [{{name: one, role_arn: '{ROLE}'}}]\n"
    )
    assert set(json.loads(run(*EXPORTER, "iam-policy", folder=tmp_path).stdout)) == {ROLE, OWN_IDENTITY}


@pytest.mark.slow
def test_once_works_without_the_permission_for_details(tmp_path):
    """If GetMLTransform is denied, `once` exits with 0, shows the id as name, and counts the denied request."""
    scenario = {"transforms": [{"id": "tfm-a", "name": "alpha"}]}
    with Simulator(scenario) as simulator:
        simulator.faults.set({"kind": "access_denied", "operations": ["GetMLTransform"]})
        (tmp_path / "config.yaml").write_text(
            f"region: eu-west-1\nendpoint_url: {simulator.url}\ntransforms: [tfm-a]\n"
        )
        environ = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_CONFIG_FILE": os.devnull}
        once = run(*EXPORTER, "once", folder=tmp_path, environ=environ)
    assert once.exit_code == 0, once.stderr
    assert 'glue_ml_transform_up{transform_id="tfm-a",transform_name="tfm-a"} 1' in once.stdout
    assert 'code="AccessDeniedException",operation="GetMLTransform"} 1' in once.stdout
    assert once.stderr.count("transform details cannot be read") == 1
