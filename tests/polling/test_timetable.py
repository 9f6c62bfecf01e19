"""Due times of jobs, with a fake clock."""

from collections import Counter
from itertools import pairwise

import pytest

from exporter.polling.monitored_transform import offset_of
from exporter.polling.timetable import TOLERANCE, Job, Timetable

INTERVAL = 60.0


class Clockwork:
    """A timetable with a fake clock. It records the times of all turns by job; a turn lasts `takes` seconds."""

    def __init__(self, offsets, *, idle_interval=None, now=1000.0):
        self.timetable = Timetable(INTERVAL, idle_interval)
        self.now = now
        self.takes = 0.0
        self.jobs = [Job(lambda: True, "lane", offset) for offset in offsets]
        self.turns = {job: [] for job in self.jobs}
        for job in self.jobs:
            self.timetable.add(job, self.now)

    def run(self, until):
        """Run all turns that are due up to this time, one after the other."""
        while (due := self.timetable.next_due) is not None and due <= until:
            self.now = max(self.now, due)
            for job in list(self.timetable.due_jobs(self.now)):
                self.turns[job].append(self.now)
                self.now += self.takes
                self.timetable.end_turn(job, self.now, went_well=True)
        self.now = max(self.now, until)


def is_punctual(job, at, interval=INTERVAL):
    off = (at - job.offset * interval) % interval
    return min(off, interval - off) < TOLERANCE


@pytest.mark.parametrize("count", [1, 40, 1000])
def test_after_the_first_turn_each_job_is_due_once_per_interval_at_its_offset(count):
    """Every job has its first turn at once, and then one turn at its offset in each interval."""
    clock = Clockwork([offset_of(f"tfm-{number}") for number in range(count)])
    clock.run(1000 + 5 * INTERVAL)
    for job, (first, *later) in clock.turns.items():
        assert first == 1000
        assert len(later) == 5
        assert all(is_punctual(job, at) for at in later)
        assert all(after - before == pytest.approx(INTERVAL) for before, after in pairwise(later))


@pytest.mark.parametrize("pattern", ["tfm-{:040x}", "many-{}", "{}-etl-prod"])
def test_offsets_are_spread_evenly_over_the_interval(pattern):
    """Each tenth of the interval has between 900 and 1,100 of 10,000 transforms."""
    offsets = [offset_of(pattern.format(number)) for number in range(10_000)]
    tenths = Counter(int(offset * 10) for offset in offsets)
    assert sorted(tenths) == list(range(10))
    assert all(900 <= count <= 1100 for count in tenths.values())


def test_an_offset_depends_on_the_id_alone():
    """The offset of a transform is the same in every process and does not depend on other transforms."""
    assert offset_of("tfm-0123456789abcdef0123456789abcdef01234567") == pytest.approx(0.669803, abs=1e-6)


def test_a_job_that_a_slow_turn_has_delayed_is_due_at_its_offset_again():
    """After a turn of 1.5 intervals the next turn starts at once, and the turn after it at the job's offset."""
    clock = Clockwork([0.25])
    [job] = clock.jobs
    clock.run(1050)
    clock.takes = 90
    clock.run(1100)
    clock.takes = 0
    clock.run(1300)
    assert clock.turns[job] == pytest.approx([1000, 1035, 1095, 1185, 1215, 1275])


def test_jobs_that_were_delayed_together_return_to_their_offsets():
    """After a slow cycle has delayed all jobs of a lane, each has its next turn at its own offset."""
    clock = Clockwork([0.1, 0.35, 0.6, 0.85])
    clock.run(1100)
    clock.takes = 50
    clock.run(1200)
    clock.takes = 0
    clock.run(1260)
    resumed = clock.now
    clock.run(resumed + INTERVAL)
    for job, turns in clock.turns.items():
        [at] = [at for at in turns if at > resumed]
        assert is_punctual(job, at)


def test_a_job_that_always_takes_longer_than_the_interval_never_waits():
    """If turns are longer than the interval, each turn begins as soon as the previous turn has ended."""
    clock = Clockwork([0.5])
    clock.takes = 70
    clock.run(2000)
    [turns] = clock.turns.values()
    assert all(after - before == pytest.approx(70) for before, after in pairwise(turns[1:]))


def test_an_idle_job_is_due_once_per_idle_interval():
    """An idle job is due at its offset in the longer interval; after its idle time, in the shorter one."""
    clock = Clockwork([0.25], idle_interval=600)
    [job] = clock.jobs
    job.idle = True
    clock.run(1000 + 1800)
    _, *later = clock.turns[job]
    assert later == pytest.approx([1350, 1950, 2550])
    assert all(is_punctual(job, at, 600) for at in later)
    job.idle = False
    clock.run(3150 + 120)
    assert clock.turns[job][4:] == pytest.approx([3150, 3195, 3255])


def test_a_shorter_interval_moves_planned_turns_forward():
    """When the interval gets shorter, a waiting job is due at its offset in the new interval."""
    clock = Clockwork([0.5])
    [job] = clock.jobs
    clock.run(1001)
    clock.timetable.change_intervals(10, None, clock.now)
    clock.run(1030)
    assert clock.turns[job] == pytest.approx([1000, 1005, 1015, 1025])


def test_a_removed_job_is_not_due_and_one_that_returns_is_due_at_once():
    """A job that is removed has no further turn; if it is added again, it has one turn at once."""
    clock = Clockwork([0.5])
    [job] = clock.jobs
    clock.run(1001)
    clock.timetable.remove(job)
    clock.run(1100)
    assert clock.turns[job] == [1000]
    clock.timetable.add(job, clock.now)
    clock.run(1140)
    assert clock.turns[job] == pytest.approx([1000, 1100, 1110])


def test_a_job_whose_turn_is_pending_is_not_due_again():
    """A job is not due again until its turn has ended, even if it is removed and added again meanwhile."""
    timetable, job = Timetable(INTERVAL, None), Job(lambda: True, "lane", 0.5)
    timetable.add(job, 1000)
    assert list(timetable.due_jobs(1000)) == [job]
    timetable.remove(job)
    timetable.add(job, 1010)
    assert not list(timetable.due_jobs(1500))
    timetable.end_turn(job, 1500, went_well=False)
    assert not job.healthy
    assert list(timetable.due_jobs(1500)) == [job]
