"""Masks secrets in texts that come from outside: messages of errors, log lines, tracebacks.

Every message of a failed call to AWS passes `redact`, and so does every text in the log. It masks two kinds of text:
text that has the form of a secret (user and password in a URL, values of headers, members of credentials), and text
that is known to be a secret, wherever it stands.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

MASK = "<secret>"
"""Replaces a secret."""

MIN_LENGTH = 5
"""Shortest text that is masked because it is known to be a secret, in characters. A shorter text is also a part of
ordinary words: with the password `in`, every `in` of a message would vanish."""

_SECRET_NAME = re.compile(r"secret|token|passw|auth|credential|api_?key|private_?key", re.IGNORECASE)
_PLACE_NAME = re.compile(r"(file|path|ur[il]|dir|host|process)$", re.IGNORECASE)
_URL_NAME = re.compile(r"_proxy$|^aws_endpoint_url|ur[il]$", re.IGNORECASE)

_HEADERS = "(?:proxy-)?authorization|x-amz-security-token|x-amz-sso_bearer_token|(?:set-)?cookie"
_MEMBERS = "secret_?access_?key|(?:session|security|access|refresh|web_?identity)_?token|client_?secret|external_?id"
_BETWEEN = r"""(\\?+["']?+\s*+[:=]\s*+(?:b(?=['"]))?+\\?+["']?+)"""
"""What stands between a name and its value: a colon or an equals sign, and quotes, which may be escaped."""

# Where a text without an end would make the search quadratic, the number of characters has a limit.
_FORMS = (
    # The user information of a URL ends at the last `@`, because people forget to encode `/`, `#` or `@` in a password.
    (re.compile(r"""([A-Za-z][A-Za-z0-9+.-]{0,20}://)[^\s"'<>]{0,1000}@"""), rf"\1{MASK}@"),
    # http.client quotes the value of a header that it refuses.
    (re.compile(r"""(header value )b?(['"])(?:(?!\2)[^\\]|\\.){0,9000}\2""", re.IGNORECASE), rf"\1{MASK}"),
    # A header, in the form of HTTP, of a Python dict or of JSON. The value ends at a quote or at the end of the line.
    (re.compile(rf"""\b({_HEADERS}){_BETWEEN}[^\s'"<][^\n\r'"<]*""", re.IGNORECASE), rf"\1\2{MASK}"),
    # Members of a request to STS, or of an answer of STS, SSO or a credential process: XML, JSON, a Python dict or
    # `name = value`.
    (re.compile(rf"<({_MEMBERS})>[^<]+", re.IGNORECASE), rf"<\1>{MASK}"),
    (re.compile(rf"""({_MEMBERS}){_BETWEEN}[^\s"',<\\}}]+""", re.IGNORECASE), rf"\1\2{MASK}"),
)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text with `MASK` in place of everything that has the form of a secret, and of each of ``secrets``.

    A secret is also masked in the forms in which messages quote it: escaped as in Python, and encoded for a URL or for
    basic authentication. A secret with less than `MIN_LENGTH` characters is masked only by its form.
    """
    for form in sorted({form for secret in secrets for form in _forms_of(secret)}, key=len, reverse=True):
        text = text.replace(form, MASK)
    for pattern, replacement in _FORMS:
        text = pattern.sub(replacement, text)
    return text


def environment_secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the secrets in the environment: values of variables whose name says so, and user information in URLs."""
    return tuple(_secrets_in(environ))


def _secrets_in(environ: Mapping[str, str]) -> Iterator[str]:
    for name, value in environ.items():
        if _URL_NAME.search(name):
            yield from user_information(value)
        elif _SECRET_NAME.search(name) and not _PLACE_NAME.search(name):
            yield value


def user_information(url: str) -> tuple[str, ...]:
    """Return user and password of a URL as one text, the password, and the parts of a password with `/`, `?`, `#`.

    A program that takes such a password for the end of the host quotes only a part of it.
    """
    before, at, _ = url.rpartition("://")[2].rpartition("@")
    password = before.partition(":")[2]
    return (before, password, *re.split(r"[/?#@:]", password)) if at else ()


@lru_cache(maxsize=256)
def _forms_of(secret: str) -> tuple[str, ...]:
    """Return the secret as messages quote it; a message quotes a line break as two characters, or ends there."""
    decoded = re.sub("%([0-9A-Fa-f]{2})", lambda code: chr(int(code[1], 16)), secret)
    forms: set[str] = set()
    for text in (secret, decoded):
        encoded = base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()
        forms |= {text, repr(text)[1:-1], encoded, *text.split()}
    return tuple(form for form in forms if len(form) >= MIN_LENGTH)
