"""Logging: one line per event, in logfmt or JSON.

A text from outside (an error string of Glue, a header of a request) cannot add a line, a field or a terminal escape
sequence, and cannot fill the disk: each value is escaped and has a maximum length. Secrets are masked
(`model.redaction`).

structlog works on top of `logging` of the standard library, so the records of uvicorn and botocore get the same
format. Every line has `ts` (RFC 3339, UTC, milliseconds), `level`, `msg` and `logger`, then the fields of the event in
the order in which they were given.

structlog's own logfmt renderer is not used, because it does not escape ESC and U+202E, and refuses keys with spaces.

A thread writes the lines, because a write blocks when the log is a pipe whose reader has stopped. Up to `MAX_WAITING`
lines wait for it. A further line is dropped and counted. When all waiting lines are written, a line says how many
messages were dropped (docs/design/0017).
"""

import json
import logging
import math
import os
import re
import select
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from queue import SimpleQueue
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from exporter.model.redaction import MASK, environment_secrets, redact

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger
    from structlog.typing import EventDict, WrappedLogger

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
FORMATS = ("logfmt", "json")

MAX_VALUE = 2048
"""Maximum number of characters in a value. A longer text is cut, and the number of missing characters is added."""

MAX_TRACEBACK = 16 * MAX_VALUE
"""Maximum number of characters in the field `exception`."""

MAX_WAITING = 1000
"""Maximum number of lines that wait to be written."""

FLUSH_TIMEOUT = 1.0
"""Seconds that `flush` waits at most. A process that ends must not wait for the reader of its log."""

_MAX_DEPTH = 4
"""Maximum depth of lists and mappings within a field. Deeper values are written as one text."""

_SECRET = re.compile("secret|token|password|authorization", re.IGNORECASE)
"""Field names whose values are replaced by the mask, at any depth."""

_STANDARD_FIELDS = ("ts", "level", "msg", "logger")

_SILENT = ("botocore", "boto3", "urllib3", "s3transfer")
"""Libraries whose messages never reach the log. Their debug messages contain whole requests and responses of STS, with
credentials. botocore logs a warning with a traceback each time it cannot refresh credentials: one for each poll after a
session of AWS SSO has ended. The exporter logs a failure of its calls itself, once."""


def get_logger(name: str) -> "BoundLogger":
    """Return the logger `name`. It can be made and used before `configure` is called.

    Usage: `log.info("run finished", transform_id=..., run_id=...)`.
    """
    logger: BoundLogger = _structlog().stdlib.get_logger(name)
    return logger


class Stream(Protocol):
    """Where the log goes. `write` may block, and may raise OSError if the text cannot be written."""

    def write(self, text: str, /) -> object:
        """Write a line, with the line break at its end."""


class FileStream:
    """Writes texts to a file descriptor, as UTF-8.

    It is used instead of `sys.stderr`, which has a buffer with a lock. If a thread blocked in a write to `sys.stderr`,
    the interpreter could not get this lock at its end, and would abort the process with SIGABRT.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, text: str, /) -> None:
        """Write the whole text. While the pipe is full, the call waits. Raise OSError if the text cannot be written."""
        rest = text.encode(errors="backslashreplace")
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # another process has made the pipe or the terminal non-blocking
                waiter = select.poll()
                waiter.register(self._descriptor, select.POLLOUT)
                waiter.poll()


STDERR = FileStream(2)


def configure(
    level: str,
    format: str,  # noqa: A002 - the name of the flag, --log.format
    stream: Stream,
    on_message: Callable[[str], None] | None = None,
) -> None:
    """Write every log line from now on to `stream`. A later call replaces an earlier one.

    Args:
        level: the lowest of `LEVELS` that is written.
        format: one of `FORMATS`.
        stream: where the lines go. A thread writes them, so this function and the loggers never wait for it.
        on_message: called in that thread with the level (`debug`, `info`, `warn` or `error`) of each line that was
            written.

    Raises:
        RuntimeError: the system allows no more threads.
    """
    _environment_secrets.cache_clear()
    root = logging.getLogger()
    for handler in _handlers():
        root.removeHandler(handler)
        handler.close()
    render = _render_logfmt if format == "logfmt" else _render_json
    processors = [_structlog().processors.format_exc_info, _build_fields, render]
    handler = _Handler(stream, on_message)
    handler.setFormatter(_structlog().stdlib.ProcessorFormatter(processors=processors))
    root.addHandler(handler)
    root.setLevel(LEVELS[level])
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


@cache
def _structlog() -> ModuleType:
    """Return structlog, imported and configured by the first call. Its import loads asyncio, which takes 60 ms of CPU.

    If rich is installed, structlog also imports rich for its tracebacks. This would take another 100 ms, and this
    program does not use these tracebacks. A module cannot be imported if its entry in `sys.modules` is None (Python
    reference, "The module cache").
    """
    hide_rich = "rich" not in sys.modules
    if hide_rich:
        sys.modules["rich"] = None  # type: ignore[assignment] # typeshed allows only modules
    try:
        import structlog  # noqa: PLC0415 - see the docstring
    finally:
        if hide_rich:
            del sys.modules["rich"]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return structlog


def log_python_messages() -> None:
    """Log the messages that Python prints on stderr: warnings, and exceptions that nothing has caught.

    A print on a full pipe blocks the thread that prints, and holds the lock of `sys.stderr` (see `FileStream`).
    """
    logging.captureWarnings(True)
    threading.excepthook = lambda hook: _log_uncaught("a thread has ended", hook.exc_value)
    sys.unraisablehook = lambda hook: _log_uncaught("an exception was ignored", hook.exc_value)


def _log_uncaught(consequence: str, error: BaseException | None) -> None:
    get_logger(__name__).error(f"{consequence} because of a defect in this program; please report it", exc_info=error)


def flush(timeout: float = FLUSH_TIMEOUT) -> None:
    """Wait until all messages so far are written, `timeout` seconds at most."""
    for handler in _handlers():
        handler.wait(timeout)


def dropped_messages() -> int:
    """Return the number of messages since the last `configure` that were not written."""
    return sum(handler.dropped for handler in _handlers())


def _handlers() -> "list[_Handler]":
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, _Handler)]


class _Handler(logging.Handler):
    """Hands each line to a thread that writes it, then calls `on_message` with its level.

    `QueueHandler` and `QueueListener` of the standard library are not used. Their `Queue` has a lock that a signal
    handler must not take, the listener waits without limit for its thread at the end, and a message that finds no room
    becomes a traceback on stderr. `SimpleQueue.put` may interrupt itself (Python reference, "queue").
    """

    def __init__(self, stream: Stream, on_message: Callable[[str], None] | None) -> None:
        super().__init__()
        self.dropped = 0
        """Number of messages that were not written. Only the holder of `self.lock` may change it."""
        self._announced = 0
        """The number of dropped messages that the log has said."""
        self._stream = stream
        self._on_message = on_message
        self._waiting: SimpleQueue[tuple[str, str] | threading.Event | None] = SimpleQueue()
        threading.Thread(target=self._write_all, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the line; drop it if too many lines wait. `logging` calls this with `self.lock`."""
        try:
            line = f"{self.format(record)}\n"
        except Exception:  # a log call never raises; `handleError` of the standard library would write to stderr
            self.dropped += 1
            return
        if self._waiting.qsize() < MAX_WAITING:
            self._waiting.put((_level(record), line))
        else:
            self.dropped += 1

    def wait(self, timeout: float) -> None:
        """Wait until all lines that are queued now are written, `timeout` seconds at most."""
        written = threading.Event()
        self._waiting.put(written)
        written.wait(timeout)

    def close(self) -> None:
        """End the thread after the lines that are queued now."""
        self._waiting.put(None)
        super().close()

    def _write_all(self) -> None:
        writable = True
        while (item := self._waiting.get()) is not None:
            if isinstance(item, tuple):
                writable = self._write(*item)
            # A message about dropped messages might be dropped itself if other lines still waited.
            announced = writable and self._waiting.empty() and self._announce_dropped()
            if isinstance(item, threading.Event):
                if announced:
                    self._waiting.put(item)
                else:
                    item.set()

    def _write(self, level: str, line: str) -> bool:
        try:
            self._stream.write(line)
        except (OSError, ValueError):  # ValueError: a stream of Python that was closed
            with self._own_lock():
                self.dropped += 1
            return False
        if self._on_message:
            self._on_message(level)
        return True

    def _announce_dropped(self) -> bool:
        """Log how many messages were dropped since the last such message; return whether there were any."""
        with self._own_lock():
            count, self._announced = self.dropped - self._announced, self.dropped
        if count:
            get_logger(__name__).error(
                "log messages were dropped, because they could not be written in time", dropped=count
            )
        return count > 0

    def _own_lock(self) -> threading.RLock:
        assert self.lock is not None  # noqa: S101 - typeshed allows handlers without a lock
        return self.lock


def _level(record: logging.LogRecord) -> str:
    """Return the highest of `LEVELS` that is not above the level of the record."""
    return next((name for name, number in reversed(LEVELS.items()) if record.levelno >= number), "debug")


def _build_fields(_logger: "WrappedLogger", _method: str, event: "EventDict") -> "EventDict":
    """Return the fields of the line: the standard fields, then the fields of the event. Secrets are masked.

    If a field of the event has the name of a standard field, an underscore is added to its name.
    """
    record: logging.LogRecord = event.pop("_record")
    del event["_from_structlog"]
    created = datetime.fromtimestamp(record.created, UTC)
    fields: EventDict = {
        "ts": created.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": _level(record),
        "msg": _plain(event.pop("event")),
        "logger": _plain(record.name),
    }
    for key, value in event.items():
        if key == "exception":
            fields[key] = _safe(str(value), MAX_TRACEBACK)
        else:
            fields[f"{key}_" if key in _STANDARD_FIELDS else key] = _masked(key, value)
    return fields


def _masked(key: object, value: object, depth: int = 0) -> object:
    return MASK if value is not None and _SECRET.search(str(key)) else _plain(value, depth)


def _plain(value: object, depth: int = 0) -> object:
    """Return `value` as JSON can hold it: text, number, boolean, None, or lists and mappings of these."""
    if value is None or isinstance(value, bool | int | float):
        return _number(value) if isinstance(value, float) else value
    if isinstance(value, Enum):
        return _plain(value.value, depth)
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return {_safe(str(key)): _masked(key, inner, depth + 1) for key, inner in value.items()}
    if depth < _MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner, depth + 1) for inner in value]
    return _safe(value.isoformat() if isinstance(value, datetime) else str(value))


def _number(value: float) -> float | str:
    """Return the number rounded to six decimals. NaN and infinities become texts, because JSON has no such numbers."""
    if math.isfinite(value):
        return int(value) if value.is_integer() and abs(value) < 2**53 else round(value, 6)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _safe(text: str, limit: int = MAX_VALUE) -> str:
    """Return the text with masked secrets, cut to `limit`. Of a text of megabytes, only the beginning is searched."""
    masked = redact(text[: 2 * limit], _environment_secrets())
    missing = max(0, len(text) - 2 * limit) + max(0, len(masked) - limit)
    return f"{masked[:limit]}... ({missing} characters more)" if missing else masked


@cache
def _environment_secrets() -> tuple[str, ...]:
    return environment_secrets(os.environ)


def _escape_unprintable(text: str) -> str:
    """Escape the unprintable characters of a JSON text.

    They are C0, C1, DEL, line separators, bidirectional marks and surrogates. `json.dumps` escapes only C0.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def _to_json(value: object) -> str:
    return _escape_unprintable(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _render_json(_logger: "WrappedLogger", _method: str, fields: "EventDict") -> str:
    return _to_json(fields)


def _render_logfmt(_logger: "WrappedLogger", _method: str, fields: "EventDict") -> str:
    return " ".join(f"{_logfmt_key(key)}={_logfmt_value(value)}" for key, value in fields.items())


def _logfmt_key(key: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.\-]", "_", key) or "_"


def _logfmt_value(value: object) -> str:
    """Return the value without quotes if a logfmt reader can read it; otherwise return a JSON string."""
    if isinstance(value, list | dict):
        return _logfmt_value(_safe(_to_json(value)))
    if isinstance(value, str) and value and value.isprintable() and not re.search(r'[\s="\\]', value):
        return value
    return _to_json(value)
