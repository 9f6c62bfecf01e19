"""Secrets are masked in every form in which a message may quote them."""

import base64
import json

import pytest

from exporter.model.redaction import MASK, environment_secrets, redact

TOKEN = "IQoJb3JpZ2luX2VjEXAMPLETOKEN"
KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
PASSWORD = "tr0ub4dor/and#three"

KNOWN = {
    "AWS_SECRET_ACCESS_KEY": KEY,
    "AWS_SESSION_TOKEN": TOKEN,
    "AWS_SECURITY_TOKEN": TOKEN,
    "AWS_BEARER_TOKEN_BEDROCK": TOKEN,
    "AWS_CONTAINER_AUTHORIZATION_TOKEN": TOKEN,
    "DB_PASSWORD": PASSWORD,
    "VAULT_API_KEY": KEY,
    "HTTPS_PROXY": f"http://user:{PASSWORD}@proxy:3128",
    "http_proxy": f"user:{PASSWORD}@proxy:3128",
    "AWS_ENDPOINT_URL_GLUE": f"https://user:{PASSWORD}@glue.example",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://user:{PASSWORD}@10.0.0.1/creds",
}
"""A variable of each kind that has a secret, with a secret that no form gives away."""

WAYS = {
    "plain": "it was {} there",
    "escaped": lambda secret: f"bad value {repr(secret + chr(10))[:-1]}",
    "as bytes": lambda secret: f"bad value {(secret + chr(10)).encode()!r}",
    "in JSON": lambda secret: json.dumps({"x": f"a{secret}b"}),
    "basic authentication": lambda secret: f"Basic {base64.b64encode(secret.encode()).decode()}",
    "glued": "xxx{}yyy",
}


def leaked(secret: str, text: str) -> bool:
    return any(part in text for part in (secret, base64.b64encode(secret.encode()).decode()))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("variable", KNOWN)
def test_a_secret_of_the_environment_is_masked_in_every_form(variable, way):
    """A value that the environment marks as secret is masked plain, escaped, encoded and inside other text."""
    secrets = environment_secrets({variable: KNOWN[variable]})
    secret = next(one for one in (KEY, TOKEN, PASSWORD) if one in KNOWN[variable])
    write = WAYS[way]
    text = write.format(secret) if isinstance(write, str) else write(secret)
    assert leaked(secret, text)
    assert not leaked(secret, redact(text, secrets))
    assert MASK in redact(text, secrets)


@pytest.mark.parametrize(
    "text",
    [
        f'Could not connect to the endpoint URL: "https://user:{TOKEN}@glue.example/"',
        f'Failed to connect to proxy URL: "http://user:{TOKEN}/x#y@z@proxy:3128"',
        f"Invalid header value b'{TOKEN}\\n'",
        f'Invalid header value b"{TOKEN}\'s\\n"',
        f"Invalid header value '{TOKEN}'",
        f"Authorization: AWS4-HMAC-SHA256 Credential=AKIA/20260101, Signature={TOKEN}",
        f"authorization: Bearer {TOKEN}",
        f"Proxy-Authorization: Basic {TOKEN}",
        f"x-amz-security-token:{TOKEN}\nhost:glue",
        f"{{'X-Amz-Security-Token': '{TOKEN}'}}",
        f"{{'X-Amz-Security-Token': b'{TOKEN}'}}",
        f'{{"X-Amz-Security-Token": "{TOKEN}"}}',
        f'{{\\"X-Amz-Security-Token\\": \\"{TOKEN}\\"}}',
        f"x-amz-sso_bearer_token: {TOKEN}",
        f"Set-Cookie: session={TOKEN}; Path=/",
        f"<SecretAccessKey>{TOKEN}</SecretAccessKey>",
        f"<SessionToken>{TOKEN}",
        f'{{"SecretAccessKey": "{TOKEN}", "Version": 1}}',
        f'{{\\"SessionToken\\": \\"{TOKEN}\\"}}',
        f"aws_secret_access_key = {TOKEN}",
        f"aws_session_token={TOKEN}",
        f"'accessToken': '{TOKEN}'",
        f"client_secret: {TOKEN}",
    ],
)
def test_text_in_the_form_of_a_secret_is_masked(text):
    """User information in a URL, header values and members of credentials are masked although nobody knows them."""
    assert TOKEN not in redact(text)
    assert MASK in redact(text)
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "User: arn:aws:sts::123456789012:assumed-role/x/y is not authorized to perform: glue:GetMLTaskRuns",
        'Could not connect to the endpoint URL: "https://glue.eu-west-1.amazonaws.com/"',
        "The security token included in the request is invalid",
        'Unable to locate credentials. You can configure credentials by running "aws login".',
        "s3://bucket/labels.csv could not be read by user@example.com",
        "AKIAIOSFODNN7EXAMPLE",
    ],
)
def test_ordinary_messages_stay_as_they_are(text):
    """Messages of AWS without secrets, access key ids and addresses are not changed."""
    environ = {"AWS_SECRET_ACCESS_KEY": "none", "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/labels.csv", "HOME": "perform"}
    assert redact(text, environment_secrets(environ)) == text
