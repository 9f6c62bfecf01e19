"""No secret reaches the log, a page, the metrics or a command, in whatever way it gets into a message."""

import base64
import io

import pytest

from exporter.cli.check_live import check_live
from exporter.config.settings import load_config
from tests.aws_environment import ONE
from tests.glue.upstreams import complete, upstream
from tests.running import running, wait_for
from tests.support import free_port

TOKEN = "IQoJb3JpZ2luX2VjEXAMPLETOKEN"
KEY = "wJalrXUtnFEMIxK7MDENGxbPxRfiCYEXAMPLEKEY"
PASSWORD = "tr0ub4dor3andThree"
ODD_EXPIRY = '{"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "B", "SessionToken": "C", "Expiration": "?"}'


def echo(connection, request):
    """Answer with the request itself as the body of the error."""
    complete(b"You sent: " + request, b"403 No")(connection, request)


class Case:
    """One way for a secret to get into a message, and the expected reason."""

    def __init__(self, reason, advice="", **environ):
        self.reason = reason
        self.advice = advice
        self.environ = environ


CASES = {
    "token with a line break": Case("credentials", "look for a line break", AWS_SESSION_TOKEN=f"{TOKEN}\n"),
    "token with a letter": Case("credentials", "look for a line break", AWS_SESSION_TOKEN=f"{TOKEN}\u00e4"),
    "key id with a line break": Case(
        "credentials", "look for a line break", AWS_ACCESS_KEY_ID="AKIA\n", AWS_SESSION_TOKEN=TOKEN
    ),
    "proxy with a port that is no number": Case("proxy", "encoded", HTTP_PROXY=f"http://user:{PASSWORD}@proxy:port"),
    "proxy with another scheme": Case("proxy", "encoded", HTTP_PROXY=f"socks5://user:{PASSWORD}@proxy:1080"),
    "proxy with a slash in its password": Case("proxy", "%2F", HTTP_PROXY=f"http://user:x/{PASSWORD}@proxy:3128"),
    "proxy with a number sign in its password": Case("proxy", "%23", HTTP_PROXY=f"http://user:x#{PASSWORD}@proxy:3128"),
    "proxy with digits and a slash": Case("proxy", "%2F", HTTP_PROXY=f"http://user:1/{PASSWORD}@proxy:3128"),
    "proxy without a host": Case("proxy", HTTP_PROXY=f"http://user:{PASSWORD}@"),
    "proxy in lower case": Case("proxy", http_proxy=f"http://user:{PASSWORD}@proxy:port"),
    "proxy that is away": Case("proxy", HTTP_PROXY=f"http://user:{PASSWORD}@127.0.0.1:{free_port()}"),
    "proxy that nobody knows": Case("proxy", HTTP_PROXY=f"http://user:{PASSWORD}@proxy.invalid:3128"),
    "password in the endpoint": Case(
        "connection", AWS_ENDPOINT_URL_GLUE=f"http://user:{PASSWORD}@127.0.0.1:{free_port()}"
    ),
    "slash in the password of the endpoint": Case(
        "configuration", AWS_ENDPOINT_URL_GLUE=f"http://user:{PASSWORD}/x@127.0.0.1:1"
    ),
}


def leaks(texts):
    """Return the texts that have the beginning of a secret in them, as it is or encoded."""
    secrets = [TOKEN, KEY, PASSWORD]
    forms = [one[:10] for one in (*secrets, *(base64.b64encode(one.encode()).decode() for one in secrets))]
    return [text for text in texts if any(form in text for form in forms)]


def texts_of(exporter, caplog):
    """Return all texts that a user can see."""
    pages = [exporter.service.status_page({}, "/metrics"), exporter.service.transform_page("tfm-a", "/metrics")]
    records = [str(record.msg) + str(record.args) + str(record.exc_text) for record in caplog.records]
    return [*map(str, pages), exporter.scrape(), exporter.service.effective_config(), *records]


def checked_live(endpoint_url):
    config = load_config(
        f"region: eu-west-1\nendpoint_url: {endpoint_url or '~'}\ntransforms: [tfm-a]", source="test", environ={}
    )
    output, errors = io.StringIO(), io.StringIO()
    assert check_live(config, output, errors) == 1
    return [output.getvalue(), errors.getvalue()]


def fails_without_secrets(exporter, caplog, case, endpoint_url=None):
    wait_for(exporter.errors, describe=exporter.scrape)
    wait_for(lambda: exporter.up("tfm-a") == 0)
    assert set(exporter.errors()) == {case.reason}
    texts = texts_of(exporter, caplog) + checked_live(endpoint_url)
    assert not leaks(texts)
    assert case.advice in " ".join(texts)
    assert "polls fail" in caplog.text


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_setting_with_a_secret_that_cannot_be_used_does_not_show_it(environment, caplog, case):
    """Log, pages, metrics and `check-config --live` name the kind of the failure and do not show the secret."""
    environment.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    for name, value in case.environ.items():
        environment.setenv(name, value)
    endpoint = None if "AWS_ENDPOINT_URL_GLUE" in case.environ else "http://127.0.0.1:1"
    if any(name.lower() == "http_proxy" for name in case.environ):
        endpoint = "http://glue.example"
    elif endpoint:
        endpoint = f"http://127.0.0.1:{free_port()}"
    with running(transforms=["tfm-a"], **({"endpoint_url": endpoint} if endpoint else {})) as exporter:
        fails_without_secrets(exporter, caplog, case, endpoint)


@pytest.mark.parametrize("source", ["environment", "file", "process"])
def test_an_upstream_that_returns_the_request_does_not_show_its_headers(environment, caplog, tmp_path, source):
    """The token in the headers of a request is masked in the message of an error, wherever the token comes from."""
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    keys = {"AWS_ACCESS_KEY_ID": "AKIAONE", "AWS_SECRET_ACCESS_KEY": KEY, "AWS_SESSION_TOKEN": TOKEN}
    if source == "environment":
        for name, value in keys.items():
            environment.setenv(name, value)
    elif source == "file":
        file = tmp_path / "credentials"
        file.write_text("[default]\n" + "".join(f"{name.lower()} = {value}\n" for name, value in keys.items()))
        environment.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    else:
        file = tmp_path / "config"
        output = f'{{"Version": 1, "AccessKeyId": "AKIAONE", "SecretAccessKey": "{KEY}", "SessionToken": "{TOKEN}"}}'
        file.write_text(f"[default]\ncredential_process = echo '{output}'\n")
        environment.setenv("AWS_CONFIG_FILE", str(file))
    with upstream(echo) as server, running(transforms=["tfm-a"], endpoint_url=server.url) as exporter:
        fails_without_secrets(exporter, caplog, Case("other"), server.url)
        assert "You sent" in caplog.text


def test_the_stderr_of_a_credential_process_is_not_shown(environment, caplog, tmp_path):
    """A process that writes a secret to stderr and fails is named by its exit code, with an advice."""
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    program, config = tmp_path / "program", tmp_path / "config"
    program.write_text(f"#!/bin/sh\necho 'bad password {PASSWORD}' >&2\nexit 3\n")
    program.chmod(0o700)
    config.write_text(f"[default]\ncredential_process = {program}\n")
    environment.setenv("AWS_CONFIG_FILE", str(config))
    with running(transforms=["tfm-a"], endpoint_url="http://127.0.0.1:1") as exporter:
        fails_without_secrets(exporter, caplog, Case("credentials", "ended with exit code 3"), "http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        (f"PASSWORD={PASSWORD} program", "No such file or directory: the program of credential_process"),
        (f"echo '{ODD_EXPIRY}'", "check the credentials"),
    ],
    ids=["assignment", "expiry"],
)
def test_a_credential_process_that_cannot_be_used_is_counted_as_credentials(
    environment, caplog, tmp_path, command, advice
):
    """A command that begins with an assignment of a password does not show it, and a wrong expiry is "credentials"."""
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    config = tmp_path / "config"
    config.write_text(f"[default]\ncredential_process = {command}\n")
    environment.setenv("AWS_CONFIG_FILE", str(config))
    with running(transforms=["tfm-a"], endpoint_url="http://127.0.0.1:1") as exporter:
        fails_without_secrets(exporter, caplog, Case("credentials", advice), "http://127.0.0.1:1")


def test_an_sts_that_returns_the_request_does_not_show_the_external_id(environment, caplog):
    """The external id of a role is masked in the message of an error, in its form in a request."""
    with upstream(echo) as server:
        environment.setenv("AWS_ENDPOINT_URL_STS", server.url)
        accounts = [{"name": "one", "role_arn": f"arn:aws:iam::{ONE}:role/watcher", "external_id": PASSWORD}]
        with running(transforms=["tfm-a"], accounts=accounts) as exporter:
            wait_for(exporter.errors)
            wait_for(lambda: "ExternalId" in caplog.text)
            assert not leaks(texts_of(exporter, caplog))


@pytest.mark.parametrize("length", [190, 300, 500, 5000])
def test_an_answer_of_sts_that_breaks_off_does_not_show_the_credentials(environment, caplog, length):
    """Botocore quotes an answer that it cannot parse; credentials in it are masked."""
    body = (
        '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>'
        f"<AccessKeyId>AKIAONE</AccessKeyId><SecretAccessKey>{KEY}</SecretAccessKey><SessionToken>{TOKEN * 20}"
        "</SessionToken><Expiration>now</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
    )
    with upstream(complete(body[:length].encode())) as server:
        environment.setenv("AWS_ENDPOINT_URL_STS", server.url)
        accounts = [{"name": "one", "role_arn": f"arn:aws:iam::{ONE}:role/watcher"}]
        with running(transforms=["tfm-a"], accounts=accounts) as exporter:
            wait_for(exporter.errors)
            assert not leaks(texts_of(exporter, caplog))
            assert "poll" in caplog.text


def test_a_token_of_a_container_with_a_line_break_is_named(environment, caplog):
    """A token for the endpoint of Pod Identity that has a line break is counted as "credentials" and not shown."""
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    environment.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{free_port()}/")
    environment.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", f"{TOKEN}\n")
    with running(transforms=["tfm-a"], endpoint_url="http://127.0.0.1:1") as exporter:
        fails_without_secrets(exporter, caplog, Case("credentials"), "http://127.0.0.1:1")


def test_a_proxy_that_wants_a_password_is_named(environment, caplog):
    """An answer with the status 407 is counted as "proxy"."""
    with upstream(complete(b"<html>who are you</html>", b"407 Proxy Authentication Required")) as server:
        environment.setenv("HTTP_PROXY", server.url.replace("//", f"//user:{PASSWORD}@"))
        with running(transforms=["tfm-a"], endpoint_url="http://glue.example") as exporter:
            fails_without_secrets(exporter, caplog, Case("proxy"), "http://glue.example")
