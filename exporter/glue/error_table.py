"""Gives each failure of a call to AWS a reason for the metrics and advice for the reader of the log.

There are two tables: `BY_CODE` for the error codes in answers of AWS, and `BY_EXCEPTION` for exceptions. The codes come
from three sources: the "Errors" sections of the Glue and STS operations that are called, the "Common Errors" of the AWS
API References, and the codes that botocore treats as throttling.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from exporter.config.durations import format_duration
from exporter.model.errors import GlueError
from exporter.model.redaction import environment_secrets, redact

MAX_MESSAGE = 2000
"""Longest message of an error, in characters. The whole body of an answer can be the message."""


class FailureKind(NamedTuple):
    """One kind of failure."""

    reason: str
    """The value of the ``reason`` label."""
    retryable: bool
    """Whether the same request may succeed later without a change by the user."""
    advice: str


_CREDENTIALS = "check the credentials that the exporter runs with (environment, profile, role or service account)"
_WEB_IDENTITY = "check the service account's token and the trust policy of its role"
_PERMISSION = "allow the exporter's role the operation; `glue-ml-exporter iam-policy` prints the policy it needs"
_LINE_BREAK = "look for a line break or a blank at the end of the access key, the secret key or the token"
_NETWORK = "check the network, the region and endpoint_url"
_PROXY = "check the proxy settings (HTTPS_PROXY, HTTP_PROXY, NO_PROXY)"
_STS = "endpoint_url is the endpoint of Glue, and AWS_ENDPOINT_URL_STS is the endpoint of STS"
_TRANSFORM = "check the transform id, its account and its region"
_AWS = "nothing to do here unless it lasts: see the AWS Health Dashboard"
_CLOCK = "check the clock of this host"

_TIMEOUT = FailureKind("timeout", True, _NETWORK)
_CONNECTION = FailureKind("connection", True, _NETWORK)
_NO_CREDENTIALS = FailureKind("credentials", False, _CREDENTIALS)
_BAD_PROXY = FailureKind("proxy", False, _PROXY)
_REGION = FailureKind("region", False, "check the region's name and endpoint_url")
_CONFIGURATION = FailureKind(
    "configuration", False, "check the AWS configuration file and the AWS_* environment variables"
)
_MALFORMED = FailureKind("malformed_response", True, "check endpoint_url and any proxy between the exporter and Glue")
_THROTTLED = FailureKind(
    "ThrottlingException",
    True,
    "lower polling.requests_per_second, lengthen polling.interval, or ask AWS for a higher quota",
)
_SERVER_ERROR = FailureKind("InternalServiceException", True, _AWS)
_INTERNAL = FailureKind("client", False, "please report this with the log line")

DNS = FailureKind("dns", True, "check the region's name, endpoint_url and name resolution")
OTHER = FailureKind("other", False, "look the code up in the AWS documentation")

_SYNONYMS: dict[FailureKind, tuple[str, ...]] = {
    FailureKind("EntityNotFoundException", False, _TRANSFORM): (),
    FailureKind("InvalidInputException", False, _TRANSFORM): (),
    FailureKind("ValidationException", False, _TRANSFORM): (
        "InvalidParameterCombination",
        "InvalidParameterValue",
        "InvalidQueryParameter",
        "MalformedHttpRequestException",
        "MalformedPolicyDocument",
        "MalformedQueryString",
        "MissingParameter",
        "PackedPolicyTooLarge",
        "RequestEntityTooLargeException",
        "SerializationException",
        "ValidationError",
    ),
    FailureKind("OperationTimeoutException", True, _AWS): (
        "RequestAbortedException",
        "RequestTimeout",
        "RequestTimeoutException",
    ),
    _SERVER_ERROR: ("InternalError", "InternalFailure", "InternalServerError"),
    FailureKind("ServiceUnavailable", True, _AWS): ("ServiceUnavailableException",),
    _THROTTLED: (
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "TooManyRequestsException",
    ),
    FailureKind("AccessDeniedException", False, _PERMISSION): (
        "AccessDenied",
        "NotAuthorized",
        "UnauthorizedOperation",
    ),
    FailureKind("OptInRequired", False, "enable the region or the service for this account"): (
        "RegionDisabledException",
    ),
    FailureKind("ExpiredTokenException", False, _CREDENTIALS): ("ExpiredToken",),
    FailureKind("IncompleteSignature", False, _CREDENTIALS): (),
    FailureKind("InvalidClientTokenId", False, _CREDENTIALS): (),
    FailureKind("InvalidIdentityToken", False, _WEB_IDENTITY): ("IDPCommunicationError", "IDPRejectedClaim"),
    FailureKind("InvalidSignatureException", False, f"{_CLOCK}, then the credentials: {_LINE_BREAK}"): (
        "SignatureDoesNotMatch",
    ),
    FailureKind("MissingAuthenticationToken", False, _CREDENTIALS): ("MissingAuthenticationTokenException",),
    FailureKind("UnrecognizedClientException", False, _CREDENTIALS): (),
    FailureKind("RequestExpired", False, _CLOCK): ("RequestTimeTooSkewed",),
    FailureKind(
        "UnknownOperationException", False, "check endpoint_url: this endpoint does not know Glue's operations"
    ): (
        "InvalidAction",
        "MissingAction",
    ),
}
"""Each kind is counted under its own code. The other codes in its row have the same meaning in other services or API
versions."""

BY_CODE: Mapping[str, FailureKind] = {
    code: kind for kind, synonyms in _SYNONYMS.items() for code in (kind.reason, *synonyms)
}

BY_EXCEPTION: Mapping[str, FailureKind] = {
    # network and transport
    "ConnectTimeoutError": _TIMEOUT,
    "ReadTimeoutError": _TIMEOUT,
    "SSLError": FailureKind("tls", True, "check endpoint_url, the CA bundle (AWS_CA_BUNDLE) and any proxy"),
    "ProxyConnectionError": FailureKind("proxy", True, _PROXY),
    "InvalidProxiesConfigError": _BAD_PROXY,
    "ConnectionError": _CONNECTION,
    "HTTPClientError": _CONNECTION,
    "ResponseStreamingError": _MALFORMED,
    "IncompleteReadError": _MALFORMED,
    "ResponseParserError": _MALFORMED,
    "ChecksumError": _MALFORMED,
    "FlexibleChecksumError": _MALFORMED,
    "AwsChunkedWrapperError": _MALFORMED,
    # credentials
    "NoCredentialsError": _NO_CREDENTIALS,
    "NoAuthTokenError": _NO_CREDENTIALS,
    "TokenRetrievalError": _NO_CREDENTIALS,
    "UnknownTokenProviderError": _NO_CREDENTIALS,
    "PartialCredentialsError": _NO_CREDENTIALS,
    "CredentialRetrievalError": _NO_CREDENTIALS,
    "UnknownCredentialError": _NO_CREDENTIALS,
    "RefreshWithMFAUnsupportedError": _NO_CREDENTIALS,
    "MetadataRetrievalError": _NO_CREDENTIALS,
    "SSOError": _NO_CREDENTIALS,
    "LoginError": _NO_CREDENTIALS,
    # Validation is off for the requests of this exporter, so only a source of credentials raises this error, for
    # example for an incomplete web identity token.
    "ParamValidationError": _NO_CREDENTIALS,
    "InvalidIMDSEndpointError": _NO_CREDENTIALS,
    "InvalidIMDSEndpointModeError": _NO_CREDENTIALS,
    # the region and the endpoint
    "UnknownRegionError": _REGION,
    "InvalidRegionError": _REGION,
    "ServiceNotInRegionError": _REGION,
    "BaseEndpointResolverError": _REGION,
    "EndpointProviderError": _REGION,
    "InvalidEndpointConfigurationError": _REGION,
    "InvalidEndpointDiscoveryConfigurationError": _REGION,
    "InvalidSTSRegionalEndpointsConfigError": _REGION,
    "InvalidHostLabelError": _REGION,
    "InvalidDNSNameError": _REGION,
    # the AWS configuration of this process
    "ProfileNotFound": _CONFIGURATION,
    "ConfigParseError": _CONFIGURATION,
    "ConfigNotFound": _CONFIGURATION,
    "InvalidConfigError": _CONFIGURATION,
    "InvalidRetryConfigurationError": _CONFIGURATION,
    "InvalidDefaultsMode": _CONFIGURATION,
    "InvalidChecksumConfigError": _CONFIGURATION,
    "InvalidS3UsEast1RegionalEndpointConfigError": _CONFIGURATION,
    "UnsupportedTLSVersionWarning": _CONFIGURATION,
    "CapacityNotAvailableError": _THROTTLED,
    # Every other exception of botocore means a bug in this program or a broken installation.
    "BotoCoreError": _INTERNAL,
    # Sources of credentials raise these errors, for example for a missing token file, a failed process or expired
    # credentials.
    "OSError": _NO_CREDENTIALS,
    # An answer that is nested too deeply for a parser. Python's own class of it is a RuntimeError.
    "RecursionError": _MALFORMED,
    "RuntimeError": _NO_CREDENTIALS,
    # The output of a credential process, or a file of SSO. botocore handles answers that are no JSON.
    "JSONDecodeError": _NO_CREDENTIALS,
    # dateutil's error for the expiry of credentials.
    "ParserError": _NO_CREDENTIALS,
    "ValueError": _CONFIGURATION,
}
"""Kinds of failure by the class name of the exception. A class that is not listed has the kind of its nearest listed
ancestor."""

_STS_OPERATIONS = ("AssumeRole", "AssumeRoleWithWebIdentity", "GetCallerIdentity")

_REFUSED_HEADER = "Auth token value is not a legal header value"
"""botocore's message for a token of a container that has a line break. Its class is an ordinary ValueError."""

_KINDS = frozenset({*BY_CODE.values(), *BY_EXCEPTION.values(), DNS, OTHER})

REASONS: tuple[str, ...] = tuple(sorted({kind.reason for kind in _KINDS} | {"pagination"}))
"""Every value that the ``reason`` label can take."""

CREDENTIAL_REASONS = frozenset(kind.reason for kind in _KINDS if kind.advice in (_CREDENTIALS, _WEB_IDENTITY))
"""Reasons after which the exporter loads the credentials again, because they may have been replaced."""


def classify_code(code: str, http_status: int) -> FailureKind:
    """Return the kind of failure for an error code of AWS.

    An unknown code is classified by its HTTP status: a proxy that refuses the password for 407, throttling for 429, a
    server error from 500 on, "other" for the rest. The code itself does not become a label value, because an endpoint
    could then create any number of series.
    """
    if code in BY_CODE:
        return BY_CODE[code]
    if http_status == 407:
        return _BAD_PROXY
    if http_status == 429:
        return _THROTTLED
    return _SERVER_ERROR if http_status >= 500 else OTHER


def classify_answer(answer: Mapping[str, Any]) -> FailureKind:
    """Return the kind of failure for an answer with an ``Error`` member, as botocore has parsed it."""
    http_status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return classify_code(str(answer["Error"].get("Code", "")), http_status)


def classify_exception(error: BaseException) -> FailureKind:
    """Return the kind of failure for an exception that botocore has raised."""
    if isinstance(error, ValueError) and _REFUSED_HEADER in str(error):
        return _NO_CREDENTIALS
    if _is_name_resolution(error) and type(error).__name__ != "ProxyConnectionError":
        return DNS
    for ancestor in type(error).__mro__:
        if ancestor.__name__ in BY_EXCEPTION:
            return BY_EXCEPTION[ancestor.__name__]
    return _INTERNAL


def _is_name_resolution(error: BaseException) -> bool:
    """Return whether the cause is a failed DNS lookup. The cause is in ``kwargs`` (botocore) or a chained exception."""
    text = str(getattr(error, "kwargs", {}).get("error", "")) + repr(error.__cause__) + repr(error.__context__)
    return any(mark in text for mark in ("NameResolutionError", "gaierror", "Name or service not known"))


def error_from(error: BaseException, secrets: Iterable[str] = ()) -> GlueError:
    """Return the `GlueError` for an exception, with the message of AWS if the exception carries an answer.

    The message has no secrets: neither those of the environment nor ``secrets``, which were sent with the request. It
    has one line of at most `MAX_MESSAGE` characters.
    """
    if isinstance(error, GlueError):
        return error
    answer = getattr(error, "response", None)
    operation = ""
    if isinstance(answer, Mapping) and "Error" in answer:
        kind, content = classify_answer(answer), answer["Error"]
        operation = str(getattr(error, "operation_name", ""))
        text = f"{operation}: {content.get('Code', '')}: {content.get('Message', '')}"
    else:
        kind, text = classify_exception(error), f"{type(error).__name__}: {error}"
    message = _one_line(redact(text[: 10 * MAX_MESSAGE], (*environment_secrets(os.environ), *secrets)))
    advice = f"{kind.advice}; {_STS}" if _is_from_sts(error, operation) else kind.advice
    return GlueError(kind.reason, message, advice=advice, retryable=kind.retryable, operation=operation)


def _is_from_sts(error: BaseException, operation: str) -> bool:
    """Return whether STS has refused a request, or does not answer."""
    url = str(getattr(error, "kwargs", {}).get("endpoint_url", ""))
    return operation in _STS_OPERATIONS or "//sts." in url


def too_late(stage: str, seconds: float, *, hanging: int = 0) -> GlueError:
    """Return the error of a call that has not ended after so many seconds.

    ``stage`` is "credentials" if the call has waited for its credentials, otherwise "answer". ``hanging`` is the number
    of earlier calls that hang, if the call was not begun because of them.
    """
    late = f"within {format_duration(seconds)} (set by polling.request_timeout)"
    missing = "no credentials" if stage == "credentials" else "no complete answer"
    text = f"{hanging} earlier calls still hang; they had {missing} {late}" if hanging else f"{missing} {late}"
    reason, advice = ("credentials", _CREDENTIALS) if stage == "credentials" else ("timeout", _NETWORK)
    return GlueError(reason, text, advice=advice, retryable=True)


def too_large(limit: int) -> GlueError:
    """Return the error of an answer with more than ``limit`` bytes."""
    text = f"the answer is longer than {limit // 2**20} MiB"
    return GlueError(_MALFORMED.reason, text, advice=_MALFORMED.advice, retryable=True)


def bad_proxy(variable: str) -> GlueError:
    """Return the error of an environment variable that is not the URL of a proxy. Its value may have a password."""
    return GlueError(
        _BAD_PROXY.reason,
        f"{variable} is not the URL of an HTTP proxy; expected e.g. http://proxy.example:3128",
        advice="write special characters of a password encoded, for example / as %2F and # as %23",
    )


def unusable_credentials() -> GlueError:
    """Return the error of an access key or a token that cannot be sent."""
    text = "the access key or the session token has a line break, or a character that is not allowed"
    return GlueError(_NO_CREDENTIALS.reason, text, advice=_LINE_BREAK)


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 1]}…"
