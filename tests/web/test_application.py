import asyncio
import threading
from collections.abc import MutableMapping
from typing import Any

import pytest

from exporter.web.admission import Admission
from exporter.web.application import Application
from exporter.web.browsers import HostCheck
from exporter.web.config import PLAIN
from exporter.web.routes import Routes
from tests.running import no_threads
from tests.web.serving import Body, FakeBackend, serving


class FakeConnection:
    """A connection that delivers the first `takes` messages and is closing after `closes_after` messages."""

    def __init__(self, takes: int, closes_after: int = 100) -> None:
        self.transport = self
        self.answered = 0
        self.group = "192.0.2.1"
        self.messages: list[MutableMapping[str, Any]] = []
        self._takes = takes
        self._closes_after = closes_after

    def is_closing(self) -> bool:
        return len(self.messages) >= self._closes_after

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.messages.append(message)
        if len(self.messages) <= self._takes and message.get("more_body") is False:
            self.answered += 1

    async def receive(self) -> MutableMapping[str, Any]:
        raise AssertionError("the application must not read the body of a request")


def scrape(connection: FakeConnection, body: Body) -> None:
    application = Application(
        Routes(FakeBackend(body), "/metrics", enable_lifecycle=False, host_check=HostCheck([], [])),
        Admission(1),
        lambda: PLAIN,
        patience=1,
    )
    scope = {
        "method": "GET",
        "path": "/metrics",
        "raw_path": b"/metrics",
        "query_string": b"",
        "headers": [],
        "state": {"connection": connection},
    }
    asyncio.run(application(scope, connection.receive, connection.send))


def test_a_scrape_counts_as_sent_when_its_answer_is_complete() -> None:
    """`sent` is called after the last message of the answer, and not called if that message is lost."""
    complete, cut_short, closed = Body(b"a", b"b"), Body(b"a", b"b"), Body(b"a", b"b")
    scrape(FakeConnection(takes=4), complete)
    scrape(FakeConnection(takes=3), cut_short)
    scrape(FakeConnection(takes=3, closes_after=2), closed)
    assert (complete.times_sent, cut_short.times_sent, closed.times_sent) == (1, 0, 0)


def test_large_chunks_are_handed_over_piece_by_piece_without_a_copy() -> None:
    """A chunk of megabytes is sent as views of the same memory."""
    chunk = bytes(1_000_000)
    connection = FakeConnection(takes=100)
    scrape(connection, Body(b"small", chunk))
    pieces = [message["body"] for message in connection.messages if message["type"] == "http.response.body"]
    assert b"".join(pieces) == b"small" + chunk
    views = [piece for piece in pieces if isinstance(piece, memoryview)]
    assert all(view.obj is chunk and len(view) <= 128 * 1024 for view in views)
    assert sum(len(view) for view in views) == len(chunk)


def test_without_threads_every_page_is_answered_and_one_line_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """If the system allows no more threads, every page is answered, with one line in the log per kind of work."""
    backend = FakeBackend(hold=threading.Event())
    assert backend.hold
    backend.hold.set()
    with serving(backend, enable_lifecycle=True) as served, no_threads():
        for _ in range(20):
            assert served.ask("/metrics").status == 200
            assert served.ask("/config").status == 200
        assert served.ask("/-/reload", method="POST").status == 200
    assert backend.preparing == 20
    logged = [record.getMessage() for record in caplog.records if "no more threads" in record.getMessage()]
    assert len(logged) == 3
    assert "Traceback" not in caplog.text
