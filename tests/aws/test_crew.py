"""Threads that wait for work: how many there are, and what they hold on to."""

import gc
import threading
import weakref
from functools import partial

from exporter.crew import Crew
from tests.aws.running import wait_for


class Thing:
    """Something that work is about."""


def test_an_idle_thread_keeps_nothing_of_its_last_work():
    """What only the work that is over has referred to is freed, while its thread still waits for more."""
    crew, done, thing = Crew("idle"), threading.Event(), Thing()
    known = weakref.ref(thing)
    crew.run(partial(lambda _: done.set(), thing))
    del thing
    assert done.wait(5)
    wait_for(lambda: gc.collect() >= 0 and known() is None)
    assert "idle" in {thread.name for thread in threading.enumerate()}
