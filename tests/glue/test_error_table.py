"""The error table against what botocore can raise and AWS documents."""

import inspect

import botocore.exceptions
import pytest
from botocore.exceptions import ClientError
from botocore.session import Session

from exporter.glue.error_table import (
    CREDENTIAL_REASONS,
    EXCEPTIONS,
    OTHER,
    REASONS,
    failure_of,
    fault_of_code,
    fault_of_exception,
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
"""The "Common Errors" page of the AWS API references, in its present and its former editions."""

EXCEPTION_CLASSES = [
    one
    for _, one in inspect.getmembers(botocore.exceptions, inspect.isclass)
    if issubclass(one, Exception) and not issubclass(one, ClientError) and one.__module__ == "botocore.exceptions"
]
"""All but ClientError, whose kinds are told apart by the code in the answer."""
PLACED_BY_CLASS = [kind for kind in EXCEPTION_CLASSES if not issubclass(kind, ClientError)]
"""The others are told apart by the code that AWS has answered with."""


def documented_codes():
    session = Session()
    for service, operations in OPERATIONS.items():
        model = session.get_service_model(service)
        for operation in operations:
            for shape in model.operation_model(operation).error_shapes:
                yield shape.metadata.get("error", {}).get("code") or shape.name


@pytest.mark.parametrize("kind", PLACED_BY_CLASS, ids=lambda kind: kind.__name__)
def test_every_exception_of_botocore_is_placed_on_purpose(kind):
    """Each class of botocore.exceptions, or an ancestor below BotoCoreError, has a row in the table."""
    ancestors = {ancestor.__name__ for ancestor in kind.__mro__ if ancestor.__module__ == "botocore.exceptions"}
    assert kind.__name__ == "BotoCoreError" or (ancestors - {"BotoCoreError"}) & EXCEPTIONS.keys()


@pytest.mark.parametrize("kind", EXCEPTION_CLASSES, ids=lambda kind: kind.__name__)
def test_every_exception_of_botocore_has_a_known_reason_and_advice(kind):
    """Whatever botocore raises, its reason is one that is served from the start, and the log says what to do."""
    fault = fault_of_exception(kind.__new__(kind))
    assert fault.reason in REASONS
    assert fault.advice


@pytest.mark.parametrize("code", sorted({*documented_codes(), *COMMON_ERRORS}))
def test_every_documented_code_is_known(code):
    """No code that the references of Glue and STS document is counted as "other"."""
    fault = fault_of_code(code, 400)
    assert fault != OTHER
    assert fault.reason in REASONS
    assert fault.advice


def test_whatever_botocore_takes_for_throttling_is_throttling():
    """The codes at which botocore slows down are ThrottlingException, save those of services that are not called."""
    from botocore.retries.standard import ThrottledRetryableChecker  # noqa: PLC0415 - only this test needs it

    elsewhere = {"ProvisionedThroughputExceededException", "TransactionInProgressException", "EC2ThrottledException"}
    codes = set(ThrottledRetryableChecker()._throttled_error_codes) - elsewhere
    assert {fault_of_code(code, 400).reason for code in codes} == {"ThrottlingException"}


@pytest.mark.parametrize(
    ("status", "reason"), [(429, "ThrottlingException"), (500, "InternalServiceException"), (400, "other")]
)
def test_an_unknown_code_is_counted_by_its_kind(status, reason):
    """A code that an endpoint makes up does not become a label value; its HTTP status tells the reason."""
    assert fault_of_code("Whatever", status).reason == reason


def test_the_message_of_a_failure_names_the_operation_and_the_code():
    """What AWS said is in the message as it said it, with the operation: AssumeRole may fail within any other."""
    error = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "AssumeRole")
    failure = failure_of(error)
    assert (failure.reason, str(failure)) == ("AccessDeniedException", "AssumeRole: AccessDenied: no")


@pytest.mark.parametrize(
    "error", [OSError("no token file"), RuntimeError("still expired"), FileNotFoundError("no such process")]
)
def test_what_a_source_of_credentials_raises_is_about_credentials(error):
    """An error outside botocore's own, as token files and processes raise it, is counted as "credentials"."""
    assert fault_of_exception(error).reason == "credentials"
    assert "credentials" in CREDENTIAL_REASONS
