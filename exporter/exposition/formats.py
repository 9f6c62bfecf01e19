"""The exposition formats and the content codings in which metrics are served."""

from enum import Enum


class TextFormat(Enum):
    """An exposition format; `content_type` is the value of the header `Content-Type` for it.

    Sources: the Prometheus text format 0.0.4, OpenMetrics 1.0.0, and Prometheus' escaping schemes of names.
    """

    TEXT = ("text/plain", "0.0.4", "")
    OPENMETRICS = ("application/openmetrics-text", "1.0.0", "; escaping=underscores")

    def __init__(self, media_type: str, version: str, escaping: str) -> None:
        self.media_type = media_type
        self.version = version
        self.content_type = f"{media_type}; version={version}; charset=utf-8{escaping}"


class Encoding(Enum):
    """A content coding (RFC 9110, section 8.4.1); the value is its name in `Content-Encoding`."""

    IDENTITY = "identity"
    GZIP = "gzip"


Variant = tuple[TextFormat, Encoding]
