"""When jobs have their turns, by jobs that do nothing but note the time."""

import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from functools import partial

import pytest

from exporter.polling.scheduler import GATHER, LONGEST_STEP_BACK, Job, Scheduler
from tests.running import gaps, no_threads, wait_for

INTERVAL = 0.5
LATE = 0.1
"""Seconds that a busy machine may add."""


class Work:
    """What the jobs do: note when, and wait while they are held up."""

    def __init__(self):
        self.times = defaultdict(list)
        self.threads = set()
        self.open = threading.Event()
        self.open.set()

    def __call__(self, name):
        """Do one turn."""
        self.times[name].append(time.monotonic())
        self.threads.add(threading.get_ident())
        self.open.wait()
        return True


@contextmanager
def scheduled(work, places, *, lanes=1, threads_per_lane=8):
    """Run jobs with these places, each of one of so many lanes; give the schedule and them."""
    scheduler = Scheduler(
        interval=INTERVAL, idle_interval=None, threads_per_lane=threads_per_lane, on_cycle=lambda *_: None
    )
    stop = threading.Event()
    jobs = [Job(partial(work, number), number % lanes, place) for number, place in enumerate(places)]
    for job in jobs:
        scheduler.add(job)
    thread = threading.Thread(target=scheduler.run, args=(stop,))
    thread.start()
    try:
        yield scheduler, jobs
    finally:
        stop.set()
        work.open.set()
        thread.join()


def test_a_system_without_threads_makes_polls_late_and_ends_nothing(caplog):
    """When no thread can be started that is told once, and all turns come when there are threads again."""
    work = Work()
    with scheduled(work, []) as (scheduler, _):
        with no_threads():
            for number in range(3):
                scheduler.add(Job(partial(work, number), number, 0.5))
            wait_for(lambda: "no more threads" in caplog.text)
            beat = scheduler._heartbeat
            wait_for(lambda: scheduler._heartbeat > beat)
            assert not work.times
        wait_for(lambda: len(work.times) == 3)
    assert caplog.text.count("no more threads") == 1


def off_place(job):
    """Give the seconds by which the job's turn is off its place in the interval."""
    off = (job.due - job.place * INTERVAL) % INTERVAL
    return min(off, INTERVAL - off)


@pytest.mark.slow
def test_jobs_that_a_slow_turn_has_moved_go_back_to_their_places_little_by_little():
    """After all turns have ended late at once, each comes a tenth of the interval earlier until it has its place."""
    work, places = Work(), [0.1, 0.35, 0.6, 0.85]
    with scheduled(work, places) as (_, jobs):
        wait_for(lambda: all(len(work.times[n]) >= 3 for n in range(4)))
        assert all(off_place(job) < 0.001 for job in jobs)
        work.open.clear()
        wait_for(lambda: all(job.pending for job in jobs))
        wait_for(lambda: time.monotonic() > max(job.due for job in jobs) + INTERVAL)
        turns = jobs[0].turns
        work.open.set()
        released = time.monotonic()
        wait_for(lambda: all(job.turns > turns for job in jobs))
        assert any(off_place(job) > 0.01 for job in jobs)
        wait_for(lambda: all(off_place(job) < 0.001 for job in jobs), timeout=3 / LONGEST_STEP_BACK * INTERVAL)
    for times in work.times.values():
        after = [at for at in times if at > released + LATE]
        assert all(gap > (1 - LONGEST_STEP_BACK) * INTERVAL - GATHER - LATE for gap in gaps(after))
        assert all(gap < INTERVAL + GATHER + LATE for gap in gaps(after))


@pytest.mark.slow
def test_jobs_that_take_no_time_share_threads():
    """Forty lanes whose turns come in the same moment are served by few threads, one job after the other."""
    work = Work()
    with scheduled(work, [0.5] * 40, lanes=40):
        wait_for(lambda: all(len(work.times[n]) >= 2 for n in range(40)))
        work.threads.clear()
        wait_for(lambda: all(len(work.times[n]) >= 5 for n in range(40)))
    assert len(work.threads) < 10


@pytest.mark.slow
def test_a_job_that_hangs_keeps_no_ready_one_waiting():
    """With thirty jobs of other lanes hanging, the last job begins within two gathering times all the same."""
    work = Work()
    work.open.clear()
    with scheduled(work, [0.5] * 31, lanes=31):
        wait_for(lambda: len(work.times) == 31)
        first = min(at for times in work.times.values() for at in times)
        assert max(at for times in work.times.values() for at in times) - first < 2 * GATHER + 2 * LATE


@pytest.mark.slow
def test_a_lane_has_no_more_jobs_under_way_than_its_share():
    """Of five jobs of a lane that hang, as many have begun as it has threads; the next follows when one ends."""
    work = Work()
    work.open.clear()
    with scheduled(work, [0.5] * 5, threads_per_lane=2) as (_, jobs):
        wait_for(lambda: len(work.times) == 2)
        wait_for(lambda: time.monotonic() > jobs[0].due + INTERVAL)
        assert len(work.times) == 2
        work.open.set()
        wait_for(lambda: len(work.times) == 5)


@pytest.mark.slow
def test_a_larger_share_is_used_at_once():
    """When a lane may have more jobs under way, those that wait begin while the one under way still hangs."""
    work = Work()
    work.open.clear()
    with scheduled(work, [0.5] * 5, threads_per_lane=1) as (scheduler, jobs):
        wait_for(lambda: len(work.times) == 1 and all(job.pending for job in jobs))
        raised = time.monotonic()
        scheduler.retime(INTERVAL, None, 5)
        wait_for(lambda: len(work.times) == 5)
        assert max(times[0] for times in work.times.values()) - raised < 2 * GATHER + 2 * LATE
