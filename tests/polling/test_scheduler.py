"""The scheduler starts jobs on threads, in rounds."""

import threading
from collections import defaultdict
from contextlib import contextmanager
from functools import partial

import pytest

from exporter.polling.scheduler import DEAD_AFTER, Scheduler, threads_of_a_lane
from exporter.polling.timetable import Job
from tests.running import no_threads, wait_for

INTERVAL = 60.0


class Work:
    """The work of all jobs: counts the turns of each, and blocks while the gate is shut."""

    def __init__(self):
        self.turns = defaultdict(int)
        self.threads = set()
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()

    def __call__(self, name):
        """Do one turn; return whether it succeeded."""
        with self._lock:
            self.turns[name] += 1
            self.threads.add(threading.get_ident())
        self.gate.wait()
        return not str(name).startswith("failing")


class Rounds:
    """A scheduler with a fake clock. The test makes its rounds, and its own loop does not run."""

    def __init__(self, *, threads_per_lane=8):
        self.now = 1000.0
        self.cycles = []
        self.scheduler = Scheduler(
            interval=INTERVAL,
            idle_interval=None,
            threads_per_lane=threads_per_lane,
            on_cycle=lambda *cycle: self.cycles.append(cycle),
            clock=lambda: self.now,
        )

    def add(self, work, *names, lane=None):
        """Add a job for each name. Without a lane, each job has its own lane."""
        for name in names:
            self.scheduler.add(Job(partial(work, name), name if lane is None else lane, 0.5))

    def round(self):
        """Start all jobs that are due and may run."""
        self.scheduler.begin_turns(self.now, latest=self.now + 1)

    def wait_until_nothing_is_ready(self):
        """Wait until every job that may run has begun."""
        wait_for(lambda: not self.scheduler._ready)


@pytest.fixture
def work():
    """Yield the work of all jobs, and open its gate at the end so that every thread ends."""
    one = Work()
    yield one
    one.gate.set()


@contextmanager
def looping(scheduler):
    """Run the scheduler's own loop."""
    stop = threading.Event()
    thread = threading.Thread(target=scheduler.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_jobs_that_take_no_time_share_a_thread(work):
    """If jobs of forty lanes are due at the same time and take no time, one thread runs them all."""
    rounds = Rounds()
    rounds.add(work, *range(40))
    rounds.round()
    wait_for(lambda: len(work.turns) == 40)
    assert len(work.threads) == 1


def test_a_job_that_hangs_delays_no_ready_job(work):
    """If the job of one lane hangs in the first round, thirty jobs of other lanes still begin in the second."""
    work.gate.clear()
    rounds = Rounds()
    rounds.add(work, *range(31))
    rounds.round()
    wait_for(lambda: len(work.turns) == 1)
    rounds.round()
    wait_for(lambda: len(work.turns) == 31)
    assert len(work.threads) == 31


def test_a_lane_runs_no_more_jobs_at_once_than_its_share(work):
    """If five jobs hang in a lane with two threads, two jobs begin, and three begin when the first two end."""
    work.gate.clear()
    rounds = Rounds(threads_per_lane=2)
    rounds.add(work, *range(5), lane="lane")
    for _ in range(4):
        rounds.round()
    wait_for(lambda: len(work.turns) == 2)
    rounds.wait_until_nothing_is_ready()
    assert len(work.turns) == 2
    work.gate.set()
    wait_for(lambda: len(work.turns) == 5)


def test_a_larger_share_is_used_at_once(work):
    """When the share of a lane grows, waiting jobs begin at once, even while another job still hangs."""
    work.gate.clear()
    rounds = Rounds(threads_per_lane=1)
    rounds.add(work, *range(5), lane="lane")
    rounds.round()
    wait_for(lambda: len(work.turns) == 1)
    rounds.scheduler.reconfigure(INTERVAL, None, 5)
    rounds.round()
    wait_for(lambda: len(work.turns) == 5)


def test_jobs_that_failed_have_one_thread_of_their_own_in_a_lane(work):
    """If the failed jobs of a lane hang, they hold one thread, and the healthy jobs of the lane run."""
    rounds = Rounds(threads_per_lane=2)
    rounds.add(work, "failing 1", "failing 2", lane="lane")
    rounds.round()
    wait_for(lambda: work.turns["failing 1"] == work.turns["failing 2"] == 1)
    wait_for(lambda: not any(job.pending for job in rounds.scheduler._timetable.jobs))
    rounds.now += INTERVAL
    work.gate.clear()
    for _ in range(3):
        rounds.round()
    wait_for(lambda: sum(work.turns.values()) == 3)
    rounds.add(work, "healthy", lane="lane")
    for _ in range(3):
        rounds.round()
    wait_for(lambda: work.turns["healthy"] == 1)
    rounds.wait_until_nothing_is_ready()
    assert sum(work.turns.values()) == 4


@pytest.mark.parametrize(
    ("concurrency", "lanes", "threads"), [(8, 0, 8), (8, 1, 8), (8, 16, 8), (8, 17, 7), (8, 200, 1), (1, 3, 1)]
)
def test_many_lanes_share_the_threads_of_the_process(concurrency, lanes, threads):
    """With concurrency 8 each of up to 16 lanes may use 8 threads; with more lanes fewer, but at least one."""
    assert threads_of_a_lane(concurrency, lanes) == threads


@pytest.mark.parametrize(("seconds", "overrun"), [(59, False), (61, True)])
def test_a_turn_that_ends_more_than_an_interval_late_is_an_overrun(seconds, overrun):
    """The slowest turn of a cycle gives its delay. A delay above the interval is an overrun."""
    rounds = Rounds()

    def slow():
        rounds.now += seconds
        return True

    job = Job(slow, "lane", 0.5)
    rounds.scheduler.add(job)
    rounds.round()
    wait_for(lambda: job.turns == 1)
    rounds.scheduler._end_cycle(rounds.now, INTERVAL)
    assert rounds.cycles == [(seconds, overrun)]


def test_a_turn_that_has_not_ended_counts_for_the_delay_of_its_cycle(work):
    """A job that hangs adds its delay so far to each cycle, and adds no delay after its end."""
    work.gate.clear()
    rounds = Rounds()
    rounds.add(work, "hanging")
    rounds.round()
    wait_for(lambda: work.turns)
    rounds.now += 2 * INTERVAL
    rounds.scheduler._end_cycle(rounds.now, INTERVAL)
    assert rounds.cycles == [(2 * INTERVAL, True)]
    work.gate.set()
    wait_for(lambda: not any(job.pending for job in rounds.scheduler._timetable.jobs))
    rounds.scheduler._end_cycle(rounds.now, INTERVAL)
    rounds.scheduler._end_cycle(rounds.now, INTERVAL)
    assert rounds.cycles[2:] == [(0.0, False)]


def test_the_wait_of_an_idle_job_is_no_delay():
    """Cycles that pass while a job waits for its turn have no delay and are no overruns."""
    rounds = Rounds()
    job = Job(lambda: True, "lane", 0.5)
    rounds.scheduler._timetable.idle_interval = 10 * INTERVAL
    job.idle = True
    rounds.scheduler.add(job)
    rounds.round()
    wait_for(lambda: job.turns == 1)
    for _ in range(3):
        rounds.now += INTERVAL
        rounds.round()
        rounds.scheduler._end_cycle(rounds.now, INTERVAL)
    assert rounds.cycles == [(0.0, False)] * 3
    assert job.turns == 1


def test_after_a_defect_a_job_runs_again_and_the_thread_continues(work, caplog):
    """An exception in a job is logged, the job counts as failed and has its next turn, and other jobs run."""
    rounds = Rounds()
    broken = Job(lambda: 1 / 0, "lane", 0.5)
    rounds.scheduler.add(broken)
    rounds.add(work, "other", lane="lane")
    rounds.round()
    wait_for(lambda: broken.turns == 1 and work.turns["other"] == 1)
    assert not broken.healthy
    assert "a poll failed because of a defect in this program" in caplog.text
    rounds.now += INTERVAL
    rounds.round()
    wait_for(lambda: broken.turns == 2)


def test_the_loop_runs_jobs_again_and_again_and_wakes_up_for_a_new_one(work):
    """The loop runs a job again and again, and also a job that is added later."""
    scheduler = Scheduler(interval=0.1, idle_interval=None, threads_per_lane=1, on_cycle=lambda *_: None)
    with looping(scheduler):
        scheduler.add(Job(partial(work, "first"), "lane", 0.5))
        wait_for(lambda: work.turns["first"] >= 3)
        scheduler.add(Job(partial(work, "second"), "lane", 0.5))
        wait_for(lambda: work.turns["second"] >= 3)
        assert scheduler.alive


def test_polls_without_a_thread_are_made_later(work, caplog):
    """If no thread can start, the log says so once; all jobs run as soon as threads can start again."""
    scheduler = Scheduler(interval=0.5, idle_interval=None, threads_per_lane=8, on_cycle=lambda *_: None)
    with looping(scheduler):
        with no_threads():
            for number in range(3):
                scheduler.add(Job(partial(work, number), number, 0.5))
            wait_for(lambda: "no more threads" in caplog.text)
            beat = scheduler._heartbeat
            wait_for(lambda: scheduler._heartbeat > beat)
            assert not work.turns
        wait_for(lambda: len(work.turns) == 3)
    assert caplog.text.count("no more threads") == 1


def test_a_turn_without_progress_is_stuck_until_it_ends(caplog):
    """A turn of any length is healthy while it makes progress; a turn without progress is not, and this is logged."""
    rounds, begun, go_on, end = Rounds(), threading.Event(), threading.Event(), threading.Event()
    scheduler = rounds.scheduler
    scheduler.reconfigure(INTERVAL, None, 8, longest_silence=100.0)

    def long_poll():
        begun.set()
        go_on.wait()
        scheduler.made_progress()
        go_on.clear()
        end.wait()
        return True

    def passes(seconds):
        """Let the time pass, with the heartbeats of the loop; return whether the scheduler is alive."""
        rounds.now += seconds
        scheduler._heartbeat = rounds.now
        scheduler._log_stuck()
        return scheduler.alive

    scheduler.add(Job(long_poll, "lane", 0.5))
    rounds.round()
    assert begun.wait(10)
    assert passes(99)
    go_on.set()
    wait_for(lambda: not go_on.is_set())
    assert passes(99)
    assert "does not come to an end" not in caplog.text
    assert not passes(2)
    assert not passes(2)
    assert caplog.text.count("does not come to an end") == 1
    scheduler.made_progress()  # of a thread that runs no turn
    assert not passes(0)
    end.set()
    wait_for(lambda: passes(0))


def test_a_loop_that_does_not_come_round_is_dead():
    """Without a round for `DEAD_AFTER` seconds the scheduler is not alive."""
    rounds = Rounds()
    assert rounds.scheduler.alive
    rounds.now += DEAD_AFTER
    assert not rounds.scheduler.alive
