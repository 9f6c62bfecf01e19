"""The newest runs, kept for people."""

import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.config.settings import load_config
from exporter.counting.ledger import Ledger
from exporter.counting.recent_runs import LIMIT, LONGEST_ERROR, LONGEST_TEXT, NewestRuns, RecentRuns
from exporter.exposition.initial_values import InitialValues
from exporter.glue.decode import decode_page, encode_answer
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
    recent, sighting = RecentRuns(), NewestRuns(NOW)
    for page in pages:
        sighting.add(page)
    recent.commit(sighting)
    return recent


def ids(recent: RecentRuns) -> list[str]:
    return [one.run.run_id for one in recent.runs]


@given(st.lists(st.integers(0, 200), max_size=150), st.integers(1, 40), st.randoms(use_true_random=False))
def test_the_newest_are_kept_however_they_come(numbers: list[int], size: int, dice: random.Random) -> None:
    """Whatever the order, the pages and the duplicates: the fifty newest are there, the newest first."""
    dice.shuffle(numbers)
    pages = [RunPage.of(map(finished, numbers[start : start + size])) for start in range(0, len(numbers), size)]
    expected = [f"tsk-{number}" for number in sorted(set(numbers), reverse=True)[:LIMIT]]
    recent = RecentRuns()
    for page in pages:
        sighting = NewestRuns(NOW)
        sighting.add(page)
        recent.commit(sighting)
    assert ids(recent) == ids(recent_of(*[RunPage.of([run]) for page in pages for run in page])) == expected


def test_an_active_run_stays_however_old_it_is() -> None:
    """A run that hangs for weeks is shown beside the newest ones, in its place at the end, until it has ended."""
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


def test_the_last_word_on_a_run_counts() -> None:
    """A later page or poll replaces what an earlier one said; a run that Glue denies leaves."""
    running = finished(1, status="RUNNING", completed=None)
    recent = recent_of(
        RunPage.of([running]), RunPage.of([finished(1, status="FAILED", error="no")]), RunPage.of([running])
    )
    assert [(one.run.status, one.run.error) for one in recent.runs] == [("FAILED", "no")]
    recent.commit(NewestRuns(NOW), missing=[running])
    assert recent.runs == ()


def test_what_is_kept_has_a_limit() -> None:
    """Error strings and every other text are cut, and times that cannot be true are left out."""
    huge = finished(1, error="e" * 10_000, log_group="/" * 10_000, completed=NOW + 1e6)
    kept = recent_of(RunPage.of([huge], lambda _: Properties(job_name="n" * 10_000, replace=False))).runs[0]
    assert kept.run.error == "e" * (LONGEST_ERROR - 1) + "…"
    assert kept.run.completed is None
    assert (len(kept.run.log_group or ""), len(kept.properties.job_name or "")) == (LONGEST_TEXT, LONGEST_TEXT)
    assert kept.properties.replace is False


def test_nothing_is_kept_for_nobody() -> None:
    """Where there are no pages, a reading keeps no runs and takes away those that are there."""
    recent = recent_of(RunPage.of(map(finished, range(10))))
    sighting = NewestRuns(NOW, 0)
    sighting.add(RunPage.of(map(finished, range(10, 20))))
    recent.commit(sighting)
    assert recent.runs == ()


def test_properties_of_every_task_type() -> None:
    """S3 paths and job ids are read, by our parser and behind botocore's; what has another shape is left out."""
    told: list[tuple[dict[str, Any] | None, Properties]] = [
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
    runs = [{"TaskRunId": f"tsk-{number}", "Properties": its} for number, (its, _) in enumerate(told)]
    answer = {"TaskRuns": runs}
    for page, _ in (decode_page(json.dumps(answer).encode()), decode_page(encode_answer(answer))):
        assert [page.properties_of(position) for position in range(len(page))] == [its for _, its in told]


def test_a_restart_brings_the_newest_runs_back_at_no_extra_call() -> None:
    """The first poll over a restored ledger begins where the newest known runs do: one page, as without."""
    world = World(now=NOW)
    for number in range(200):
        world.add(Run(f"tsk-{number}", NOW - 200_000 + number * 900, NOW - 200_000 + number * 900 + 60))
    before = watch_of(Ledger((1.0,)))
    poll(before, world)
    assert [one.run.run_id for one in before.recent.runs] == [f"tsk-{number}" for number in range(199, 149, -1)]
    world.calls.clear()
    poll(before, world)
    assert world.calls == ["GetMLTaskRuns"]
    restarted = watch_of(restored(before.ledger))
    world.calls.clear()
    poll(restarted, world)
    assert world.calls == ["GetMLTaskRuns"]
    assert restarted.recent.runs == before.recent.runs
    assert not any(restarted.ledger.totals.values())


def watch_of(ledger: Ledger) -> MonitoredTransform:
    return MonitoredTransform(
        Target("tfm-a", Lane("default", "eu-west-1")), ledger, InitialValues(scrapes=0, timeout=0.0, created_at=NOW)
    )


def poll(watch: MonitoredTransform, world: Any) -> None:
    watch.read(world, POLLING, world.now, lambda: None)


def restored(ledger: Ledger) -> Ledger:
    return Ledger.restore(
        ledger.bounds,
        floor=ledger.floor,
        baseline_end=ledger.baseline_end,
        watermark=ledger.watermark,
        foreign=[],
        latest=ledger.latest,
        open_runs=[],
        missing=[],
        finished=sorted(ledger.finished.entries.items(), key=lambda item: item[1]),
    )
