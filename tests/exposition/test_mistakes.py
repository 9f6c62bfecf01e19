"""What a picture that cannot be rendered costs: that picture, and nothing else."""

import threading
from dataclasses import replace

import pytest

from exporter.counting.counters import Count, Series, Total
from exporter.exposition.formats import Encoding, TextFormat
from exporter.exposition.publisher import Exposition, Scrape
from exporter.model.transform import Details
from tests.exposition.snapshots import (
    EXECUTION,
    FAILED,
    body,
    exposition,
    free_births,
    held_births,
    observed,
    samples,
    shown,
    snapshot,
    value,
)
from tests.support import wait_for

FINISHED = "glue_ml_task_runs_finished_total"
READY = Details(name="before", status="READY")
SERVED: dict[Series, Total] = {FAILED: Count(1), EXECUTION: observed(1.0)}


def scrape(exposed: Exposition) -> Scrape:
    variant = (TextFormat.TEXT, Encoding.IDENTITY)
    return exposed.scrape(*variant) or exposed.prepare_scrape(*variant)


def text_of(answer: Scrape) -> str:
    return b"".join(answer.chunks).decode()


def test_what_cannot_be_rendered_is_rendered_whole_when_it_can() -> None:
    """A mistake in one picture costs no other one: the next shows all of itself, and the transform can leave."""
    broken = snapshot(details=Details(name="before", f1="no number"))  # type: ignore[arg-type]
    exposed = exposition()
    for _ in range(2):
        with pytest.raises(TypeError):
            exposed.update(broken, SERVED)
    mended = replace(broken, details=READY)
    exposed.update(mended, SERVED)
    assert body(exposed) == body(shown(replace(mended, initial_values=free_births()), totals=SERVED))
    exposed.remove("tfm-1")
    with pytest.raises(TypeError):
        exposed.update(broken, SERVED)
    exposed.remove("tfm-1")
    assert "tfm-1" not in body(exposed)


def test_what_cannot_be_rendered_is_not_taken_for_seen() -> None:
    """While a picture cannot be rendered, scrapes of other transforms bring its series no nearer to their release."""
    initial_values, others = held_births(), free_births()
    broken = snapshot(initial_values=initial_values, details=Details(f1="no number"))  # type: ignore[arg-type]
    exposed = exposition()
    for count in range(3):
        with pytest.raises(TypeError):
            exposed.update(broken, {FAILED: Count(3)})
        exposed.update(snapshot("tfm-2", initial_values=others), {FAILED: Count(count)})
        exposed.publish()
        scrape(exposed).sent()
    exposed.update(replace(broken, details=None), {FAILED: Count(3)})
    exposed.remove("tfm-2")
    seen = []
    for _ in range(3):
        exposed.publish()
        answer = scrape(exposed)
        answer.sent()
        seen.append(value(text_of(answer), FINISHED, 'status="FAILED"', "FIND_MATCHES"))
    assert seen == [0, 3, 3]


def test_the_publishing_thread_outlives_a_mistake(caplog: pytest.LogCaptureFixture) -> None:
    """A publication that raises is told, and the next ones come all the same."""
    exposed = exposition()
    with pytest.raises(TypeError):
        # no poll makes such a picture; its births have chosen before its counters raise, and a scrape chooses again
        exposed.update(
            snapshot(initial_values=held_births(), bounds=None), {FAILED: Count(3), EXECUTION: observed(1.0)}
        )
    publishing = threading.Thread(target=exposed.run)
    publishing.start()
    try:
        scrape(exposed).sent()
        initial_values = free_births()
        for count in range(1, 4):
            exposed.update(snapshot("tfm-2", initial_values=initial_values), {FAILED: Count(count)})
            scrape(exposed).sent()
        wait_for(lambda: "a publication failed because of a defect" in caplog.text)
        exposed.update(snapshot("tfm-2", initial_values=initial_values), {FAILED: Count(9)})
        wait_for(lambda: 9 in samples(text_of(scrape(exposed)), FINISHED).values(), timeout=20)
    finally:
        exposed.stop()
        publishing.join(10)
    assert not publishing.is_alive()
