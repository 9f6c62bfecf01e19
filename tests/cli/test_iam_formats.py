"""`iam-policy` prints the same policies as JSON, for Terraform and for CloudFormation, with roles if asked for."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from exporter.cli.iam.grants import grants_of
from exporter.cli.iam.output import as_cloudformation, as_json, as_terraform
from exporter.config.settings import load_config
from exporter.model.errors import ExporterError
from tests.support import EXPORTER, run

CONFIG = """\
region: eu-west-1
accounts:
  - name: own
  - {name: prod, role_arn: "arn:aws:iam::222222222222:role/team/glue-ml", external_id: s3cr3t}
  - {name: dev, role_arn: "arn:aws:iam::333333333333:role/glue-ml"}
transforms:
  - {id: tfm-a, account: own}
  - {id: tfm-b, account: prod}
  - {id: tfm-c, account: dev}
discovery:
  - account: own
    tags: {"a": "$${x}", "b": "%{y}", "c": "\\"z\\" é"}
"""
KINDS = (None, "irsa", "pod-identity", "cross-account")
PLACEHOLDERS = {"AWS::AccountId": "account_id", "data.aws_caller_identity.current.account_id": "account_id"}


def grants(kind, text=CONFIG):
    return grants_of(load_config(text, source="test", environ={}), kind)


def with_json_names(text):
    """Return a trust policy with the words that the JSON format has in place of variables and parameters."""

    def name(match):
        known = PLACEHOLDERS.get(match[1], match[1].removeprefix("var."))
        return re.sub("(?<=[a-z])(?=[A-Z0-9])|(?<=[0-9])(?=[A-Z])", "_", known).upper()

    return json.loads(re.sub(r"\$\{([^}]+)\}", name, text))


def documents(kind):
    """Return the policies and the trust policies of the JSON format, in its order."""
    printed = json.loads(as_json(grants(kind)))
    found = [printed] if {"Statement", "Policy"} & printed.keys() else list(printed.values())
    return [one.get("Policy", one) for one in found], [one["TrustPolicy"] for one in found if "TrustPolicy" in one]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_terraform_has_the_policies_of_json(kind):
    """A parser of HCL reads the Terraform format, and each `jsonencode` has a policy of the JSON format."""
    hcl2 = pytest.importorskip("hcl2")
    text = as_terraform(grants(kind))
    blocks = hcl2.loads(f"{text}\n")
    policies, trusts = documents(kind)
    wanted = {"aws_iam_policy"} if kind is None else {"aws_iam_role", "aws_iam_role_policy"}
    assert {name.strip('"') for block in blocks["resource"] for name in block} == wanted
    encoded = re.findall(r"^  (\w+) += jsonencode\((.*?^  \})\)$", text, re.MULTILINE | re.DOTALL)
    plain = [one.replace("$${", "${").replace("%%{", "%{") for name, one in encoded if name == "policy"]
    assert list(map(json.loads, plain)) == policies
    assert [with_json_names(one) for name, one in encoded if name == "assume_role_policy"] == trusts


@pytest.mark.parametrize("kind", KINDS)
def test_cloudformation_has_the_policies_of_json(kind):
    """The template has the policies of the JSON format, and each role is made only in its own account."""
    template = yaml.safe_load(as_cloudformation(grants(kind)))
    resources = list(template["Resources"].values())
    policies, trusts = documents(kind)
    if kind is None:
        assert [one["Properties"]["PolicyDocument"] for one in resources] == policies
        return
    assert [one["Properties"]["Policies"][0]["PolicyDocument"] for one in resources] == policies
    assumed = [one["Properties"]["AssumeRolePolicyDocument"] for one in resources]
    assert [with_json_names(one.get("Fn::Sub", json.dumps(one))) for one in assumed] == trusts
    if kind == "cross-account":
        places = [(one["Condition"], one["Properties"]["RoleName"], one["Properties"]["Path"]) for one in resources]
        assert places == [("InAccount222222222222", "glue-ml", "/team/"), ("InAccount333333333333", "glue-ml", "/")]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_cfn_lint_accepts_the_template(kind, tmp_path):
    """cfn-lint finds no mistake in the CloudFormation format."""
    pytest.importorskip("cfnlint")
    (tmp_path / "template.yaml").write_text(as_cloudformation(grants(kind)))
    done = run(Path(sys.executable).parent / "cfn-lint", "template.yaml", folder=tmp_path)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("kind", KINDS)
def test_no_format_shows_an_external_id(kind):
    """The external id is a secret, so every format has a variable in its place."""
    for text in (as_json(grants(kind)), as_terraform(grants(kind)), as_cloudformation(grants(kind))):
        assert "s3cr3t" not in text


@pytest.mark.parametrize("kind", [None, "cross-account"])
def test_identities_with_similar_names_keep_their_own_policies(kind):
    """Roles and profiles whose names differ only in punctuation or case have a resource each, in both formats."""
    names = ("glue-ml", "glue_ml", "glue/ml", "Glueml", "glue-ml-2")
    accounts = [{"name": name, "role_arn": f"arn:aws:iam::222222222222:role/{name}"} for name in names]
    accounts += [{"name": name, "profile": name} for name in ("a-b", "a_b", "aB")]
    config = {
        "region": "eu-west-1",
        "accounts": accounts,
        "transforms": [{"id": f"tfm-{i}", "account": one["name"]} for i, one in enumerate(accounts)],
    }
    made = grants(kind, yaml.safe_dump(config))
    assert len(made) == (9 if kind is None else 5)
    assert len(yaml.safe_load(as_cloudformation(made))["Resources"]) == len(made)
    kinds = re.findall(r'^resource "aws_iam_(?:policy|role)" "(\w+)"', as_terraform(made), re.MULTILINE)
    assert len(set(kinds)) == len(kinds) == len(made)


def test_trust_policies():
    """Each kind of role trusts what AWS documents for it; a role without external id in the configuration has none."""
    (irsa,) = documents("irsa")[1]
    (statement,) = irsa["Statement"]
    assert statement["Principal"] == {"Federated": "arn:aws:iam::ACCOUNT_ID:oidc-provider/OIDC_PROVIDER"}
    assert (
        statement["Condition"]["StringEquals"]["OIDC_PROVIDER:sub"] == "system:serviceaccount:NAMESPACE:SERVICE_ACCOUNT"
    )
    (pod,) = documents("pod-identity")[1]
    assert pod["Statement"][0]["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    prod, dev = documents("cross-account")[1]
    assert list(prod["Statement"][0]["Condition"]["StringEquals"]) == ["sts:ExternalId"]
    assert "Condition" not in dev["Statement"][0]


def test_a_kind_of_role_that_the_configuration_does_not_need():
    """--for is refused in one line if no identity of the configuration needs such a role."""
    with pytest.raises(ExporterError, match=r"--for cross-account: no account has a role_arn; expected one"):
        grants("cross-account", "region: eu-west-1\ntransforms: [tfm-a]")
    profiles = "region: eu-west-1\naccounts: [{name: a, profile: b}]\ntransforms: [tfm-a]"
    with pytest.raises(ExporterError, match=r"--for irsa: the identity that the exporter runs as needs no permission"):
        grants("irsa", profiles)


@pytest.mark.slow
def test_the_command_names_what_to_replace(tmp_path):
    """JSON with placeholders is followed by a note on stderr that names them."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    done = run(*EXPORTER, "iam-policy", "--for=irsa", folder=tmp_path)
    assert done.exit_code == 0
    assert set(json.loads(done.stdout)) == {"Policy", "TrustPolicy"}
    assert done.stderr == "replace ACCOUNT_ID, OIDC_PROVIDER, NAMESPACE, SERVICE_ACCOUNT by your values\n"
