"""The exporter's own metrics are added at each scrape, in the text that prometheus_client would print."""

import gzip
import re
import time
from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.exposition.formats import Encoding, TextFormat
from exporter.exposition.metrics import METRICS
from exporter.exposition.publisher import Exposition
from exporter.exposition.text_format import EOF, render_metrics
from exporter.glue.error_table import REASONS
from exporter.model.transform import Lane
from exporter.telemetry import OPERATIONS, Telemetry
from tests.exposition.reference import Families
from tests.exposition.snapshots import HOSTILE, LANE, VARIANTS, body, samples, snapshot, value
from tests.support import wait_for

GENERATE = {TextFormat.TEXT: generate_latest, TextFormat.OPENMETRICS: generate_openmetrics}
PARSE = {TextFormat.TEXT: parse_text, TextFormat.OPENMETRICS: parse_openmetrics}


def without_created(families: Iterable[Metric]) -> Families:
    """Give the families without their _created samples."""
    kept = []
    for family in families:
        copied = Metric(family.name, family.documentation, family.type)
        copied.samples = [sample for sample in family.samples if sample.name != f"{family.name}_created"]
        kept.append(copied)
    return Families(kept)


def busy() -> Telemetry:
    telemetry = Telemetry()
    telemetry.add_state_metrics()
    telemetry.create_series([LANE, Lane('"q"\\\n', "us-east-1")], REASONS)
    telemetry.count_log_message("error")
    telemetry.api_requests.labels(*LANE, "GetMLTaskRuns", "OK").inc(1234567)
    telemetry.api_request_duration.labels("GetMLTaskRuns").observe(0.3)
    return telemetry


@pytest.mark.parametrize("text_format", TextFormat)
def test_own_metrics_are_what_prometheus_client_prints(text_format: TextFormat) -> None:
    """The text of the exporter's own metrics is byte for byte that of prometheus_client, without _created."""
    families = list(busy().registry.collect())
    expected = GENERATE[text_format](without_created(families))
    assert render_metrics(families, text_format) + EOF[text_format] == expected


@pytest.mark.parametrize("text_format", TextFormat)
def test_any_registry_is_printed_as_prometheus_client_prints_it(text_format: TextFormat) -> None:
    """Escapes in HELP and labels, metrics without samples and without labels are printed as the client prints them."""
    registry = CollectorRegistry()
    Gauge("plain", 'help with "quotes", a \\ and a\nnew line', registry=registry).set(float("nan"))
    Gauge("empty", "no children", ("label",), registry=registry)
    labelled = Counter("hostile", "", ("z", "a"), registry=registry)
    for text in HOSTILE:
        labelled.labels(text, text * 2).inc(1e7)
    Histogram("seconds", "of something", registry=registry).observe(float("inf"))
    families = list(registry.collect())
    assert render_metrics(families, text_format) + EOF[text_format] == GENERATE[text_format](without_created(families))


@pytest.mark.parametrize(("text_format", "encoding"), VARIANTS)
def test_glue_and_own_metrics_are_one_exposition(text_format: TextFormat, encoding: Encoding) -> None:
    """Metrics about Glue and about the exporter form one valid text, which ends as its format requires."""
    exposed = Exposition(busy(), None)
    exposed.update(snapshot(), {})
    text = body(exposed, text_format, encoding)
    families = [family.name for family in PARSE[text_format](text)]
    assert len(families) == len(set(families))
    assert {metric.family for metric in METRICS} < set(families)
    assert {"glue_ml_exporter_build_info", "process_cpu_seconds"} < set(families)
    assert text.count("# EOF") == (text_format is TextFormat.OPENMETRICS)


def test_own_metrics_change_without_a_publication() -> None:
    """A scrape shows a new value of the exporter itself although nothing was published in between."""
    telemetry = busy()
    exposed = Exposition(telemetry, None)
    exposed.update(snapshot(), {})
    exposed.prepare_scrape(TextFormat.TEXT, Encoding.GZIP)

    def overruns() -> list[str]:
        scrape = exposed.scrape(TextFormat.TEXT, Encoding.GZIP)
        assert scrape is not None
        text = gzip.decompress(b"".join(scrape.chunks)).decode()
        return re.findall(r"^glue_ml_exporter_poll_cycle_overruns_total (\S+)$", text, re.MULTILINE)

    assert overruns() == ["0.0"]
    telemetry.poll_cycle_overruns.inc()
    wait_for(lambda: overruns() == ["1.0"], timeout=30)


def all_sizes(text: str) -> dict[str, float] | None:
    found = samples(text, "glue_ml_exporter_exposition_bytes")
    return found if len(found) == len(VARIANTS) else None


def test_size_of_what_is_served() -> None:
    """glue_ml_exporter_exposition_bytes has the published size of each variant in use, by format and encoding."""
    telemetry = busy()
    exposed = Exposition(telemetry, None)
    exposed.update(snapshot(), {})
    for variant in VARIANTS:
        exposed.prepare_scrape(*variant)
    sizes = wait_for(lambda: all_sizes(body(exposed)), timeout=30)
    text = body(exposed)
    assert set(sizes) == {f'encoding="{e}",format="{f}"' for e in ("identity", "gzip") for f in ("text", "openmetrics")}
    about_glue = text.partition("# HELP glue_ml_exporter_poll_errors_total")[0]
    assert sizes['encoding="identity",format="text"'] == len(about_glue.encode())
    assert 0 < sizes['encoding="gzip",format="text"'] < sizes['encoding="identity",format="text"']


def test_known_series_begin_at_zero() -> None:
    """Errors by reason, log messages by level and durations by operation exist at 0 from the start."""
    telemetry = Telemetry(process=False)
    telemetry.create_series([LANE], REASONS)
    text = render_metrics(telemetry.registry.collect(), TextFormat.TEXT).decode()
    errors = samples(text, "glue_ml_exporter_poll_errors_total")
    assert len(errors) == len(REASONS)
    assert all(f'reason="{reason}"' in "".join(errors) for reason in (*REASONS, "timeout", "pagination"))
    durations = samples(text, "glue_ml_exporter_api_request_duration_seconds_count")
    assert len(durations) == len(OPERATIONS)
    levels = samples(text, "glue_ml_exporter_log_messages_total")
    assert set(levels) == {f'level="{level}"' for level in ("debug", "info", "warn", "error")}
    assert {*errors.values(), *durations.values(), *levels.values()} == {0.0}


def test_state_metrics_need_a_state_file() -> None:
    """The metrics about a state file exist only with a state file."""
    without, having = Telemetry(process=False), Telemetry(process=False)
    having.add_state_metrics()
    texts = [render_metrics(each.registry.collect(), TextFormat.TEXT).decode() for each in (without, having)]
    assert [("state" in text) for text in texts] == [False, True]


def test_web_config_metrics_need_a_web_config_file() -> None:
    """If there is a web configuration file, metrics show whether and when the file was loaded; else they are absent."""
    without, having = Telemetry(process=False), Telemetry(process=False)
    having.add_web_config_metrics()
    having.set_web_config_loaded(successful=True)
    having.set_web_config_loaded(successful=False)
    name = "glue_ml_exporter_web_config_last_reload_{}"
    assert without.registry.get_sample_value(name.format("successful")) is None
    assert having.registry.get_sample_value(name.format("successful")) == 0
    loaded = having.registry.get_sample_value(name.format("success_timestamp_seconds"))
    assert loaded is not None
    assert abs(loaded - time.time()) < 60


def test_process_metrics_can_be_left_out() -> None:
    """Without process metrics there are only metrics of the exporter itself, including the build info."""
    text = render_metrics(Telemetry(process=False).registry.collect(), TextFormat.TEXT).decode()
    assert not [
        line
        for line in text.splitlines()
        if not line.removeprefix("# HELP ").removeprefix("# TYPE ").startswith("glue_ml_exporter_")
    ]
    assert value(text, "glue_ml_exporter_build_info", 'version="', 'revision="', 'pythonversion="') == 1


def test_an_unknown_log_level_does_not_make_a_series() -> None:
    """A message of an unknown level counts as an error."""
    telemetry = Telemetry(process=False)
    telemetry.count_log_message("critical")
    text = render_metrics(telemetry.registry.collect(), TextFormat.TEXT).decode()
    assert value(text, "glue_ml_exporter_log_messages_total", "error") == 1
    assert len(samples(text, "glue_ml_exporter_log_messages_total")) == 4
