import re
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.counting.counters import Count, Exemplar, Series, Total
from exporter.exposition.chunk_index import GROUP_SIZE
from exporter.exposition.formats import TextFormat
from exporter.exposition.metrics import METRICS
from exporter.exposition.snapshot import TransformSnapshot
from exporter.exposition.text_format import MAX_EXEMPLAR_RUNES, escape_label_value, format_value, render_exemplar
from exporter.model.transform import Details
from tests.exposition import reference
from tests.exposition.snapshots import (
    EXECUTION,
    FAILED,
    LANE,
    body,
    exposition,
    new_values,
    observed,
    shown,
    shows,
    snapshot,
)

Shows = list[tuple[TransformSnapshot, dict[Series, Total]]]

EXEMPLAR_WITH_QUOTE = re.compile(r'# \{task_run_id="[^"]*\\"')
"""An exemplar with a quote in its run id, which the OpenMetrics parser of prometheus_client cannot read."""

some_shows = st.lists(shows(), max_size=3, unique_by=lambda drawn: drawn[0].target.id)


def served(drawn: Shows, text_format: TextFormat) -> str:
    exposed = exposition()
    for each, totals in drawn:
        exposed.update(each, totals)
    return body(exposed, text_format)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(drawn=some_shows)
@pytest.mark.parametrize("text_format", TextFormat)
def test_each_format_is_what_prometheus_client_prints(text_format: TextFormat, drawn: Shows) -> None:
    """For any snapshots each format equals that of prometheus_client; only OpenMetrics has exemplars and _created."""
    got = served(drawn, text_format)
    assert got == reference.rendered([each for each, _ in drawn], text_format)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(some_shows)
def test_both_parsers_read_what_is_served(drawn: Shows) -> None:
    """Both parsers of prometheus_client find every metric of any snapshots, and the labels of each transform."""
    openmetrics = served(drawn, TextFormat.OPENMETRICS)
    assume(not EXEMPLAR_WITH_QUOTE.search(openmetrics))
    in_text = {family.name: family for family in parse_text(served(drawn, TextFormat.TEXT))}
    in_openmetrics = {family.name: family for family in parse_openmetrics(openmetrics)}
    assert set(in_text) == set(in_openmetrics) == {metric.family for metric in METRICS}
    for families in (in_text, in_openmetrics):
        labels = [sample.labels for sample in families["glue_ml_transform_info"].samples]
        assert [each["transform_id"] for each in labels] == [each.target.id for each, _ in drawn]
        assert [each["transform_name"] for each in labels] == [each.name for each, _ in drawn]
        assert all(each.target.labels.items() <= found.items() for found, (each, _) in zip(labels, drawn, strict=True))


@pytest.mark.parametrize(
    "character",
    ["\u2028", "\u2029", "\x85", "\x9b", "\x80", "\x9f", "\r", "\v", "\f", "\x1c", "\x1e", "\0", "\x1b", "\t"],
)
@pytest.mark.parametrize("text_format", TextFormat)
def test_a_reader_that_splits_lines_as_python_does_reads_every_name(character: str, text_format: TextFormat) -> None:
    """A control character or line separator in a name becomes a blank, so that `splitlines` cuts no sample in two."""
    target = replace(snapshot().target, name=f"a{character}b", labels={"team": f"c{character}"})
    served = body(shown(replace(snapshot(), target=target)), text_format)
    assert served.splitlines() == served.removesuffix("\n").split("\n")
    assert 'transform_name="a b"' in served
    assert 'team="c "' in served


def test_a_line_feed_in_a_name_is_escaped() -> None:
    """Both formats have an escape for the line feed, so it is kept."""
    assert escape_label_value("a\nb") == "a\\nb"


@pytest.mark.parametrize("text_format", TextFormat)
def test_more_transforms_than_fit_into_a_group(text_format: TextFormat) -> None:
    """Transforms of several groups are in the order in which they came, with all samples of a metric together."""
    snapshots = [snapshot(f"tfm-{number}", initial_values=new_values()) for number in range(2 * GROUP_SIZE + 3)]
    exposed = shown(*snapshots, totals={FAILED: Count(3), EXECUTION: observed(1.0, 99.0)})
    assert body(exposed, text_format) == reference.rendered(snapshots, text_format)


def test_an_exposition_without_transforms_is_valid() -> None:
    """Without transforms the metrics have no samples, and both parsers accept the text."""
    exposed = exposition()
    assert len(list(parse_text(body(exposed)))) == len(METRICS)
    assert len(list(parse_openmetrics(body(exposed, TextFormat.OPENMETRICS)))) == len(METRICS)


def test_only_openmetrics_has_exemplars() -> None:
    """OpenMetrics adds the newest run as exemplar to the counter and the bucket; the text format has no exemplar."""
    exposed = shown(snapshot(), totals={FAILED: Count(1, Exemplar("tsk-9", 1.0, 5.5)), EXECUTION: observed(31.0)})
    in_openmetrics = body(exposed, TextFormat.OPENMETRICS)
    assert '} 1.0 # {task_run_id="tsk-9"} 1.0 5.5\n' in in_openmetrics
    assert '} 1.0 # {task_run_id="tsk-0"} 31.0 1000.0\n' in in_openmetrics
    assert " # {" not in body(exposed, TextFormat.TEXT)


def test_an_exemplar_has_at_most_128_characters() -> None:
    """If a run id is too long for an exemplar of OpenMetrics, the sample has no exemplar."""
    longest = MAX_EXEMPLAR_RUNES - len("task_run_id")
    assert render_exemplar(Exemplar("é" * longest, 1.0, None)) == f' # {{task_run_id="{"é" * longest}"}} 1.0'
    assert render_exemplar(Exemplar("é" * (longest + 1), 1.0, None)) == ""


def test_only_openmetrics_has_created_lines_and_only_on_request() -> None:
    """Only OpenMetrics has _created lines, if turned on; in the text format they would be read as gauges."""
    totals: dict[Series, Total] = {FAILED: Count(1), EXECUTION: observed(1.0)}
    without, wanting = shown(snapshot(), totals=totals), shown(snapshot(created=True), totals=totals)
    assert "_created" not in body(without, TextFormat.OPENMETRICS) + body(without) + body(wanting)
    assert body(wanting, TextFormat.OPENMETRICS).count("_created{") == 5 + 20 + 1


def test_zero_has_no_sign() -> None:
    """Minus zero is printed as 0.0, and zeros after minus zero are printed as 0.0 too."""
    format_value.cache_clear()
    assert (format_value(-0.0), format_value(0.0), format_value(0), format_value(False)) == ("0.0",) * 4


def test_a_lone_surrogate_does_not_stop_the_exposition() -> None:
    """Half a surrogate pair in a name, which UTF-8 cannot encode, is shown as a question mark."""
    exposed = shown(snapshot(details=Details(name="half \ud800 a pair"), target=snapshot().target))
    assert 'transform_name="half ? a pair"' in body(exposed)


@pytest.mark.parametrize("text_format", TextFormat)
def test_no_sample_carries_a_timestamp(text_format: TextFormat) -> None:
    """Every sample ends with its value or an exemplar; a separate metric has the time of the last poll."""
    totals: dict[Series, Total] = {FAILED: Count(1, Exemplar("tsk-9", 1.0, 5.5)), EXECUTION: observed(31.0)}
    parse = parse_text if text_format is TextFormat.TEXT else parse_openmetrics
    text = body(shown(snapshot(details=Details(name="x", status="READY")), totals=totals), text_format)
    assert LANE.region in text
    assert {sample.timestamp for family in parse(text) for sample in family.samples} == {None}
