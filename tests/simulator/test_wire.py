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
    """Send a raw request with the given headers in place of good ones; None leaves one out."""
    sent = {name: value for name, value in {**HEADERS, **headers}.items() if value is not None}
    return fetch(simulator.url, method="POST", headers=sent, body=body)


def test_an_answer_is_json_1_1_with_a_request_id(simulator):
    """A success is status 200, AWS JSON 1.1, with the request's id in a header."""
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
def test_a_refusal_is_in_the_form_of_json_1_1(simulator, body, headers, code):
    """Each common error has status 400, its code in `__type` and in the header, and a message."""
    answer = post(simulator, body, **headers)
    told = json.loads(answer.body)
    assert (answer.status, told["__type"], answer.headers["x-amzn-ErrorType"]) == (400, code, code)
    assert told["message"]


def test_members_that_are_null_or_unknown_are_ignored(simulator):
    """A null stands for a member that is not there, and what the shape does not name is ignored."""
    assert post(simulator, b'{"Filter":null,"NextToken":null,"Colour":"red"}').status == 200


def test_an_unknown_sts_action_is_an_xml_error(simulator):
    """A Query request for another action is answered in XML with InvalidAction."""
    headers = {"X-Amz-Target": None, "Authorization": SIGNED.replace("/glue/", "/sts/")}
    answer = post(simulator, b"Action=GetSessionToken&Version=2011-06-15", **headers)
    assert (answer.status, answer.headers["Content-Type"]) == (400, "text/xml")
    assert "<Code>InvalidAction</Code>" in answer.text


def test_text_from_outside_is_escaped_in_xml(simulator):
    """A name in a request cannot break out of the XML that repeats it."""
    headers = {"X-Amz-Target": None, "Authorization": SIGNED.replace("/glue/", "/sts/")}
    answer = post(simulator, b"Action=%3Cscript%3E", **headers)
    assert "<script>" not in answer.text
    assert "&lt;script&gt;" in answer.text


def test_a_browser_is_told_how_to_use_it(simulator):
    """GET / says in plain text which commands to type."""
    answer = fetch(simulator.url)
    assert f"aws --endpoint-url {simulator.url}" in answer.text


def test_a_connection_is_kept_for_many_requests(simulator):
    """One connection carries one request after the other, and closes when asked to."""
    connection = http.client.HTTPConnection(urlsplit(simulator.url).netloc)
    for _ in range(3):
        connection.request("POST", "/", b"{}", HEADERS)
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b'{"TransformIds":["t"]}')
    connection.request("POST", "/", b"{}", {**HEADERS, "Connection": "close"})
    assert connection.getresponse().getheader("Connection") == "close"
    connection.close()


def raw_request():
    """Give one good request as bytes."""
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    return f"POST / HTTP/1.1\r\nHost: x\r\n{head}Content-Length: 2\r\n\r\n{{}}".encode()


def connect(simulator):
    """Open a plain connection."""
    host, port = urlsplit(simulator.url).netloc.split(":")
    connection = socket.create_connection((host, int(port)), timeout=5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read_answers(connection, number):
    """Read until that many successful answers have come, and give all bytes; AssertionError if fewer come."""
    got = b""
    while got.count(b'{"TransformIds":["t"]}') < number:
        piece = connection.recv(65536)
        assert piece, got
        got += piece
    return got


def test_requests_may_come_in_pieces_and_several_at_once(simulator):
    """A request cut anywhere and two sent together are each answered."""
    request = raw_request()
    with connect(simulator) as connection:
        for start in range(0, len(request), 50):
            connection.sendall(request[start : start + 50])
        connection.sendall(request + request)
        assert read_answers(connection, 3).count(b"HTTP/1.1 200 OK") == 3


def test_requests_sent_together_wait_for_a_delayed_answer(simulator):
    """Requests that arrive while an answer is held back are answered after it."""
    number = simulator.faults.set({"kind": "delay", "seconds": 0.05, "times": 1})
    with connect(simulator) as connection:
        connection.sendall(raw_request() * 3)
        assert read_answers(connection, 3).count(b"HTTP/1.1 200 OK") == 3
    simulator.faults.clear(number)


def test_what_is_not_http_is_refused(simulator):
    """Bytes that are no HTTP get a 400 and the connection is closed."""
    with connect(simulator) as connection:
        connection.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_a_huge_body_is_refused(simulator):
    """A body of more than a megabyte is answered with 413, or the connection is closed while it is sent."""
    connection = http.client.HTTPConnection(urlsplit(simulator.url).netloc, timeout=5)
    try:
        connection.request("POST", "/", b" " * (2 << 20), HEADERS)
        assert connection.getresponse().status == 413
    except ConnectionError:
        pass
    finally:
        connection.close()
    assert post(simulator).status == 200
