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


def test_an_assumed_role_has_the_account_of_its_arn(simulator):
    """With the credentials of an assumed role, Glue lists that account's transforms and STS returns that account."""
    key = assume(simulator)
    assert client(simulator, key=key).list_ml_transforms()["TransformIds"] == ["tfm-theirs"]
    identity = client(simulator, "sts", key=key).get_caller_identity()
    assert identity["Account"] == "222222222222"
    assert identity["Arn"] == "arn:aws:sts::222222222222:assumed-role/reader/test"
    assert client(simulator).list_ml_transforms()["TransformIds"] == []


def test_the_scenarios_lifetime_limits_assumed_credentials(simulator, clock):
    """With `lifetime: 3s` the Expiration is 3 s in the future. After that Glue and STS refuse the key."""
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
def test_duration_seconds_limits_assumed_credentials(clock, asked, life):
    """Without `lifetime` the DurationSeconds of the request decides; its default is one hour."""
    with Simulator({}, clock=clock) as simulator:
        answer = client(simulator, "sts").assume_role(RoleArn=ROLE, RoleSessionName="test", **asked)
    assert answer["Credentials"]["Expiration"].timestamp() == clock.now + life


def test_a_role_with_an_external_id_requires_it(simulator):
    """If a role has an external id, AssumeRole without the id or with another id is denied."""
    assert assume(simulator, GUARDED, ExternalId="sesame")
    for wrong in ({}, {"ExternalId": "open"}):
        with pytest.raises(ClientError) as refusal:
            assume(simulator, GUARDED, **wrong)
        assert refusal.value.response["Error"]["Code"] == "AccessDenied"
        assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.parametrize(
    "wrong", [{"RoleArn": "arn:aws:iam::1:role/x"}, {"RoleSessionName": "a b"}, {"DurationSeconds": 899}]
)
def test_a_malformed_assume_role_request_is_a_validation_error(simulator, wrong):
    """A malformed role ARN or session name, and a duration out of bounds, are refused."""
    sts = client(simulator, "sts", validate=False)
    with pytest.raises(ClientError, match="ValidationError"):
        sts.assume_role(**{"RoleArn": ROLE, "RoleSessionName": "test", **wrong})


def test_the_scenario_decides_the_accounts_of_access_keys():
    """`keys` assigns accounts to access keys. With `only_known` all other keys except keys from STS are refused."""
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


def test_the_request_log_has_region_account_and_access_key(simulator):
    """Each entry of the request log has the signed region, the account and the access key of the request."""
    client(simulator, region="ap-south-1", key="AKIAKNOWN").list_ml_transforms()
    logged = simulator.requests.all("ListMLTransforms")[-1]
    assert (logged.region, logged.account, logged.access_key_id) == ("ap-south-1", "333333333333", "AKIAKNOWN")
