"""The wire formats of AWS and their errors: JSON 1.1 for Glue, and the Query protocol (XML answers) for STS.

An operation raises `AwsError` with a code of `ERROR_STATUS`. `json_error` and `xml_error` turn it into a response. The
formats are those of the Smithy specifications `aws.protocols#awsJson1_1` and `aws.protocols#awsQuery`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from exporter.simulator.messages import HttpResponse

TARGET_PREFIX = "AWSGlue."
STS_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"

ERROR_STATUS: Mapping[str, int] = {
    # documented for the operations
    "EntityNotFoundException": 400,
    "InvalidInputException": 400,
    "OperationTimeoutException": 400,
    "InternalServiceException": 500,
    "ConcurrentRunsExceededException": 400,
    "MLTransformNotReadyException": 400,
    # common to all actions
    "AccessDeniedException": 400,
    "ExpiredTokenException": 400,
    "IncompleteSignatureException": 400,
    "MissingAuthenticationTokenException": 400,
    "SerializationException": 400,
    "ServiceUnavailableException": 503,
    "ThrottlingException": 400,
    "UnknownOperationException": 400,
    "UnrecognizedClientException": 400,
}

_STS_CODES: Mapping[str, tuple[str, int]] = {
    "AccessDeniedException": ("AccessDenied", 403),
    "ExpiredTokenException": ("ExpiredToken", 403),
    "IncompleteSignatureException": ("IncompleteSignature", 400),
    "InternalServiceException": ("InternalFailure", 500),
    "InvalidInputException": ("ValidationError", 400),
    "MissingAuthenticationTokenException": ("MissingAuthenticationToken", 403),
    "ServiceUnavailableException": ("ServiceUnavailable", 503),
    "ThrottlingException": ("Throttling", 400),
    "UnknownOperationException": ("InvalidAction", 400),
    "UnrecognizedClientException": ("InvalidClientTokenId", 403),
}

_CREDENTIAL = re.compile(r"^AWS4-HMAC-SHA256\s+Credential=([^/\s,]+)/(\d{8})/([^/\s,]+)/([^/\s,]+)/aws4_request\s*,")


class AwsError(Exception):
    """An error answer: its code, message and HTTP status. A status of None is the status in `ERROR_STATUS`."""

    def __init__(self, code: str, message: str, *, status: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = ERROR_STATUS.get(code, 400) if status is None else status


@dataclass(frozen=True, slots=True)
class CredentialScope:
    """The credential scope of a SigV4 Authorization header: the access key, the region and the service."""

    access_key_id: str
    region: str
    service: str


def read_scope(authorization: str | None, service: str) -> CredentialScope:
    """Read the credential scope of a request to `service`. The signature itself is not verified.

    Raises:
        AwsError: MissingAuthenticationTokenException if the header is missing, IncompleteSignatureException if the
            header does not have the form of SigV4 or names another service.
    """
    if not authorization:
        raise AwsError("MissingAuthenticationTokenException", "Request is missing Authentication Token")
    match = _CREDENTIAL.match(authorization)
    signed = "SignedHeaders=" in authorization and "Signature=" in authorization
    if match is None or not signed:
        raise AwsError(
            "IncompleteSignatureException",
            "Authorization header requires 'Credential', 'SignedHeaders' and 'Signature' parameters",
        )
    scope = CredentialScope(match[1], match[3], match[4])
    if scope.service != service:
        raise AwsError(
            "IncompleteSignatureException",
            f"Credential should be scoped to correct service: '{service}'.",
        )
    return scope


def read_json(body: bytes) -> dict[str, Any]:
    """Decode a JSON 1.1 request body; an empty body is an empty object.

    Raises:
        AwsError: SerializationException if the body is not a JSON object.
    """
    try:
        value = json.loads(body or b"{}")
    except ValueError as error:
        raise AwsError("SerializationException", "Request body is not valid JSON") from error
    if not isinstance(value, dict):
        raise AwsError("SerializationException", "Start of structure or map found where not expected.")
    return value


def json_response(value: Mapping[str, Any]) -> HttpResponse:
    """Return a successful JSON 1.1 response."""
    return HttpResponse(200, json.dumps(value, separators=(",", ":")).encode())


def json_error(error: AwsError) -> HttpResponse:
    """Return a JSON 1.1 error response. Its code is in `__type` and in the header `x-amzn-ErrorType`."""
    body = json.dumps({"__type": error.code, "Message": error.message, "message": error.message})
    return HttpResponse(error.status, body.encode(), headers={"x-amzn-ErrorType": error.code})


def xml_response(operation: str, result: Mapping[str, Any], request_id: str) -> HttpResponse:
    """Return a successful Query protocol response; nested mappings become nested elements."""
    body = (
        f'<{operation}Response xmlns="{STS_NAMESPACE}">'
        f"<{operation}Result>{_xml(result)}</{operation}Result>"
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
        f"</{operation}Response>"
    )
    return HttpResponse(200, body.encode(), "text/xml")


def xml_error(error: AwsError, request_id: str) -> HttpResponse:
    """Return a Query protocol error response, with the code and status that STS uses for the error."""
    code, status = _STS_CODES.get(error.code, (error.code, error.status))
    fault = {
        "Type": "Receiver" if status >= 500 else "Sender",
        "Code": code,
        "Message": error.message,
    }
    body = (
        f'<ErrorResponse xmlns="{STS_NAMESPACE}"><Error>{_xml(fault)}</Error>'
        f"<RequestId>{request_id}</RequestId></ErrorResponse>"
    )
    return HttpResponse(status, body.encode(), "text/xml")


def _xml(value: Mapping[str, Any]) -> str:
    return "".join(
        f"<{name}>{_xml(inner) if isinstance(inner, Mapping) else escape(str(inner))}</{name}>"
        for name, inner in value.items()
    )
