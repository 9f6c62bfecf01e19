import http.client
import json
import socket
from urllib.parse import urlsplit

import pytest

from tests.support import fetch

SIGNED = (
    "AWS4-HMAC-SHA256 Credential=AKIATEST/20261123/eu-west-1/glue/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=" + "0" * 64
)
HEADERS = {
    "Authorization": SIGNED,
    "X-Amz-Target": "AWSGlue.ListMLTransforms",
    "Content-Type": "application/x-amz-json-1.1",
}
SCENARIO = {"transforms": [{"name": "t", "id": "t"}]}


def post(simulator, body=b"{}", **headers):
    """Send a valid request with some headers replaced; None removes a header."""
    sent = {name: value for name, value in {**HEADERS, **headers}.items() if value is not None}
    return fetch(simulator.url, method="POST", headers=sent, body=body)


def test_an_answer_is_json_1_1_with_a_request_id(simulator):
    """A success has status 200, the content type of AWS JSON 1.1 and the request's id in a header."""
    answer = post(simulator)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/x-amz-json-1.1"
    assert answer.headers["x-amzn-RequestId"]
    assert json.loads(answer.body) == {"TransformIds": ["t"]}


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (b"{}", {"Authorization": None}, "MissingAuthenticationTokenException"),
        (b"{}", {"Authorization": "Bearer x"}, "IncompleteSignatureException"),
        (b"{}", {"Authorization": SIGNED.partition(" Signature")[0]}, "IncompleteSignatureException"),
        (b"{}", {"Authorization": SIGNED.replace("/glue/", "/s3/")}, "IncompleteSignatureException"),
        (b"{}", {"X-Amz-Target": "AWSGlue.DropEverything"}, "UnknownOperationException"),
        (b"{}", {"X-Amz-Target": "DynamoDB.ListTables"}, "UnknownOperationException"),
        (b"{", {}, "SerializationException"),
        (b"[]", {}, "SerializationException"),
        (b"\xff", {}, "SerializationException"),
        (b'{"MaxResults":"5"}', {}, "SerializationException"),
        (b'{"MaxResults":true}', {}, "SerializationException"),
        (b'{"Filter":{"CreatedAfter":true}}', {}, "SerializationException"),
        (b'{"Tags":[]}', {}, "SerializationException"),
        (b'{"Filter":{"CreatedAfter":"yesterday"}}', {}, "SerializationException"),
        (b'{"Filter":{"Schema":[{"Name":""}]}}', {}, "InvalidInputException"),
        (b'{"Tags":{"":"x"}}', {}, "InvalidInputException"),
    ],
)
def test_an_error_is_in_the_form_of_json_1_1(simulator, body, headers, code):
    """Each common error has status 400, its code in `__type` and in a header, and a message."""
    answer = post(simulator, body, **headers)
    error = json.loads(answer.body)
    assert (answer.status, error["__type"], answer.headers["x-amzn-ErrorType"]) == (400, code, code)
    assert error["message"]


def test_members_that_are_null_or_unknown_are_ignored(simulator):
    """A null member counts as missing, and a member that the shape does not have is ignored."""
    assert post(simulator, b'{"Filter":null,"NextToken":null,"Colour":"red"}').status == 200


def test_an_unknown_sts_action_is_an_xml_error(simulator):
    """A Query request with another action gets an XML error with InvalidAction."""
    headers = {"X-Amz-Target": None, "Authorization": SIGNED.replace("/glue/", "/sts/")}
    answer = post(simulator, b"Action=GetSessionToken&Version=2011-06-15", **headers)
    assert (answer.status, answer.headers["Content-Type"]) == (400, "text/xml")
    assert "<Code>InvalidAction</Code>" in answer.text


def test_text_of_a_request_is_escaped_in_xml(simulator):
    """An action with markup cannot add elements to the XML error that repeats it."""
    headers = {"X-Amz-Target": None, "Authorization": SIGNED.replace("/glue/", "/sts/")}
    answer = post(simulator, b"Action=%3Cscript%3E", **headers)
    assert "<script>" not in answer.text
    assert "&lt;script&gt;" in answer.text


def test_a_get_request_shows_how_to_use_the_simulator(simulator):
    """GET / answers with example commands in plain text."""
    answer = fetch(simulator.url)
    assert f"aws --endpoint-url {simulator.url}" in answer.text


def test_a_connection_serves_many_requests(simulator):
    """A connection serves one request after the other, and closes after a request with `Connection: close`."""
    connection = http.client.HTTPConnection(urlsplit(simulator.url).netloc)
    for _ in range(3):
        connection.request("POST", "/", b"{}", HEADERS)
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b'{"TransformIds":["t"]}')
    connection.request("POST", "/", b"{}", {**HEADERS, "Connection": "close"})
    assert connection.getresponse().getheader("Connection") == "close"
    connection.close()


def raw_request():
    """Return a valid request as bytes."""
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    return f"POST / HTTP/1.1\r\nHost: x\r\n{head}Content-Length: 2\r\n\r\n{{}}".encode()


def connect(simulator):
    """Open a TCP connection that sends each piece without delay."""
    host, port = urlsplit(simulator.url).netloc.split(":")
    connection = socket.create_connection((host, int(port)), timeout=5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read_answers(connection, number):
    """Read until `number` successful answers have arrived. Return all bytes, or fail if the connection closes first."""
    got = b""
    while got.count(b'{"TransformIds":["t"]}') < number:
        piece = connection.recv(65536)
        assert piece, got
        got += piece
    return got


def test_requests_can_arrive_in_pieces_and_together(simulator):
    """Requests are answered whether they arrive in several pieces or two at once."""
    request = raw_request()
    with connect(simulator) as connection:
        for start in range(0, len(request), 50):
            connection.sendall(request[start : start + 50])
        connection.sendall(request + request)
        assert read_answers(connection, 3).count(b"HTTP/1.1 200 OK") == 3


def test_pipelined_requests_are_answered_after_a_delayed_one(simulator):
    """Requests that arrive during the delay of an answer are answered after it."""
    number = simulator.faults.set({"kind": "delay", "seconds": 0.05, "times": 1})
    with connect(simulator) as connection:
        connection.sendall(raw_request() * 3)
        assert read_answers(connection, 3).count(b"HTTP/1.1 200 OK") == 3
    simulator.faults.clear(number)


def test_bytes_that_are_not_http_are_refused(simulator):
    """The client gets a 400, and the connection is closed."""
    with connect(simulator) as connection:
        connection.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_a_huge_body_is_refused(simulator):
    """A body of more than 1 MiB is answered with 413, or the connection is closed while the client sends it."""
    connection = http.client.HTTPConnection(urlsplit(simulator.url).netloc, timeout=5)
    try:
        connection.request("POST", "/", b" " * (2 << 20), HEADERS)
        assert connection.getresponse().status == 413
    except ConnectionError:
        pass
    finally:
        connection.close()
    assert post(simulator).status == 200
