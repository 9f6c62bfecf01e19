"""The page about credentials shows the lines that the exporter logs."""

import hashlib
import http.server
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from tests.glue.upstreams import complete, upstream
from tests.support import EXPORTER, ROOT, free_port, run

PAGE = ROOT / "docs/credentials.md"
START_URL = "https://example.awsapps.com/start"

# Errors as AWS words them, by the name of the role or by the access key in a request.
STS_ERRORS = {
    "untrusting": (
        "AccessDenied",
        (
            "User: arn:aws:sts::111111111111:assumed-role/exporter/pod is not authorized to perform: sts:AssumeRole on"
            " resource: arn:aws:iam::222222222222:role/untrusting"
        ),
    ),
    "inactive": (
        "RegionDisabledException",
        (
            "STS is not activated in this region for account:222222222222. Your account administrator can activate STS"
            " in this region using the IAM Console."
        ),
    ),
    "trust": ("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity"),
    "provider": (
        "InvalidIdentityToken",
        "No OpenIDConnect provider found in your account for https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE",
    ),
}
GLUE_ERRORS = {
    "AKIAEXPIRED": ("ExpiredTokenException", "The security token included in the request is expired"),
    "AKIADELETED": ("UnrecognizedClientException", "The security token included in the request is invalid."),
    "AKIACLOCK": (
        "InvalidSignatureException",
        "Signature expired: 20260101T090000Z is now earlier than 20260101T092500Z (20260101T093000Z - 5 min.)",
    ),
    "AKIASERVICE": ("UnknownOperationException", ""),
}

AWS_CONFIG = f"""
[sso-session company]
sso_start_url = {START_URL}
sso_region = eu-west-1
[profile sso-first]
sso_session = company
sso_account_id = 111111111111
sso_role_name = reader
[sso-session ended]
sso_start_url = {START_URL}
sso_region = eu-west-1
[profile sso-ended]
sso_session = ended
sso_account_id = 111111111111
sso_role_name = reader
[profile sso-old]
sso_start_url = {START_URL}
sso_region = eu-west-1
sso_account_id = 111111111111
sso_role_name = reader
[profile process-failed]
credential_process = sh -c "exit 3"
[profile process-output]
credential_process = echo hello
[profile process-missing]
credential_process = /opt/bin/get-keys
[profile process-slow]
credential_process = sleep 300
[profile line-break]
credential_process = cat line-break.json
[profile irsa-token]
web_identity_token_file = /var/run/secrets/eks.amazonaws.com/serviceaccount/token
role_arn = arn:aws:iam::111111111111:role/trust
[profile irsa-trust]
web_identity_token_file = token
role_arn = arn:aws:iam::111111111111:role/trust
[profile irsa-provider]
web_identity_token_file = token
role_arn = arn:aws:iam::111111111111:role/provider
[profile key]
aws_access_key_id = AKIAEXPIRED
aws_secret_access_key = x
[profile key-deleted]
aws_access_key_id = AKIADELETED
aws_secret_access_key = x
[profile clock]
aws_access_key_id = AKIACLOCK
aws_secret_access_key = x
[profile endpoint-service]
aws_access_key_id = AKIASERVICE
aws_secret_access_key = x
[profile endpoint-page]
aws_access_key_id = AKIAPAGE
aws_secret_access_key = x
[profile ca-file]
aws_access_key_id = AKIA
aws_secret_access_key = x
ca_bundle = /etc/ssl/company.pem
"""


def refuse(connection: socket.socket, request: bytes) -> None:
    """Refuse a request as a proxy, STS, Glue, or the agent of Pod Identity does."""
    text, status = request.decode("latin-1"), b"400 Bad Request"
    if text.startswith("CONNECT"):
        status, body = b"407 Proxy Authentication Required", ""
    elif role := re.search(r"role%2F(\w+)", text):
        code, message = STS_ERRORS[role[1]]
        body = f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    elif text.startswith("GET /v1/credentials"):
        status, body = b"403 Forbidden", "no association"
    elif "AKIAPAGE" in text:
        status, body = b"200 OK", "<html>log in</html>"
    else:
        (key,) = re.findall(r"Credential=(\w+)/", text)
        body = json.dumps(dict(zip(("__type", "message"), GLUE_ERRORS[key], strict=True)))
    complete(body.encode(), status)(connection, request)


@contextmanager
def inspecting_proxy() -> Iterator[str]:
    """Yield the URL of a server whose certificate is from a CA that only the company knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        server.handle_error = lambda *_: None  # the client ends the handshake
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://localhost:{server.server_port}"
        server.shutdown()


def prepare(home: Path) -> None:
    """Write the AWS files: the profiles, a token, keys with a line break, and sessions of SSO that have ended."""
    cache = home / ".aws/sso/cache"
    cache.mkdir(parents=True)
    (home / ".aws/config").write_text(AWS_CONFIG)
    (home / "token").write_text("token")
    (home / "line-break.json").write_text('{"Version": 1, "AccessKeyId": "AKIA\\n", "SecretAccessKey": "x"}')
    ended = {"startUrl": START_URL, "region": "eu-west-1", "accessToken": "x", "expiresAt": "2020-01-01T00:00:00Z"}
    for name in (START_URL, "ended"):
        digest = hashlib.sha1(name.encode()).hexdigest()  # noqa: S324 - botocore's name of the file
        (cache / f"{digest}.json").write_text(json.dumps(ended))


def logged(home: Path, accounts: dict[str, dict[str, str]], *, timeout: str = "30s", **environ: str) -> dict[str, str]:
    """Poll once with the given accounts; return the line of each account in the log, without the time."""
    config: dict[str, Any] = {
        "region": "eu-west-1",
        "accounts": [{"name": name, **settings} for name, settings in accounts.items()],
        "transforms": [{"id": f"tfm-{name}", "account": name} for name in accounts],
        "transform_details": False,
        "polling": {"max_attempts": 1, "request_timeout": timeout},
    }
    (home / "config.yaml").write_text(yaml.safe_dump(config))
    environ = {"AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "127.0.0.1,localhost,.invalid", **environ}
    done = run(*EXPORTER, "once", folder=home, environ=environ, timeout=120)
    assert done.exit_code == 1, done.stderr
    return by_account(line.partition(" ")[2] for line in done.stderr.splitlines())


def by_account(lines: Iterator[str] | list[str]) -> dict[str, str]:
    """Return the lines by the account in them."""
    return {line.partition(" account=")[2].partition(" ")[0]: line for line in lines}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_page_shows_what_the_log_says(tmp_path: Path) -> None:
    """For each failure of credentials in the page, the exporter logs exactly the line of the page."""
    prepare(tmp_path)
    glue_name, sts_name, agent = "https://glue.invalid", "https://sts.invalid", f"127.0.0.1:{free_port()}"
    keys = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x"}
    with upstream(refuse) as server, inspecting_proxy() as inspected:
        profiles = set(re.findall(r"^\[profile (\S+)\]", AWS_CONFIG, re.MULTILINE)) - {"process-slow", "key"}
        found = logged(
            tmp_path,
            {name: {"profile": name, "endpoint_url": server.url} for name in profiles}
            | {
                "key-expired": {"profile": "key", "endpoint_url": server.url},
                "profile": {"profile": "prod", "endpoint_url": server.url},
                "pod-refused": {"endpoint_url": server.url},
                "proxy": {"profile": "key"},
                "ca-unknown": {"profile": "key", "endpoint_url": inspected},
                "ca-file": {"profile": "ca-file", "endpoint_url": inspected},
                "endpoint-name": {"profile": "key", "endpoint_url": glue_name},
            },
            AWS_ENDPOINT_URL_STS=server.url,
            AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{server.url}/v1/credentials",
            AWS_CONTAINER_AUTHORIZATION_TOKEN="pod",
            HTTPS_PROXY=server.url,
        )
        roles = {name: {"role_arn": f"arn:aws:iam::222222222222:role/{name}"} for name in ("untrusting", "inactive")}
        found |= logged(
            tmp_path,
            {"role": roles["untrusting"], "sts-inactive": roles["inactive"], "proxy-url": {}},
            AWS_ENDPOINT_URL_STS=server.url,
            HTTPS_PROXY="http://user:pass/word@proxy.example:3128",
            **keys,
        )
        found |= logged(
            tmp_path,
            {"none": {"endpoint_url": server.url}, "sts-name": {"profile": "irsa-trust"}},
            AWS_ENDPOINT_URL_STS=sts_name,
        )
        found |= logged(
            tmp_path,
            {"pod-agent": {"endpoint_url": server.url}, "process-slow": {"profile": "process-slow"}},
            timeout="3s",
            AWS_CONTAINER_CREDENTIALS_FULL_URI=f"http://{agent}/v1/credentials",
        )
    shown_as = {
        agent: "169.254.170.23",
        server.url: "http://proxy.example:3128",
        inspected: "https://glue.eu-west-1.amazonaws.com",
        glue_name: "https://vpce-0123456789abcdef0-abcdefgh.glue.eu-west-1.vpce.amazonaws.com",
        sts_name: "https://sts.eu-west-1.amazonaws.com",
        "within 6s": "within 1m",  # twice request_timeout
    }
    for ours, theirs in shown_as.items():
        found = {account: line.replace(ours, theirs) for account, line in found.items()}
    # The number is a line of Python's source, and differs between versions.
    found = {account: re.sub(r" \(_ssl\.c:\d+\)", " (_ssl.c:1006)", line) for account, line in found.items()}
    shown = re.findall(r"^level=.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(shown) > 20
    assert found == by_account(shown)
