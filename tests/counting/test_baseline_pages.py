"""`Reading.add_page` gives the same result for a page of the first poll as `Reading.add` for each of its runs."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.counting.finished_runs import FinishedRuns
from exporter.counting.ledger import Ledger
from exporter.counting.reading import Reading
from exporter.model.task_run import STATUSES, TASK_TYPES, RunPage, TaskRun

NOW, CUTOFF = 100_000.0, 50_000.0
BOUNDS = (60.0, 3600.0)

times_in_lookback = st.sampled_from([CUTOFF, 60_000.0, 60_000.5, 99_999.0])
ordinary = st.builds(
    TaskRun,
    run_id=st.integers(0, 12).map("tsk-{}".format),
    task_type=st.sampled_from(TASK_TYPES[:1]),
    status=st.sampled_from(("SUCCEEDED", "FAILED")),
    started=times_in_lookback,
    completed=times_in_lookback,
    execution=st.sampled_from([None, 0.0, 30.0]),
)
odd_times = st.sampled_from([None, 0.0, -1.0, CUTOFF - 0.5, NOW, NOW + 1.0, NOW + 1000.0, 1e300])
oddities = st.one_of(
    st.fixed_dictionaries({"status": st.sampled_from([*STATUSES[:3], "PAUSED"])}),
    st.fixed_dictionaries({"task_type": st.just("NEW")}),
    st.fixed_dictionaries({"started": odd_times}),
    st.fixed_dictionaries({"completed": odd_times}),
    st.fixed_dictionaries({"execution": st.just(-1.0)}),
    st.fixed_dictionaries({"status": st.just("RUNNING"), "completed": st.none(), "execution": st.none()}),
)
nearly_ordinary = st.tuples(st.lists(ordinary, max_size=6), ordinary, oddities, st.lists(ordinary, max_size=3)).map(
    lambda parts: [*parts[0], parts[1]._replace(**parts[2]), *parts[3]]
)
pages = st.lists(st.lists(ordinary, max_size=8) | nearly_ordinary, max_size=4)


class RunByRun(Reading):
    """A reading that adds each run of a page by itself."""

    def add_page(self, page: RunPage) -> None:
        for run in page:
            self.add(run)


def ended(run_id: str, status: str, started: float, completed: float) -> TaskRun:
    return TaskRun(run_id, "EVALUATION", status, started, completed, 30.0)


@pytest.mark.slow
@given(first=pages, second=pages, watched_since=st.sampled_from([60_000.0, 99_999.0, NOW, NOW + 1.0]))
@example(  # a run that an earlier poll showed open
    first=[[TaskRun("tsk-1", "EVALUATION", "RUNNING", 60_000.0)], [ended("tsk-1", "FAILED", 60_000.0, 70_000.0)]],
    second=[],
    watched_since=NOW,
)
@example(  # an end in the future
    first=[[ended("tsk-1", "FAILED", 60_000.0, 70_000.0), ended("tsk-2", "FAILED", 60_000.0, NOW + 1000.0)]],
    second=[],
    watched_since=NOW,
)
@example(  # a run that an earlier page shows with another status and other times
    first=[
        [ended("tsk-1", "SUCCEEDED", 90_000.0, 91_000.0)],
        [ended("tsk-1", "FAILED", 60_000.0, 60_000.0), ended("tsk-2", "FAILED", 70_000.0, 70_000.0)],
    ],
    second=[],
    watched_since=NOW,
)
@example(  # a run that appears twice on one page
    first=[
        [
            ended("tsk-1", "SUCCEEDED", 90_000.0, 91_000.0),
            ended("tsk-1", "FAILED", 60_000.0, 60_000.0),
            ended("tsk-2", "FAILED", 70_000.0, 70_000.0),
        ]
    ],
    second=[],
    watched_since=NOW,
)
@example(  # a run before the lookback
    first=[[ended("tsk-1", "FAILED", CUTOFF - 0.5, 60_000.0)]],
    second=[],
    watched_since=NOW,
)
@settings(max_examples=300)
def test_a_page_gives_the_same_result_as_its_runs(
    first: list[list[TaskRun]], second: list[list[TaskRun]], watched_since: float
) -> None:
    """Two polls give the same ledger and changes, in the same order, with pages added as a whole or run by run."""
    ledgers = Ledger(BOUNDS), Ledger(BOUNDS)
    for ledger in ledgers:
        ledger.watched_since = watched_since
    for read in (first, second):
        readings = [
            kind(ledger, now=NOW, since=CUTOFF, cutoff=CUTOFF)
            for kind, ledger in zip((Reading, RunByRun), ledgers, strict=True)
        ]
        for page in read:
            for reading in readings:
                reading.add_page(RunPage.of(page))
            assert attributes_of(readings[0]) == attributes_of(readings[1])
        changes = [ledger.commit(reading) for ledger, reading in zip(ledgers, readings, strict=True)]
        assert changes[0] == changes[1]
        assert attributes_of(ledgers[0]) == attributes_of(ledgers[1])
        assert ledgers[0].gauge_values(CUTOFF) == ledgers[1].gauge_values(CUTOFF)


def attributes_of(of: object) -> dict[str, object]:
    """Return the attributes of a ledger or a reading, without its ledger, and the order of the finished runs."""
    known = {name: value for name, value in vars(of).items() if name not in ("_ledger", "_finished")}
    if isinstance(of, Ledger):
        known["finished"] = {name: getattr(of.finished, name) for name in FinishedRuns.__slots__}
        known["order"] = list(of.finished.entries.items())
    else:
        known["order"] = list(known["upserts"].items())
    return known


def test_a_page_of_ended_runs_is_added_as_a_whole() -> None:
    """A page of ended runs is added without a call of `add`; one run with a start in the future prevents this."""
    page = [TaskRun(f"tsk-{number}", "EVALUATION", "FAILED", 60_000.0 + number, 70_000.0, 1.0) for number in range(3)]
    assert runs_added_one_by_one(page) == []
    assert runs_added_one_by_one([*page[:2], page[2]._replace(started=NOW + 1)]) != []


def runs_added_one_by_one(page: list[TaskRun]) -> list[TaskRun]:
    """Return the runs of a first page for which the reading calls `add`."""
    added: list[TaskRun] = []

    class RecordingReading(Reading):
        def add(self, raw: TaskRun) -> None:
            added.append(raw)

    RecordingReading(Ledger(BOUNDS), now=NOW, since=CUTOFF, cutoff=CUTOFF).add_page(RunPage.of(page))
    return added
