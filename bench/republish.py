"""A publication after one of a thousand transforms has changed, against a publication that renders all transforms."""

from collections.abc import Iterator

from bench.measure import cpu_seconds, in_turns
from bench.tables import Row, at_most, seconds
from bench.transforms import RUNS, Shown, exposition_of, shown
from exporter.exposition.formats import Encoding, TextFormat
from exporter.exposition.publisher import Exposition

TITLE = "Re-publication: one changed transform against everything"
NOTE = "CPU time; text and OpenMetrics are in use, both with gzip. The changed transform has finished one more run."


def run(*, quick: bool) -> Iterator[Row]:
    """Yield one row."""
    count = 50 if quick else 1000
    before, after = [shown(n) for n in range(count)], shown(count // 2, runs=RUNS + 1)
    exposition = exposition_of(before)
    _ask(exposition)
    turns = iter(range(1_000_000))

    def change() -> None:
        following = after if next(turns) % 2 == 0 else before[count // 2]
        exposition.update(following.snapshot, following.totals)
        exposition.publish()

    times = in_turns(
        1 if quick else 5,
        all=lambda: cpu_seconds(lambda: _render_all(before)),
        one=lambda: in_turns(1 if quick else 5, change=lambda: cpu_seconds(change))["change"],
    )
    absolute = f"{seconds(times['one'])} : {seconds(times['all'])}"
    yield Row(f"1 of {count} transforms", times["one"] / times["all"], absolute, at_most(0.1))


def _render_all(transforms: list[Shown]) -> None:
    _ask(exposition_of(transforms))


def _ask(exposition: Exposition) -> None:
    """Request both formats, because a publication prepares only formats that were requested before."""
    for text_format in TextFormat:
        exposition.prepare_scrape(text_format, Encoding.GZIP)
