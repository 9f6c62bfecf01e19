"""A call ends within its limit, whatever hangs, and an answer has a limited size."""

import os
import signal
import stat
import threading
from pathlib import Path

import pytest

from exporter.glue.deadline import ANSWER, CREDENTIALS, MAX_LET_GO, Call, Deadline, current_call
from exporter.glue.threads import ThreadPool
from exporter.glue.transport import MAX_ANSWER
from exporter.model.errors import GlueError
from tests.glue.upstreams import HEAD, complete, endless, upstream
from tests.running import no_threads, running, wait_for

EMPTY_PAGE = complete(b'{"TaskRuns": []}')


class Clock:
    """Monotonic seconds that a test sets."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


# -- the time of a call ------------------------------------------------------------------------------------------------


def test_only_credentials_and_attempts_use_up_the_time_of_a_call():
    """A call begins with its time stopped; between `pause` and `resume` its time stands still."""
    clock = Clock()
    call = Call(10.0, clock=clock)
    clock.now += 100
    assert call.left() == 10
    call.resume(CREDENTIALS)
    clock.now += 3
    assert call.left() == 7
    call.pause()
    call.pause()
    clock.now += 100
    assert call.left() == 7
    call.resume(ANSWER)
    call.resume(ANSWER)
    clock.now += 8
    assert call.left() == -1


def test_an_expired_call_begins_nothing_and_cuts_what_it_begins_late():
    """After `interrupt` each step raises, and what is registered to be cut is cut at once."""
    call, cut = Call(1.0), []
    call.resume(ANSWER)
    call.on_interrupt(lambda: cut.append("first"))
    call.interrupt()
    call.on_interrupt(lambda: cut.append("second"))
    assert cut == ["first", "second"]
    with pytest.raises(GlueError, match="no complete answer within 1s"):
        call.resume(ANSWER)


# -- the threads of calls ----------------------------------------------------------------------------------------------


def hang_until(event):
    """Return work that hangs until an event, and cannot be cut."""

    def work():
        current_call().resume(ANSWER)
        event.wait()

    return work


def test_threads_that_hang_are_let_go_and_bounded_in_number():
    """When `MAX_LET_GO` threads hang, the next call fails at once and begins no thread; calls go on when they end."""
    deadline, end = Deadline(0.01, ThreadPool("let-go")), threading.Event()
    for _ in range(MAX_LET_GO):
        with pytest.raises(GlueError, match="no complete answer") as failure:
            deadline.run(hang_until(end))
        assert failure.value.reason == "timeout"
    begun = []
    with pytest.raises(GlueError, match=f"{MAX_LET_GO} earlier calls still hang"):
        deadline.run(lambda: begun.append(1))
    assert not begun
    end.set()

    def works_again():
        try:
            return deadline.run(lambda: "result")
        except GlueError:
            return None

    assert wait_for(works_again) == "result"


def test_without_threads_a_call_runs_in_the_thread_of_its_caller():
    """If the system allows no more threads, calls still succeed, and their exceptions reach the caller."""
    deadline = Deadline(1.0, ThreadPool("none"))
    with no_threads():
        assert deadline.run(threading.current_thread) is threading.current_thread()
        with pytest.raises(ZeroDivisionError):
            deadline.run(lambda: 1 / 0)


# -- upstreams that hang or do not end ---------------------------------------------------------------------------------


def dripping(server):
    """Return an answer that sends one byte in a while, more often than any timeout between two bytes."""

    def answer(connection, _request):
        connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
        while not server.ended.wait(0.05):
            connection.sendall(b" ")

    return answer


def polling_of(url, **polling):
    return {"endpoint_url": url, "transforms": ["tfm-a"], "transform_details": False, "polling": polling}


@pytest.mark.slow
def test_an_answer_that_drips_fails_the_poll_until_the_upstream_is_sound():
    """Polls of a dripping upstream fail with "timeout", their connections are closed, and polls succeed afterwards."""
    with upstream(EMPTY_PAGE) as server:
        server.answer = dripping(server)
        with running(**polling_of(server.url, request_timeout="300ms", max_attempts=5)) as exporter:
            wait_for(lambda: exporter.errors().get("timeout"), describe=lambda: str(exporter.errors()))
            wait_for(lambda: exporter.up("tfm-a") == 0)
            wait_for(lambda: exporter.value("glue_ml_exporter_api_requests_total", code="timeout"))
            # A poll has one connection, and the connections of the polls before it are closed.
            wait_for(lambda: server.open <= 1)
            server.answer = EMPTY_PAGE
            exporter.wait_until_up("tfm-a")
            assert set(exporter.errors()) == {"timeout"}


ENDLESS = {
    "chunked body": endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n"),
    "long body": endless(HEAD + b"Content-Length: 999999999999\r\n\r\n", b"x" * 65536),
    "body until the end of the connection": endless(HEAD + b"\r\n", b"x" * 65536),
    "lines after the chunks": endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n" * 10_000),
    "body of an error": endless(b"HTTP/1.1 400 Bad Request\r\n\r\n", b"x" * 65536),
}


@pytest.mark.slow
@pytest.mark.parametrize("answer", ENDLESS.values(), ids=ENDLESS)
def test_an_endless_answer_is_cut_and_not_tried_again(answer):
    """After `MAX_ANSWER` bytes the connection is closed, and the poll fails with "malformed_response"."""
    with (
        upstream(answer) as server,
        running(**polling_of(server.url, interval="1h", stale_after="2h", max_attempts=5)) as exporter,
    ):
        wait_for(lambda: exporter.errors() == {"malformed_response": 1}, describe=lambda: str(exporter.errors()))
        wait_for(lambda: server.open == 0)
        assert server.requests == 1


def test_an_answer_of_nearly_the_limit_is_read():
    """A page that is a little smaller than `MAX_ANSWER` is read."""
    page = b'{"TaskRuns": [], "Padding": "%s"}' % (b"x" * (MAX_ANSWER - 1000))
    with upstream(complete(page)) as server, running(**polling_of(server.url)) as exporter:
        exporter.wait_until_up("tfm-a")


def test_an_answer_with_another_status_of_success_is_parsed_once(caplog):
    """An answer of a proxy with status 202 is read as one with status 200, and no defect of the parser is reported."""
    page = complete(b"no page", b"202 Accepted")
    with upstream(page) as server, running(**polling_of(server.url)) as exporter:
        wait_for(lambda: exporter.errors().get("malformed_response"), describe=exporter.scrape)
    assert "parser" not in caplog.text


def test_an_error_that_is_nested_too_deeply_is_malformed():
    """A deeply nested body of an error is counted as "malformed_response"."""
    body = b'{"__type": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with upstream(complete(body, b"400 Bad Request")) as server, running(**polling_of(server.url)) as exporter:
        wait_for(exporter.errors, describe=exporter.scrape)
        assert set(exporter.errors()) == {"malformed_response"}


# -- processes that print credentials ----------------------------------------------------------------------------------


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def process_profile(environment, tmp_path):
    """Return a function that lets the profile `one` get its credentials from a shell script."""
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    environment.setenv("AWS_REGION", "eu-west-1")
    config = tmp_path / "config"
    environment.setenv("AWS_CONFIG_FILE", str(config))
    environment.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)

    def write(script, source_profile=False):
        program = tmp_path / "program"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        profile = f"[profile one]\ncredential_process = {program}\n"
        if source_profile:
            profile = (
                f"[profile base]\ncredential_process = {program}\n[profile one]\nsource_profile = base\n"
                "role_arn = arn:aws:iam::111111111111:role/watcher\n"
            )
        config.write_text(profile)

    return write


ACCOUNT_ONE = {"accounts": [{"name": "one", "profile": "one"}], "transforms": ["tfm-one"], "transform_details": False}
GOOD = """echo '{"Version": 1, "AccessKeyId": "AKIAONE", "SecretAccessKey": "x"}'"""


@pytest.mark.slow
@pytest.mark.parametrize("source_profile", [False, True], ids=["of the profile", "of the source profile"])
def test_a_credential_process_that_hangs_fails_the_poll_and_is_killed(
    process_profile, simulator, tmp_path, source_profile
):
    """The poll fails with "credentials", the process and its children are killed, and a good process is then used."""
    pids = tmp_path / "pids"
    process_profile(f"echo $$ >> {pids}; sleep 300 & echo $! >> {pids}; wait", source_profile)
    with running(simulator, **ACCOUNT_ONE, polling={"request_timeout": "300ms"}) as exporter:
        wait_for(lambda: exporter.errors().get("credentials"), describe=lambda: str(exporter.errors()))
        wait_for(lambda: exporter.up("tfm-one") == 0)
        assert exporter.service.is_alive()
        first = [int(pid) for pid in pids.read_text().split()[:2]]
        wait_for(lambda: not any(map(alive, first)))
        process_profile(GOOD, source_profile)
        exporter.wait_until_up("tfm-one")
        assert set(exporter.errors()) == {"credentials"}


def test_a_credential_process_ends_with_the_exporter(process_profile, simulator, tmp_path):
    """When the exporter stops, a process that prints credentials is killed with its children; no error is counted."""
    pids = tmp_path / "pids"
    process_profile(f"sleep 300 & echo $! > {pids}; wait")
    with running(simulator, **ACCOUNT_ONE, polling={"request_timeout": "5m"}) as exporter:
        wait_for(lambda: pids.exists() and pids.read_text().strip())
    child = int(pids.read_text())
    wait_for(lambda: not alive(child))
    assert not exporter.errors()


@pytest.mark.parametrize("script", ["echo nothing", "echo '{}'", "exit 3", f"kill -{signal.SIGTERM} $$"])
def test_a_credential_process_that_fails_is_counted_as_credentials(process_profile, simulator, script):
    """Output that is no JSON, or without keys, an exit code and a signal are failures of the credentials."""
    process_profile(script)
    with running(simulator, **ACCOUNT_ONE) as exporter:
        wait_for(exporter.errors)
        assert set(exporter.errors()) == {"credentials"}
