"""What goes wrong between here and AWS, under the name by which it is counted, and what to do about it.

One table, for the error codes of AWS and for the exceptions of botocore (by class name, nearest ancestor first). Codes:
the "Errors" of the operations of Glue and STS that are called, the "Common Errors" of the AWS API reference, and those
that botocore takes for throttling.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from exporter.errors import GlueError


class Fault(NamedTuple):
    """A kind of failure: the ``reason`` label, whether trying again may help, and advice for the person who reads."""

    reason: str
    retryable: bool
    advice: str


_CREDENTIALS = "check the credentials that the exporter runs with (environment, profile, role or service account)"
_PERMISSION = "allow the exporter's role the operation; `glue-ml-exporter iam-policy` prints the policy it needs"
_NETWORK = "check the network, the region and endpoint_url"
_TRANSFORM = "check the transform id, its account and its region"
_THROTTLE = "lower polling.requests_per_second, lengthen polling.interval, or ask AWS for a higher quota"
_AWS = "nothing to do here unless it lasts: see the AWS Health Dashboard"
_REPORT = "please report this with the log line"
_CLOCK = "check the clock of this host"

_WEB_IDENTITY = "check the service account's token and the trust policy of its role"

_AWS_CODES: dict[str, tuple[bool, str]] = {
    "EntityNotFoundException": (False, _TRANSFORM),
    "InvalidInputException": (False, _TRANSFORM),
    "ValidationException": (False, _TRANSFORM),
    "OperationTimeoutException": (True, _AWS),
    "InternalServiceException": (True, _AWS),
    "ServiceUnavailable": (True, _AWS),
    "ThrottlingException": (True, _THROTTLE),
    "AccessDeniedException": (False, _PERMISSION),
    "OptInRequired": (False, "enable the region or the service for this account"),
    "ExpiredTokenException": (False, _CREDENTIALS),
    "IncompleteSignature": (False, _CREDENTIALS),
    "InvalidClientTokenId": (False, _CREDENTIALS),
    "InvalidIdentityToken": (False, _WEB_IDENTITY),
    "InvalidSignatureException": (False, f"{_CLOCK}, then the credentials"),
    "MissingAuthenticationToken": (False, _CREDENTIALS),
    "UnrecognizedClientException": (False, _CREDENTIALS),
    "RequestExpired": (False, _CLOCK),
    "UnknownOperationException": (False, "check endpoint_url: this endpoint does not know Glue's operations"),
}
"""The codes that are counted, each under its own name."""

_SAME_AS = {
    "AccessDenied": "AccessDeniedException",
    "NotAuthorized": "AccessDeniedException",
    "UnauthorizedOperation": "AccessDeniedException",
    "ExpiredToken": "ExpiredTokenException",
    "RequestTimeTooSkewed": "RequestExpired",
    "MissingAuthenticationTokenException": "MissingAuthenticationToken",
    "SignatureDoesNotMatch": "InvalidSignatureException",
    "RegionDisabledException": "OptInRequired",
    "IDPRejectedClaim": "InvalidIdentityToken",
    "IDPCommunicationError": "InvalidIdentityToken",
    "InternalFailure": "InternalServiceException",
    "InternalError": "InternalServiceException",
    "InternalServerError": "InternalServiceException",
    "ServiceUnavailableException": "ServiceUnavailable",
    "RequestTimeout": "OperationTimeoutException",
    "RequestTimeoutException": "OperationTimeoutException",
    "RequestAbortedException": "OperationTimeoutException",
    "Throttling": "ThrottlingException",
    "ThrottledException": "ThrottlingException",
    "RequestThrottled": "ThrottlingException",
    "RequestThrottledException": "ThrottlingException",
    "RequestLimitExceeded": "ThrottlingException",
    "TooManyRequestsException": "ThrottlingException",
    "LimitExceededException": "ThrottlingException",
    "BandwidthLimitExceeded": "ThrottlingException",
    "SlowDown": "ThrottlingException",
    "PriorRequestNotComplete": "ThrottlingException",
    "InvalidAction": "UnknownOperationException",
    "MissingAction": "UnknownOperationException",
    "InvalidParameterCombination": "ValidationException",
    "InvalidParameterValue": "ValidationException",
    "InvalidQueryParameter": "ValidationException",
    "MalformedHttpRequestException": "ValidationException",
    "MalformedPolicyDocument": "ValidationException",
    "MalformedQueryString": "ValidationException",
    "MissingParameter": "ValidationException",
    "PackedPolicyTooLarge": "ValidationException",
    "RequestEntityTooLargeException": "ValidationException",
    "SerializationException": "ValidationException",
    "ValidationError": "ValidationException",
}
"""What other services, protocols and decades call the same."""

_TIMEOUT = Fault("timeout", True, _NETWORK)
_CONNECTION = Fault("connection", True, _NETWORK)
_NO_CREDENTIALS = Fault("credentials", False, _CREDENTIALS)
_REGION = Fault("region", False, "check the region's name and endpoint_url")
_CONFIGURATION = Fault("configuration", False, "check the AWS configuration file and the AWS_* environment variables")
_MALFORMED = Fault("malformed_response", True, "check endpoint_url and any proxy between the exporter and Glue")
_THROTTLED = Fault("ThrottlingException", *_AWS_CODES["ThrottlingException"])
_INTERNAL = Fault("client", False, _REPORT)

DNS = Fault("dns", True, "check the region's name, endpoint_url and name resolution")
OTHER = Fault("other", False, "look the code up in the AWS documentation")

EXCEPTIONS: dict[str, Fault] = {
    # the wire
    "ConnectTimeoutError": _TIMEOUT,
    "ReadTimeoutError": _TIMEOUT,
    "SSLError": Fault("tls", True, "check endpoint_url, the CA bundle (AWS_CA_BUNDLE) and any proxy"),
    "ProxyConnectionError": Fault("proxy", True, "check the proxy settings (HTTPS_PROXY, NO_PROXY)"),
    "InvalidProxiesConfigError": Fault("proxy", False, "check the proxy settings (HTTPS_PROXY, NO_PROXY)"),
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
    # our own requests are not validated, so it is that of a source of credentials: a web identity token cut short
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
    # what the sources of credentials raise that is not of botocore: no token file, a process that fails, expired ones
    "OSError": _NO_CREDENTIALS,
    "RuntimeError": _NO_CREDENTIALS,
    "ValueError": _CONFIGURATION,
    # what one that calls Glue and STS can only meet by a mistake of its own or of the installation
    **dict.fromkeys(
        (
            "BotoCoreError",
            "AliasConflictParameterError",
            "ApiVersionNotFoundError",
            "DataNotFoundError",
            "ImminentRemovalWarning",
            "InvalidExpressionError",
            "InvalidS3AddressingStyleError",
            "MD5UnavailableError",
            "MissingDependencyException",
            "MissingParametersError",
            "OperationNotPageableError",
            "PaginationError",
            "StubResponseError",
            "UndefinedModelAttributeError",
            "UnknownClientMethodError",
            "UnknownServiceStyle",
            "UnknownSignatureVersionError",
            "UnseekableStreamError",
            "UnsupportedOutpostResourceError",
            "UnsupportedS3AccesspointConfigurationError",
            "UnsupportedS3ArnError",
            "UnsupportedS3ConfigurationError",
            "UnsupportedS3ControlArnError",
            "UnsupportedS3ControlConfigurationError",
            "UnsupportedServiceProtocolsError",
            "UnsupportedSignatureVersionError",
            "ValidationError",
            "WaiterConfigError",
            "WaiterError",
        ),
        _INTERNAL,
    ),
}
"""Exception class -> fault; a class that is not here has the fault of its nearest ancestor."""

REASONS: tuple[str, ...] = tuple(
    sorted({fault.reason for fault in (*EXCEPTIONS.values(), DNS, OTHER)} | {"pagination"} | _AWS_CODES.keys())
)
"""Every value that the ``reason`` label can take."""


CREDENTIAL_REASONS = frozenset(
    {fault.reason for fault in EXCEPTIONS.values() if fault.advice == _CREDENTIALS}
    | {code for code, (_, advice) in _AWS_CODES.items() if advice in (_CREDENTIALS, _WEB_IDENTITY)}
)
"""Failures after which other credentials may succeed where those in use cannot."""


def fault_of_code(code: str, http_status: int) -> Fault:
    """Return the fault for an error code of AWS.

    A code that is not in the table is counted as "other", or by its kind when the status tells: a label value must not
    be whatever an endpoint chooses to say.
    """
    code = _SAME_AS.get(code, code)
    if code in _AWS_CODES:
        return Fault(code, *_AWS_CODES[code])
    if http_status == 429:
        return _THROTTLED
    if http_status >= 500:
        return Fault("InternalServiceException", *_AWS_CODES["InternalServiceException"])
    return OTHER


def fault_of_answer(answer: Mapping[str, Any]) -> Fault:
    """Return the fault that an answer with an ``Error`` tells of, as botocore has parsed it."""
    http_status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return fault_of_code(str(answer["Error"].get("Code", "")), http_status)


def fault_of_exception(error: BaseException) -> Fault:
    """Return the fault for an exception that botocore has raised."""
    if _is_name_resolution(error):
        return DNS
    for ancestor in type(error).__mro__:
        if ancestor.__name__ in EXCEPTIONS:
            return EXCEPTIONS[ancestor.__name__]
    return _INTERNAL


def _is_name_resolution(error: BaseException) -> bool:
    """Whether a failed look-up is at the bottom of it; botocore keeps it in ``kwargs`` and urllib3 in ``reason``."""
    text = str(getattr(error, "kwargs", {}).get("error", "")) + repr(error.__cause__) + repr(error.__context__)
    return any(mark in text for mark in ("NameResolutionError", "gaierror", "Name or service not known"))


def failure_of(error: BaseException) -> GlueError:
    """Return the error that tells of an exception: what AWS said if it carries an answer, else what it says itself."""
    if isinstance(error, GlueError):
        return error
    answer = getattr(error, "response", None)
    operation = ""
    if isinstance(answer, Mapping) and "Error" in answer:
        fault, told = fault_of_answer(answer), answer["Error"]
        operation = str(getattr(error, "operation_name", ""))
        message = f"{operation}: {told.get('Code', '')}: {told.get('Message', '')}"
    else:
        fault, message = fault_of_exception(error), f"{type(error).__name__}: {error}"
    return GlueError(fault.reason, message, advice=fault.advice, retryable=fault.retryable, operation=operation)
