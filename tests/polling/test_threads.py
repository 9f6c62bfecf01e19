"""Threads that wait for work: how many there are, and what they hold on to."""

import gc
import threading
import weakref
from functools import partial

from exporter.polling.threads import ThreadPool
from tests.running import no_threads, wait_for


class Thing:
    """Something that work is about."""


def test_an_idle_thread_keeps_nothing_of_its_last_work():
    """What only the work that is over has referred to is freed, while its thread still waits for more."""
    crew, done, thing = ThreadPool("idle"), threading.Event(), Thing()
    known = weakref.ref(thing)
    crew.run(partial(lambda _: done.set(), thing))
    del thing
    assert done.wait(5)
    wait_for(lambda: gc.collect() >= 0 and known() is None)
    assert "idle" in {thread.name for thread in threading.enumerate()}


def test_a_system_without_threads_is_told_once(caplog):
    """Work that no thread can be had for is not begun, which is said once; what there is later begins as ever."""
    crew, done = ThreadPool("short"), threading.Event()
    with no_threads():
        assert [crew.run(done.set) for _ in range(3)] == [False, False, False]
    assert not done.is_set()
    assert caplog.text.count("no more threads") == 1
    assert crew.run(done.set)
    assert done.wait(5)


def test_who_was_busy_last_is_given_work_first():
    """Of five threads that a burst has made, two at most do what comes later, one thing at a time."""
    crew, threads, begun, go_on = ThreadPool("burst"), [], threading.Barrier(6), threading.Event()

    def burst():
        begun.wait()
        go_on.wait()

    for _ in range(5):
        crew.run(burst)
    begun.wait()
    go_on.set()
    crews = [thread for thread in threading.enumerate() if thread.name == "burst"]
    for number in range(20):
        crew.run(lambda: threads.append(threading.get_ident()))
        wait_for(lambda: len(threads) > number)  # noqa: B023 - called in this round
    assert len(crews) == 5
    assert len(set(threads)) <= 2
