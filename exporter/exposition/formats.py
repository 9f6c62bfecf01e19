"""The exposition formats and the content codings in which metrics are served."""

from enum import Enum


class TextFormat(Enum):
    """An exposition format; `content_type` is the header value of an answer in it."""

    TEXT = ("text/plain", "0.0.4", "")
    OPENMETRICS = ("application/openmetrics-text", "1.0.0", "; escaping=underscores")

    def __init__(self, media_type: str, version: str, escaping: str) -> None:
        self.media_type = media_type
        self.version = version
        self.content_type = f"{media_type}; version={version}; charset=utf-8{escaping}"


class Encoding(Enum):
    """A content coding; the value is its name in `Content-Encoding`."""

    IDENTITY = "identity"
    GZIP = "gzip"
