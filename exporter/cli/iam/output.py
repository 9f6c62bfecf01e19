"""Formats grants as JSON, for Terraform and for CloudFormation.

A role belongs to the account in its ARN. The Terraform file and the CloudFormation template make a role only in its own
account, so the same text can be applied in every account.
"""

import json
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from exporter.cli.iam.grants import ACCOUNT_ID, NAME, Grant, Variable
from exporter.cli.iam.policies import Policy


def as_json(grants: Sequence[Grant]) -> str:
    """Return the policy if there is only one, else all policies by identity.

    With trust policies, each policy is an object with the keys `Policy` and `TrustPolicy`.
    """
    documents = {grant.identity: _document(grant) for grant in grants}
    return json.dumps(next(iter(documents.values())) if len(documents) == 1 else documents, indent=2)


def _document(grant: Grant) -> Policy:
    if grant.trust is None:
        return grant.policy
    return {"Policy": grant.policy, "TrustPolicy": grant.trust(lambda variable: variable.json_name)}


# -- Terraform --------------------------------------------------------------------------------------------------------


def as_terraform(grants: Sequence[Grant]) -> str:
    """Return Terraform's configuration language (HCL). The argument of each `jsonencode` is the policy as JSON."""
    blocks = [_terraform_variable(variable) for variable in _variables(grants)]
    if any(grant.account_id or ACCOUNT_ID in grant.variables for grant in grants):
        blocks.append('data "aws_caller_identity" "current" {}')
    for grant in grants:
        blocks += _terraform_role(grant) if grant.trust else [_terraform_policy(grant)]
    return "\n\n".join(blocks)


def _terraform_variable(variable: Variable) -> str:
    lines = [f"description = {json.dumps(variable.description)}", "type        = string"]
    lines += [f"default     = {json.dumps(variable.default)}"] if variable.default else []
    lines += ["sensitive   = true"] if variable.secret else []
    return _block(f'variable "{variable.name}"', lines)


def _terraform_policy(grant: Grant) -> str:
    lines = [*_count(grant), f'name   = "{NAME}"', f"policy = {_encoded(grant.policy)}"]
    return f"# {grant.identity}\n" + _block(f'resource "aws_iam_policy" "{grant.label}"', lines)


def _terraform_role(grant: Grant) -> list[str]:
    role = f"aws_iam_role.{grant.label}{'[0]' if grant.account_id else ''}"
    trust = json.dumps(grant.trust(_terraform_reference) if grant.trust else {}, indent=2)
    path = [f'path               = "{grant.role_path}"'] if grant.role_path != "/" else []
    lines = [*_count(grant), f'name               = "{grant.role_name}"', *path]
    return [
        f"# {grant.identity}\n"
        + _block(f'resource "aws_iam_role" "{grant.label}"', [*lines, f"assume_role_policy = jsonencode({trust})"]),
        _block(
            f'resource "aws_iam_role_policy" "{grant.label}"',
            [*_count(grant), f'name   = "{NAME}"', f"role   = {role}.id", f"policy = {_encoded(grant.policy)}"],
        ),
    ]


def _count(grant: Grant) -> list[str]:
    known = f'data.aws_caller_identity.current.account_id == "{grant.account_id}"'
    return [f"count = {known} ? 1 : 0", ""] if grant.account_id else []


def _terraform_reference(variable: Variable) -> str:
    if variable is ACCOUNT_ID:
        return "${data.aws_caller_identity.current.account_id}"
    return f"${{var.{variable.name}}}"


def _encoded(policy: Policy) -> str:
    """Return a call of `jsonencode`. HCL reads JSON, but `${` and `%{` would begin a template."""
    return f"jsonencode({json.dumps(policy, indent=2).replace('${', '$${').replace('%{', '%%{')})"


def _block(head: str, lines: Iterable[str]) -> str:
    body = textwrap.indent("\n".join(lines), "  ")
    return f"{head} {{\n{body}\n}}"


# -- CloudFormation ---------------------------------------------------------------------------------------------------


def as_cloudformation(grants: Sequence[Grant]) -> str:
    """Return a CloudFormation template in YAML."""
    accounts = {grant.account_id for grant in grants if grant.account_id}
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Permissions of glue-ml-exporter",
        "Parameters": {_logical(variable.name): _parameter(variable) for variable in _variables(grants)},
        "Conditions": {_condition(one): {"Fn::Equals": [{"Ref": "AWS::AccountId"}, one]} for one in sorted(accounts)},
        "Resources": {_logical(grant.label): _resource(grant) for grant in grants},
    }
    filled = {key: value for key, value in template.items() if value}
    return yaml.safe_dump(filled, sort_keys=False, width=120, allow_unicode=True)


def _parameter(variable: Variable) -> dict[str, Any]:
    default = {"Default": variable.default} if variable.default else {}
    secret = {"NoEcho": True} if variable.secret else {}
    return {"Type": "String", "Description": variable.description, **default, **secret}


def _resource(grant: Grant) -> dict[str, Any]:
    condition = {"Condition": _condition(grant.account_id)} if grant.account_id else {}
    if grant.trust is None:
        properties = {"Description": f"Policy of {grant.identity}", "PolicyDocument": grant.policy}
        return {"Type": "AWS::IAM::ManagedPolicy", **condition, "Properties": properties}
    name = {"RoleName": grant.role_name, "Path": grant.role_path} if grant.account_id else {}
    trust = grant.trust(_cloudformation_reference)
    role = {
        **name,
        # The key of a mapping cannot contain a parameter, so the whole policy is a text.
        "AssumeRolePolicyDocument": {"Fn::Sub": json.dumps(trust)} if grant.variables else trust,
        "Policies": [{"PolicyName": NAME, "PolicyDocument": grant.policy}],
    }
    return {"Type": "AWS::IAM::Role", **condition, "Properties": role}


def _cloudformation_reference(variable: Variable) -> str:
    return "${AWS::AccountId}" if variable is ACCOUNT_ID else f"${{{_logical(variable.name)}}}"


def _condition(account_id: str | None) -> str:
    return f"InAccount{account_id}"


def _logical(name: str) -> str:
    """Return a logical id, which has letters and digits only."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _variables(grants: Sequence[Grant]) -> list[Variable]:
    """Return the variables that the user sets, each once. The format itself knows the account."""
    variables = dict.fromkeys(variable for grant in grants for variable in grant.variables)
    return [variable for variable in variables if variable is not ACCOUNT_ID]
