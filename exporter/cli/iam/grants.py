"""Makes the grants of a configuration: for each identity its policy, and with `--for` the trust policy of its role.

Sources: "IAM roles for service accounts" and "EKS Pod Identity" in the Amazon EKS User Guide; "Access to AWS accounts
owned by third parties" in the IAM User Guide.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count

from exporter.cli.iam.policies import OWN_IDENTITY, Policy, policies
from exporter.config.schema import Account
from exporter.config.settings import Config
from exporter.model.errors import ExporterError
from exporter.model.transform import partition

NAME = "glue-ml-exporter"


@dataclass(frozen=True, slots=True)
class Variable:
    """A value in a trust policy that the configuration does not contain. An empty default means: the user sets it."""

    name: str
    description: str
    default: str = ""
    secret: bool = False

    @property
    def json_name(self) -> str:
        """The word that stands for the value in JSON."""
        return self.name.upper()


Reference = Callable[[Variable], str]
"""Returns the text that stands for the value of a variable in an output format."""

ACCOUNT_ID = Variable("account_id", "id of the account of the role")
_PROVIDER = Variable(
    "oidc_provider", "OIDC provider of the cluster without https://, e.g. oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE"
)
_NAMESPACE = Variable("namespace", "namespace of the exporter", "monitoring")
_SERVICE_ACCOUNT = Variable("service_account", "service account of the exporter", NAME)
_EXPORTER = Variable("exporter_role_arn", "ARN of the role that the exporter runs as")


@dataclass(frozen=True, slots=True)
class Grant:
    """The policy of one identity. With `trust`, its role is made too."""

    identity: str
    label: str
    """A name for resources: letters, digits and `_`, different for each identity."""
    policy: Policy
    role_arn: str | None = None
    """The ARN in the configuration; None for the identity that the exporter runs as, and for a profile."""
    trust: Callable[[Reference], Policy] | None = None
    """Makes the trust policy of the role."""
    variables: tuple[Variable, ...] = ()
    """The variables in the trust policy."""

    @property
    def account_id(self) -> str | None:
        """The account of the role; None if it is not known."""
        return self.role_arn.split(":")[4] if self.role_arn else None

    @property
    def role_name(self) -> str:
        """The name of the role."""
        return self.role_arn.rpartition("/")[2] if self.role_arn else NAME

    @property
    def role_path(self) -> str:
        """The path of the role, which begins and ends with a slash."""
        return f"/{self.role_arn.partition('/')[2]}".rpartition("/")[0] + "/" if self.role_arn else "/"


def grants_of(config: Config, kind: str | None) -> list[Grant]:
    """Return the grants of a configuration.

    Without `kind` there is a grant for each identity that needs a policy. With `irsa` or `pod-identity` there is one
    for the role that the exporter runs as. With `cross-account` there is one for each role that the exporter assumes.

    Raises:
        ExporterError: there is no such role.
    """
    documents = policies(config)
    labels = _labels(documents)
    roles = {account.role_arn: account for account in config.accounts if account.role_arn}
    grants = [Grant(name, labels[name], policy, name if name in roles else None) for name, policy in documents.items()]
    if kind is None:
        return grants
    if kind == "cross-account":
        assumed = [grant for grant in grants if grant.role_arn]
        if not assumed:
            raise ExporterError("--for cross-account: no account has a role_arn; expected one, or another --for")
        return [_assumed(grant, roles[grant.identity], single=len(assumed) == 1) for grant in assumed]
    own = next((grant for grant in grants if grant.identity == OWN_IDENTITY), None)
    if own is None:
        raise ExporterError(f"--for {kind}: {OWN_IDENTITY} needs no permission; all accounts have a profile")
    if kind == "pod-identity":
        return [replace(own, trust=_pod_identity_trust)]
    variables = (ACCOUNT_ID, _PROVIDER, _NAMESPACE, _SERVICE_ACCOUNT)
    return [replace(own, trust=_irsa_trust(_partition(config)), variables=variables)]


def _labels(identities: Iterable[str]) -> dict[str, str]:
    """Return the label of each identity. Labels of two identities differ also without `_` and in lower case.

    A logical id of CloudFormation has no `_`. Example: the roles `glue-ml` and `glue_ml` of one account get different
    numbers.
    """
    labels: dict[str, str] = {}
    taken: set[str] = set()
    for identity in identities:
        first = label = _label(identity)
        numbers = count(2)
        while (compared := label.replace("_", "").lower()) in taken:
            label = f"{first}_{next(numbers)}"
        taken.add(compared)
        labels[identity] = label
    return labels


def _label(identity: str) -> str:
    name = "glue_ml_exporter" if identity == OWN_IDENTITY else identity
    if identity.startswith("arn:"):
        _, _, _, _, account_id, resource = identity.split(":", 5)
        name = f"account_{account_id}_{resource.removeprefix('role/')}"
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def _assumed(grant: Grant, account: Account, *, single: bool) -> Grant:
    """Return the grant with the trust policy of a role that the exporter assumes.

    The external id is a secret, so it is a variable.
    """
    name = "external_id" if single else f"external_id_{grant.label}"
    external_id = Variable(name, f"external_id of {account.role_arn} in the configuration", secret=True)
    variables = (_EXPORTER, external_id) if account.external_id else (_EXPORTER,)

    def trust(reference: Reference) -> Policy:
        statement: dict[str, object] = {"Principal": {"AWS": reference(_EXPORTER)}, "Action": "sts:AssumeRole"}
        if account.external_id:
            statement["Condition"] = {"StringEquals": {"sts:ExternalId": reference(external_id)}}
        return _trust(statement)

    return replace(grant, trust=trust, variables=variables)


def _irsa_trust(partition_: str) -> Callable[[Reference], Policy]:
    def trust(reference: Reference) -> Policy:
        provider = reference(_PROVIDER)
        subject = f"system:serviceaccount:{reference(_NAMESPACE)}:{reference(_SERVICE_ACCOUNT)}"
        conditions = {f"{provider}:aud": "sts.amazonaws.com", f"{provider}:sub": subject}
        federated = f"arn:{partition_}:iam::{reference(ACCOUNT_ID)}:oidc-provider/{provider}"
        return _trust(
            {
                "Principal": {"Federated": federated},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {"StringEquals": conditions},
            }
        )

    return trust


def _pod_identity_trust(_: Reference) -> Policy:
    return _trust({"Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": ["sts:AssumeRole", "sts:TagSession"]})


def _trust(statement: dict[str, object]) -> Policy:
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}


def _partition(config: Config) -> str:
    """Return the AWS partition of the configuration's regions. A role cannot reach into another partition."""
    regions: Iterable[str] = (
        *(transform.region for transform in config.transforms),
        *(region for discovery in config.discovery for region in discovery.regions),
    )
    return partition(next(iter(regions)))
