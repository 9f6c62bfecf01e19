import pytest
from botocore.exceptions import ClientError

from exporter.simulator import Simulator
from tests.simulator.clients import client

ROLE = "arn:aws:iam::222222222222:role/path/reader"
GUARDED = "arn:aws:iam::222222222222:role/guarded"
SCENARIO = {
    "credentials": {"lifetime": "3s", "keys": {"AKIAKNOWN": "333333333333"}},
    "roles": [{"arn": GUARDED, "external_id": "sesame"}],
    "transforms": [{"name": "theirs", "id": "tfm-theirs", "account": "222222222222"}],
}


def assume(simulator, role=ROLE, **more):
    """Assume a role and give the access key."""
    sts = client(simulator, "sts")
    return sts.assume_role(RoleArn=role, RoleSessionName="test", **more)["Credentials"]["AccessKeyId"]


def test_an_assumed_role_acts_in_the_account_of_its_arn(simulator):
    """Credentials of an assumed role see that account's transforms, and say so to GetCallerIdentity."""
    key = assume(simulator)
    assert client(simulator, key=key).list_ml_transforms()["TransformIds"] == ["tfm-theirs"]
    identity = client(simulator, "sts", key=key).get_caller_identity()
    assert identity["Account"] == "222222222222"
    assert identity["Arn"] == "arn:aws:sts::222222222222:assumed-role/reader/test"
    assert client(simulator).list_ml_transforms()["TransformIds"] == []


def test_assumed_credentials_expire_when_the_scenario_says_so(simulator, clock):
    """With `lifetime: 3s` STS names an expiry 3 s ahead, and from then on Glue and STS refuse the key."""
    answer = client(simulator, "sts").assume_role(RoleArn=ROLE, RoleSessionName="test")
    key = answer["Credentials"]["AccessKeyId"]
    assert answer["Credentials"]["Expiration"].timestamp() == clock.now + 3
    clock.now += 2.9
    client(simulator, key=key).list_ml_transforms()
    clock.now += 0.1
    with pytest.raises(ClientError) as refusal:
        client(simulator, key=key).list_ml_transforms()
    assert refusal.value.response["Error"]["Code"] == "ExpiredTokenException"
    with pytest.raises(ClientError, match="ExpiredToken"):
        client(simulator, "sts", key=key).get_caller_identity()


@pytest.mark.parametrize(("asked", "life"), [({}, 3600), ({"DurationSeconds": 900}, 900)])
def test_without_a_lifetime_credentials_live_as_long_as_asked_for(clock, asked, life):
    """DurationSeconds decides the life, an hour by default."""
    with Simulator({}, clock=clock) as simulator:
        answer = client(simulator, "sts").assume_role(RoleArn=ROLE, RoleSessionName="test", **asked)
    assert answer["Credentials"]["Expiration"].timestamp() == clock.now + life


def test_a_role_with_an_external_id_asks_for_it(simulator):
    """AssumeRole on a role with an external id is denied without it and with another."""
    assert assume(simulator, GUARDED, ExternalId="sesame")
    for wrong in ({}, {"ExternalId": "open"}):
        with pytest.raises(ClientError) as refusal:
            assume(simulator, GUARDED, **wrong)
        assert refusal.value.response["Error"]["Code"] == "AccessDenied"
        assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.parametrize(
    "wrong", [{"RoleArn": "arn:aws:iam::1:role/x"}, {"RoleSessionName": "a b"}, {"DurationSeconds": 899}]
)
def test_a_malformed_assume_role_is_a_validation_error(simulator, wrong):
    """A role ARN, session name or duration out of bounds is refused."""
    sts = client(simulator, "sts", validate=False)
    with pytest.raises(ClientError, match="ValidationError"):
        sts.assume_role(**{"RoleArn": ROLE, "RoleSessionName": "test", **wrong})


def test_access_keys_may_be_given_accounts_and_strangers_refused():
    """`keys` says whose a key is; with `only_known` any other is unrecognised, but what STS issued is known."""
    known = {"keys": {"AKIAKNOWN": "333333333333"}, "only_known": True}
    with Simulator({"credentials": known}) as simulator:
        sts = client(simulator, "sts", key="AKIAKNOWN")
        assert sts.get_caller_identity()["Account"] == "333333333333"
        issued = sts.assume_role(RoleArn=ROLE, RoleSessionName="test")["Credentials"]["AccessKeyId"]
        client(simulator, key=issued).list_ml_transforms()
        with pytest.raises(ClientError) as refusal:
            client(simulator, key="AKIASTRANGER").list_ml_transforms()
        assert refusal.value.response["Error"]["Code"] == "UnrecognizedClientException"
        with pytest.raises(ClientError, match="InvalidClientTokenId"):
            client(simulator, "sts", key="AKIASTRANGER").get_caller_identity()


def test_the_region_is_the_one_the_request_was_signed_for(simulator):
    """The request log shows region, account and access key of each caller."""
    client(simulator, region="ap-south-1", key="AKIAKNOWN").list_ml_transforms()
    logged = simulator.requests.all("ListMLTransforms")[-1]
    assert (logged.region, logged.account, logged.access_key_id) == ("ap-south-1", "333333333333", "AKIAKNOWN")
