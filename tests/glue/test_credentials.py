"""The exporter reads credentials from all sources, renews them, and reports missing credentials."""

import http.server
import socket
import threading
import time
from contextlib import contextmanager
from urllib.parse import parse_qs

import pytest

from exporter.glue.client import MIN_CONNECTION_AGE
from exporter.simulator import Simulator
from tests.aws_environment import ONE, TWO
from tests.running import keeps_polling, running, wait_for, write_credentials

ROLE_ONE = f"arn:aws:iam::{ONE}:role/team/watcher"
ROLE_TWO = f"arn:aws:iam::{TWO}:role/watcher"
REQUESTS = "glue_ml_exporter_api_requests_total"

ASSUMED = {
    "accounts": [
        {"name": "one", "role_arn": ROLE_ONE, "external_id": "open-sesame"},
        {"name": "two", "role_arn": ROLE_TWO},
    ],
    "transforms": [{"id": "tfm-one", "account": "one"}, {"id": "tfm-two", "account": "two"}],
}


@contextmanager
def sts(environment, *, lifetime=None, transforms=2):
    """A simulator with roles to assume. The role of account ONE requires the external id "open-sesame"."""
    scenario = {
        "transforms": [
            {"id": "tfm-one", "name": "same", "account": ONE},
            {"id": "tfm-two", "name": "same", "account": TWO},
        ][:transforms],
        "roles": [{"arn": ROLE_ONE, "external_id": "open-sesame"}],
        "credentials": {"lifetime": lifetime, "keys": {"AKIAONE": ONE, "AKIATWO": TWO}},
    }
    with Simulator(scenario) as simulator:
        environment.setenv("AWS_ENDPOINT_URL_STS", simulator.url)
        yield simulator


def test_a_role_is_assumed_with_its_external_id_and_a_session_name(environment):
    """AssumeRole names role, session and external id; it is signed with the ambient key for the transform's region."""
    with sts(environment) as simulator, running(simulator, **ASSUMED) as exporter:
        exporter.wait_until_up("tfm-one", "tfm-two")
        asked = {one.params["RoleArn"]: one for one in simulator.requests.all("AssumeRole")}
        assert asked[ROLE_ONE].params["ExternalId"] == "open-sesame"
        assert asked[ROLE_ONE].params["RoleSessionName"] == "glue-ml-exporter"
        assert "ExternalId" not in asked[ROLE_TWO].params
        assert {(one.region, one.access_key_id) for one in asked.values()} == {("eu-west-1", "AKIAAMBIENT")}
        assert {one.account for one in simulator.requests.all("GetMLTaskRuns")} == {ONE, TWO}
        assert "open-sesame" not in exporter.scrape()
        assert "open-sesame" not in exporter.service.effective_config()


@pytest.mark.slow
def test_a_role_is_assumed_once_for_many_polls_and_counted(environment):
    """All polls of an account and region use the same credentials for an hour; the metrics count one AssumeRole."""
    with sts(environment) as simulator, running(simulator, **ASSUMED) as exporter:
        exporter.wait_until_up("tfm-one", "tfm-two")
        keeps_polling(exporter, "tfm-one", times=4)
        assert simulator.requests.count("AssumeRole") == 2
        labels = {"operation": "AssumeRole", "aws_account": "one", "aws_region": "eu-west-1", "code": "OK"}
        wait_for(lambda: exporter.value(REQUESTS, **labels) == 1)


def test_a_role_that_is_refused_is_requested_once_a_poll(environment):
    """A poll whose AssumeRole is refused sends no second AssumeRole."""
    with sts(environment) as simulator:
        simulator.faults.set({"kind": "access_denied", "operations": ["AssumeRole"]})
        polling = {"interval": "1h", "stale_after": "2h"}
        with running(simulator, **ASSUMED, polling=polling) as exporter:
            wait_for(lambda: exporter.errors() == {"AccessDeniedException": 2}, describe=exporter.scrape)
            wait_for(lambda: (exporter.up("tfm-one"), exporter.up("tfm-two")) == (0, 0))
            assert simulator.requests.count("AssumeRole") == 2


def test_the_account_id_comes_from_the_role_or_the_environment(environment):
    """The account id comes from the ARN of a role or AWS_ACCOUNT_ID; with only an access key it is unknown."""
    with sts(environment) as simulator:
        with running(simulator, **ASSUMED) as exporter:
            exporter.wait_until_up("tfm-one")
            assert exporter.value("glue_ml_transform_info", transform_id="tfm-one", aws_account_id=ONE) == 1
        profile = {"accounts": [{"name": "one", "profile": "one"}], "transforms": ["tfm-one"]}
        with running(simulator, **profile) as exporter:
            exporter.wait_until_up("tfm-one")
            labels = exporter.samples()["glue_ml_transform_info"][0][0]
            assert not labels["aws_account_id"]
        environment.setenv("AWS_ACCOUNT_ID", ONE)
        environment.setenv("AWS_ACCESS_KEY_ID", "AKIAONE")
        with running(simulator, transforms=["tfm-one"]) as exporter:
            exporter.wait_until_up("tfm-one")
            assert exporter.value("glue_ml_transform_info", aws_account_id=ONE) == 1


@pytest.mark.slow
def test_a_role_that_cannot_be_assumed_fails_only_its_own_account(environment):
    """With a wrong external id only the polls of that account fail, and their reason is AccessDeniedException."""
    wrong = [{**ASSUMED["accounts"][0], "external_id": "wrong"}, ASSUMED["accounts"][1]]
    with sts(environment) as simulator, running(simulator, **{**ASSUMED, "accounts": wrong}) as exporter:
        wait_for(lambda: exporter.errors(aws_account="one").get("AccessDeniedException"))
        keeps_polling(exporter, "tfm-two")
        wait_for(lambda: set(exporter.errors()) == {"AccessDeniedException"}, describe=lambda: str(exporter.errors()))
        labels = {"operation": "AssumeRole", "aws_account": "one", "code": "AccessDeniedException"}
        wait_for(lambda: exporter.value(REQUESTS, **labels))
        assert exporter.reload(accounts=ASSUMED["accounts"]) is None
        exporter.wait_until_up("tfm-one", "tfm-two")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"kind": "hang"}, "timeout"),
        ({"kind": "reset"}, "connection"),
        ({"kind": "throttle"}, "ThrottlingException"),
        ({"kind": "expired_credentials"}, "ExpiredTokenException"),
        ({"kind": "garbage", "body": "truncated"}, "malformed_response"),
        ({"kind": "garbage", "body": "html"}, "malformed_response"),
        ({"kind": "garbage", "body": "empty_object"}, "malformed_response"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value,
)
def test_polls_fail_with_the_reason_of_sts_until_sts_answers_again(environment, fault, reason):
    """While STS fails, polls with an assumed role fail with the reason of STS, and polls with a profile succeed."""
    accounts = [*ASSUMED["accounts"][:1], {"name": "two", "profile": "two"}]
    polling = {"request_timeout": "300ms"}
    with sts(environment) as simulator:
        simulator.faults.set({**fault, "operations": ["AssumeRole"]})
        with running(simulator, **{**ASSUMED, "accounts": accounts}, polling=polling) as exporter:
            wait_for(lambda: exporter.errors(aws_account="one").get(reason), describe=lambda: str(exporter.errors()))
            keeps_polling(exporter, "tfm-two")
            wait_for(lambda: exporter.value(REQUESTS, operation="AssumeRole", code=reason))
            simulator.faults.clear()
            exporter.wait_until_up("tfm-one", "tfm-two")
            assert not exporter.errors(aws_account="two")


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_no_poll_fails_with_credentials_that_expire_every_three_seconds(environment):
    """Over 500 polls and twenty renewals of credentials that expire after 3 s, no poll and no request fails."""
    with sts(environment, lifetime="3s") as simulator, running(simulator, **ASSUMED) as exporter:
        exporter.wait_until_up("tfm-one", "tfm-two")
        wait_for(
            lambda: (
                simulator.requests.count("AssumeRole") >= 2 * 20 and simulator.requests.count("GetMLTaskRuns") > 500
            ),
            timeout=180,
        )
        assert not exporter.errors()
        assert set(simulator.requests.counts()["GetMLTaskRuns"]) == {"OK"}
        assert set(simulator.requests.counts()["AssumeRole"]) == {"OK"}


def test_polls_without_credentials_fail_with_the_reason_credentials(environment, simulator):
    """If there are no credentials, every poll fails with the reason "credentials", and sends no request."""
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    with running(simulator, transforms=["tfm-a"]) as exporter:
        wait_for(lambda: exporter.errors().get("credentials"))
        assert not simulator.requests.all("GetMLTaskRuns")


@pytest.mark.slow
def test_credentials_that_are_added_later_are_used(environment, simulator, tmp_path):
    """Polls succeed as soon as the credentials file has the profile's keys, without restart or reload."""
    credentials = tmp_path / "later"
    credentials.write_text("[one]\nregion = eu-west-1\n")
    environment.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    config = {"accounts": [{"name": "one", "profile": "one"}], "transforms": ["tfm-one"]}
    with running(simulator, **config) as exporter:
        wait_for(lambda: exporter.errors().get("credentials"))
        write_credentials(credentials, one="AKIAONE")
        exporter.wait_until_up("tfm-one", timeout=MIN_CONNECTION_AGE + 5)


@pytest.mark.slow
def test_expired_keys_in_a_file_are_replaced_by_its_new_ones(environment, tmp_path):
    """When a tool writes new keys into the credentials file, the exporter uses the new keys within seconds."""
    scenario = {
        "transforms": [{"id": "tfm-one", "name": "x", "account": ONE}],
        "credentials": {"keys": {"AKIANEW": ONE}, "only_known": True},
    }
    credentials = tmp_path / "rotated"
    write_credentials(credentials, one="AKIAOLD")
    environment.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    config = {"accounts": [{"name": "one", "profile": "one"}], "transforms": ["tfm-one"]}
    with Simulator(scenario) as simulator, running(simulator, **config) as exporter:
        wait_for(lambda: exporter.errors().get("UnrecognizedClientException"))
        write_credentials(credentials, one="AKIANEW")
        exporter.wait_until_up("tfm-one", timeout=MIN_CONNECTION_AGE + 5)


def test_a_missing_profile_is_counted_as_configuration_until_it_exists(environment, simulator, tmp_path):
    """An unknown profile is counted as "configuration"; when the file has the profile, polls succeed."""
    credentials = tmp_path / "profiles"
    credentials.write_text("")
    environment.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    config = {"accounts": [{"name": "one", "profile": "one"}], "transforms": ["tfm-one"]}
    with running(simulator, **config) as exporter:
        wait_for(lambda: exporter.errors().get("configuration"))
        write_credentials(credentials, one="AKIAONE")
        exporter.wait_until_up("tfm-one")


@contextmanager
def web_identities(key):
    """Run an STS that gives `key` to any web identity; yield its URL and a list of the received requests."""
    asked = []
    answer = f"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
      <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>x</SecretAccessKey>
      <SessionToken>t</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration></Credentials>
      </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>""".encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            self.send_response(200)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@pytest.mark.slow
def test_a_missing_web_identity_token_is_counted_as_credentials_until_it_exists(environment, simulator, tmp_path):
    """IRSA with a missing or an empty token is counted as "credentials"; with a token the key of the role is used."""
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    environment.setenv("AWS_ROLE_ARN", ROLE_ONE)
    token = tmp_path / "token"
    environment.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    with web_identities("AKIAONE") as (url, asked):
        environment.setenv("AWS_ENDPOINT_URL_STS", url)
        with running(simulator, transforms=["tfm-one"]) as exporter:
            wait_for(lambda: exporter.errors().get("credentials"), describe=lambda: str(exporter.errors()))
            token.write_text("")
            failed = exporter.errors()["credentials"]
            wait_for(lambda: exporter.errors()["credentials"] > failed + 2)
            token.write_text("token-of-the-pod")
            exporter.wait_until_up("tfm-one", timeout=MIN_CONNECTION_AGE + 5)
            assert set(exporter.errors()) == {"credentials"}
        assert (asked[0]["RoleArn"], asked[0]["WebIdentityToken"]) == ([ROLE_ONE], ["token-of-the-pod"])
        assert {one.access_key_id for one in simulator.requests.all()} == {"AKIAONE"}


@contextmanager
def container_credentials(key, token):
    """Run an endpoint like Pod Identity, which gives `key` for `token`; yield its URL and the received tokens."""
    shown = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            shown.append(self.headers["Authorization"])
            expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6 * 3600))
            body = f'{{"AccessKeyId":"{key}","SecretAccessKey":"x","Token":"t","Expiration":"{expires}"}}'.encode()
            self.send_response(200 if self.headers["Authorization"] == token else 403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/credentials", shown
        server.shutdown()


def test_pod_identity_gives_the_ambient_credentials(environment, simulator, tmp_path):
    """With the variables that EKS Pod Identity sets, the exporter signs with the key from the agent."""
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    token = tmp_path / "token"
    token.write_text("pod-token")
    with container_credentials("AKIAONE", "pod-token") as (url, shown):
        environment.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        environment.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(token))
        with running(simulator, transforms=["tfm-one"]) as exporter:
            exporter.wait_until_up("tfm-one")
            assert shown == ["pod-token"]
            assert {one.access_key_id for one in simulator.requests.all()} == {"AKIAONE"}


def is_closed(connection):
    """Read the data that has arrived on a non-blocking connection; return whether the client has closed it."""
    try:
        while connection.recv(4096):
            pass
    except BlockingIOError:
        return False
    return True


def test_a_credential_source_that_hangs_does_not_delay_other_accounts(environment, simulator):
    """While the source of the ambient credentials hangs, another account is polled, and reload and stop return."""
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    accounts = [{"name": "ambient"}, {"name": "one", "profile": "one"}]
    transforms = [{"id": "tfm-a", "account": "ambient"}, {"id": "tfm-one", "account": "one"}]

    def is_done_during_one_request():
        """Poll, reload and stop; return whether the same request to the source was still open at the end."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            environment.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{silent.getsockname()[1]}/")
            with running(simulator, accounts=accounts, transforms=transforms) as exporter:
                request, _ = silent.accept()
                with request:
                    request.setblocking(False)
                    keeps_polling(exporter, "tfm-one", times=1)
                    polling = {**exporter.config["polling"], "request_timeout": "9s"}
                    assert exporter.reload(polling=polling) is None
                    keeps_polling(exporter, "tfm-one", times=1)
                    assert exporter.up("tfm-a") != 1
                    exporter.service.stop()
                    return not is_closed(request)

    # Botocore gives up a request after 2 s, and a busy machine may need longer for all the steps.
    assert any(is_done_during_one_request() for _ in range(10))


@contextmanager
def proxy():
    """Run a proxy that refuses all connections; yield its URL and the hosts of the CONNECT requests."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_CONNECT(self):
            asked.append(self.path)
            self.send_error(502)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_botocores_settings_for_proxy_fips_and_regional_sts_apply(environment):
    """HTTPS_PROXY and AWS_USE_FIPS_ENDPOINT apply, and STS is called in the region of the transform."""
    with proxy() as (url, asked):
        environment.setenv("HTTPS_PROXY", url)
        environment.setenv("AWS_USE_FIPS_ENDPOINT", "true")
        accounts = [{"name": "direct", "profile": "one"}, {"name": "role", "role_arn": ROLE_ONE}]
        transforms = [
            {"id": "tfm-one", "account": "direct", "region": "us-west-2"},
            {"id": "tfm-two", "account": "role", "region": "us-east-2"},
        ]
        with running(accounts=accounts, transforms=transforms) as exporter:
            wait_for(lambda: len(set(asked)) == 2, describe=lambda: str(asked))
            assert set(asked) == {"glue-fips.us-west-2.amazonaws.com:443", "sts-fips.us-east-2.amazonaws.com:443"}
            wait_for(lambda: exporter.errors().get("proxy"))
            assert set(exporter.errors()) == {"proxy"}
