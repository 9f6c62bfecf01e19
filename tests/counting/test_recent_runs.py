"""The newest runs of a transform, which the status pages show."""

import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.config.settings import load_config
from exporter.counting.ledger import Ledger
from exporter.counting.recent_runs import LIMIT, LONGEST_TEXT, NewestRuns, RecentRuns
from exporter.exposition.initial_values import InitialValues
from exporter.glue.decode import decode_page, encode_answer
from exporter.model.failure_reasons import LONGEST_ERROR
from exporter.model.task_run import NO_PROPERTIES, Properties, RunPage, TaskRun
from exporter.model.transform import Lane, Target
from exporter.polling.monitored_transform import MonitoredTransform
from tests.counting.world import Run, World

NOW = 1_790_000_000.0
POLLING = load_config("{region: eu-west-1, transforms: [tfm-a]}", source="test", environ={}).polling


def finished(number: int, **changes: Any) -> TaskRun:
    started = NOW - 100_000 + number
    return TaskRun(f"tsk-{number}", "FIND_MATCHES", "SUCCEEDED", started, started + 60, 60.0)._replace(**changes)


def recent_of(*pages: RunPage) -> RecentRuns:
    recent, newest = RecentRuns(), NewestRuns(NOW)
    for page in pages:
        newest.add(page)
    recent.commit(newest)
    return recent


def ids(recent: RecentRuns) -> list[str]:
    return [kept.run.run_id for kept in recent.runs]


@given(st.lists(st.integers(0, 200), max_size=150), st.integers(1, 40), st.randoms(use_true_random=False))
def test_the_newest_runs_are_kept_in_any_order_of_the_pages(numbers: list[int], size: int, dice: random.Random) -> None:
    """The fifty newest runs are kept, newest first, for any order of the runs, any page size and any duplicates."""
    dice.shuffle(numbers)
    pages = [RunPage.of(map(finished, numbers[start : start + size])) for start in range(0, len(numbers), size)]
    expected = [f"tsk-{number}" for number in sorted(set(numbers), reverse=True)[:LIMIT]]
    recent = RecentRuns()
    for page in pages:
        newest = NewestRuns(NOW)
        newest.add(page)
        recent.commit(newest)
    assert ids(recent) == ids(recent_of(*[RunPage.of([run]) for page in pages for run in page])) == expected


def test_an_active_run_of_any_age_is_kept_until_it_ends() -> None:
    """A run that is older than the fifty newest is kept, last in the order, while it is active."""
    hanging = finished(0, status="RUNNING", completed=None, execution=None)
    recent = recent_of(RunPage.of([hanging, *map(finished, range(1, 100))]))
    assert (len(ids(recent)), ids(recent)[-1]) == (LIMIT, "tsk-0")
    ended = NewestRuns(NOW)
    ended.add(RunPage.of([finished(0)]))
    recent.commit(ended)
    assert ids(recent)[-1] == "tsk-0"
    following = NewestRuns(NOW)
    following.add(RunPage.of([finished(100)]))
    recent.commit(following)
    assert "tsk-0" not in ids(recent)


def test_the_last_final_state_of_a_run_is_kept() -> None:
    """A later page or poll replaces a run, except an ended run by an active state; a missing run is removed."""
    running = finished(1, status="RUNNING", completed=None)
    recent = recent_of(
        RunPage.of([running]), RunPage.of([finished(1, status="FAILED", error="no")]), RunPage.of([running])
    )
    assert [(one.run.status, one.run.error) for one in recent.runs] == [("FAILED", "no")]
    recent.commit(NewestRuns(NOW), missing=[running])
    assert recent.runs == ()


def test_texts_are_cut_and_impossible_times_are_left_out() -> None:
    """Error strings and all other texts are cut to their limits, and an end in the future is None."""
    huge = finished(1, error="e" * 10_000, log_group="/" * 10_000, completed=NOW + 1e6)
    kept = recent_of(RunPage.of([huge], lambda _: Properties(job_name="n" * 10_000, replace=False))).runs[0]
    assert kept.run.error == "e" * (LONGEST_ERROR - 1) + "…"
    assert kept.run.completed is None
    assert (len(kept.run.log_group or ""), len(kept.properties.job_name or "")) == (LONGEST_TEXT, LONGEST_TEXT)
    assert kept.properties.replace is False


def test_no_runs_are_kept_without_status_pages() -> None:
    """A poll with limit 0, which means without status pages, keeps no run and removes earlier runs."""
    recent = recent_of(RunPage.of(map(finished, range(10))))
    newest = NewestRuns(NOW, 0)
    newest.add(RunPage.of(map(finished, range(10, 20))))
    recent.commit(newest)
    assert recent.runs == ()


def test_properties_of_each_task_type_are_decoded() -> None:
    """Both decoders read S3 paths and job ids, and leave out properties of another shape."""
    cases: list[tuple[dict[str, Any] | None, Properties]] = [
        (
            {"FindMatchesTaskRunProperties": {"JobId": "j", "JobName": "n", "JobRunId": "jr"}},
            Properties(job_id="j", job_name="n", job_run_id="jr"),
        ),
        (
            {"ImportLabelsTaskRunProperties": {"InputS3Path": "s3://b/i", "Replace": True}},
            Properties(input_path="s3://b/i", replace=True),
        ),
        ({"ExportLabelsTaskRunProperties": {"OutputS3Path": "s3://b/o"}}, Properties(output_path="s3://b/o")),
        ({"LabelingSetGenerationTaskRunProperties": {"OutputS3Path": "s3://b/l"}}, Properties(output_path="s3://b/l")),
        ({"ImportLabelsTaskRunProperties": {"InputS3Path": 7}}, NO_PROPERTIES),
        ({"FindMatchesTaskRunProperties": None}, NO_PROPERTIES),
        ({"TaskType": "EVALUATION"}, NO_PROPERTIES),
        (None, NO_PROPERTIES),
    ]
    runs = [{"TaskRunId": f"tsk-{number}", "Properties": raw} for number, (raw, _) in enumerate(cases)]
    answer = {"TaskRuns": runs}
    for page, _ in (decode_page(json.dumps(answer).encode()), decode_page(encode_answer(answer))):
        assert [page.properties_of(position) for position in range(len(page))] == [expected for _, expected in cases]


def test_the_first_poll_after_a_restart_lists_the_newest_runs_in_one_call() -> None:
    """The first poll with a restored ledger lists from the oldest of the fifty newest runs, in one call as before."""
    world = World(now=NOW)
    for number in range(200):
        world.add(Run(f"tsk-{number}", NOW - 200_000 + number * 900, NOW - 200_000 + number * 900 + 60))
    before = monitored_transform(Ledger((1.0,)))
    poll(before, world)
    assert [one.run.run_id for one in before.recent.runs] == [f"tsk-{number}" for number in range(199, 149, -1)]
    world.calls.clear()
    poll(before, world)
    assert world.calls == ["GetMLTaskRuns"]
    restarted = monitored_transform(restored(before.ledger))
    world.calls.clear()
    poll(restarted, world)
    assert world.calls == ["GetMLTaskRuns"]
    assert restarted.recent.runs == before.recent.runs
    assert not any(restarted.ledger.totals.values())


def monitored_transform(ledger: Ledger) -> MonitoredTransform:
    return MonitoredTransform(Target("tfm-a", Lane("default", "eu-west-1")), ledger, InitialValues(created_at=NOW))


def poll(transform: MonitoredTransform, world: Any) -> None:
    transform.read(world, POLLING, world.now, world.now, lambda: None)


def restored(ledger: Ledger) -> Ledger:
    return Ledger.restore(
        ledger.bounds,
        floor=ledger.floor,
        watched_since=ledger.watched_since,
        forgotten_until=ledger.forgotten_until,
        watermark=ledger.watermark,
        foreign=[],
        latest=ledger.latest,
        open_runs=[],
        missing=[],
        incomplete=[],
        finished=sorted(ledger.finished.entries.items(), key=lambda item: item[1]),
    )
