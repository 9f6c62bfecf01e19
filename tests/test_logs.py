import errno
import io
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import logs
from tests.support import ROOT, run

EARLY = logs.get_logger("exporter.early")
PAIR = re.compile(r'([A-Za-z0-9_.\-]+)=("(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-f]{4})*"|[^\s"=\\]+)(?: |$)')


def parse_logfmt(line: str) -> dict[str, str]:
    """Return the fields of a logfmt line; AssertionError if it is not strictly logfmt."""
    fields, position = {}, 0
    while position < len(line):
        match = PAIR.match(line, position)
        assert match, f"not logfmt at {position}: {line!r}"
        key, value = match.groups()
        assert key not in fields
        fields[key] = json.loads(value) if value.startswith('"') else value
        position = match.end()
    return fields


class Status(Enum):
    FAILED = "FAILED"


class Output:
    """A stream for the log, with a list of the levels that the log counted."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.counted: list[str] = []

    def configure(self, level: str = "debug", format: str = "logfmt") -> None:  # noqa: A002 - the name of the parameter
        logs.configure(level, format, self.stream, self.counted.append)

    def lines(self) -> list[str]:
        logs.flush()
        text = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        assert not text or text.endswith("\n")
        return text.split("\n")[:-1]

    def line(self) -> str:
        (line,) = self.lines()
        return line


@pytest.fixture
def output() -> Iterator[Output]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield Output()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_logfmt_line(output: Output) -> None:
    """A line has time, level, message and logger, then the fields of the event in the given order."""
    output.configure()
    before = datetime.now(UTC)
    logs.get_logger("exporter.poller").info(
        "run finished", run_id="tsk-1", took=1.25, error=None, tries=3, retried=True
    )
    line = output.line()
    stamp, rest = line.split(" ", 1)
    assert rest == (
        'level=info msg="run finished" logger=exporter.poller run_id=tsk-1 took=1.25 error=null tries=3 retried=true'
    )
    assert re.fullmatch(r"ts=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp)
    written = datetime.fromisoformat(stamp.removeprefix("ts="))
    assert before - timedelta(milliseconds=1) <= written <= datetime.now(UTC)  # a stamp is cut to milliseconds


def test_json_line(output: Output) -> None:
    """A JSON line keeps the order of the fields and the types of the values."""
    output.configure(format="json")
    logs.get_logger("exporter.poller").warning("slow", took=1.5, tags=["a", 1], detail={"b": None}, when=float("nan"))
    fields = json.loads(output.line())
    assert list(fields) == ["ts", "level", "msg", "logger", "took", "tags", "detail", "when"]
    assert fields["level"] == "warn"
    assert (fields["took"], fields["tags"], fields["detail"], fields["when"]) == (1.5, ["a", 1], {"b": None}, "NaN")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", '""'),
        ("plain-text/1", "plain-text/1"),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("line\r\nbreak\tand tab", '"line\\r\\nbreak\\tand tab"'),
        ("\x1b[31mred\x7f\x9b", '"\\u001b[31mred\\u007f\\u009b"'),
        ("\u2028\u2029\u202e\u2066\ufeff", '"\\u2028\\u2029\\u202e\\u2066\\ufeff"'),
        ("Müller → 日本", '"Müller → 日本"'),
        ("\ud800", '"\\ud800"'),
        (5.0, "5"),
        (0.1 + 0.2, "0.3"),
        (1e300, "1e+300"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
        (Status.FAILED, "FAILED"),
        (datetime(2026, 11, 23, 9, 0, tzinfo=UTC), "2026-11-23T09:00:00+00:00"),
        (ValueError("a b"), '"a b"'),
        ([1, "x"], '"[1,\\"x\\"]"'),
    ],
)
def test_logfmt_values(output: Output, value: object, text: str) -> None:
    """A value has quotes where a reader needs them, and every unprintable character is escaped."""
    output.configure()
    logs.get_logger("x").info("m", field=value)
    assert output.line().split(" field=", 1)[1] == text


LIBRARIES = {"botocore", "boto3", "urllib3", "s3transfer"}  # their messages are not logged
NAMES = st.text(min_size=1).filter(lambda name: name.partition(".")[0] not in LIBRARIES)


@given(text=st.text(), field=st.text(), name=NAMES, ours=st.booleans())
@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_no_text_can_forge_a_line(form: str, text: str, field: str, name: str, *, ours: bool) -> None:
    """Any text as message, field or logger gives one printable line, from which the same text is read back."""
    output = Output()
    output.configure(format=form)
    if ours:
        logs.get_logger(name).info(text, error_string=field)
    else:
        logging.getLogger(name).warning("%s", text)
    line = output.line()
    assert line.isprintable()
    fields = parse_logfmt(line) if form == "logfmt" else json.loads(line)
    assert fields["msg"] == text
    assert fields["logger"] == logging.getLogger(name).name
    assert not ours or fields["error_string"] == field


def test_long_values_are_cut(output: Output) -> None:
    """A long text is cut, with a note, as a field, within a list and as a message."""
    output.configure(format="json")
    logs.get_logger("x").info("m" * 3000, text="t" * 2048, inner=["i" * 2049], logger="mine")
    fields = json.loads(output.line())
    assert fields["msg"] == "m" * 2048 + "... (952 characters more)"
    assert fields["text"] == "t" * 2048
    assert fields["inner"] == ["i" * 2048 + "... (1 characters more)"]


def test_long_lists_are_cut(output: Output) -> None:
    """A long list is cut in logfmt, and a list that contains itself does not hang the logger."""
    output.configure()
    endless: list[object] = []
    endless.append(endless)
    logs.get_logger("x").info("m", many=list(range(10_000)), endless=endless)
    fields = parse_logfmt(output.line())
    assert len(fields["many"]) < 2100
    assert len(fields["endless"]) < 2100


def test_standard_fields_cannot_be_replaced(output: Output) -> None:
    """A field with the name of a standard field gets an underscore, which also replaces invalid characters."""
    output.configure()
    fields: dict[str, Any] = {"level": "error", "ts": "then", "msg": "other", "a b=c\n": "x", "": "y"}
    logs.get_logger("x").info("m", **fields)
    parsed = parse_logfmt(output.line())
    assert (parsed["level"], parsed["msg"], parsed["level_"], parsed["ts_"]) == ("info", "m", "error", "then")
    assert (parsed["a_b_c_"], parsed["_"]) == ("x", "y")


def test_a_secret_of_the_environment_is_masked_in_every_text(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret of the environment reaches neither a message nor a field, a list, a traceback or a line of a library."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "tok-1234567890\n")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:pa/55word@proxy:1")
    output.configure()
    log = logs.get_logger("exporter.test")
    for secret in ("tok-1234567890", "user:pa/55word", "55word"):
        try:
            raise ValueError(f"Invalid header value b'{secret}\\n', {secret}")
        except ValueError as error:
            log.exception(secret, error=str(error), several=[secret, {secret: secret}])
        logging.getLogger("library").error("because of %s", secret)
        lines = output.lines()
        assert len(lines) == 2
        assert not [line for line in lines if secret in line]


def test_secrets_are_masked(output: Output) -> None:
    """The value of a field whose name means a secret is masked at any depth; None stays None."""
    output.configure(format="json")
    credentials = {"SecretAccessKey": "hunter2", "SessionToken": "hunter2", "AccessKeyId": "AKIA"}
    headers = [{"Authorization": "hunter2"}]
    logs.get_logger("x").info("m", credentials=credentials, headers=headers, db_password="hunter2", next_token=None)
    line = output.line()
    assert "hunter2" not in line
    fields = json.loads(line)
    assert fields["credentials"] == {"SecretAccessKey": "<secret>", "SessionToken": "<secret>", "AccessKeyId": "AKIA"}
    assert (fields["db_password"], fields["next_token"]) == ("<secret>", None)


def test_tracebacks_are_one_line(output: Output) -> None:
    """A traceback is a field of the line, for loggers of the exporter and of libraries."""
    output.configure()
    for logger in (logs.get_logger("ours"), logging.getLogger("theirs")):
        try:
            raise ValueError("broken\nlevel=info msg=forged")
        except ValueError:
            logger.exception("failed")
    for line in output.lines():
        fields = parse_logfmt(line)
        assert (fields["level"], fields["msg"]) == ("error", "failed")
        assert fields["exception"].startswith("Traceback (most recent call last):\n")
        assert fields["exception"].endswith("ValueError: broken\nlevel=info msg=forged")


@pytest.mark.parametrize(("level", "written"), [("debug", 4), ("info", 3), ("warn", 2), ("error", 1)])
def test_levels(output: Output, level: str, written: int) -> None:
    """Messages below the level are not written, and each line that is written is counted."""
    output.configure(level)
    log = logs.get_logger("x")
    log.debug("m"), log.info("m"), log.warning("m"), log.error("m")
    expected = ["debug", "info", "warn", "error"][-written:]
    assert [parse_logfmt(line)["level"] for line in output.lines()] == expected
    assert output.counted == expected


def test_critical_is_an_error(output: Output) -> None:
    """A level that only libraries use, such as CRITICAL, is shown and counted as the next lower known level."""
    output.configure()
    logging.getLogger("x").critical("m")
    logging.getLogger("x").log(25, "m")
    assert [parse_logfmt(line)["level"] for line in output.lines()] == ["error", "info"]
    assert output.counted == ["error", "info"]


@pytest.mark.parametrize("name", ["botocore.auth", "boto3", "urllib3.connectionpool", "s3transfer.utils"])
def test_aws_libraries_are_quiet(output: Output, name: str) -> None:
    """No message of an AWS library reaches the log, because it can contain credentials and comes with each poll."""
    output.configure("debug")
    logging.getLogger(name).debug("SessionToken=hunter2")
    try:
        raise ValueError("hunter2")
    except ValueError:
        logging.getLogger(name).critical("Refreshing temporary credentials failed", exc_info=True)
    assert output.lines() == []


def test_configure_again(output: Output) -> None:
    """A later call replaces level, format and stream, also for loggers that exist already."""
    output.configure("error", "json")
    EARLY.info("below the level")
    output.configure("info", "logfmt")
    EARLY.info("written")
    assert parse_logfmt(output.line())["msg"] == "written"
    second = Output()
    second.configure("info", "json")
    EARLY.info("elsewhere")
    assert output.lines() == []
    assert json.loads(second.line())["msg"] == "elsewhere"


def test_arguments_of_the_message(output: Output) -> None:
    """A percent sign in a message stays as it is, unless a library passes arguments to the message."""
    output.configure()
    logs.get_logger("x").info("100% of %s {}")
    logging.getLogger("x").info("%d of %s", 5, "six")
    logging.getLogger("x").info({"a": "dict"})
    assert [parse_logfmt(line)["msg"] for line in output.lines()] == ["100% of %s {}", "5 of six", "{'a': 'dict'}"]


class StuckReader(io.StringIO):
    """A stream that blocks each write until `resume` is set, as a pipe does whose reader has stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.stuck = threading.Event()
        self.resume = threading.Event()

    def write(self, text: str) -> int:
        self.stuck.set()
        assert self.resume.wait(60)
        return super().write(text)


def test_a_stuck_reader_delays_no_logger(output: Output) -> None:
    """While nobody reads the log, the queue takes its maximum number of lines, and each further line is counted."""
    output.stream = reader = StuckReader()
    output.configure()
    log = logs.get_logger("x")
    log.info("blocks the writer")
    assert reader.stuck.wait(60)
    for number in range(logs.MAX_WAITING + 7):
        log.info("m", number=number)
    assert logs.dropped_messages() == 7
    assert output.counted == []
    reader.resume.set()
    logs.flush(60)
    *written, gap = [parse_logfmt(line) for line in output.lines()]
    assert [line.get("number") for line in written] == [None, *map(str, range(logs.MAX_WAITING))]
    assert (gap["level"], gap["dropped"]) == ("error", "7")
    assert "were dropped" in gap["msg"]
    assert len(output.counted) == logs.MAX_WAITING + 2
    log.info("later")
    assert parse_logfmt(output.line())["msg"] == "later"
    assert logs.dropped_messages() == 7


def test_a_stuck_reader_does_not_delay_the_end(output: Output) -> None:
    """A flush returns when its time is over, although the line is not written yet."""
    output.stream = reader = StuckReader()
    output.configure()
    logs.get_logger("x").info("m")
    logs.flush(0)
    assert reader.getvalue() == ""
    reader.resume.set()
    assert parse_logfmt(output.line())["msg"] == "m"


class FullDisk(io.StringIO):
    """A stream whose writes fail until `space` is true."""

    space = False

    def write(self, text: str) -> int:
        if not self.space:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_a_full_disk_counts_the_messages_that_it_lost(output: Output) -> None:
    """A message that cannot be written is dropped and counted, and the log says the number when there is space."""
    output.stream = disk = FullDisk()
    output.configure()
    log = logs.get_logger("x")
    log.info("one"), log.info("two")
    assert output.lines() == []
    assert logs.dropped_messages() == 2
    disk.space = True
    log.info("three")
    logs.flush()
    third, gap = [parse_logfmt(line) for line in output.lines()]
    assert (third["msg"], gap["dropped"]) == ("three", "2")


def test_a_log_call_inside_a_log_call_does_not_block(output: Output) -> None:
    """A signal handler may log while the same thread is in the middle of a log call."""
    output.configure()

    class Interrupting:
        def __str__(self) -> str:
            logs.get_logger("x").info("inner")
            return "value"

    logs.get_logger("x").info("outer", field=Interrupting())
    assert [parse_logfmt(line)["msg"] for line in output.lines()] == ["inner", "outer"]


def test_a_pipe_gets_each_line_whole_although_it_is_not_blocking() -> None:
    """A line that is longer than the free space of a non-blocking pipe arrives whole."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    text = "x" * 1_000_000
    thread = threading.Thread(target=logs.FileStream(writer).write, args=(text,), daemon=True)
    thread.start()
    with os.fdopen(reader, "rb") as read:
        assert read.read(len(text)) == text.encode()
    thread.join(60)
    os.close(writer)


UNCAUGHT = """
import threading, warnings
from exporter import logs

logs.configure("info", "logfmt", logs.STDERR)
logs.log_python_messages()

class Broken:
    def __del__(self):
        raise ValueError("in a destructor")

def fail():
    raise ValueError("in a thread")

thread = threading.Thread(target=fail)
thread.start()
thread.join()
Broken()
warnings.warn("careful")
logs.flush()
"""


def test_messages_of_python_are_log_lines(tmp_path: Path) -> None:
    """A warning, an exception that ends a thread, and one that Python must ignore are lines of the log."""
    done = run(sys.executable, "-c", UNCAUGHT, folder=tmp_path, environ={"PYTHONPATH": str(ROOT)})
    assert done.exit_code == 0
    ended, ignored, warning = [parse_logfmt(line) for line in done.stderr.splitlines()]
    assert ended["msg"] == "a thread has ended because of a defect in this program; please report it"
    assert ended["exception"].endswith("ValueError: in a thread")
    assert ignored["msg"] == "an exception was ignored because of a defect in this program; please report it"
    assert ignored["exception"].endswith("ValueError: in a destructor")
    assert (warning["level"], warning["logger"]) == ("warn", "py.warnings")
    assert "careful" in warning["msg"]


def test_a_message_that_cannot_be_formatted_is_counted(output: Output) -> None:
    """A defect in the text of a message costs this message and raises nothing."""
    output.configure()

    class Broken:
        def __str__(self) -> str:
            raise ValueError("no text")

    logs.get_logger("x").info("lost", field=Broken())
    logs.get_logger("x").info("m")
    first, gap = [parse_logfmt(line) for line in output.lines()]
    assert (first["msg"], gap["dropped"]) == ("m", "1")
