import asyncio
import inspect
import math
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httptools
import pytest
import uvicorn
from hypothesis import example, given, settings
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from exporter.web.fairness import FairTurns
from exporter.web.limits import Limits
from exporter.web.server import WebServer
from tests.support import wait_for
from tests.web.serving import (
    DEADLINE,
    Body,
    Clock,
    FakeBackend,
    Served,
    answer_of,
    open_connections,
    read_all,
    read_until_closed,
    serving,
    status_of,
    wait_until_closed,
)

GET = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
LARGE = Body(*[b"x" * 1_000_000] * 20)


@pytest.fixture(scope="module")
def running() -> Iterator[Served]:
    """A server whose settings no test changes."""
    with serving() as served:
        yield served


def test_connections_are_kept_alive(running: Served) -> None:
    """A connection answers several requests, also when the client sends them at once."""
    with running.connect() as connection:
        for _ in range(3):
            connection.sendall(GET)
            assert status_of(answer_of(connection)) == 200
        connection.sendall(GET * 3 + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert read_all(connection).count(b"HTTP/1.1 200 OK") == 4


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /metrics HTTP/9.9\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\n folded: b\r\nbad header\r\n\r\n", 400),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 1_000_000, 431),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 10_000 + b"\r\n", 431),
        (b"POST /-/reload HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n", 413),
        (b"POST /-/reload HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999999999999\r\n\r\n", 413),
    ],
)
def test_malformed_and_oversized_requests_are_refused(running: Served, request_: bytes, status: int) -> None:
    """A malformed or oversized request gets an error with security headers, and the connection is closed."""
    answer = running.send(request_)
    assert status_of(answer) == status
    assert b"x-content-type-options: nosniff" in answer
    assert b"connection: close" in answer.lower()


def test_nothing_is_answered_after_a_malformed_request(running: Served) -> None:
    """A request behind a malformed one on the same connection gets no answer (RFC 9112 section 11.2)."""
    for malformed in (
        b"garbage\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    ):
        assert running.send(malformed + GET).count(b"HTTP/1.1 ") == 1


def test_a_request_body_is_discarded(running: Served) -> None:
    """A GET with a body is answered like a GET without a body, and the connection answers the next request too."""
    with running.connect() as connection:
        for _ in range(2):
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000)
            assert status_of(answer_of(connection)) == 200


def test_an_endless_body_ends_the_connection(running: Served) -> None:
    """A chunked body above the limit is not read to its end."""
    with running.connect() as connection:
        connection.sendall(b"POST /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        assert status_of(answer_of(connection)) == 405
        connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        assert wait_until_closed(connection)


def test_the_extensions_of_chunks_count() -> None:
    """A chunked body of one byte is refused if the extension of its chunk is longer than a body may be."""
    with serving() as served, served.connect() as connection:
        connection.sendall(b"POST /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x=")
        assert status_of(answer_of(connection)) == 405
        with suppress(OSError):
            connection.sendall(b"y" * 200_000)
        assert wait_until_closed(connection)


def test_trailers_are_not_headers(running: Served) -> None:
    """A header after a chunked body is ignored, so it can neither add a second Host nor change the answer."""
    head = b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = running.send(head + b"0\r\nHost: b\r\nAccept-Encoding: gzip\r\n\r\n")
    assert status_of(answer) == 200
    assert b"content-encoding" not in answer.lower()


def test_a_request_of_http_1_0_needs_no_host(running: Served) -> None:
    """HTTP/1.0 has no Host header (RFC 9112 section 3.2)."""
    assert status_of(running.send(b"GET /metrics HTTP/1.0\r\n\r\n")) == 200


def test_an_upgrade_is_ignored(running: Served) -> None:
    """A client that asks for a WebSocket gets an HTTP answer, and the connection is closed after it."""
    answer = running.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert status_of(answer) == 200
    assert answer.endswith(b"up 1\n")


def test_too_many_pipelined_requests_end_the_connection(running: Served) -> None:
    """A client that sends requests without reading the answers is disconnected before it fills the memory."""
    with running.connect() as connection:
        connection.sendall(GET * 5000)
        assert wait_until_closed(connection)


def test_garbage_after_a_request_is_not_answered_inside_its_answer() -> None:
    """An error ends the answer that is being sent, and the error text never appears inside the answer."""
    body = Body(*LARGE.chunks)
    with serving(FakeBackend(body)) as served, served.connect() as connection:
        connection.sendall(GET)
        assert connection.recv(1) == b"H"
        connection.sendall(b"garbage\r\n\r\n")
        answer = read_all(connection)
    assert b"HTTP/1.1 400" not in answer
    assert len(answer) < body.length
    assert body.times_sent == 0


def test_a_refusal_is_not_lost_because_the_client_still_sends() -> None:
    """After a refusal the server reads for `linger` seconds, because a reset could make the client lose the answer."""
    clock = Clock()
    with serving(clock=clock) as served, served.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000)
        assert status_of(read_all(connection)) == 431
        for _ in range(3):
            connection.sendall(b"a" * 1000)
            assert len(open_connections(served)) == 1
        clock.now += 3
        wait_for(lambda: not open_connections(served), timeout=DEADLINE)


def test_an_unfinished_head_has_a_deadline() -> None:
    """A silent client is disconnected; a client that has sent a part of a head gets 408."""
    clock = Clock()
    with serving(clock=clock) as served, served.connect() as silent, served.connect() as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost")
        wait_for(lambda: sorted(one._in_head for one in open_connections(served)) == [False, True], timeout=DEADLINE)
        clock.now += 11
        assert read_all(silent) == b""
        assert status_of(read_all(slow)) == 408


def test_an_unfinished_body_has_a_deadline() -> None:
    """If a request body never ends, the connection is closed `head` seconds after the answer."""
    clock = Clock()
    with serving(clock=clock) as served, served.connect() as connection:
        connection.sendall(b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nxx")
        assert read_until_closed(connection, clock).count(b"HTTP/1.1") == 1


@pytest.mark.slow
def test_an_idle_connection_has_a_deadline() -> None:
    """A connection without requests is closed after `idle` seconds, without an answer."""
    with serving(limits=Limits(idle=1)) as served, served.connect() as connection:
        connection.sendall(GET)
        assert status_of(answer_of(connection)) == 200
        assert read_all(connection) == b""


def test_blank_lines_do_not_keep_a_connection() -> None:
    """A blank line is not a request, so the deadline for a head still closes the connection."""
    clock = Clock()
    with serving(clock=clock) as served, served.connect() as connection:
        connection.sendall(GET)
        answer_of(connection)
        connection.sendall(b"\r\n")
        assert read_until_closed(connection, clock) == b""


@pytest.mark.slow
def test_a_client_that_stops_reading_is_cut_off() -> None:
    """If the client reads nothing for `stall` seconds, the connection is closed; the scrape does not count as sent."""
    body, clock = Body(*LARGE.chunks), Clock()
    limits = Limits(answer=math.inf)
    with serving(FakeBackend(body), limits=limits, clock=clock) as served, served.connect() as connection:
        connection.sendall(GET)
        assert connection.recv(1) == b"H"

        def is_cut_off() -> bool:
            clock.now += 1
            return not open_connections(served)

        wait_for(is_cut_off, timeout=DEADLINE)
        assert len(read_all(connection)) < body.length
    assert body.times_sent == 0


@pytest.mark.slow
def test_an_answer_has_a_deadline_however_it_progresses() -> None:
    """A client that reads all the time, but too slowly, is cut off after `answer` seconds."""
    clock, limits = Clock(), Limits(stall=math.inf)
    with serving(FakeBackend(LARGE), limits=limits, clock=clock) as served, served.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        connection.sendall(GET)
        assert connection.recv(1) == b"H"

        def is_cut_off() -> bool:
            clock.now += 5
            with suppress(ConnectionResetError):
                connection.recv(4096)
            return not open_connections(served)

        wait_for(is_cut_off, timeout=DEADLINE)
        assert len(read_all(connection)) < LARGE.length / 2


def test_a_request_that_was_sent_during_an_answer_has_a_deadline() -> None:
    """A connection whose next request waits for its turn is not idle, and that request has a deadline too."""
    clock, limits, nobody = Clock(), Limits(stall=math.inf), FairTurns(0)
    with serving(FakeBackend(LARGE), limits=limits, clock=clock) as served, served.connect() as connection:
        connection.sendall(GET)
        received = connection.recv(1)
        served.server._uvicorn._connections.turns = nobody
        connection.sendall(GET)
        (open_connection,) = open_connections(served)
        wait_for(lambda: open_connection._queued == 1, timeout=DEADLINE)
        while len(received.partition(b"\r\n\r\n")[2]) < LARGE.length:
            received += connection.recv(1 << 20)
        wait_for(lambda: open_connection.answered == 1, timeout=DEADLINE)
        assert open_connection.waiting_since is None
        nobody._limit = 1
        assert connection.recv(1) == b"H"
        assert open_connection.waiting_since is None
        clock.now += limits.answer + 1
        wait_for(lambda: not open_connections(served), timeout=DEADLINE)


def test_requests_in_flight_are_limited() -> None:
    """Above --web.max-requests the answer is 503. Idle connections, probes and ended requests do not count."""
    backend = FakeBackend(hold=threading.Event())
    with serving(backend, max_requests=2) as served:
        idle = [served.connect() for _ in range(5)]
        scrapers = [threading.Thread(target=served.ask) for _ in range(2)]
        for scraper in scrapers:
            scraper.start()
        wait_for(lambda: backend.preparing == 2)
        refused = served.ask()
        assert served.ask("/-/ready").status == 200
        backend.hold.set()
        for scraper in scrapers:
            scraper.join(10)
        assert served.ask().status == 200
        for connection in idle:
            connection.close()
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")


def test_max_requests_0_sets_no_limit() -> None:
    """With --web.max-requests=0 every request is admitted."""
    with serving(max_requests=0) as served:
        assert served.ask().status == 200


def test_a_stalled_reader_counts_at_first() -> None:
    """A request counts for --web.max-requests while its answer is younger than `patience`."""
    limits = Limits(patience=3600)
    with serving(FakeBackend(LARGE), max_requests=1, limits=limits) as served, served.connect() as reader:
        reader.sendall(GET)
        assert reader.recv(1) == b"H"
        assert served.ask().status == 503


def test_a_stalled_reader_stops_counting() -> None:
    """After `patience` a stalled reader no longer counts, so that it cannot lock the scraper out."""
    with serving(FakeBackend(LARGE), max_requests=1) as served, served.connect() as reader:
        reader.sendall(GET)
        assert reader.recv(1) == b"H"
        wait_for(lambda: served.ask().status == 200, timeout=DEADLINE)


def test_the_number_of_connections_is_limited() -> None:
    """Each connection above the limit closes the connection that has waited longest for its client."""
    with serving(limits=Limits(connections=20)) as served:
        old = [served.connect() for _ in range(20)]
        wait_for(lambda: len(open_connections(served)) == 20)
        new = [served.connect() for _ in range(40)]
        assert all(wait_until_closed(connection) for connection in old)
        new[-1].sendall(GET)
        assert status_of(answer_of(new[-1])) == 200
        wait_for(lambda: len(open_connections(served)) <= 20)
        for connection in old + new:
            connection.close()


def test_a_crowd_at_one_address_takes_no_connection_from_another() -> None:
    """Above the limit, a new connection closes one of the address that holds most, also if that one is busier."""
    with serving(limits=Limits(connections=20)) as served, served.connect("127.0.0.2") as scraper:
        scraper.sendall(GET)
        assert status_of(answer_of(scraper)) == 200
        crowd = [served.connect() for _ in range(60)]
        wait_for(lambda: len(open_connections(served)) == 20, timeout=DEADLINE)
        assert sum(wait_until_closed(connection, 0.01) for connection in crowd) == 41
        scraper.sendall(GET)
        assert status_of(answer_of(scraper)) == 200
        for connection in crowd:
            connection.close()


def test_a_new_connection_is_closed_after_those_that_had_an_answer() -> None:
    """Among the connections of an address, one that was answered is closed before one that waits for its first."""
    with serving(limits=Limits(connections=10)) as served, ExitStack() as stack:
        new = stack.enter_context(served.connect())
        wait_for(lambda: len(open_connections(served)) == 1, timeout=DEADLINE)
        answered = stack.enter_context(served.connect())
        answered.sendall(GET)
        answer_of(answered)
        for _ in range(9):
            stack.enter_context(served.connect())
        assert wait_until_closed(answered)
        new.sendall(GET)
        assert status_of(answer_of(new)) == 200


def test_a_crowd_at_one_address_leaves_requests_to_another() -> None:
    """If one address has all of --web.max-requests in flight, it gets 503, but another address is answered."""
    limits = Limits(patience=3600)
    with serving(FakeBackend(LARGE), max_requests=2, limits=limits) as served, ExitStack() as stack:
        crowd = [stack.enter_context(served.connect()) for _ in range(3)]
        for connection in crowd[:2]:
            connection.sendall(GET)
            assert connection.recv(1) == b"H"
        crowd[2].sendall(GET)
        assert status_of(answer_of(crowd[2])) == 503
        other = stack.enter_context(served.connect("127.0.0.2"))
        other.sendall(GET)
        assert other.recv(13) == b"HTTP/1.1 200 "


async def turns(number: int) -> None:
    """Let the event loop run `number` iterations."""
    for _ in range(number):
        await asyncio.sleep(0)


@contextmanager
def turn_by_turn(backend: FakeBackend | None = None) -> Iterator[tuple[WebServer, asyncio.Runner, tuple[str, int]]]:
    """Yield a server for 20 connections, an event loop to run it in, and its address."""
    server = WebServer(
        backend or FakeBackend(), addresses=[("127.0.0.1", 0)], limits=Limits(connections=20), environ={}
    )
    server.start()
    host, _, port = server.addresses[0].rpartition(":")
    with asyncio.Runner() as runner:
        yield server, runner, (host, int(port))


@pytest.mark.slow
@given(waves=st.lists(st.integers(0, 60), min_size=1, max_size=25))
@example(waves=[1] * 20)
@example(waves=[20, 20])
@settings(max_examples=20, deadline=None)
def test_each_connection_counts_once_until_it_ends(waves: list[int]) -> None:
    """While clients connect in waves, at most 20 connections are open; after all disconnect, none is open."""

    async def connect_waves(server: WebServer, address: tuple[str, int]) -> tuple[int, int]:
        """Connect one wave per turn of the event loop; return the open connections before and after clients leave."""
        serving = asyncio.create_task(server._uvicorn.serve(sockets=server._listeners))
        clients = []
        for size in waves:
            clients += [socket.create_connection(address) for _ in range(size)]
            await turns(1)
        await turns(30)
        connected = len(server._uvicorn.server_state.connections)
        for client in clients:
            client.close()
        await turns(30)
        at_end = len(server._uvicorn.server_state.connections)
        server.stop()
        await serving
        return connected, at_end

    with turn_by_turn() as (server, runner, address):
        assert runner.run(connect_waves(server, address)) == (min(sum(waves), 20), 0)


@pytest.mark.slow
def test_a_request_that_was_read_is_answered() -> None:
    """At whichever turn of the event loop the server stops, a request that reached the backend gets its answer."""

    async def stop_after(number: int, server: WebServer, address: tuple[str, int]) -> int:
        """Stop the server `number` turns after a request was sent; return the number of answers."""
        serving = asyncio.create_task(server._uvicorn.serve(sockets=server._listeners))
        await turns(3)
        with socket.create_connection(address, timeout=10) as client:
            client.sendall(GET)
            await turns(number)
            for acceptor in server._uvicorn.servers:  # as uvicorn does in its shutdown
                acceptor.close()
            for connection in list(server._uvicorn.server_state.connections):
                connection.shutdown()
            server.stop()
            await serving
            return read_all(client).count(b"200 OK")

    answered = []
    for number in range(8):
        backend = FakeBackend()
        with turn_by_turn(backend) as (server, runner, address):
            answered.append(runner.run(stop_after(number, server, address)))
        assert answered[-1] == len(backend.asked)
    assert (answered[0], answered[-1]) == (0, 1)


def test_a_scrape_in_flight_is_finished_before_the_end() -> None:
    """On stop, a request in flight gets its whole answer; idle connections are closed and no new ones are accepted."""
    backend = FakeBackend(LARGE)
    with (
        serving(backend, limits=Limits(stop=int(DEADLINE))) as served,
        served.connect() as idle,
        served.connect() as reader,
    ):
        reader.sendall(GET)
        assert reader.recv(1) == b"H"
        served.server.stop()
        assert wait_until_closed(idle)
        with pytest.raises(OSError, match="refused"):
            wait_for(lambda: served.connect().close(), timeout=DEADLINE)
        assert len(read_all(reader)) > LARGE.length
        served.thread.join(DEADLINE)
        assert not served.thread.is_alive()


@pytest.mark.slow
def test_hung_work_and_stalled_readers_do_not_delay_the_end() -> None:
    """On stop, the server ends while work still hangs and a reader still does not read. It waits 3 seconds for them."""
    backend = FakeBackend(LARGE)
    with serving(backend) as served, served.connect() as reader:
        reader.sendall(GET)
        assert reader.recv(1) == b"H"
        backend.hold = threading.Event()
        hung = served.connect()
        hung.sendall(GET)
        wait_for(lambda: backend.preparing, timeout=DEADLINE)
        served.server.stop()
        served.thread.join(DEADLINE / 2)  # the hung work lasts longer than this deadline
        assert not served.thread.is_alive()
        assert not backend.hold.is_set()
        assert served.server._uvicorn.config.timeout_graceful_shutdown == Limits().stop == 3
        backend.hold.set()
        hung.close()


def test_stop_before_run() -> None:
    """A server that is stopped before it runs ends at once."""
    with serving() as served:
        served.server.stop()
        served.thread.join(DEADLINE)
        assert not served.thread.is_alive()


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (HttpToolsProtocol.__init__, ["self", "config", "server_state", "app_state", "_loop"]),
        (HttpToolsProtocol.connection_made, ["self", "transport"]),
        (HttpToolsProtocol.connection_lost, ["self", "exc"]),
        (HttpToolsProtocol.data_received, ["self", "data"]),
        (HttpToolsProtocol.send_400_response, ["self", "msg"]),
        (HttpToolsProtocol.on_message_begin, ["self"]),
        (HttpToolsProtocol.on_url, ["self", "url"]),
        (HttpToolsProtocol.on_header, ["self", "name", "value"]),
        (HttpToolsProtocol.on_headers_complete, ["self"]),
        (HttpToolsProtocol.on_body, ["self", "body"]),
        (HttpToolsProtocol.on_message_complete, ["self"]),
        (HttpToolsProtocol.on_response_complete, ["self"]),
        (uvicorn.Server.startup, ["self", "sockets"]),
        (uvicorn.Server.shutdown, ["self", "sockets"]),
        (uvicorn.Server.on_tick, ["self", "counter"]),
        (uvicorn.Server.capture_signals, ["self"]),
    ],
)
def test_uvicorn_has_the_methods_that_are_overridden(method: object, parameters: list[str]) -> None:
    """A release of uvicorn that renames an overridden method or changes its parameters fails this test."""
    assert list(inspect.signature(method).parameters) == parameters  # type: ignore[arg-type]


def test_uvicorn_has_the_attributes_that_are_used() -> None:
    """A release of uvicorn that renames a used attribute fails this test."""
    protocol = inspect.getsource(HttpToolsProtocol)
    for name in ("self.pipeline", "self.cycle", "self.parser", "self.transport", "self.loop", "app_state.copy()"):
        assert name in protocol
    assert "self.on_response_complete" in protocol
    assert "self.send_400_response(" in protocol
    assert "self.keep_alive" in inspect.getsource(RequestResponseCycle)
    assert issubclass(httptools.HttpParserCallbackError, httptools.HttpParserError)
