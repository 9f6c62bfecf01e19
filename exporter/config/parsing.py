"""Reads values from the texts of flags and configuration files: addresses, numbers, words, URLs.

A reader takes a text and returns its value. For a wrong text it raises ValueError with a predicate (`is not ...;
expected ...`). The caller adds the predicate after the text and the name of the flag or key. The command line uses this
module for its flags. Therefore this module does not import pydantic, because that import is slow.
"""

import re
from collections.abc import Callable
from difflib import get_close_matches
from urllib.parse import urlsplit

from exporter.config.durations import format_duration, parse_duration

Address = tuple[str, int]
"""Host and port of a listener. An empty host means all addresses. The port 0 means any free port."""


class Choice:
    """Reads one of the given words. Upper and lower case are equal, and so are `-` and `_`."""

    def __init__(self, *words: str) -> None:
        """Set the allowed words. A call returns a word in this spelling."""
        self.words = words

    def __call__(self, text: str) -> str:
        """Return the matching word."""

        def folded(word: str) -> str:
            return word.lower().replace("-", "_")

        found = [word for word in self.words if folded(word) == folded(text)]
        if not found:
            near = get_close_matches(text.upper(), [word.upper() for word in self.words], n=1)
            hint = next((f"; did you mean {word}?" for word in self.words if [word.upper()] == near), "")
            raise ValueError(f"is not one of {', '.join(self.words)}{hint}")
        return found[0]


class Integer:
    """Reads a whole number from `least` to `most`."""

    def __init__(self, least: int, most: int | None = None) -> None:
        """Set the smallest and the largest allowed number. If `most` is None, the largest is 1,000,000,000."""
        self._least = least
        self._most = most

    def __call__(self, text: str) -> int:
        """Return the number."""
        most = 10**9 if self._most is None else self._most
        if not re.fullmatch("[0-9]{1,10}", text) or not self._least <= int(text) <= most:
            bounds = f"of at least {self._least}" if self._most is None else f"from {self._least} to {self._most}"
            raise ValueError(f"is not a whole number {bounds}")
        return int(text)


class Duration:
    """Reads a Prometheus duration of at least `at_least` seconds."""

    def __init__(self, *, at_least: float) -> None:
        """Set the shortest allowed duration in seconds."""
        self._at_least = at_least

    def __call__(self, text: str) -> float:
        """Return the duration in seconds."""
        seconds = parse_duration(text)
        if seconds < self._at_least:
            raise ValueError(f"is too short; expected at least {format_duration(self._at_least)}")
        return seconds


class OptionalValue:
    """Reads an empty text as None, and every other text with another reader."""

    def __init__(self, read: Callable[[str], object]) -> None:
        """Set the reader for texts that are not empty."""
        self._read = read
        self.words = read.words if isinstance(read, Choice) else ()

    def __call__(self, text: str) -> object:
        """Return the value, or None."""
        return self._read(text) if text else None


def parse_address(text: str) -> Address:
    """Return the host and the port of a text such as `:10210`, `127.0.0.1:0`, `localhost:80` or `[::1]:10210`."""
    match = re.fullmatch(
        r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[^\s:\[\]/]*)):(?P<port>[0-9]{1,5})", text
    )
    if match is None or int(match["port"]) > 65535:
        raise ValueError("is not an address; expected host:port, e.g. :10210, 127.0.0.1:10210 or [::1]:10210")
    return match["v6"] or match["host"] or "", int(match["port"])


def format_address(address: Address) -> str:
    """Return an address as text that `parse_address` can read. An IPv6 host is in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_path(text: str) -> str:
    """Return the URL path of the metrics, for example `/metrics`."""
    if not re.fullmatch(r"/[A-Za-z0-9._~/-]+", text) or re.fullmatch("/(-/.*|config)", text):
        raise ValueError("is not a path for metrics; expected e.g. /metrics, and not /config or below /-/")
    return text


def parse_boolean(text: str) -> bool:
    """Return True for `true`, `yes`, `on`, `1`, and False for `false`, `no`, `off`, `0`, in upper or lower case.

    YAML 1.1 has all these words except the digits (https://yaml.org/type/bool.html). Many environment variables contain
    `1` or `0`.
    """
    word = text.lower()
    if word not in ("true", "false", "yes", "no", "on", "off", "1", "0"):
        raise ValueError("is neither true nor false")
    return word in ("true", "yes", "on", "1")


def parse_region(text: str) -> str:
    """Return the name of an AWS region."""
    if not re.fullmatch("[a-z]{2,5}(-[a-z]+)+-[0-9]{1,2}", text):
        raise ValueError("is not an AWS region; expected e.g. eu-west-1")
    return text


def parse_url(text: str) -> str:
    """Return the http or https URL of an endpoint. It must not have a user, password, query or fragment."""
    return _parse_url(text, "expected e.g. https://glue.eu-west-1.amazonaws.com")


def parse_external_url(text: str) -> str:
    """Return the URL at which browsers reach the pages, with a "/" at its end.

    Its path may have only characters that proxies do not change, because it is compared with the paths of requests.
    """
    expected = "expected e.g. https://monitoring.example.com/glue-ml/"
    url = _parse_url(text, expected).rstrip("/") + "/"
    if not re.fullmatch(r"(/(?!\.{1,2}/)[A-Za-z0-9._~-]+)*/", urlsplit(url).path):
        raise ValueError(f"has a path with other characters than letters, digits and -._~; {expected}")
    return url


def _parse_url(text: str, expected: str) -> str:
    try:
        url = urlsplit(text)
        usable = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        usable = False
    if not usable or not re.fullmatch(r"[!-~]+", text):
        raise ValueError(f"is not an http or https URL; {expected}")
    if "@" in text:  # also in the path, because a "/" in a password ends the host
        raise ValueError(f"carries a user name or password; {expected}")
    if url.query or url.fragment:
        raise ValueError(f"has a query or a fragment; {expected}")
    return text
