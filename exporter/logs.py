"""Logging: one line per event, logfmt or JSON, that no text from outside can forge or flood.

structlog on top of the standard library's logging, so that the records of uvicorn and botocore take the same way. Every
line has `ts` (RFC 3339, UTC, milliseconds), `level`, `msg` and `logger`, then the event's own fields in their order.
"""

import json
import logging
import math
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import TextIO

# structlog loads rich wherever that is installed, to draw tracebacks that nobody wants in a log. It takes a tenth of
# the time to start. None stands for a module that cannot be imported (the Python reference, "The module cache").
_without_rich = "rich" not in sys.modules
if _without_rich:
    sys.modules["rich"] = None  # type: ignore[assignment] # typeshed knows only modules

import structlog  # noqa: E402 - see above
from structlog.typing import EventDict, WrappedLogger  # noqa: E402 - see above

if _without_rich:
    del sys.modules["rich"]

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
FORMATS = ("logfmt", "json")

MAX_VALUE = 2048
"""A longer text is cut to so many characters and marked."""

MAX_TRACEBACK = 16 * MAX_VALUE

_MAX_DEPTH = 4  # of lists and mappings within a field
_MASK = "<secret>"
_SECRET = re.compile("secret|token|password|authorization", re.IGNORECASE)
_OWN_FIELDS = ("ts", "level", "msg", "logger")

# Their debug output shows whole requests and responses of STS: credentials.
_NEVER_BELOW_WARNING = ("botocore", "boto3", "urllib3", "s3transfer")


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger `name`; may be called, and used, before `configure`.

    Usage: `log.info("run finished", transform_id=..., run_id=...)`.
    """
    return structlog.stdlib.get_logger(name)


def configure(
    level: str,
    format: str,  # noqa: A002  the flag's own name
    stream: TextIO,
    on_message: Callable[[str], None] | None = None,
) -> None:
    """Send every log line from now on to `stream`; a later call replaces the former.

    Args:
        level: the lowest of `LEVELS` that is written.
        format: one of `FORMATS`.
        stream: where the lines go.
        on_message: told the level (`debug`, `info`, `warn`, `error`) of each line written.
    """
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Handler)]:
        root.removeHandler(handler)
    render = _logfmt if format == "logfmt" else _json
    handler = _Handler(stream, on_message)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[_exception, _fields, render]))
    root.addHandler(handler)
    root.setLevel(LEVELS[level])
    for name in _NEVER_BELOW_WARNING:
        logging.getLogger(name).setLevel(max(logging.WARNING, LEVELS[level]))


class _Handler(logging.StreamHandler[TextIO]):
    """Writes the lines and tells the level of each."""

    def __init__(self, stream: TextIO, on_message: Callable[[str], None] | None) -> None:
        super().__init__(stream)
        self._on_message = on_message

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if self._on_message:
            self._on_message(_level(record))


def _level(record: logging.LogRecord) -> str:
    return next((name for name, least in reversed(LEVELS.items()) if record.levelno >= least), "debug")


def _exception(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Turn `exc_info` into the field `exception`, the only one that may be long."""
    event = structlog.processors.format_exc_info(logger, method, event)
    if "exception" in event:
        event["exception"] = _Traceback(event["exception"])
    return event


class _Traceback(str):
    """The text of a traceback."""

    __slots__ = ()


def _fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Return the fields of the line: ours first, the event's own after them, none secret, too long or too deep."""
    record: logging.LogRecord = event.pop("_record")
    del event["_from_structlog"]
    moment = datetime.fromtimestamp(record.created, UTC)
    fields: EventDict = {
        "ts": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": _level(record),
        "msg": _plain(event.pop("event")),
        "logger": _plain(record.name),
    }
    for key, value in event.items():
        name = f"{key}_" if key in _OWN_FIELDS else key
        fields[name] = _masked(key, value)
    return fields


def _masked(key: object, value: object, depth: int = 0) -> object:
    return _MASK if value is not None and _SECRET.search(str(key)) else _plain(value, depth)


def _plain(value: object, depth: int = 0) -> object:
    """Return `value` as JSON could hold it: text, numbers, truth values, None, lists and mappings of them."""
    if value is None or isinstance(value, bool | int | float):
        return _number(value) if isinstance(value, float) else value
    if isinstance(value, Enum):
        return _plain(value.value, depth)
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return {_cut(str(key)): _masked(key, inner, depth + 1) for key, inner in value.items()}
    if depth < _MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner, depth + 1) for inner in value]
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return _cut(text, MAX_TRACEBACK if isinstance(value, _Traceback) else MAX_VALUE)


def _number(value: float) -> float | str:
    """Return the number to a microsecond's precision; what JSON cannot hold in Prometheus' spelling."""
    if math.isfinite(value):
        return int(value) if value.is_integer() and abs(value) < 2**53 else round(value, 6)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _cut(text: str, limit: int = MAX_VALUE) -> str:
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text) - limit} characters more)"


def _quoted(text: str) -> str:
    """Return JSON text of printable characters only: escapes C0, C1, DEL, line separators, bidi marks, surrogates."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def _json(_logger: WrappedLogger, _method: str, fields: EventDict) -> str:
    return _quoted(json.dumps(fields, ensure_ascii=False, separators=(",", ":")))


def _logfmt(_logger: WrappedLogger, _method: str, fields: EventDict) -> str:
    return " ".join(f"{_logfmt_key(key)}={_logfmt_value(value)}" for key, value in fields.items())


def _logfmt_key(key: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.\-]", "_", key) or "_"


def _logfmt_value(value: object) -> str:
    """Return the value bare where that is unambiguous, else as a JSON string; null, true and numbers are bare."""
    if not isinstance(value, str):
        bare = _quoted(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
        return bare if not isinstance(value, list | dict) else _logfmt_value(_cut(bare))
    if value and value.isprintable() and not re.search(r'[\s="\\]', value):
        return value
    return _quoted(json.dumps(value, ensure_ascii=False))


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
