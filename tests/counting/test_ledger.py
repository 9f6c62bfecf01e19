"""The ledger, poll by poll: what is news, what is history, what is asked for, and what is forgotten."""

import pytest

from exporter.counting.counters import Count, Series
from exporter.counting.ledger import Changes, Ledger
from exporter.counting.reading import Reading
from exporter.counting.run_kinds import MAX_FOREIGN_KINDS
from exporter.model.task_run import TaskRun
from tests.counting.world import BOUNDS, DAY, HOUR, MINUTE, NOW, Exporter, Run, World, configuration

LOOKBACK = 30 * DAY
SUCCESS = ("FIND_MATCHES", "SUCCEEDED")
FAILURE = ("FIND_MATCHES", "FAILED")


@pytest.fixture
def world() -> World:
    """A world in which nothing has happened yet."""
    return World()


@pytest.fixture
def ledger() -> Ledger:
    """A ledger after a first poll that has shown nothing."""
    ledger = Ledger(BOUNDS)
    read(ledger, now=NOW)
    return ledger


def read(ledger: Ledger, *runs: TaskRun, now: float = NOW + 60) -> Changes:
    """Let one poll of the whole lookback bring these runs."""
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
    """Give a run that has started and ended since the first poll, if not told otherwise."""
    return TaskRun(run_id, task_type, status, started, completed, execution)


def running(run_id: str = "tsk-1", started: float | None = NOW + 10) -> TaskRun:
    """Give a run that goes on."""
    return TaskRun(run_id, "FIND_MATCHES", "RUNNING", started)


def counted(ledger: Ledger, family: str = "finished") -> dict[tuple[str, str], int]:
    """Give a family of counters by type and status."""
    return {
        (s.task_type, s.status): t.value for s, t in ledger.totals.items() if s.family == family and hasattr(t, "value")
    }


def gauge(ledger: Ledger, now: float = NOW + 60) -> dict[tuple[str, str], int]:
    """Give the gauge of runs by type and status, without its zeros."""
    return {run_kind: count for run_kind, count in ledger.gauge_values(now - LOOKBACK).runs.items() if count}


# -- news and history -------------------------------------------------------------------------------------------------


def test_what_is_final_at_the_first_poll_is_history() -> None:
    """The runs of the first poll move no counter, and show in the gauges and times."""
    ledger = Ledger(BOUNDS)
    changes = read(ledger, a_run("tsk-1", "FAILED", NOW - 60, NOW - 30), now=NOW)
    assert (ledger.totals, changes.finished) == ({}, ())
    assert gauge(ledger) == {FAILURE: 1}
    assert ledger.latest["FIND_MATCHES"].failed == NOW - 30


def test_what_is_open_at_the_first_poll_counts_when_it_ends() -> None:
    """A run that was open at the first poll was not seen to start, and is seen to finish."""
    ledger = Ledger(BOUNDS)
    read(ledger, running(started=NOW - 60), now=NOW)
    read(ledger, a_run(started=NOW - 60))
    assert (counted(ledger, "started"), counted(ledger)) == ({}, {SUCCESS: 1})


def test_a_run_counts_once_when_it_starts_and_once_when_it_ends(ledger: Ledger) -> None:
    """However often a run is seen, it has one start and one end."""
    for run in (running(), running(), a_run(), a_run()):
        read(ledger, run)
    assert (counted(ledger, "started"), counted(ledger)) == ({("FIND_MATCHES", ""): 1}, {SUCCESS: 1})


def test_a_run_that_came_and_went_between_two_polls_counts(ledger: Ledger) -> None:
    """A run that is final when it is first seen has started and finished."""
    changes = read(ledger, a_run())
    assert [run.run_id for run in changes.started] == [run.run_id for run in changes.finished] == ["tsk-1"]


def test_both_histograms_observe_a_run_once(ledger: Ledger) -> None:
    """ExecutionTime and the time from start to end are observed with the finish, and not again."""
    read(ledger, a_run(completed=NOW + 310))
    read(ledger, a_run(completed=NOW + 310))
    execution, duration = (ledger.totals[Series(family, *SUCCESS)] for family in ("execution", "duration"))
    assert (execution.counts, execution.sum) == ((1, 0, 0), 15.0)  # type: ignore[union-attr] # a histogram
    assert (duration.counts, duration.sum) == ((0, 1, 0), 300.0)  # type: ignore[union-attr] # a histogram


def test_a_run_without_execution_time_counts_without_being_observed(ledger: Ledger) -> None:
    """What Glue does not tell is missing from its histogram alone."""
    read(ledger, a_run(execution=None))
    assert {series.family for series in ledger.totals} == {"started", "finished", "duration"}


def test_a_reading_that_is_not_committed_leaves_no_trace(ledger: Ledger) -> None:
    """A poll that fails half-way has counted, remembered and forgotten nothing."""
    reading = Reading(ledger, now=NOW + 60, since=NOW - LOOKBACK, cutoff=NOW - LOOKBACK)
    reading.add(a_run())
    assert (ledger.totals, ledger.finished.entries, ledger.open, ledger.watermark) == ({}, {}, {}, None)


def test_a_poll_that_brings_nothing_changes_nothing(ledger: Ledger) -> None:
    """There is nothing to store of a poll that shows what is known."""
    read(ledger, a_run(), running("tsk-2"))
    assert not read(ledger, a_run(), running("tsk-2"))


# -- runs that behave oddly -------------------------------------------------------------------------------------------


def test_another_final_status_is_told_and_not_counted(ledger: Ledger) -> None:
    """A run that changes its status after a final one keeps its count, moves in the gauge, and is logged."""
    read(ledger, a_run(status="SUCCEEDED"))
    changes = read(ledger, a_run(status="FAILED"))
    assert [(run.status, before) for run, before in changes.status_changed] == [("FAILED", "SUCCEEDED")]
    assert (counted(ledger), gauge(ledger)) == ({SUCCESS: 1}, {FAILURE: 1})
    assert not read(ledger, a_run(status="FAILED")).status_changed


def test_a_run_that_goes_on_after_its_end_ends_once(ledger: Ledger) -> None:
    """A finished run that says RUNNING again is shown so, and its second end is not counted."""
    read(ledger, a_run())
    assert [before for _, before in read(ledger, running()).status_changed] == ["SUCCEEDED"]
    assert gauge(ledger) == {("FIND_MATCHES", "RUNNING"): 1}
    read(ledger, a_run())
    assert (counted(ledger), gauge(ledger)) == ({SUCCESS: 1}, {SUCCESS: 1})


def test_pages_that_show_a_run_open_after_its_end_are_not_believed(ledger: Ledger) -> None:
    """Within one poll a run that has ended does not run again."""
    read(ledger, a_run(), running())
    assert (counted(ledger), gauge(ledger), ledger.open) == ({SUCCESS: 1}, {SUCCESS: 1}, {})


def test_a_run_that_ends_while_it_is_read_counts_once(ledger: Ledger) -> None:
    """Within one poll a run may be seen open and then final: one start, one end."""
    read(ledger, running(), a_run())
    assert (counted(ledger, "started"), counted(ledger)) == ({("FIND_MATCHES", ""): 1}, {SUCCESS: 1})


@pytest.mark.parametrize("back", [running(), a_run()], ids=["running", "finished"])
def test_a_run_that_disappears_and_comes_back_counts_once(ledger: Ledger, back: TaskRun) -> None:
    """An open run that Glue denies leaves the gauges; whether it comes back open or ended, it has one end."""
    read(ledger, running())
    assert [run.run_id for run in read(ledger).missing] == ["tsk-1"]
    assert gauge(ledger) == {}
    read(ledger, back)
    read(ledger, a_run())
    read(ledger, a_run())
    assert (counted(ledger, "started"), counted(ledger)) == ({("FIND_MATCHES", ""): 1}, {SUCCESS: 1})


@pytest.mark.parametrize("started", [None, -5.0, 0.0, NOW + 40 * DAY, 4e9, 1e15, float("inf"), float("nan")])
def test_a_run_with_a_start_that_cannot_be_counts_once(ledger: Ledger, started: float | None) -> None:
    """A start that is missing, before 1970 or in the future costs the duration and nothing else."""
    for _ in range(3):
        read(ledger, a_run(started=started))
    assert (counted(ledger), gauge(ledger)) == ({SUCCESS: 1}, {SUCCESS: 1})
    assert {series.family for series in ledger.totals} == {"started", "finished", "execution"}
    assert ledger.latest["FIND_MATCHES"].start is None


@pytest.mark.parametrize("completed", [None, -5.0, 4e9, NOW])
def test_a_run_with_an_end_that_cannot_be_counts_once(ledger: Ledger, completed: float | None) -> None:
    """An end that is missing, before 1970, in the future or before the start costs the duration and nothing else."""
    for _ in range(3):
        read(ledger, a_run(completed=completed))
    assert counted(ledger) == {SUCCESS: 1}
    assert {series.family for series in ledger.totals} == {"started", "finished", "execution"}


def test_a_start_in_the_future_does_not_carry_the_watermark_along(ledger: Ledger) -> None:
    """The next poll begins no later because one run says that it starts ahead of our clock."""
    read(ledger, a_run(started=NOW + 660))
    assert ledger.watermark == NOW + 60


def test_a_new_status_is_final_with_an_end_that_cannot_be_believed(ledger: Ledger) -> None:
    """A run in a status that nobody knows has ended as soon as there is any CompletedOn."""
    read(ledger, a_run(status="EXPLODED", completed=4e9))
    assert counted(ledger) == {("FIND_MATCHES", "EXPLODED"): 1}


# -- what Glue adds later ---------------------------------------------------------------------------------------------


def test_a_new_type_and_status_pass_through(ledger: Ledger) -> None:
    """What the documentation does not know is counted under its own name."""
    read(ledger, a_run(task_type="DEDUPE", status="EXPLODED"))
    assert counted(ledger) == gauge(ledger) == {("DEDUPE", "EXPLODED"): 1}


def test_new_names_are_bounded(ledger: Ledger) -> None:
    """Beyond so many unknown pairs the rest share OTHER, so labels cannot grow without end; every run still counts."""
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
    """A run leaves gauge and memory with the lookback, and is history if some poll shows it once more."""
    read(ledger, a_run())
    late = NOW + LOOKBACK + HOUR
    read(ledger, now=late)
    assert (ledger.tracked, gauge(ledger, late)) == (0, {})
    read(ledger, a_run(), now=late)
    assert counted(ledger) == {SUCCESS: 1}


def test_an_open_run_is_never_forgotten(ledger: Ledger) -> None:
    """A run that hangs for longer than the lookback leaves the gauge, and still counts when it ends."""
    read(ledger, running())
    late = NOW + 2 * LOOKBACK
    read(ledger, running(), now=late)
    view = ledger.gauge_values(late - LOOKBACK)
    assert (sum(view.runs.values()), view.oldest_active) == (0, {"FIND_MATCHES": NOW + 10})
    read(ledger, a_run(completed=late), now=late + 60)
    assert (counted(ledger), ledger.tracked) == ({SUCCESS: 1}, 0)


@pytest.mark.parametrize("order", [1, -1])
def test_runs_are_forgotten_by_age_in_whatever_order_they_came(ledger: Ledger, order: int) -> None:
    """A server that ignores the sort order makes no run stay longer or leave earlier."""
    runs = [a_run(f"tsk-{n}", started=NOW + n) for n in range(10)][::order]
    read(ledger, *runs[:5])
    read(ledger, *runs[5:])
    read(ledger, now=NOW + LOOKBACK + 4)
    assert gauge(ledger, NOW + LOOKBACK + 4) == {SUCCESS: 6}


# -- what is asked for ------------------------------------------------------------------------------------------------


def test_a_steady_poll_is_one_call(world: World) -> None:
    """With nothing open but what is recent, a poll lists once and asks for nothing else."""
    for number in range(50):
        world.add(Run(f"tsk-{number}", world.now - number * HOUR, world.now - number * HOUR + 60))
    exporter = Exporter(world, configuration("tfm-a"))
    exporter.poll()
    for _ in range(5):
        world.now += 60
        exporter.poll()
        assert world.calls == ["GetMLTaskRuns"]


def test_one_hung_run_costs_one_call(world: World) -> None:
    """A run that hangs far behind many finished ones is looked up by itself instead of reading back to it."""
    hung = world.add(Run("tsk-hung", world.now - 10 * DAY, world.now + 5 * MINUTE))
    for number in range(50):
        world.add(Run(f"tsk-{number}", world.now - number * 1800, world.now - number * 1800))
    exporter = Exporter(world, configuration("tfm-a", page_size=10))
    exporter.poll()
    world.now += 60
    exporter.poll()
    assert world.calls == ["GetMLTaskRuns", "GetMLTaskRun"]
    world.now = hung.ends
    exporter.poll()
    assert exporter.totals() == {SUCCESS: 1}


def test_many_hung_runs_close_by_are_read_together(world: World) -> None:
    """Where one page shows all open runs, reading back to them is cheaper than one call for each."""
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


def test_a_run_that_appears_within_the_overlap_is_seen_by_the_next_poll(world: World) -> None:
    """What shows up late by less than the overlap is news with the next poll, not with the next full reading."""
    exporter = Exporter(world, configuration("tfm-a", overlap=15 * MINUTE))
    exporter.poll()
    world.now += HOUR
    world.add(Run("tsk-1", world.now, world.now))
    exporter.poll()
    world.add(Run("tsk-late", world.now - 14 * MINUTE, world.now - 13 * MINUTE, status="FAILED"))
    world.now += 60
    exporter.poll()
    assert exporter.totals() == {SUCCESS: 1, FAILURE: 1}


def test_a_run_that_appears_after_the_overlap_is_seen_by_the_full_reading(world: World) -> None:
    """What shows up later than the overlap counts as soon as the whole lookback is read again."""
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
    """After a reload with a longer lookback the next poll reads all of it, as history."""
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
    """Whatever the clock says for one poll, afterwards every run has been counted once, and the gauge is right."""
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
    """Runs that lay in the future of a slow clock are history for the right one, for ever."""
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


def test_what_was_forgotten_is_not_news_for_a_slow_clock(world: World) -> None:
    """A clock that falls back by more than the lookback shows forgotten runs again, which stay counted once."""
    exporter = Exporter(world, configuration("tfm-a", lookback=3 * HOUR))
    exporter.poll()
    world.add(Run("tsk-0", world.now, world.now))
    exporter.poll()
    world.now += 5 * HOUR
    exporter.poll()
    world.skew = -DAY
    exporter.poll()
    assert exporter.totals() == {SUCCESS: 1}


# -- facts ------------------------------------------------------------------------------------------------------------


def test_the_latest_facts_are_those_of_the_newest_run(ledger: Ledger) -> None:
    """Start, status, success, failure and execution are told of the run that is newest in each respect."""
    first = a_run("tsk-1", "FAILED", NOW + 1, NOW + 20, 7.0)
    second = a_run("tsk-2", "SUCCEEDED", NOW + 2, NOW + 10, 8.0)
    third = a_run("tsk-3", "TIMEOUT", NOW + 3, NOW + 15, 9.0)
    for runs in ((third, first), (second,)):
        read(ledger, *runs)
    facts = ledger.latest["FIND_MATCHES"]
    assert (facts.start, facts.status) == (NOW + 3, "TIMEOUT")
    assert (facts.success, facts.failed, facts.timeout) == (NOW + 10, NOW + 20, NOW + 15)
    assert (facts.finish, facts.execution) == (NOW + 20, 7.0)


def test_other_buckets_leave_the_counters_alone(ledger: Ledger) -> None:
    """When the buckets change the histograms begin anew, and the counts go on."""
    read(ledger, a_run())
    ledger.change_buckets((1.0,))
    assert {series.family for series in ledger.totals} == {"started", "finished"}
    read(ledger, a_run("tsk-2", completed=NOW + 40))
    assert ledger.totals[Series("finished", *SUCCESS)].__class__ is Count
    assert counted(ledger) == {SUCCESS: 2}
