"""The error table against the exceptions of botocore and the documented codes of AWS."""

import inspect

import botocore.exceptions
import pytest
from botocore.exceptions import ClientError
from botocore.session import Session

from exporter.glue.error_table import (
    BY_EXCEPTION,
    CREDENTIAL_REASONS,
    OTHER,
    REASONS,
    classify_code,
    classify_exception,
    error_from,
)

OPERATIONS = {
    "glue": ("GetMLTaskRuns", "GetMLTaskRun", "GetMLTransform", "ListMLTransforms", "GetTags"),
    "sts": ("AssumeRole", "AssumeRoleWithWebIdentity", "GetCallerIdentity"),
}

COMMON_ERRORS = [
    "AccessDeniedException",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InternalFailure",
    "InvalidAction",
    "InvalidClientTokenId",
    "InvalidParameterCombination",
    "InvalidParameterValue",
    "InvalidQueryParameter",
    "MalformedHttpRequestException",
    "MalformedQueryString",
    "MissingAction",
    "MissingAuthenticationToken",
    "MissingParameter",
    "NotAuthorized",
    "OptInRequired",
    "RequestAbortedException",
    "RequestEntityTooLargeException",
    "RequestExpired",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "ThrottlingException",
    "UnknownOperationException",
    "UnrecognizedClientException",
    "ValidationError",
]
"""Codes from the "Common Errors" page of the AWS API references, in its present and earlier editions."""

EXCEPTION_CLASSES = [
    one
    for _, one in inspect.getmembers(botocore.exceptions, inspect.isclass)
    if issubclass(one, Exception) and not issubclass(one, ClientError) and one.__module__ == "botocore.exceptions"
]
"""All exceptions except ClientError, which is classified by the code in the answer."""

BUGS = {
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
}
"""In this program these exceptions can only come from a bug or from a broken installation."""


def documented_codes():
    session = Session()
    for service, operations in OPERATIONS.items():
        model = session.get_service_model(service)
        for operation in operations:
            for shape in model.operation_model(operation).error_shapes:
                yield shape.metadata.get("error", {}).get("code") or shape.name


@pytest.mark.parametrize("kind", EXCEPTION_CLASSES, ids=lambda kind: kind.__name__)
def test_every_exception_of_botocore_is_in_the_table_or_known_to_be_a_bug(kind):
    """The table has a row for each botocore exception or for a base class of it; the others are known to mean a bug."""
    ancestors = {ancestor.__name__ for ancestor in kind.__mro__ if ancestor.__module__ == "botocore.exceptions"}
    in_table = (ancestors - {"BotoCoreError"}) & BY_EXCEPTION.keys()
    assert in_table or classify_exception(kind.__new__(kind)).reason == "client"
    assert in_table or (ancestors - {"BotoCoreError"}) & BUGS or kind.__name__ == "BotoCoreError"


@pytest.mark.parametrize("kind", EXCEPTION_CLASSES, ids=lambda kind: kind.__name__)
def test_every_exception_of_botocore_has_a_known_reason_and_advice(kind):
    """A scrape shows the reason of every exception from the start, and the log has advice for the reason."""
    found = classify_exception(kind.__new__(kind))
    assert found.reason in REASONS
    assert found.advice


@pytest.mark.parametrize("code", sorted({*documented_codes(), *COMMON_ERRORS}))
def test_every_documented_code_is_known(code):
    """No code that the references of Glue and STS document is counted as "other"."""
    found = classify_code(code, 400)
    assert found != OTHER
    assert found.reason in REASONS
    assert found.advice


def test_the_codes_that_botocore_treats_as_throttling_are_throttling():
    """The codes at which botocore slows down are ThrottlingException, except those of services that are not called."""
    from botocore.retries.standard import ThrottledRetryableChecker  # noqa: PLC0415 - only one test needs it

    elsewhere = {"ProvisionedThroughputExceededException", "TransactionInProgressException", "EC2ThrottledException"}
    codes = set(ThrottledRetryableChecker()._throttled_error_codes) - elsewhere
    assert {classify_code(code, 400).reason for code in codes} == {"ThrottlingException"}


@pytest.mark.parametrize(
    ("status", "reason"), [(429, "ThrottlingException"), (500, "InternalServiceException"), (400, "other")]
)
def test_an_unknown_code_is_counted_by_its_http_status(status, reason):
    """A code that an endpoint invents does not become a label value; its HTTP status gives the reason."""
    assert classify_code("Whatever", status).reason == reason


def test_the_message_of_a_failure_names_the_operation_and_the_code():
    """The message has operation, code and text of AWS; the operation is needed because AssumeRole can fail too."""
    error = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "AssumeRole")
    failure = error_from(error)
    assert (failure.reason, str(failure)) == ("AccessDeniedException", "AssumeRole: AccessDenied: no")


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "InvalidClientTokenId", "Message": "no"}}, "AssumeRole"),
        botocore.exceptions.EndpointConnectionError(endpoint_url="https://sts.eu-west-1.amazonaws.com/", error="x"),
    ],
    ids=["refused", "not reached"],
)
def test_a_refusal_of_sts_names_the_variable_of_its_endpoint(error):
    """The advice for a failure of STS names the variable that sets its endpoint, because endpoint_url does not."""
    assert error_from(error).advice.endswith("AWS_ENDPOINT_URL_STS is the endpoint of STS")
    assert "STS" not in error_from(ClientError({"Error": {"Code": "AccessDenied"}}, "GetMLTaskRuns")).advice


@pytest.mark.parametrize(
    "error", [OSError("no token file"), RuntimeError("still expired"), FileNotFoundError("no such process")]
)
def test_an_exception_of_a_credential_source_is_counted_as_credentials(error):
    """Built-in exceptions from token files and credential processes are counted as "credentials"."""
    assert classify_exception(error).reason == "credentials"
    assert "credentials" in CREDENTIAL_REASONS


def test_an_answer_that_is_nested_too_deeply_is_malformed():
    """Python's RecursionError is a RuntimeError, but it does not come from a source of credentials."""
    assert classify_exception(RecursionError()).reason == "malformed_response"
