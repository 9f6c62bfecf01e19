"""Which format and which compression a client gets: the rules of `Accept` and `Accept-Encoding`, pure.

Sources: RFC 9110 sections 12.4.2 (q-values), 12.5.1 (Accept) and 12.5.3 (Accept-Encoding), and Prometheus' "Scrape
protocol content negotiation". What goes beyond them or was left open there:

* A version is a wish, the media type is the agreement: any version of OpenMetrics is answered with 1.0.0 and any
  version of text/plain with 0.0.4. Prometheus reads both whatever it asked for. Excluding (`q=0`) a version that is
  not served excludes nothing.
* Every answer in a format of version 1.0.0 has to name its escaping scheme. Ours is always `underscores`, the default
  that is assumed where a client names none. All our names consist of classic characters, so `allow-utf-8`,
  `underscores` and `values` give the same bytes; a client that asked for `dots` is told that it did not get them.
* A client that accepts nothing we have gets text 0.0.4, which the Prometheus document calls the last resort; no 406.
* An element that cannot be read is treated as if it were not there.
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
    """How well an element of Accept fits a format; the greatest of those that fit speaks for the format."""

    specificity: int
    quality: float
    earliness: int


_QUALITY = re.compile(r"(?:0|0?\.[0-9]{1,9}|0\.|1|1\.0{0,9})", re.ASCII)
_WILDCARD, _WILDCARD_SUBTYPE, _OTHER_VERSION, _ANY_VERSION, _SAME_VERSION = range(5)


def choose_format(accept: str | None) -> TextFormat:
    """Return the format to answer with to a client that sent this `Accept` (None: no such header); never raises.

    Several header lines are joined with a comma first. Where the client likes both formats equally, one named
    outright wins over one that only a wildcard fits, then the one named first, then text.
    """
    elements = list(_elements(accept or ""))
    best: tuple[float, bool, int] = (0.0, False, 0)
    chosen = TextFormat.TEXT
    for candidate in TextFormat:
        match = _best_match(elements, candidate)
        wish = (match.quality, match.specificity > _WILDCARD_SUBTYPE, match.earliness)
        if match.quality > 0 and wish > best:
            best, chosen = wish, candidate
    return chosen


def choose_encoding(accept_encoding: str | None) -> Encoding | None:
    """Return the coding to answer with to a client that sent this `Accept-Encoding`; never raises.

    None: the client excluded identity and does not accept gzip, so there is nothing it could be sent (406). Where both
    are liked equally, gzip.
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
    """Return how precisely a media range means `candidate`, or None if it does not."""
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
    """Split at each separator outside a quoted string, in one pass: the text is a stranger's."""
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
