"""Chooses the text format and the compression of a response from the headers `Accept` and `Accept-Encoding`.

Sources: RFC 9110 sections 12.4.2 (q-values), 12.5.1 (Accept) and 12.5.3 (Accept-Encoding), and Prometheus' "Scrape
protocol content negotiation". `prometheus_client.exposition.choose_encoder` is not used, because it ignores q-values
(even `q=0`) and raises TypeError for `version=abc`. For the cases that the sources leave open, this module has these
rules:

* Only the media type decides. A request for any version of OpenMetrics gets 1.0.0, and a request for any version of
  text/plain gets 0.0.4. Prometheus can read both, even if it asked for another version. `q=0` has no effect if it is
  for a version that this server does not offer.
* A response in OpenMetrics 1.0.0 must name its escaping scheme. This server always names `underscores`, which is the
  default. All metric and label names match [a-zA-Z_:][a-zA-Z0-9_:]*, so the schemes `allow-utf-8`, `underscores` and
  `values` give the same bytes. If a client asked for `dots`, the header of the response still names `underscores`.
* A client that accepts neither format gets text 0.0.4 instead of an error 406. The Prometheus document defines this
  fallback.
* A malformed list element is ignored, and so is everything after the first 1,024 characters of a header. Prometheus
  sends about 300. The time to read a list grows with its length, and this work is done on the event loop.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from exporter.exposition.formats import Encoding, TextFormat


class _Element(NamedTuple):
    """One element of a list header: `name;parameter=value;q=0.5`."""

    name: str
    parameters: dict[str, str]
    quality: float


class _Match(NamedTuple):
    """A measure of how well an element of Accept matches a format. The element with the greatest measure decides."""

    specificity: int
    quality: float
    earliness: int


_QUALITY = re.compile(r"(?:0|0?\.[0-9]{1,9}|0\.|1|1\.0{0,9})", re.ASCII)
_MAX_CHARACTERS = 1024
_WILDCARD, _WILDCARD_SUBTYPE, _OTHER_VERSION, _ANY_VERSION, _SAME_VERSION = range(5)


def choose_format(accept: str | None) -> TextFormat:
    """Return the format for a client that sent this `Accept` (None if absent). It never raises.

    The caller must join several header lines with commas. The format with the highest q-value wins. With equal
    q-values, a format that the header names wins over a format that only a wildcard matches. Then the format that comes
    first in the header wins. Text wins if the same wildcard matches both formats.
    """
    elements = list(_elements(accept or ""))
    best: tuple[float, bool, int] = (0.0, False, 0)
    chosen = TextFormat.TEXT
    for candidate in TextFormat:
        match = _best_match(elements, candidate)
        preference = (match.quality, match.specificity > _WILDCARD_SUBTYPE, match.earliness)
        if match.quality > 0 and preference > best:
            best, chosen = preference, candidate
    return chosen


def choose_encoding(accept_encoding: str | None) -> Encoding | None:
    """Return the encoding for a client that sent this `Accept-Encoding` (None if absent). It never raises.

    Return None if the client accepts neither gzip nor identity; `routes` then answers 406. With equal q-values gzip
    wins.
    """
    qualities: dict[str, float] = {}
    for element in _elements(accept_encoding or ""):
        name = "gzip" if element.name == "x-gzip" else element.name
        qualities[name] = max(element.quality, qualities.get(name, 0.0))
    gzip = qualities.get("gzip", qualities.get("*", 0.0))
    identity = qualities.get("identity")
    if gzip > 0 and (identity is None or gzip >= identity):
        return Encoding.GZIP
    if identity is None:
        identity = qualities.get("*", 1.0)
    return Encoding.IDENTITY if identity > 0 else None


def _best_match(elements: list[_Element], candidate: TextFormat) -> _Match:
    matches = (
        _Match(specificity, element.quality, -position)
        for position, element in enumerate(elements)
        if (specificity := _specificity(element, candidate)) is not None
    )
    return max(matches, default=_Match(-1, 0.0, 0))


def _specificity(element: _Element, candidate: TextFormat) -> int | None:
    """Return how precisely a media range names `candidate`, or None if it does not match."""
    if element.name in {"*/*", "*"}:  # old Java clients send a bare star
        return _WILDCARD
    if element.name == candidate.media_type.partition("/")[0] + "/*":
        return _WILDCARD_SUBTYPE
    if element.name != candidate.media_type:
        return None
    version = element.parameters.get("version")
    if version is None:
        return _ANY_VERSION
    if version != candidate.version:
        return _OTHER_VERSION if element.quality > 0 else None
    return _SAME_VERSION


def _elements(header: str) -> Iterator[_Element]:
    if len(header) > _MAX_CHARACTERS:
        header = header[:_MAX_CHARACTERS].rpartition(",")[0]  # without the element that was cut in two
    for text in _split(header, ","):
        name, *rest = (part.strip() for part in _split(text, ";"))
        parameters = {}
        for parameter in rest:
            key, _, value = parameter.partition("=")
            parameters[key.strip().lower()] = value.strip().strip('"')
        quality = parameters.pop("q", "1")
        if name and _QUALITY.fullmatch(quality):
            yield _Element(name.lower(), parameters, float(quality))


def _split(text: str, separator: str) -> list[str]:
    """Split at each separator outside a quoted string, in linear time, because a client may send any text."""
    if '"' not in text:
        return text.split(separator)
    parts = []
    start = 0
    quoted = escaped = False
    for position, character in enumerate(text):
        if escaped:
            escaped = False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == separator and not quoted:
            parts.append(text[start:position])
            start = position + 1
    parts.append(text[start:])
    return parts
