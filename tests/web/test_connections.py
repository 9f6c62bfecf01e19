import asyncio
import inspect
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httptools
import pytest
import uvicorn
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from exporter.web.limits import Limits
from exporter.web.server import WebServer
from tests.support import wait_for
from tests.web.serving import Body, FakeBackend, Served, answer_of, read_all, serving, status_of, wait_until_closed

GET = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
LARGE = Body(*[b"x" * 1_000_000] * 20)


@pytest.fixture(scope="module")
def running() -> Iterator[Served]:
    """A server that no test changes."""
    with serving() as served:
        yield served


def test_connections_are_kept_alive(running: Served) -> None:
    """Several requests are answered on one connection, also when they are sent at once."""
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
        (b"GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 1_000_000, 431),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 10_000 + b"\r\n", 431),
        (b"POST /-/reload HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n", 413),
        (b"POST /-/reload HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999999999999\r\n\r\n", 413),
    ],
)
def test_what_cannot_be_read_is_refused(running: Served, request_: bytes, status: int) -> None:
    """Malformed and oversized requests get an answer that says so, with security headers, and the connection ends."""
    answer = running.send(request_)
    assert status_of(answer) == status
    assert b"x-content-type-options: nosniff" in answer
    assert b"connection: close" in answer.lower()


def test_a_body_is_thrown_away(running: Served) -> None:
    """A request with a body that nobody wants is answered as if it had none, and the next one too."""
    with running.connect() as connection:
        for _ in range(2):
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000)
            assert status_of(answer_of(connection)) == 200


def test_an_endless_body_ends_the_connection(running: Served) -> None:
    """A chunked body beyond the limit is not read to its end."""
    with running.connect() as connection:
        connection.sendall(b"POST /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        assert status_of(answer_of(connection)) == 405
        connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        assert wait_until_closed(connection)


def test_an_upgrade_is_not_taken_up(running: Served) -> None:
    """A client that offers a WebSocket gets plain HTTP, and a connection that ends after it."""
    answer = running.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert status_of(answer) == 200
    assert answer.endswith(b"up 1\n")


def test_too_many_pipelined_requests_end_the_connection(running: Served) -> None:
    """A client that sends request after request without reading does not fill the memory."""
    with running.connect() as connection:
        connection.sendall(GET * 5000)
        assert wait_until_closed(connection)


def test_garbage_behind_a_request_is_no_part_of_its_answer() -> None:
    """An error on the connection ends the answer under way and never lands in the middle of it."""
    body = Body(*LARGE.chunks)
    with serving(FakeBackend(body)) as served, served.connect() as connection:
        connection.sendall(GET)
        assert connection.recv(1) == b"H"
        connection.sendall(b"garbage\r\n\r\n")
        answer = read_all(connection)
    assert b"HTTP/1.1 400" not in answer
    assert len(answer) < body.length
    assert body.times_sent == 0


def test_a_refusal_is_not_lost_because_the_client_still_sends(running: Served) -> None:
    """After a refusal the server listens for a while, instead of resetting the connection under the client's hands."""
    with running.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000)
        assert status_of(read_all(connection)) == 431
        for _ in range(3):
            connection.sendall(b"a" * 1000)
            threading.Event().wait(0.02)
        assert wait_until_closed(connection)


def test_an_unfinished_head_has_a_deadline() -> None:
    """A silent client is disconnected; one that began to speak is told why."""
    with serving(limits=Limits(head=0.2)) as served, served.connect() as silent, served.connect() as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost")
        assert read_all(silent) == b""
        assert status_of(read_all(slow)) == 408


def test_an_unfinished_body_has_a_deadline() -> None:
    """A body that never ends does not keep the connection for long after the answer."""
    with serving(limits=Limits(head=0.2)) as served, served.connect() as connection:
        connection.sendall(b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nxx")
        assert read_all(connection).count(b"HTTP/1.1") == 1


def test_an_idle_connection_has_a_deadline() -> None:
    """A connection without requests is closed after a while, quietly."""
    with serving(limits=Limits(idle=1)) as served, served.connect() as connection:
        connection.sendall(GET)
        assert status_of(answer_of(connection)) == 200
        assert read_all(connection) == b""


def test_blank_lines_do_not_keep_a_connection() -> None:
    """Only a request counts as one."""
    with serving(limits=Limits(head=0.2)) as served, served.connect() as connection:
        connection.sendall(GET)
        answer_of(connection)
        connection.sendall(b"\r\n")
        assert wait_until_closed(connection, 5)


def test_a_client_that_stops_reading_is_cut_off() -> None:
    """Without progress the transfer ends; the scrape does not count as sent."""
    body = Body(*LARGE.chunks)
    with serving(FakeBackend(body), limits=Limits(stall=0.5)) as served, served.connect() as connection:
        connection.sendall(GET)
        assert connection.recv(1) == b"H"
        wait_for(lambda: not served_connections(served), timeout=8)
        assert len(read_all(connection)) < body.length
    assert body.times_sent == 0


def test_an_answer_has_a_deadline_however_it_progresses() -> None:
    """A client that reads all the time, but too slowly, is cut off in the end."""
    with serving(FakeBackend(LARGE), limits=Limits(answer=0.5)) as served, served.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        connection.sendall(GET)
        wait_for(lambda: connection.recv(4096) and not served_connections(served), timeout=8, interval=0.01)


def served_connections(served: Served) -> int:
    """The number of connections that the server has open."""
    return len(served.server._uvicorn.server_state.connections)


def test_requests_under_way_are_bounded() -> None:
    """Beyond --web.max-requests there is a 503; idle connections and probes do not count; free places are used."""
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


def test_max_requests_0_is_no_bound() -> None:
    """With --web.max-requests=0 any number of requests is let in."""
    with serving(max_requests=0) as served:
        assert served.ask().status == 200


def test_readers_that_do_not_read_count_at_first_and_then_no_more() -> None:
    """A stalled reader takes a place for a short time only, so it cannot lock the scraper out."""
    backend = FakeBackend(LARGE)
    with serving(backend, max_requests=1) as served, served.connect() as reader:
        reader.sendall(GET)
        assert reader.recv(1) == b"H"
        assert served.ask().status == 503
        assert wait_for(lambda: served.ask().status == 200, timeout=5)


def test_the_number_of_connections_is_bounded() -> None:
    """For each connection beyond the limit, the one that has waited longest is closed."""
    with serving(limits=Limits(connections=20)) as served:
        old = [served.connect() for _ in range(20)]
        wait_for(lambda: served_connections(served) == 20)
        new = [served.connect() for _ in range(40)]
        assert all(wait_until_closed(connection, 5) for connection in old)
        new[-1].sendall(GET)
        assert status_of(answer_of(new[-1])) == 200
        wait_for(lambda: served_connections(served) <= 20)
        for connection in old + new:
            connection.close()


async def turns(number: int) -> None:
    """Let the event loop come round so many times."""
    for _ in range(number):
        await asyncio.sleep(0)


@contextmanager
def turn_by_turn(backend: FakeBackend | None = None) -> Iterator[tuple[WebServer, asyncio.Runner, tuple[str, int]]]:
    """Give a server for 20 connections, the event loop in which it is to be served, and its address."""
    server = WebServer(
        backend or FakeBackend(), addresses=[("127.0.0.1", 0)], limits=Limits(connections=20), environ={}
    )
    server.start()
    host, _, port = server.addresses[0].rpartition(":")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield server, runner, (host, int(port))


@given(waves=st.lists(st.integers(0, 60), min_size=1, max_size=25))
@example(waves=[1] * 20)
@example(waves=[20, 20])
@settings(max_examples=20, deadline=None)
def test_no_connection_counts_twice_or_is_forgotten(waves: list[int]) -> None:
    """However connections arrive, as many as may be open are, and none is left when their clients have gone."""

    async def crowd(server: WebServer, address: tuple[str, int]) -> tuple[int, int]:
        """Let a wave come at each turn of the event loop; return how many are connected then, and at last."""
        serving = asyncio.create_task(server._uvicorn.serve(sockets=server._listeners))
        clients = []
        for size in waves:
            clients += [socket.create_connection(address) for _ in range(size)]
            await turns(1)
        await turns(30)
        then = len(server._uvicorn.server_state.connections)
        for client in clients:
            client.close()
        await turns(30)
        at_last = len(server._uvicorn.server_state.connections)
        server.stop()
        await serving
        return then, at_last

    with turn_by_turn() as (server, runner, address):
        assert runner.run(crowd(server, address)) == (min(sum(waves), 20), 0)


def test_a_request_that_has_been_read_is_answered() -> None:
    """At whatever turn of the event loop the server stops: what the site was asked for reaches the client."""

    async def stop_after(number: int, server: WebServer, address: tuple[str, int]) -> int:
        """Stop so many turns after a request has come; return how many answers have."""
        serving = asyncio.create_task(server._uvicorn.serve(sockets=server._listeners))
        await turns(3)
        with socket.create_connection(address, timeout=10) as client:
            client.sendall(GET)
            await turns(number)
            for acceptor in server._uvicorn.servers:  # as uvicorn does when it comes round
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


def test_a_scrape_under_way_is_finished_before_the_end() -> None:
    """On stop, whoever is being answered gets all of it; idle connections are closed and no new ones accepted."""
    backend = FakeBackend(LARGE)
    with serving(backend) as served, served.connect() as idle, served.connect() as reader:
        reader.sendall(GET)
        assert reader.recv(1) == b"H"
        began = time.monotonic()
        served.server.stop()
        assert wait_until_closed(idle)
        with pytest.raises(OSError, match="refused"):
            wait_for(lambda: served.connect().close(), timeout=2)
        assert len(read_all(reader)) > LARGE.length
        served.thread.join(5)
        assert time.monotonic() - began < 4
        assert not served.thread.is_alive()


@pytest.mark.slow
def test_nothing_holds_up_the_end() -> None:
    """On stop, hung work and readers that do not read are left behind after less than 4 seconds."""
    backend = FakeBackend(LARGE)
    with serving(backend) as served, served.connect() as reader:
        reader.sendall(GET)
        assert reader.recv(1) == b"H"
        backend.hold = threading.Event()
        hung = served.connect()
        hung.sendall(GET)
        wait_for(lambda: backend.preparing)
        began = time.monotonic()
        served.server.stop()
        served.thread.join(10)
        assert time.monotonic() - began < 4
        backend.hold.set()
        hung.close()


def test_stop_before_run() -> None:
    """A server that was stopped before it ran comes to its end at once."""
    with serving() as served:
        served.server.stop()
        served.thread.join(5)
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
def test_uvicorn_has_the_methods_that_we_extend(method: object, parameters: list[str]) -> None:
    """A release of uvicorn that renames or changes what we hang on is noticed here."""
    assert list(inspect.signature(method).parameters) == parameters  # type: ignore[arg-type]


def test_uvicorn_has_the_attributes_that_we_use() -> None:
    """A release of uvicorn that renames what we read is noticed here."""
    protocol = inspect.getsource(HttpToolsProtocol)
    for name in ("self.pipeline", "self.cycle", "self.parser", "self.transport", "self.loop", "app_state.copy()"):
        assert name in protocol
    assert "self.on_response_complete" in protocol
    assert "self.send_400_response(" in protocol
    assert "self.keep_alive" in inspect.getsource(RequestResponseCycle)
    assert issubclass(httptools.HttpParserCallbackError, httptools.HttpParserError)
