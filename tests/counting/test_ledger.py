"""The ledger decides at each poll which runs count, which are baseline, and which runs it forgets."""

import pytest

from exporter.counting.counters import Count, Series
from exporter.counting.ledger import Changes, Ledger
from exporter.counting.reading import Reading
from exporter.counting.run_kinds import MAX_FOREIGN_KINDS
from exporter.model.failure_reasons import LONGEST_ERROR
from exporter.model.task_run import TaskRun
from tests.counting.world import BOUNDS, DAY, HOUR, MINUTE, NOW, Exporter, Run, World, configuration

LOOKBACK = 30 * DAY
SUCCESS = ("FIND_MATCHES", "SUCCEEDED")
FAILURE = ("FIND_MATCHES", "FAILED")


@pytest.fixture
def world() -> World:
    """A world without runs."""
    return World()


@pytest.fixture
def ledger() -> Ledger:
    """A ledger after a first poll that listed no run."""
    ledger = Ledger(BOUNDS)
    read(ledger, now=NOW)
    return ledger


def read(ledger: Ledger, *runs: TaskRun, now: float = NOW + 60) -> Changes:
    """Poll the whole lookback of a Glue that has only these runs. The transform is watched since the first poll."""
    if not ledger.has_baseline:
        ledger.watched_since = now
    reading = Reading(ledger, now=now, since=now - LOOKBACK, cutoff=now - LOOKBACK)
    for run in runs:
        reading.add(run)
    for run_id in reading.unlisted():
        reading.record_missing(run_id)
    return ledger.commit(reading)


def a_run(
    run_id: str = "tsk-1",
    status: str = "SUCCEEDED",
    started: float | None = NOW + 10,
    completed: float | None = NOW + 30,
    execution: float | None = 15.0,
    *,
    task_type: str = "FIND_MATCHES",
) -> TaskRun:
    """Return a run that, by default, started and ended after the first poll."""
    return TaskRun(run_id, task_type, status, started, completed, execution)


def running(run_id: str = "tsk-1", started: float | None = NOW + 10) -> TaskRun:
    """Return a run that has not ended."""
    return TaskRun(run_id, "FIND_MATCHES", "RUNNING", started)


def counted(ledger: Ledger, family: str = "finished") -> dict[tuple[str, str], int]:
    """Return the counters of a family by type and status."""
    return {
        (s.task_type, s.status): t.value for s, t in ledger.totals.items() if s.family == family and hasattr(t, "value")
    }


def gauge(ledger: Ledger, now: float = NOW + 60) -> dict[tuple[str, str], int]:
    """Return the gauge of runs by type and status, without the zeros."""
    return {run_kind: count for run_kind, count in ledger.gauge_values(now - LOOKBACK).runs.items() if count}


# -- new runs and the baseline -----------------------------------------------------------------------------------------


def test_a_run_that_has_ended_at_the_first_poll_is_baseline() -> None:
    """Ended runs of the first poll change no counter, and appear in the gauges."""
    ledger = Ledger(BOUNDS)
    changes = read(ledger, a_run("tsk-1", "FAILED", NOW - 60, NOW - 30), now=NOW)
    assert (ledger.totals, changes.finished) == ({}, ())
    assert gauge(ledger) == {FAILURE: 1}
    assert ledger.latest["FIND_MATCHES"].failed == NOW - 30


def test_a_run_that_is_open_at_the_first_poll_counts_when_it_ends() -> None:
    """A run that is open at the first poll counts one finish and no start."""
    ledger = Ledger(BOUNDS)
    read(ledger, running(started=NOW - 60), now=NOW)
    read(ledger, a_run(started=NOW - 60))
    assert (counted(ledger, "started"), counted(ledger)) == ({}, {SUCCESS: 1})


def test_a_run_counts_once_when_it_starts_and_once_when_it_ends(ledger: Ledger) -> None:
    """A run that is open in several polls and final in a later poll counts one start and one finish."""
    for run in (running(), running(), a_run(), a_run()):
        read(ledger, run)
    assert (counted(ledger, "started"), counted(ledger)) == ({("FIND_MATCHES", ""): 1}, {SUCCESS: 1})


def test_a_run_that_starts_and_ends_between_two_polls_counts(ledger: Ledger) -> None:
    """A new run that has ended when it is first seen counts one start and one finish."""
    changes = read(ledger, a_run())
    assert [run.run_id for run in changes.started] == [run.run_id for run in changes.finished] == ["tsk-1"]


def test_both_histograms_observe_a_run_once(ledger: Ledger) -> None:
    """ExecutionTime and the time from start to end are observed once, when the finish counts."""
    read(ledger, a_run(completed=NOW + 310))
    read(ledger, a_run(completed=NOW + 310))
    execution, duration = (ledger.totals[Series(family, *SUCCESS)] for family in ("execution", "duration"))
    assert (execution.counts, execution.sum) == ((1, 0, 0), 15.0)  # type: ignore[union-attr] # a histogram
    assert (duration.counts, duration.sum) == ((0, 1, 0), 300.0)  # type: ignore[union-attr] # a histogram


def test_a_run_without_execution_time_is_missing_from_the_execution_histogram_only(ledger: Ledger) -> None:
    """A run without ExecutionTime counts its start, finish and duration."""
    read(ledger, a_run(execution=None))
    assert {series.family for series in ledger.totals} == {"started", "finished", "duration"}


def test_a_reading_that_is_not_committed_leaves_no_trace(ledger: Ledger) -> None:
    """A poll that fails before its end changes nothing in the ledger."""
    reading = Reading(ledger, now=NOW + 60, since=NOW - LOOKBACK, cutoff=NOW - LOOKBACK)
    reading.add(a_run())
    assert (ledger.totals, ledger.finished.entries, ledger.open, ledger.watermark) == ({}, {}, {}, None)


def test_a_poll_of_known_runs_has_no_changes(ledger: Ledger) -> None:
    """A poll that lists only runs in known states has no changes to store."""
    read(ledger, a_run(), running("tsk-2"))
    assert not read(ledger, a_run(), running("tsk-2"))


# -- runs with odd data -----------------------------------------------------------------------------------------------


def test_another_final_status_is_logged_and_not_counted(ledger: Ledger) -> None:
    """A finished run with another final status keeps its count, gets the new status in the gauge and is logged once."""
    read(ledger, a_run(status="SUCCEEDED"))
    changes = read(ledger, a_run(status="FAILED"))
    assert [(run.status, before) for run, before in changes.status_changed] == [("FAILED", "SUCCEEDED")]
    assert (counted(ledger), gauge(ledger)) == ({SUCCESS: 1}, {FAILURE: 1})
    assert not read(ledger, a_run(status="FAILED")).status_changed


def test_a_run_that_runs_again_after_its_end_counts_once(ledger: Ledger) -> None:
    """If a later poll shows a finished run as RUNNING, the gauge says RUNNING, but its second end does not count."""
    read(ledger, a_run())
    assert [before for _, before in read(ledger, running()).status_changed] == ["SUCCEEDED"]
    assert gauge(ledger) == {("FIND_MATCHES", "RUNNING"): 1}
    read(ledger, a_run())
    assert (counted(ledger), gauge(ledger)) == ({SUCCESS: 1}, {SUCCESS: 1})


def test_an_open_state_after_the_end_is_ignored_within_one_poll(ledger: Ledger) -> None:
    """If one poll shows a run final and then open, the open state is out of date, so the run has ended."""
    read(ledger, a_run(), running())
    assert (counted(ledger), gauge(ledger), ledger.open) == ({SUCCESS: 1}, {SUCCESS: 1}, {})


def test_a_run_that_ends_during_a_poll_counts_once(ledger: Ledger) -> None:
    """A run that one poll shows open and then final counts one start and one finish."""
    read(ledger, running(), a_run())
    assert (counted(ledger, "started"), counted(ledger)) == ({("FIND_MATCHES", ""): 1}, {SUCCESS: 1})


@pytest.mark.parametrize("back", [running(), a_run()], ids=["running", "finished"])
def test_a_run_that_disappears_and_comes_back_counts_once(ledger: Ledger, back: TaskRun) -> None:
    """An open run that Glue no longer knows is removed from the gauges; if the run returns, it counts once."""
    read(ledger, running())
    assert [run.run_id for run in read(ledger).missing] == ["tsk-1"]
    assert gauge(ledger) == {}
    read(ledger, back)
    read(ledger, a_run())
    read(ledger, a_run())
    assert (counted(ledger, "started"), counted(ledger)) == ({("FIND_MATCHES", ""): 1}, {SUCCESS: 1})


@pytest.mark.parametrize("started", [None, -5.0, 0.0, NOW + 40 * DAY, 4e9, 1e15, float("inf"), float("nan")])
def test_a_run_with_an_impossible_start_counts_once(ledger: Ledger, started: float | None) -> None:
    """A run whose start is missing, before 1970 or in the future counts, and only its duration is not observed."""
    for _ in range(3):
        read(ledger, a_run(started=started))
    assert (counted(ledger), gauge(ledger)) == ({SUCCESS: 1}, {SUCCESS: 1})
    assert {series.family for series in ledger.totals} == {"started", "finished", "execution"}
    assert ledger.latest["FIND_MATCHES"].start is None


@pytest.mark.parametrize("completed", [None, -5.0, 4e9, NOW])
def test_a_run_with_an_impossible_end_counts_once(ledger: Ledger, completed: float | None) -> None:
    """A run whose end is missing, in the future or before its start counts, and only its duration is not observed."""
    for _ in range(3):
        read(ledger, a_run(completed=completed))
    assert counted(ledger) == {SUCCESS: 1}
    assert {series.family for series in ledger.totals} == {"started", "finished", "execution"}


def test_a_start_in_the_future_does_not_move_the_watermark_past_the_clock(ledger: Ledger) -> None:
    """A start in the future moves the watermark only to the host's clock, so the next poll misses no run."""
    read(ledger, a_run(started=NOW + 660))
    assert ledger.watermark == NOW + 60


def test_an_undocumented_status_with_an_impossible_end_is_final(ledger: Ledger) -> None:
    """A run in an undocumented status has ended if it has any CompletedOn."""
    read(ledger, a_run(status="EXPLODED", completed=4e9))
    assert counted(ledger) == {("FIND_MATCHES", "EXPLODED"): 1}


# -- undocumented types and statuses ----------------------------------------------------------------------------------


def test_an_undocumented_type_and_status_keep_their_names(ledger: Ledger) -> None:
    """A run of an undocumented type and status counts under these names."""
    read(ledger, a_run(task_type="DEDUPE", status="EXPLODED"))
    assert counted(ledger) == gauge(ledger) == {("DEDUPE", "EXPLODED"): 1}


def test_the_number_of_undocumented_kinds_is_bounded(ledger: Ledger) -> None:
    """After `MAX_FOREIGN_KINDS` undocumented pairs the others share OTHER, and every run still counts."""
    runs = [a_run(f"tsk-{n}", task_type=f"T{n}", status=f"S{n}") for n in range(MAX_FOREIGN_KINDS)]
    late = [a_run("tsk-a", task_type="NEW", status="NEW"), a_run("tsk-b", task_type="NEWER", status="FAILED")]
    known = a_run("tsk-c", task_type="EVALUATION", status="NEW")
    read(ledger, *runs, *late, known)
    totals = counted(ledger)
    assert sum(totals.values()) == MAX_FOREIGN_KINDS + 3
    shared = {run_kind: count for run_kind, count in totals.items() if "OTHER" in run_kind}
    assert shared == {("OTHER", "OTHER"): 1, ("OTHER", "FAILED"): 1, ("EVALUATION", "OTHER"): 1}


# -- forgetting -------------------------------------------------------------------------------------------------------


def test_a_finished_run_is_forgotten_after_the_lookback_and_never_counted_again(ledger: Ledger) -> None:
    """A run older than the lookback is removed from gauge and memory; if a poll lists it again, it is baseline."""
    read(ledger, a_run())
    late = NOW + LOOKBACK + HOUR
    read(ledger, now=late)
    assert (ledger.tracked, gauge(ledger, late)) == (0, {})
    read(ledger, a_run(), now=late)
    assert counted(ledger) == {SUCCESS: 1}


def test_an_open_run_is_never_forgotten(ledger: Ledger) -> None:
    """A run that is open longer than the lookback is not in the gauge, but still counts when it ends."""
    read(ledger, running())
    late = NOW + 2 * LOOKBACK
    read(ledger, running(), now=late)
    gauges = ledger.gauge_values(late - LOOKBACK)
    assert (sum(gauges.runs.values()), gauges.oldest_active) == (0, {"FIND_MATCHES": NOW + 10})
    read(ledger, a_run(completed=late), now=late + 60)
    assert (counted(ledger), ledger.tracked) == ({SUCCESS: 1}, 0)


@pytest.mark.parametrize("order", [1, -1])
def test_runs_are_forgotten_by_age_in_any_order_of_the_listing(ledger: Ledger, order: int) -> None:
    """Runs are forgotten in the order of their starts, also if the listing is in descending order."""
    runs = [a_run(f"tsk-{n}", started=NOW + n) for n in range(10)][::order]
    read(ledger, *runs[:5])
    read(ledger, *runs[5:])
    read(ledger, now=NOW + LOOKBACK + 4)
    assert gauge(ledger, NOW + LOOKBACK + 4) == {SUCCESS: 6}


# -- calls to Glue ----------------------------------------------------------------------------------------------------


def test_a_poll_without_old_open_runs_takes_one_call(world: World) -> None:
    """A poll without old open runs lists one page and looks up no single run."""
    for number in range(50):
        world.add(Run(f"tsk-{number}", world.now - number * HOUR, world.now - number * HOUR + 60))
    exporter = Exporter(world, configuration("tfm-a"))
    exporter.poll()
    for _ in range(5):
        world.now += 60
        exporter.poll()
        assert world.calls == ["GetMLTaskRuns"]


def test_one_hung_run_takes_one_more_call(world: World) -> None:
    """A hung run with many later runs is looked up by its id, because a listing from its start takes more pages."""
    hung = world.add(Run("tsk-hung", world.now - 10 * DAY, world.now + 5 * MINUTE))
    for number in range(1, 51):
        world.add(Run(f"tsk-{number}", world.now - number * 1800, world.now - number * 1800))
    exporter = Exporter(world, configuration("tfm-a", page_size=10))
    exporter.poll()
    world.now += 60
    exporter.poll()
    assert world.calls == ["GetMLTaskRuns", "GetMLTaskRun"]
    world.now = hung.ends
    exporter.poll()
    assert exporter.totals() == {SUCCESS: 1}


def test_many_hung_runs_on_one_page_are_listed_together(world: World) -> None:
    """If one page can contain all open runs, the poll lists this page and looks up no single run."""
    for number in range(20):
        world.add(Run(f"tsk-{number}", world.now - HOUR - number, world.now + DAY))
    exporter = Exporter(world, configuration("tfm-a"))
    exporter.poll()
    world.now += 60
    world.add(Run("tsk-new", world.now, world.now))
    exporter.poll()
    world.now += 60
    exporter.poll()
    assert world.calls == ["GetMLTaskRuns"]


def test_a_run_that_appears_within_the_overlap_counts_at_the_next_poll(world: World) -> None:
    """A run that Glue lists late by less than the overlap counts at the next poll, before the next full listing."""
    exporter = Exporter(world, configuration("tfm-a", overlap=15 * MINUTE))
    exporter.poll()
    world.now += HOUR
    world.add(Run("tsk-1", world.now, world.now))
    exporter.poll()
    world.add(Run("tsk-late", world.now - 14 * MINUTE, world.now - 13 * MINUTE, status="FAILED"))
    world.now += 60
    exporter.poll()
    assert exporter.totals() == {SUCCESS: 1, FAILURE: 1}


def test_a_run_that_appears_after_the_overlap_counts_at_the_next_full_listing(world: World) -> None:
    """A run that Glue lists late by more than the overlap counts when a poll lists the whole lookback again."""
    exporter = Exporter(world, configuration("tfm-a", overlap=15 * MINUTE, resync_interval=6 * HOUR))
    exporter.poll()
    world.now += HOUR
    world.add(Run("tsk-1", world.now, world.now))
    exporter.poll()
    world.add(Run("tsk-late", world.now - 40 * MINUTE, world.now - 30 * MINUTE, status="FAILED"))
    world.now += 60
    exporter.poll()
    assert exporter.totals() == {SUCCESS: 1}
    world.now += 6 * HOUR
    exporter.poll()
    assert exporter.totals() == {SUCCESS: 1, FAILURE: 1}


def test_a_longer_lookback_shows_more_and_recounts_nothing(world: World) -> None:
    """After a reload with a longer lookback the next poll lists all of it, and its older runs are baseline."""
    world.add(Run("tsk-0", world.now - 5 * HOUR, world.now - 4 * HOUR))
    exporter = Exporter(world, configuration("tfm-a", lookback=3 * HOUR))
    exporter.poll()
    assert sum(exporter.scrape().of("glue_ml_task_runs").values()) == 0
    exporter.reload(configuration("tfm-a", lookback=6 * HOUR))
    world.now += 60
    exporter.poll()
    assert sum(exporter.scrape().of("glue_ml_task_runs").values()) == 1
    assert exporter.totals() == {}


# -- the host's clock -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("skew", [90 * DAY, DAY, -HOUR, -20 * DAY, -90 * DAY])
def test_a_host_clock_that_jumps_for_one_poll_counts_nothing_twice(world: World, skew: float) -> None:
    """After one poll with a wrong clock every run counts exactly once, and the gauge is right."""
    exporter = Exporter(world, configuration("tfm-a", lookback=LOOKBACK))
    world.add(Run("tsk-history", world.now - 20 * DAY, world.now - 20 * DAY))
    exporter.poll()
    world.add(Run("tsk-before", world.now, world.now + 30))
    world.add(Run("tsk-over", world.now + 10, world.now + 90))
    world.now += 60
    exporter.poll()
    world.now += 60
    world.skew = skew
    exporter.poll()
    world.skew = 0.0
    for _ in range(15):
        world.now += 6 * HOUR
        world.add(Run(f"tsk-{world.now}", world.now, world.now))
        exporter.poll()
    assert exporter.totals() == {SUCCESS: 17}
    assert exporter.scrape().of("glue_ml_task_runs")["SUCCEEDED", "FIND_MATCHES"] == 18
    world.now += 31 * DAY
    exporter.poll()
    assert exporter.totals() == {SUCCESS: 17}


def test_a_host_clock_that_was_slow_at_the_first_poll_recounts_nothing(world: World) -> None:
    """Runs that ended before the first poll stay baseline, also if a slow clock placed them in the future."""
    world.add(Run("tsk-0", world.now - HOUR, world.now - HOUR))
    exporter = Exporter(world, configuration("tfm-a", lookback=LOOKBACK))
    world.skew = -20 * DAY
    exporter.poll()
    world.skew = 0.0
    for _ in range(12):
        exporter.poll()
        world.now += DAY
    assert exporter.totals() == {}
    assert exporter.scrape().of("glue_ml_task_runs")["SUCCEEDED", "FIND_MATCHES"] == 1


def test_a_forgotten_run_does_not_count_again_under_a_slow_clock(world: World) -> None:
    """If the clock is set back by more than the lookback, a poll lists forgotten runs, which do not count again."""
    exporter = Exporter(world, configuration("tfm-a", lookback=3 * HOUR))
    exporter.poll()
    world.add(Run("tsk-0", world.now, world.now))
    exporter.poll()
    world.now += 5 * HOUR
    exporter.poll()
    world.skew = -DAY
    exporter.poll()
    assert exporter.totals() == {SUCCESS: 1}


# -- latest runs and buckets ------------------------------------------------------------------------------------------


def test_each_latest_value_is_from_the_newest_run_of_its_kind(ledger: Ledger) -> None:
    """Start and status come from the run that started last; end times and execution come from runs that ended last."""
    first = a_run("tsk-1", "FAILED", NOW + 1, NOW + 20, 7.0)
    second = a_run("tsk-2", "SUCCEEDED", NOW + 2, NOW + 10, 8.0)
    third = a_run("tsk-3", "TIMEOUT", NOW + 3, NOW + 15, 9.0)
    for runs in ((third, first), (second,)):
        read(ledger, *runs)
    latest = ledger.latest["FIND_MATCHES"]
    assert (latest.start, latest.status) == (NOW + 3, "TIMEOUT")
    assert (latest.success, latest.failed, latest.timeout) == (NOW + 10, NOW + 20, NOW + 15)
    assert (latest.finish, latest.execution) == (NOW + 20, 7.0)


def test_a_change_of_buckets_restarts_only_the_histograms(ledger: Ledger) -> None:
    """After a change of the buckets the histograms start at 0, and the counters keep their values."""
    read(ledger, a_run())
    ledger.change_buckets((1.0,))
    assert {series.family for series in ledger.totals} == {"started", "finished"}
    read(ledger, a_run("tsk-2", completed=NOW + 40))
    assert ledger.totals[Series("finished", *SUCCESS)].__class__ is Count
    assert counted(ledger) == {SUCCESS: 2}


def test_the_ledger_keeps_the_error_of_the_last_failure(ledger: Ledger) -> None:
    """The ErrorString of the run that failed last is kept, cut, and follows a text that comes later."""
    failed = a_run("tsk-1", "FAILED", completed=NOW + 30)
    read(ledger, failed)
    assert ledger.latest["FIND_MATCHES"].failed_error is None
    read(ledger, failed._replace(error="Access Denied"))
    read(ledger, a_run("tsk-0", "FAILED", completed=NOW + 20)._replace(error="an older failure"))
    assert ledger.latest["FIND_MATCHES"].failed_error == "Access Denied"
    read(ledger, a_run("tsk-2", "FAILED", completed=NOW + 40)._replace(error="x" * 5000))
    read(ledger, a_run("tsk-3", "TIMEOUT", completed=NOW + 50)._replace(error="too long"))
    latest = ledger.latest["FIND_MATCHES"]
    assert latest.failed_error == "x" * LONGEST_ERROR
    assert latest.timeout_error == "too long"
