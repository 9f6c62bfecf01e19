import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST

from exporter.exposition.formats import Encoding, TextFormat
from exporter.web.negotiation import _elements, choose_encoding, choose_format

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3_PROTOBUF_FIRST = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
    "text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.4,*/*;q=0.1"
)
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
OPENMETRICS = "application/openmetrics-text"


@pytest.mark.parametrize("accept", [PROMETHEUS_2, PROMETHEUS_3])
def test_prometheus_gets_openmetrics(accept: str) -> None:
    """The default Accept headers of Prometheus 2.42 and 3.5 prefer OpenMetrics."""
    assert choose_format(accept) is TextFormat.OPENMETRICS


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        " ",
        "*/*",
        "*",
        "text/*",
        "text/plain",
        "text/plain;version=0.0.4",
        "text/plain;version=1.0.0;escaping=allow-utf-8",
        FIREFOX,
        PROMETHEUS_3_PROTOBUF_FIRST,
        f"{OPENMETRICS};q=0",
        f"{OPENMETRICS};q=0,*/*",
        f"{OPENMETRICS};q=0.1,text/plain;q=0.2",
        f"{OPENMETRICS};version=1.0.0;q=0.1,*/*;q=0.2",
        f"text/plain,{OPENMETRICS}",
    ],
)
def test_text_is_the_default(accept: str | None) -> None:
    """A client that does not prefer OpenMetrics to text gets text 0.0.4."""
    assert choose_format(accept) is TextFormat.TEXT


def test_only_the_first_1024_characters_of_a_header_are_read() -> None:
    """Elements after the first 1,024 characters, and the element that is cut there, are ignored."""
    filler = ",".join(["text/html"] * 200)
    assert choose_format(f"{OPENMETRICS},{filler}") is TextFormat.OPENMETRICS
    assert choose_format(f"{filler},{OPENMETRICS}") is TextFormat.TEXT
    assert choose_encoding("x" * 1_020 + ",gzip;q=0") is Encoding.IDENTITY
    assert choose_encoding(f"gzip,{'x' * 16_000}") is Encoding.GZIP
    assert len(list(_elements("a," * 8_000))) == 512


@pytest.mark.parametrize(
    "accept",
    ["application/json", "image/*;q=0.5", "*/*;q=0", "text/plain;q=0", "text/html", ";;;,,,", "text", "\x00\xff"],
)
def test_nothing_acceptable_still_gets_text(accept: str) -> None:
    """A client that accepts no served format, or sends a malformed header, gets text 0.0.4."""
    assert choose_format(accept) is TextFormat.TEXT


@pytest.mark.parametrize(
    "accept",
    [
        OPENMETRICS,
        "Application/OpenMetrics-Text;Version=1.0.0",
        "application/*",
        f"{OPENMETRICS};q=1.000,text/plain;q=0.999",
        f"{OPENMETRICS},*/*",
        f"*/*,{OPENMETRICS}",
        f"{OPENMETRICS};q=.5,text/plain;q=.4",
        f'{OPENMETRICS};version="1.0.0";note="a,b;q=0\\"";q=0.5,text/plain;q=0.4',
        "text/plain;q=0,*/*",
        f"{OPENMETRICS};q=0.2,{OPENMETRICS};q=0.8,text/plain;q=0.5",
    ],
)
def test_accept_follows_rfc_9110(accept: str) -> None:
    """q-values, specificity, letter case, quoted strings and wildcards follow RFC 9110."""
    assert choose_format(accept) is TextFormat.OPENMETRICS


@pytest.mark.parametrize("version", ["0.0.1", "1.0.0", "1.1.0", "2.0.0", "9.9.9", "abc", "", "1.0.0-rc.1", "-1"])
def test_any_version_of_openmetrics_is_answered_with_1_0_0(version: str) -> None:
    """Older, unknown and malformed versions get 1.0.0, and the content type says so."""
    assert choose_format(f"{OPENMETRICS};version={version}") is TextFormat.OPENMETRICS
    assert "version=1.0.0;" in TextFormat.OPENMETRICS.content_type


def test_excluding_a_version_that_is_not_served_excludes_nothing() -> None:
    """With `q=0` for OpenMetrics 2.0.0, version 1.0.0 is still acceptable."""
    assert choose_format(f"{OPENMETRICS};version=2.0.0;q=0,application/*;q=0.5") is TextFormat.OPENMETRICS


def test_the_quality_of_the_served_version_decides() -> None:
    """The q-value of version 1.0.0 decides, even if another element has a higher q-value."""
    assert choose_format(f"{OPENMETRICS};version=1.0.0;q=0.2,{OPENMETRICS};q=0.9,text/plain;q=0.5") is TextFormat.TEXT


@pytest.mark.parametrize("quality", ["abc", "2", "-1", "1.1", "NaN", "inf", "0x1", "1e0", ""])
def test_an_element_with_a_malformed_quality_is_ignored(quality: str) -> None:
    """An element whose q-value is malformed has no effect."""
    assert choose_format(f"{OPENMETRICS};q={quality},text/plain;q=0.1") is TextFormat.TEXT
    assert choose_encoding(f"gzip;q={quality}") is Encoding.IDENTITY


def test_content_types() -> None:
    """The content types name format, version and charset, and OpenMetrics 1.0.0 also the escaping scheme."""
    assert TextFormat.TEXT.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert TextFormat.OPENMETRICS.content_type == f"{OPENMETRICS}; version=1.0.0; charset=utf-8; escaping=underscores"
    assert CONTENT_TYPE_LATEST.startswith(f"{OPENMETRICS}; version=1.0.0; charset=utf-8")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, Encoding.IDENTITY),
        ("", Encoding.IDENTITY),
        ("gzip", Encoding.GZIP),
        ("GZIP", Encoding.GZIP),
        ("x-gzip", Encoding.GZIP),
        ("gzip, deflate, br, zstd", Encoding.GZIP),
        ("deflate, br", Encoding.IDENTITY),
        ("identity", Encoding.IDENTITY),
        ("gzip;q=0", Encoding.IDENTITY),
        ("gzip;q=0.000, *;q=0.5", Encoding.IDENTITY),
        ("gzip;q=0.5, identity", Encoding.IDENTITY),
        ("gzip;q=0.5, identity;q=0.5", Encoding.GZIP),
        ("gzip;q=0.001", Encoding.GZIP),
        ("*", Encoding.GZIP),
        ("identity, *;q=0", Encoding.IDENTITY),
        ("identity;q=0, gzip", Encoding.GZIP),
        ("*;q=0, gzip;q=0.1", Encoding.GZIP),
        ("identity;q=0", None),
        ("*;q=0", None),
        ("br, *;q=0", None),
        ("gzip;q=0, identity;q=0", None),
    ],
)
def test_encodings(header: str | None, expected: Encoding | None) -> None:
    """Gzip wins if its q-value is not below that of identity; None if both are excluded."""
    assert choose_encoding(header) is expected


WORDS = f'text/plain {OPENMETRICS} */* gzip identity * ;q= 0 0.5 1 , ;version= 1.0.0 " \\'.split()
GRAMMAR = st.lists(st.sampled_from(WORDS), max_size=30).map("".join)


@given(st.text() | GRAMMAR)
def test_no_header_raises_an_error(header: str) -> None:
    """Every text gives a format and an encoding or None."""
    assert choose_format(header) in TextFormat
    assert choose_encoding(header) in {*Encoding, None}


@given(st.sampled_from([0.1, 0.2, 0.3, 0.9]), st.sampled_from([0.1, 0.2, 0.3, 0.9]), st.booleans())
def test_the_higher_quality_wins_in_any_order(text: float, openmetrics: float, swapped: bool) -> None:
    """If both formats are named with different q-values, their order does not matter."""
    ranges = [f"text/plain;q={text}", f"{OPENMETRICS};q={openmetrics}"]
    chosen = choose_format(",".join(reversed(ranges) if swapped else ranges))
    if text != openmetrics:
        assert chosen is (TextFormat.TEXT if text > openmetrics else TextFormat.OPENMETRICS)
