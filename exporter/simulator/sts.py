"""The STS operations AssumeRole and GetCallerIdentity, and the identities of access keys."""

import random
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from exporter.simulator.protocol import AwsError
from exporter.simulator.scenario import Scenario

_ROLE_ARN = re.compile(r"arn:(aws[a-z-]*):iam::(\d{12}):role/(?:.+/)?([\w+=,.@-]+)")
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}")
_KEY_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_MIN_SECONDS, _MAX_SECONDS = 900, 43200
_DEFAULT_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Identity:
    """The account, ARN and user id of an access key, and the time when it expires (epoch seconds; None: never)."""

    account: str
    arn: str
    user_id: str
    expires: float | None = None


class AccessKeys:
    """The access keys that STS has issued, and the access keys in the scenario; thread-safe.

    All other keys belong to the default account, unless the scenario sets `only_known`.
    """

    def __init__(self, scenario: Scenario, clock: Callable[[], float]) -> None:
        self._scenario = scenario
        self._clock = clock
        self._lock = threading.Lock()
        self._rng = random.Random(f"{scenario.seed}/keys")  # noqa: S311  # the keys give access to nothing
        self._issued: dict[str, Identity] = {}

    def identify(self, access_key_id: str) -> Identity:
        """Return the identity of an access key.

        Raises:
            AwsError: ExpiredTokenException or UnrecognizedClientException.
        """
        with self._lock:
            identity = self._issued.get(access_key_id)
        if identity is None:
            return self._identify_not_issued(access_key_id)
        if identity.expires is not None and identity.expires <= self._clock():
            raise AwsError("ExpiredTokenException", "The security token included in the request is expired")
        return identity

    def _identify_not_issued(self, access_key_id: str) -> Identity:
        settings = self._scenario.credentials
        if settings.only_known and access_key_id not in settings.keys:
            raise AwsError(
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            )
        account = settings.keys.get(access_key_id, self._scenario.default_account)
        return Identity(account, f"arn:aws:iam::{account}:user/simulated", "AIDASIMULATEDUSER")

    def issue(self, role_arn: str, session: str, seconds: float) -> tuple[str, Identity]:
        """Issue an access key for a role, valid for `seconds`. Return its id and identity."""
        partition, account, role = _read_role(role_arn)
        with self._lock:
            access_key_id = f"ASIA{self._letters(16)}"
            role_id = f"AROA{self._letters(17)}"
            identity = Identity(
                account,
                f"arn:{partition}:sts::{account}:assumed-role/{role}/{session}",
                f"{role_id}:{session}",
                self._clock() + seconds,
            )
            self._issued[access_key_id] = identity
        return access_key_id, identity

    def _letters(self, number: int) -> str:
        return "".join(self._rng.choices(_KEY_LETTERS, k=number))


def _read_role(arn: str) -> tuple[str, str, str]:
    match = _ROLE_ARN.fullmatch(arn)
    if match is None:
        raise AwsError("InvalidInputException", f"{arn} is invalid")
    return match[1], match[2], match[3]


class StsApi:
    """The operations GetCallerIdentity and AssumeRole."""

    def __init__(self, scenario: Scenario, access_keys: AccessKeys) -> None:
        self._access_keys = access_keys
        self._lifetime = scenario.credentials.lifetime
        self._external_ids = {role.arn: role.external_id for role in scenario.roles}

    def call(self, operation: str, identity: Identity, request: Mapping[str, str]) -> dict[str, Any]:
        """Answer one request made by `identity`.

        Raises:
            AwsError: AccessDeniedException, InvalidInputException, UnknownOperationException.
        """
        if operation == "GetCallerIdentity":
            return {
                "Arn": identity.arn,
                "UserId": identity.user_id,
                "Account": identity.account,
            }
        if operation == "AssumeRole":
            return self._assume_role(identity, request)
        raise AwsError(
            "UnknownOperationException",
            f"Could not find operation {operation} for version 2011-06-15",
        )

    def _assume_role(self, identity: Identity, request: Mapping[str, str]) -> dict[str, Any]:
        role_arn, session = request.get("RoleArn", ""), request.get("RoleSessionName", "")
        if not _SESSION_NAME.fullmatch(session):
            raise AwsError(
                "InvalidInputException",
                "Value at 'roleSessionName' failed to satisfy constraint: 2 to 64 of [\\w+=,.@-]",
            )
        external_id = self._external_ids.get(role_arn)
        if external_id is not None and request.get("ExternalId") != external_id:
            raise AwsError(
                "AccessDeniedException",
                f"User: {identity.arn} is not authorized to perform: sts:AssumeRole on resource: {role_arn}",
            )
        seconds = _read_duration(request.get("DurationSeconds"))
        key, assumed = self._access_keys.issue(role_arn, session, self._lifetime or seconds)
        return {
            "Credentials": {
                "AccessKeyId": key,
                "SecretAccessKey": f"simulated-secret-of-{key}",
                "SessionToken": f"simulated-session-token-of-{key}",
                "Expiration": _iso(assumed.expires or 0.0),
            },
            "AssumedRoleUser": {"AssumedRoleId": assumed.user_id, "Arn": assumed.arn},
            "PackedPolicySize": 0,
        }


def _read_duration(text: str | None) -> float:
    if text is None:
        return _DEFAULT_SECONDS
    if not text.isdigit() or not _MIN_SECONDS <= int(text) <= _MAX_SECONDS:
        raise AwsError(
            "InvalidInputException",
            f"Value at 'durationSeconds' failed to satisfy constraint: {_MIN_SECONDS} to {_MAX_SECONDS} seconds",
        )
    return int(text)


def _iso(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def read_query(body: bytes) -> dict[str, str]:
    """Read the parameters of a Query protocol request (a form). If a parameter is repeated, its first value is used."""
    form = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[0] for name, values in form.items()}
