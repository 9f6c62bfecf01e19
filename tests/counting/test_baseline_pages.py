"""A page that a reading takes as a whole comes to what its runs come to one by one."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.counting.finished_runs import FinishedRuns
from exporter.counting.ledger import Ledger
from exporter.counting.reading import Reading
from exporter.model.task_run import STATUSES, TASK_TYPES, RunPage, TaskRun

NOW, CUTOFF = 100_000.0, 50_000.0
BOUNDS = (60.0, 3600.0)

moments = st.sampled_from([CUTOFF, 60_000.0, 60_000.5, 99_999.0])
ordinary = st.builds(
    TaskRun,
    run_id=st.integers(0, 12).map("tsk-{}".format),
    task_type=st.sampled_from(TASK_TYPES[:1]),
    status=st.sampled_from(("SUCCEEDED", "FAILED")),
    started=moments,
    completed=moments,
    execution=st.sampled_from([None, 0.0, 30.0]),
)
odd_moments = st.sampled_from([None, 0.0, -1.0, CUTOFF - 0.5, NOW, NOW + 1.0, NOW + 1000.0, 1e300])
oddities = st.one_of(
    st.fixed_dictionaries({"status": st.sampled_from([*STATUSES[:3], "PAUSED"])}),
    st.fixed_dictionaries({"task_type": st.just("NEW")}),
    st.fixed_dictionaries({"started": odd_moments}),
    st.fixed_dictionaries({"completed": odd_moments}),
    st.fixed_dictionaries({"execution": st.just(-1.0)}),
    st.fixed_dictionaries({"status": st.just("RUNNING"), "completed": st.none(), "execution": st.none()}),
)
nearly_ordinary = st.tuples(st.lists(ordinary, max_size=6), ordinary, oddities, st.lists(ordinary, max_size=3)).map(
    lambda parts: [*parts[0], parts[1]._replace(**parts[2]), *parts[3]]
)
pages = st.lists(st.lists(ordinary, max_size=8) | nearly_ordinary, max_size=4)


class OneByOne(Reading):
    """A reading that takes no page as a whole."""

    def add_page(self, page: RunPage) -> None:
        for run in page:
            self.add(run)


def ended(run_id: str, status: str, started: float, completed: float) -> TaskRun:
    return TaskRun(run_id, "EVALUATION", status, started, completed, 30.0)


@given(first=pages, second=pages)
@example(  # it was seen open
    first=[[TaskRun("tsk-1", "EVALUATION", "RUNNING", 60_000.0)], [ended("tsk-1", "FAILED", 60_000.0, 70_000.0)]],
    second=[],
)
@example(  # an end that cannot be true
    first=[[ended("tsk-1", "FAILED", 60_000.0, 70_000.0), ended("tsk-2", "FAILED", 60_000.0, NOW + 1000.0)]],
    second=[],
)
@example(  # it has come before, as another one
    first=[
        [ended("tsk-1", "SUCCEEDED", 90_000.0, 91_000.0)],
        [ended("tsk-1", "FAILED", 60_000.0, 60_000.0), ended("tsk-2", "FAILED", 70_000.0, 70_000.0)],
    ],
    second=[],
)
@example(  # it comes twice
    first=[
        [
            ended("tsk-1", "SUCCEEDED", 90_000.0, 91_000.0),
            ended("tsk-1", "FAILED", 60_000.0, 60_000.0),
            ended("tsk-2", "FAILED", 70_000.0, 70_000.0),
        ]
    ],
    second=[],
)
@example(first=[[ended("tsk-1", "FAILED", CUTOFF - 0.5, 60_000.0)]], second=[])  # it is too old
@settings(max_examples=300)
def test_a_page_is_as_good_as_its_runs(first: list[list[TaskRun]], second: list[list[TaskRun]]) -> None:
    """A first poll and the one after it come to the same, in the same order, however their pages are taken."""
    ledgers = Ledger(BOUNDS), Ledger(BOUNDS)
    for read in (first, second):
        readings = [
            kind(ledger, now=NOW, since=CUTOFF, cutoff=CUTOFF)
            for kind, ledger in zip((Reading, OneByOne), ledgers, strict=True)
        ]
        for page in read:
            for reading in readings:
                reading.add_page(RunPage.of(page))
            assert what_is_known(readings[0]) == what_is_known(readings[1])
        changes = [ledger.commit(reading) for ledger, reading in zip(ledgers, readings, strict=True)]
        assert changes[0] == changes[1]
        assert what_is_known(ledgers[0]) == what_is_known(ledgers[1])
        assert ledgers[0].gauge_values(CUTOFF) == ledgers[1].gauge_values(CUTOFF)


def what_is_known(of: object) -> dict[str, object]:
    """Return all attributes but a reading's ledger; the finished runs with their order, which says what is oldest."""
    known = {name: value for name, value in vars(of).items() if name not in ("_ledger", "_finished")}
    if isinstance(of, Ledger):
        known["finished"] = {name: getattr(of.finished, name) for name in FinishedRuns.__slots__}
        known["order"] = list(of.finished.entries.items())
    else:
        known["order"] = list(known["upserts"].items())
    return known


def test_history_is_taken_page_by_page() -> None:
    """A page of ended runs is no work for each of them, and one that is doubtful leaves its page to be read singly."""
    page = [TaskRun(f"tsk-{number}", "EVALUATION", "FAILED", 60_000.0 + number, 70_000.0, 1.0) for number in range(3)]
    assert taken_singly(page) == []
    assert taken_singly([*page[:2], page[2]._replace(started=NOW + 1)]) != []


def taken_singly(page: list[TaskRun]) -> list[TaskRun]:
    """Return the runs of a first page that are looked at one by one."""
    singly: list[TaskRun] = []

    class Noting(Reading):
        def add(self, told: TaskRun) -> None:
            singly.append(told)

    Noting(Ledger(BOUNDS), now=NOW, since=CUTOFF, cutoff=CUTOFF).add_page(RunPage.of(page))
    return singly
