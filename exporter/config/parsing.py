"""Texts that a person has written, read: addresses, paths, numbers, choices, of flags and of the configuration.

A reader returns the value or raises ValueError with a predicate (`is not ...; expected ...`), to be put after the text.
"""

import re
from collections.abc import Callable
from difflib import get_close_matches
from urllib.parse import urlsplit

from exporter.config.durations import parse_duration

Address = tuple[str, int]
"""Host and port to listen on; an empty host means all addresses, port 0 a free one."""


class Choice:
    """Reads one of some words, in whatever case they are written."""

    def __init__(self, *words: str) -> None:
        """Take the words as they are to be returned."""
        self.words = words

    def __call__(self, text: str) -> str:
        """Return the word that is meant."""
        found = [word for word in self.words if word.lower() == text.lower().replace("-", "_")]
        if not found:
            near = get_close_matches(text.upper(), [word.upper() for word in self.words], n=1)
            hint = next((f"; did you mean {word}?" for word in self.words if [word.upper()] == near), "")
            raise ValueError(f"is not one of {', '.join(self.words)}{hint}")
        return found[0]


class Whole:
    """Reads a whole number in some bounds."""

    def __init__(self, least: int, most: int) -> None:
        """Take the bounds, both allowed."""
        self._least = least
        self._most = most

    def __call__(self, text: str) -> int:
        """Return the number."""
        if not re.fullmatch("[0-9]{1,9}", text) or not self._least <= int(text) <= self._most:
            raise ValueError(f"is not a whole number from {self._least} to {self._most}")
        return int(text)


class Maybe:
    """Reads as another reader does, and an empty text as None."""

    def __init__(self, read: Callable[[str], object]) -> None:
        """Take the other reader."""
        self._read = read
        self.words = read.words if isinstance(read, Choice) else ()

    def __call__(self, text: str) -> object:
        """Return the value, if there is one."""
        return self._read(text) if text else None


def parse_address(text: str) -> Address:
    """Return host and port of `:10210`, `127.0.0.1:0`, `localhost:80` or `[::1]:10210`."""
    match = re.fullmatch(
        r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[^\s:\[\]/]*)):(?P<port>[0-9]{1,5})", text
    )
    if match is None or int(match["port"]) > 65535:
        raise ValueError("is not an address; expected host:port, e.g. :10210, 127.0.0.1:10210 or [::1]:10210")
    return match["v6"] or match["host"] or "", int(match["port"])


def parse_path(text: str) -> str:
    """Return the path of a page that the metrics may have."""
    if not re.fullmatch(r"/[A-Za-z0-9._~/-]+", text) or re.fullmatch("/(-/.*|config)", text):
        raise ValueError("is not a path for metrics; expected e.g. /metrics, and not /config or below /-/")
    return text


def parse_count(text: str) -> int:
    """Return a whole number of 0 or more."""
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError("is not a whole number of 0 or more")
    return int(text)


def parse_interval(text: str) -> float:
    """Return the seconds of a duration that is not 0."""
    seconds = parse_duration(text)
    if not seconds:
        raise ValueError("is too short; expected e.g. 30s")
    return seconds


def parse_switch(text: str) -> bool:
    """Return what a switch is set to in the environment."""
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError("is not one of true, false, 1, 0")
    return text.lower() in ("true", "1")


def parse_region(text: str) -> str:
    """Return the name of a region of AWS."""
    if not re.fullmatch("[a-z]{2,5}(-[a-z]+)+-[0-9]{1,2}", text):
        raise ValueError("is not an AWS region; expected e.g. eu-west-1")
    return text


def parse_url(text: str) -> str:
    """Return the URL of an endpoint."""
    expected = "expected e.g. https://glue.eu-west-1.amazonaws.com"
    try:
        url = urlsplit(text)
        usable = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        usable = False
    if not usable or not re.fullmatch(r"[!-~]+", text):
        raise ValueError(f"is not an http or https URL; {expected}")
    if "@" in url.netloc:
        raise ValueError(f"carries a user name or password; {expected}")
    if url.query or url.fragment:
        raise ValueError(f"has a query or a fragment; {expected}")
    return text
