"""Makes the least-privilege IAM policy that a configuration needs.

Source: "Actions, resources, and condition keys for AWS Glue" in the Service Authorization Reference. GetMLTaskRun,
GetMLTaskRuns and GetMLTransform take an mlTransform as resource, and its tags as condition. For GetTags the reference
does not name mlTransform as a resource, and for ListMLTransforms only some editions name it. Both actions therefore get
the resource ``*``, which is always valid. GetCallerIdentity needs no permission.
"""

from collections.abc import Iterable
from typing import Any

from exporter.config.schema import Account
from exporter.config.settings import Config, DiscoverySettings
from exporter.model.transform import transform_arn

OWN_IDENTITY = "the identity that the exporter runs as"
"""The name of the ambient credentials among the identities that need a policy."""

Policy = dict[str, Any]
"""A policy document; see "IAM JSON policy elements reference" in the IAM User Guide."""

Statement = dict[str, Any]
"""A statement of a policy."""


def policies(config: Config) -> dict[str, Policy]:
    """Return a policy document for each identity that needs one.

    An identity is the ARN of a role, ``profile NAME``, or `OWN_IDENTITY`. Accounts of one identity share a policy.
    `OWN_IDENTITY` needs a policy if an account has ambient credentials, or if there is a role to assume.
    """
    identities: dict[str, list[Account]] = {}
    for account in config.accounts:
        identities.setdefault(_identity(account), []).append(account)
    statements = {name: _statements(config, accounts) for name, accounts in identities.items()}
    roles = sorted({account.role_arn for account in config.accounts if account.role_arn})
    if roles:
        statements.setdefault(OWN_IDENTITY, []).append(_allow("AssumeRoles", ["sts:AssumeRole"], roles))
    return {name: {"Version": "2012-10-17", "Statement": listed} for name, listed in statements.items() if listed}


def _identity(account: Account) -> str:
    if account.role_arn:
        return account.role_arn
    return f"profile {account.profile}" if account.profile else OWN_IDENTITY


def _statements(config: Config, accounts: list[Account]) -> list[Statement]:
    """Return the statements for the accounts of one identity.

    ARNs contain the account id of the role; without a role they contain ``*``.
    """
    names = {account.name for account in accounts}
    account_id = next((account.role_arn.split(":")[4] for account in accounts if account.role_arn), "*")
    discovery = [wanted for wanted in config.discovery if wanted.account in names]
    statements = _configured_statements(config, names, account_id)
    for wanted in discovery:
        statements += _discovered_statements(config, wanted, account_id)
    listing = ["glue:ListMLTransforms"] if discovery else []
    if any(wanted.tags_to_read for wanted in discovery):
        listing.insert(0, "glue:GetTags")
    if listing:
        statements.append(_allow("FindTransforms", listing, ["*"]))
    return _numbered(statements)


def _configured_statements(config: Config, accounts: set[str], account_id: str) -> list[Statement]:
    """Return the statements for the configured transforms.

    A transform is left out if a discovery without a tag filter covers it.
    """
    untagged = [wanted for wanted in config.discovery if not wanted.tags]
    covered = {(wanted.account, region) for wanted in untagged for region in wanted.regions}
    arns = [
        transform_arn(transform.region, account_id, transform.id)
        for transform in config.transforms
        if transform.account in accounts and (transform.account, transform.region) not in covered
    ]
    return [_allow("ReadTransforms", _read_actions(details=config.transform_details), sorted(arns))] if arns else []


def _discovered_statements(config: Config, wanted: DiscoverySettings, account_id: str) -> list[Statement]:
    actions = _read_actions(details=config.transform_details or wanted.name is not None)
    arns = sorted(transform_arn(region, account_id, "*") for region in wanted.regions)
    statement = _allow("ReadDiscoveredTransforms", actions, arns)
    if wanted.tags:
        tags = {f"aws:ResourceTag/{key}": value for key, value in sorted(wanted.tags.items())}
        statement["Condition"] = {"StringEquals": tags}
    return [statement]


def _read_actions(*, details: bool) -> list[str]:
    return ["glue:GetMLTaskRun", "glue:GetMLTaskRuns", *(["glue:GetMLTransform"] if details else [])]


def _allow(sid: str, actions: list[str], resources: list[str]) -> Statement:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}


def _numbered(statements: Iterable[Statement]) -> list[Statement]:
    """Return the statements without duplicates. Every Sid is unique, as IAM requires within a policy."""
    unique: list[Statement] = []
    for statement in statements:
        if statement not in unique:
            unique.append(statement)
    seen: dict[str, int] = {}
    for statement in unique:
        sid = statement["Sid"]
        seen[sid] = seen.get(sid, 0) + 1
        if seen[sid] > 1:
            statement["Sid"] = f"{sid}{seen[sid]}"
    return unique
