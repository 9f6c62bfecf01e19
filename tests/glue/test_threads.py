"""The thread pool reuses its threads, and an idle thread keeps no reference to finished work."""

import gc
import threading
import weakref
from functools import partial

from exporter.glue.threads import ThreadPool
from tests.running import no_threads, wait_for


class Thing:
    """An object that work refers to."""


def test_an_idle_thread_keeps_no_reference_to_its_last_work():
    """An object that only finished work refers to is freed while the thread is idle."""
    pool, done, thing = ThreadPool("idle"), threading.Event(), Thing()
    known = weakref.ref(thing)
    pool.run(partial(lambda _: done.set(), thing))
    del thing
    assert done.wait(5)
    wait_for(lambda: gc.collect() >= 0 and known() is None)
    assert "idle" in {thread.name for thread in threading.enumerate()}


def test_missing_threads_are_logged_once(caplog):
    """While no thread can start, the pool refuses work and logs it once; afterwards it accepts work again."""
    pool, done = ThreadPool("short"), threading.Event()
    with no_threads():
        assert [pool.run(done.set) for _ in range(3)] == [False, False, False]
    assert not done.is_set()
    assert caplog.text.count("no more threads") == 1
    assert pool.run(done.set)
    assert done.wait(5)


def test_idle_threads_are_reused_last_in_first_out():
    """After a burst on five threads, single functions run on at most two of the threads."""
    pool, threads, begun, go_on = ThreadPool("burst"), [], threading.Barrier(6), threading.Event()

    def burst():
        begun.wait()
        go_on.wait()

    for _ in range(5):
        pool.run(burst)
    begun.wait()
    go_on.set()
    pool_threads = [thread for thread in threading.enumerate() if thread.name == "burst"]
    for number in range(20):
        pool.run(lambda: threads.append(threading.get_ident()))
        wait_for(lambda: len(threads) > number)  # noqa: B023 - called in this round
    assert len(pool_threads) == 5
    assert len(set(threads)) <= 2
