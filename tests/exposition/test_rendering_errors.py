"""If a defect prevents the rendering of a snapshot, all other snapshots are still rendered."""

from dataclasses import replace

import pytest

from exporter.config.schema import Metrics
from exporter.counting.counters import Count, Series, Total
from exporter.model.transform import Details
from tests.exposition.snapshots import (
    EXECUTION,
    FAILED,
    FINISHED,
    HOLD,
    Clock,
    begin_scrape,
    body,
    exposition,
    new_values,
    observed,
    publishing,
    samples,
    shown,
    snapshot,
    text_of,
    value,
)
from tests.support import wait_for

READY = Details(name="before", status="READY")
SERVED: dict[Series, Total] = {FAILED: Count(1), EXECUTION: observed(1.0)}


def test_after_a_rendering_error_the_next_snapshot_is_rendered_as_a_whole() -> None:
    """The next snapshot of the transform is shown completely, and the transform can be removed."""
    broken = snapshot(details=Details(name="before", f1="no number"))  # type: ignore[arg-type]
    exposed = exposition()
    for _ in range(2):
        with pytest.raises(TypeError):
            exposed.update(broken, SERVED)
    mended = replace(broken, details=READY)
    exposed.update(mended, SERVED)
    assert body(exposed) == body(shown(replace(mended, initial_values=new_values()), totals=SERVED))
    exposed.remove("tfm-1")
    with pytest.raises(TypeError):
        exposed.update(broken, SERVED)
    exposed.remove("tfm-1")
    assert "tfm-1" not in body(exposed)


def test_a_snapshot_that_cannot_be_rendered_does_not_end_its_hold() -> None:
    """A scrape without the transform, because rendering failed, does not count as a scrape of its base values."""
    clock = Clock()
    initial_values, others = new_values(), new_values()
    broken = snapshot(initial_values=initial_values, details=Details(f1="no number"))  # type: ignore[arg-type]
    exposed = exposition(clock=clock)
    for count in range(3):
        with pytest.raises(TypeError):
            exposed.update(broken, {FAILED: Count(3)})
        exposed.update(snapshot("tfm-2", initial_values=others), {FAILED: Count(count)})
        exposed.publish()
        begin_scrape(exposed).sent()
        clock.now += HOLD
    exposed.update(replace(broken, details=None), {FAILED: Count(3)})
    exposed.remove("tfm-2")
    seen = []
    for _ in range(3):
        exposed.publish()
        answer = begin_scrape(exposed)
        answer.sent()
        clock.now += HOLD
        seen.append(value(text_of(answer), FINISHED, 'status="FAILED"', "FIND_MATCHES"))
    assert seen == [0, 3, 3]


@pytest.mark.slow
def test_the_publishing_thread_survives_a_rendering_error(caplog: pytest.LogCaptureFixture) -> None:
    """The error is logged, and later publications are made."""
    exposed = exposition()
    exposed.configure(Metrics(initial_hold="50ms"))
    with pytest.raises(TypeError):
        # Rendering fails after the values were chosen. The end of the hold chooses and renders the values again.
        exposed.update(snapshot(initial_values=new_values(), bounds=None), {FAILED: Count(3), EXECUTION: observed(1.0)})
    with publishing(exposed):
        begin_scrape(exposed).sent()
        initial_values = new_values()
        for count in range(1, 4):
            exposed.update(snapshot("tfm-2", initial_values=initial_values), {FAILED: Count(count)})
            begin_scrape(exposed).sent()
        wait_for(lambda: "a publication failed because of a defect" in caplog.text)
        exposed.update(snapshot("tfm-2", initial_values=initial_values), {FAILED: Count(9)})

        def is_shown() -> bool:
            answer = begin_scrape(exposed)
            answer.sent()
            return 9 in samples(text_of(answer), FINISHED).values()

        wait_for(is_shown, timeout=30)
