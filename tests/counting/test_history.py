"""A run is history if it completed before the exporter began to look at its transform, whenever Glue shows it."""

from pathlib import Path

import pytest

from exporter.counting.counters import Histogram, Series
from exporter.counting.ledger import Ledger
from exporter.counting.reading import Reading
from exporter.model.task_run import RunPage, TaskRun
from tests.counting.world import BOUNDS, DAY, HOUR, MINUTE, NOW, STARTED, Exporter, Run, World, configuration

FAILURE = ("FIND_MATCHES", "FAILED")


@pytest.fixture
def world() -> World:
    """A world without runs."""
    return World()


def failed(world: World, name: str, ago: float, lasted: float = 1.0) -> Run:
    """Add a run that failed ``ago`` seconds before now."""
    return world.add(Run(name, world.now - ago - lasted, world.now - ago, status="FAILED"))


def thirty_failures(world: World) -> list[Run]:
    """Add thirty failures of the last 25 days."""
    return [failed(world, f"tsk-{number}", number * 0.8 * DAY + 60) for number in range(30)]


# -- answers that lack runs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", [0, 10, 29], ids=["empty", "cut to ten runs", "without the newest run"])
def test_an_incomplete_first_answer_makes_no_history_new(world: World, shown: int) -> None:
    """If the first answer lacks runs, the later answers that have them change the gauges and no counter."""
    runs = thirty_failures(world)
    for run in runs[: len(runs) - shown]:
        run.visible = world.now + 90
    exporter = Exporter(world, configuration("tfm-a"))
    for _ in range(4):
        exporter.poll()
        world.now += 60
    world.now += 7 * HOUR
    exporter.poll()
    assert exporter.totals() == {}
    assert exporter.scrape().of("glue_ml_task_runs")["FAILED", "FIND_MATCHES"] == 30


def test_history_that_is_listed_first_with_a_date_of_yesterday_is_history(world: World) -> None:
    """A Date that is a day too early makes no run of the last day new, and real failures count meanwhile."""
    for number in range(20):
        failed(world, f"tsk-{number}", (number + 1) * HOUR).visible = world.now + 30
    exporter = Exporter(world, configuration("tfm-a"))
    exporter.poll()
    world.now += 60
    world.date_error = -DAY
    exporter.poll()
    assert exporter.totals() == {}
    world.now += HOUR
    failed(world, "tsk-new", 1.0)
    exporter.poll()
    world.date_error = 0.0
    exporter.poll()
    assert exporter.totals() == {FAILURE: 1}
    durations = exporter.monitored_transform("tfm-a").ledger.totals[Series("duration", *FAILURE)]
    assert isinstance(durations, Histogram)
    assert sum(durations.counts) == 1


@pytest.mark.parametrize("time", [None, NOW + 9999 * DAY], ids=["missing", "impossible"])
def test_history_without_times_stays_history_while_it_is_looked_up(time: float | None) -> None:
    """A run that the first poll shows as FAILED without a possible time is not counted by the later polls."""
    ledger = Ledger(BOUNDS)
    ledger.watched_since = NOW
    for now in (NOW + 1, NOW + 61, NOW + 121):
        reading = Reading(ledger, now=now, since=now - DAY, cutoff=now - DAY)
        reading.add_page(RunPage.of([TaskRun("tsk-1", *FAILURE, time, time)]))
        assert ledger.commit(reading).finished == ()


def test_history_that_is_listed_first_after_days_is_history(world: World) -> None:
    """A run that completed before the first poll, and that Glue lists days later, is not counted."""
    exporter = Exporter(world, configuration("tfm-a"))
    late = failed(world, "tsk-late", 10)
    late.visible = world.now + 3 * DAY
    for _ in range(5):
        exporter.poll()
        world.now += DAY
    assert exporter.totals() == {}


def test_a_run_that_a_stale_answer_shows_open_is_history(world: World) -> None:
    """A run that completed before the first poll is history, also if the first answer still shows it as running."""
    run = world.add(Run("tsk-1", world.now - HOUR, world.now + 30, status="FAILED"))
    exporter = Exporter(world, configuration("tfm-a"))
    exporter.poll()
    run.ends = world.now - 10 * MINUTE
    world.now += 60
    exporter.poll()
    assert exporter.totals() == {}
    assert not exporter.monitored_transform("tfm-a").ledger.open


@pytest.mark.parametrize("completed", [None, NOW - 0.5], ids=["without an end", "ended just before"])
@pytest.mark.parametrize("stale_first", [True, False])
@pytest.mark.parametrize("has_baseline", [True, False])
def test_a_run_that_one_poll_shows_open_and_ended_is_history(
    completed: float | None, *, stale_first: bool, has_baseline: bool
) -> None:
    """An old copy of a run in the same poll does not make the end of the run new."""
    ledger = Ledger(BOUNDS)
    ledger.watched_since = NOW
    if has_baseline:
        ledger.commit(Reading(ledger, now=NOW + 1, since=NOW - DAY, cutoff=NOW - DAY))
    pages = [RunPage.of([TaskRun("tsk-1", "FIND_MATCHES", "RUNNING", NOW - HOUR)])]
    pages.insert(1 if stale_first else 0, RunPage.of([TaskRun("tsk-1", *FAILURE, NOW - HOUR, completed)]))
    for now in (NOW + 61, NOW + 121):
        reading = Reading(ledger, now=now, since=now - DAY, cutoff=now - DAY)
        for page in pages:
            reading.add_page(page)
        assert ledger.commit(reading).finished == ()
    assert not ledger.open


def test_a_run_that_ends_while_the_first_poll_reads_counts_once() -> None:
    """A run that the first page shows open and a later page ended counts when its CompletedOn comes."""
    ledger = Ledger(BOUNDS)
    ledger.watched_since = NOW
    running = TaskRun("tsk-1", "FIND_MATCHES", "RUNNING", NOW - HOUR)
    ended = TaskRun("tsk-1", *FAILURE, NOW - HOUR)
    counted = []
    for now, runs in ((NOW + 5, [running, ended]), (NOW + 61, [TaskRun("tsk-1", *FAILURE, NOW - HOUR, NOW + 4)])):
        reading = Reading(ledger, now=now, since=now - DAY, cutoff=now - DAY)
        for run in runs:
            reading.add_page(RunPage.of([run]))
        counted.append(len(ledger.commit(reading).finished))
    assert counted == [0, 1]


def test_a_new_run_that_one_poll_shows_open_and_ended_counts_one_start() -> None:
    """A run that starts and ends while a poll reads the pages counts one start and one end."""
    ledger = Ledger(BOUNDS)
    ledger.watched_since = NOW
    reading = Reading(ledger, now=NOW + 9, since=NOW - DAY, cutoff=NOW - DAY)
    reading.add_page(RunPage.of([TaskRun("tsk-1", "FIND_MATCHES", "RUNNING", NOW + 1)]))
    reading.add_page(RunPage.of([TaskRun("tsk-1", *FAILURE, NOW + 1, NOW + 4)]))
    changes = ledger.commit(reading)
    assert (len(changes.started), len(changes.finished)) == (1, 1)


def test_a_run_that_was_seen_open_counts_if_its_end_is_cut_to_whole_seconds(world: World) -> None:
    """A run that the first poll shows open counts, also if its CompletedOn is cut to the second of that poll."""
    world.now += 0.7
    run = world.add(Run("tsk-1", world.now - HOUR, world.now + 30, status="FAILED"))
    exporter = Exporter(world, configuration("tfm-a"))
    exporter.poll()
    run.ends = NOW
    world.now += 60
    exporter.poll()
    assert exporter.totals() == {FAILURE: 1}


# -- failures between the first attempt and the first good poll -------------------------------------------------------


@pytest.mark.parametrize("answers", [True, False], ids=["denied", "unreachable"])
def test_a_failure_after_the_first_attempt_is_new(world: World, answers: bool) -> None:
    """A run that fails after the first attempted poll counts, although the first good poll comes after its end."""
    failed(world, "tsk-history", 60)
    exporter = Exporter(world, configuration("tfm-a"))
    world.fails_after, world.dated = 0, answers
    for _ in range(3):
        assert not exporter.poll()
        world.now += 60
    failed(world, "tsk-new", 30)
    world.fails_after = None
    exporter.poll()
    assert exporter.totals() == {FAILURE: 1}
    assert exporter.scrape().of("glue_ml_transform_watched_since_timestamp_seconds") == {(): NOW}


def test_the_start_of_a_run_before_the_first_attempt_is_not_counted(world: World) -> None:
    """A run that starts before the first attempted poll and ends after it counts one end and no start."""
    exporter = Exporter(world, configuration("tfm-a"))
    world.add(Run("tsk-1", world.now - 60, world.now + 60, status="FAILED"))
    world.fails_after = 0
    exporter.poll()
    world.fails_after = None
    world.now += 90
    exporter.poll()
    exporter.scrape()
    samples = exporter.scrape()
    assert (samples.finished(), sum(samples.of(STARTED).values())) == ({FAILURE: 1}, 0)


def test_a_run_that_ends_during_the_first_scan_is_new(world: World) -> None:
    """A run that is shown as ended on a late page of a long first scan counts if it ended during the scan."""
    for number in range(20):
        failed(world, f"tsk-{number:02}", (20 - number) * HOUR)
    world.add(Run("tsk-new", world.now - 60, world.now + 5, status="FAILED"))
    world.drift = 1.0
    exporter = Exporter(world, configuration("tfm-a", page_size=1))
    exporter.poll()
    assert exporter.totals() == {FAILURE: 1}


def test_a_page_with_a_new_run_is_read_run_by_run() -> None:
    """A page of the first poll with 999 runs of history and one new run counts the new run."""
    ledger = Ledger(BOUNDS)
    ledger.watched_since = NOW - 10
    ends = [NOW - 1000 + number for number in range(999)]
    runs = [TaskRun(f"tsk-{end}", *FAILURE, end - 1, end) for end in [*ends[:980], *ends[-9:]]]
    reading = Reading(ledger, now=NOW, since=0.0, cutoff=0.0)
    reading.add_page(RunPage.of(runs))
    assert len(ledger.commit(reading).finished) == 9


# -- runs without CompletedOn -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("started", "counts"), [(NOW - 1, 0), (NOW, 1), (NOW + 1, 1)])
def test_a_run_without_an_end_is_judged_by_its_start(started: float, counts: int) -> None:
    """A final run without CompletedOn is new if it started when the exporter looked already."""
    for completed in (None, -5.0, 4e9):
        ledger = Ledger(BOUNDS)
        ledger.watched_since = NOW
        reading = Reading(ledger, now=NOW + 60, since=0.0, cutoff=0.0)
        reading.add(TaskRun("tsk-1", *FAILURE, started, completed))
        assert len(ledger.commit(reading).finished) == counts


# -- clocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("skew", [-DAY, DAY, -30 * DAY, 30 * DAY])
def test_a_host_clock_that_is_days_wrong_makes_no_history_new(world: World, skew: float) -> None:
    """The clock of AWS decides what is history, so a wrong clock of the host counts nothing and loses nothing."""
    thirty_failures(world)
    world.skew = skew
    exporter = Exporter(world, configuration("tfm-a"))
    exporter.poll()
    world.now += 60
    world.skew = 0.0
    failed(world, "tsk-new", 30)
    exporter.poll()
    assert exporter.totals() == {FAILURE: 1}


def test_history_that_is_listed_under_a_slow_host_clock_is_history(world: World) -> None:
    """A run of the past that Glue lists late counts nothing, also if the host's clock is behind its times."""
    exporter = Exporter(world, configuration("tfm-a"))
    exporter.poll()
    failed(world, "tsk-late", HOUR)
    world.skew = -DAY
    exporter.poll()
    assert exporter.totals() == {}


def test_a_host_clock_that_is_set_between_the_first_attempt_and_the_first_answer(world: World) -> None:
    """If the host's clock is a day slow at the first attempt, and right at the first answer, no history is counted."""
    failed(world, "tsk-history", HOUR)
    exporter = Exporter(world, configuration("tfm-a"))
    world.skew, world.fails_after = -DAY, 0
    exporter.poll()
    world.skew, world.fails_after = 0.0, None
    for gives_dates in (True, False):
        world.gives_dates = gives_dates
        world.now += 60
        failed(world, f"tsk-{gives_dates}", 30)
        exporter.poll()
    assert exporter.totals() == {FAILURE: 2}


def test_without_dates_the_host_clock_decides(world: World) -> None:
    """If the answers have no Date, the first attempt is dated by the host's clock, as corrected since."""
    world.gives_dates = False
    failed(world, "tsk-history", 60)
    exporter = Exporter(world, configuration("tfm-a"))
    world.skew, world.fails_after = -DAY, 0
    exporter.poll()
    world.skew, world.fails_after = 0.0, None
    world.now += 60
    failed(world, "tsk-new", 30)
    exporter.poll()
    assert exporter.totals() == {FAILURE: 1}


# -- restarts, searches and reloads -----------------------------------------------------------------------------------


def test_a_restart_does_not_move_the_time_since_when_a_transform_is_watched(world: World, tmp_path: Path) -> None:
    """With a state file, a failure while the exporter is down counts, also if no poll had been good before."""
    world.fails_after, world.dated = 0, True
    first = Exporter(world, configuration("tfm-a"), tmp_path / "state.db")
    first.poll()
    first.kill()
    world.now += HOUR
    failed(world, "tsk-new", 60)
    world.fails_after = None
    second = Exporter(world, configuration("tfm-a"), tmp_path / "state.db")
    second.poll()
    assert second.totals() == {FAILURE: 1}
    assert second.monitored_transform("tfm-a").ledger.watched_since == NOW
    second.close()


def test_a_time_of_the_host_clock_is_not_stored_before_the_first_good_poll(world: World, tmp_path: Path) -> None:
    """If no answer has dated the first attempt, the next process dates its own, so a wrong clock counts no history."""
    world.fails_after, world.skew = 0, -DAY
    first = Exporter(world, configuration("tfm-a"), tmp_path / "state.db")
    first.poll()
    first.kill()
    failed(world, "tsk-history", HOUR)
    world.fails_after, world.skew = None, 0.0
    second = Exporter(world, configuration("tfm-a"), tmp_path / "state.db")
    second.poll()
    assert second.totals() == {}
    second.close()


def test_a_transform_that_leaves_and_comes_back_is_watched_since_the_first_time(world: World) -> None:
    """A transform that was removed by a reload counts what failed meanwhile when another reload brings it back."""
    exporter = Exporter(world, configuration("tfm-a"))
    exporter.poll()
    exporter.reload(configuration("tfm-b"))
    world.now += HOUR
    failed(world, "tsk-1", 60)
    exporter.reload(configuration("tfm-a"))
    exporter.poll()
    assert exporter.totals() == {FAILURE: 1}


# -- forgotten runs ---------------------------------------------------------------------------------------------------


def test_a_forgotten_run_does_not_count_again_after_the_lookback_was_made_longer(world: World) -> None:
    """A run is counted and forgotten; the lookback grows, a listing omits the run, a later one shows it: one count."""
    exporter = Exporter(world, configuration("tfm-a", lookback=3 * HOUR))
    exporter.poll()
    world.now += 60
    run = failed(world, "tsk-1", 10)
    exporter.poll()
    world.now += 4 * HOUR
    exporter.poll()
    run.visible = world.now + 60
    exporter.reload(configuration("tfm-a", lookback=30 * DAY))
    for pause in (60.0, 7 * HOUR, 7 * HOUR):
        exporter.poll()
        world.now += pause
    assert exporter.totals() == {FAILURE: 1}
    assert exporter.scrape().of("glue_ml_task_runs")["FAILED", "FIND_MATCHES"] == 1
