"""The transforms in the expositions of the benchmarks, with the same samples for the exporter and the stock client."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client import Metric as StockMetric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as StockExemplar

from exporter.config.settings import load_config
from exporter.counting.counters import Series, Total
from exporter.counting.ledger import Ledger
from exporter.counting.reading import Reading
from exporter.exposition.initial_values import InitialValues
from exporter.exposition.metrics import METRICS, Metric
from exporter.exposition.publisher import Exposition
from exporter.exposition.snapshot import PollResult, TransformSnapshot
from exporter.exposition.text_format import Sample
from exporter.glue.error_table import REASONS
from exporter.model.failure_reasons import FailureReasons
from exporter.model.task_run import TaskRun
from exporter.model.transform import Details, Lane, Target
from exporter.polling.monitored_transform import MonitoredTransform
from exporter.telemetry import Telemetry

CONFIG = load_config("{region: eu-west-1, transforms: [tfm-1]}", source="bench", environ={})
NOW = 1_790_000_000.0
LANE = Lane("default", "eu-west-1")
DAY = 86400.0
KINDS = [(kind, status) for kind in ("FIND_MATCHES", "EVALUATION") for status in ("SUCCEEDED", "FAILED")]
RUNS = 40


@dataclass(frozen=True)
class Shown:
    """A transform, with the values that a poll passes to the exposition."""

    snapshot: TransformSnapshot
    totals: Mapping[Series, Total]


def shown(number: int, *, runs: int = RUNS) -> Shown:
    """Return a transform with `runs` finished runs of two task types. Both histograms contain each run."""
    polling, bounds = CONFIG.polling, CONFIG.metrics.execution_buckets
    ledger = Ledger(bounds)
    ledger.watched_since = 0.0
    for finished in ([], _runs(number, runs)):
        reading = Reading(ledger, now=NOW, since=NOW - polling.lookback, cutoff=NOW - polling.lookback)
        for run in finished:
            reading.add(run)
        ledger.commit(reading)
    initial_values = InitialValues(created_at=NOW)
    initial_values.publish(ledger.totals, now=NOW, tick=0.0, hold=0.0, publication=0)
    transform = MonitoredTransform(
        target=Target(f"tfm-{number:040x}", LANE, f"customers-dedup-{number}", {"team": "data"}),
        ledger=ledger,
        initial_values=initial_values,
        account_id="123456789012",
        details=Details("", "READY", "FIND_MATCHES", "3.0", "G.1X", 240, 0.9, 0.8, 0.85, 0.7),
        poll=PollResult(up=True, tried=NOW, succeeded=NOW, duration=0.05 + number / 1e5),
    )
    return Shown(transform.snapshot(polling, NOW, created=False, failure_reasons=FailureReasons()), dict(ledger.totals))


def new_transform() -> MonitoredTransform:
    """Return a transform that was never polled."""
    initial_values = InitialValues(created_at=NOW)
    return MonitoredTransform(Target("tfm-1", LANE), Ledger(CONFIG.metrics.execution_buckets), initial_values)


def _runs(number: int, count: int) -> Iterator[TaskRun]:
    dice = random.Random(number)  # noqa: S311 - sizes of made-up runs
    for position in range(count):
        task_type, status = KINDS[position % len(KINDS)]
        started = NOW - DAY + position * 600 + dice.random()
        execution = dice.randrange(20, 20_000)
        run_id = f"tsk-{dice.getrandbits(160):040x}"
        yield TaskRun(run_id, task_type, status, started, started + execution + 30, float(execution))


def exposition_of(transforms: Iterable[Shown]) -> Exposition:
    """Return an exposition of these transforms. No format was requested yet."""
    exposition = Exposition(_telemetry(), None)
    for one in transforms:
        exposition.update(one.snapshot, one.totals)
    return exposition


def _telemetry() -> Telemetry:
    telemetry = Telemetry()
    telemetry.create_series([LANE], REASONS)
    return telemetry


class _Prebuilt(Collector):
    """A collector with finished metrics. This favours the stock client, because it only has to render them."""

    def __init__(self, families: Sequence[StockMetric]) -> None:
        self._families = families

    def collect(self) -> Iterable[StockMetric]:
        return self._families


def stock_registry(transforms: Sequence[Shown]) -> CollectorRegistry:
    """Return a registry of prometheus_client with the same samples, including the exporter's own metrics."""
    registry = _telemetry().registry
    registry.register(_Prebuilt([_family(metric, transforms) for metric in METRICS]))
    return registry


def _family(metric: Metric, transforms: Sequence[Shown]) -> StockMetric:
    family = StockMetric(metric.family, metric.help, metric.kind)
    for one in transforms:
        for sample in metric.samples(one.snapshot):
            labels = dict(sorted((*sample.labels, *one.snapshot.identity.labels)))
            family.add_sample(metric.family + sample.suffix, labels, sample.value, exemplar=_exemplar(sample))
    return family


def _exemplar(sample: Sample) -> StockExemplar | None:
    exemplar = sample.exemplar
    return exemplar and StockExemplar({"task_run_id": exemplar.run_id}, exemplar.value, exemplar.time)
