"""An answer that cannot be read costs itself: other runs count, and ordinary polls go on."""

import pytest

from tests.counting.world import DAY, HOUR, MINUTE, Exporter, Run, World, configuration

FAILURE = ("FIND_MATCHES", "FAILED")


@pytest.fixture
def world() -> World:
    """A world without runs."""
    return World()


def fail(world: World, *names: str) -> None:
    """Let runs fail now."""
    for name in names:
        world.add(Run(name, world.now - 1, world.now, status="FAILED", execution=1.0))


# -- a lookback that cannot be read -----------------------------------------------------------------------------------


def with_three_pages(world: World) -> Exporter:
    """Return an exporter for a history of three pages, which it reads again after six hours."""
    for number in range(30):
        world.add(Run(f"tsk-{number:02}", world.now - number * DAY - 60, world.now - number * DAY - 30, execution=1.0))
    return Exporter(world, configuration("tfm-a", page_size=10, resync_interval=6 * HOUR))


def test_ordinary_polls_go_on_if_the_lookback_cannot_be_read(world: World) -> None:
    """A read of the lookback fails on a late page each time: five new failures count at the next ordinary poll."""
    exporter = with_three_pages(world)
    exporter.poll()
    world.pages_before_expiry = 1
    world.now += 7 * HOUR
    fail(world, *(f"tsk-new-{number}" for number in range(5)))
    assert not exporter.poll()
    world.now += 60
    assert exporter.poll()
    assert exporter.totals() == {FAILURE: 5}


def test_tries_to_read_the_lookback_become_rare(world: World) -> None:
    """After each failed read of the lookback twice as many ordinary polls come first, up to sixteen."""
    exporter = with_three_pages(world)
    exporter.poll()
    world.pages_before_expiry = 1
    world.now += 7 * HOUR
    good = "".join(".x"[not exporter.poll()] for _ in range(70))
    assert [len(polls) for polls in good.split("x")][:-1] == [0, 1, 2, 4, 8, 16, 16]
    world.pages_before_expiry = None
    for _ in range(20):
        assert exporter.poll()
    world.pages_before_expiry = 1
    assert all(exporter.poll() for _ in range(20))


def test_a_first_read_that_fails_is_tried_at_each_poll(world: World) -> None:
    """Before the first good poll there is no ordinary poll, so each poll tries to read the whole lookback."""
    exporter = with_three_pages(world)
    world.pages_before_expiry = 1
    assert [exporter.poll() for _ in range(3)] == [False] * 3
    world.pages_before_expiry = None
    assert exporter.poll()


# -- look-ups that fail -----------------------------------------------------------------------------------------------


def open_for_long(world: World, *names: str) -> Exporter:
    """Return an exporter that looks up these open runs at each poll, since a listing from their start takes longer."""
    for name in names:
        world.add(Run(name, world.now - 10 * DAY, world.now + 5 * MINUTE, status="FAILED", execution=1.0))
    for number in range(1, 300):
        world.add(Run(f"tsk-{number}", world.now - number * 1800, world.now - number * 1800, execution=1.0))
    exporter = Exporter(world, configuration("tfm-a", page_size=10))
    exporter.poll()
    return exporter


def test_a_denied_look_up_leaves_the_run_open_and_the_rest_counts(world: World) -> None:
    """Five new failures count although the look-up of an open run is denied; its own end counts when it is allowed."""
    exporter = open_for_long(world, "tsk-hung")
    world.denied = {"tsk-hung"}
    world.now += 60
    fail(world, *(f"tsk-new-{number}" for number in range(5)))
    assert exporter.poll()
    assert exporter.totals() == {FAILURE: 5}
    assert list(exporter.monitored_transform("tfm-a").ledger.open) == ["tsk-hung"]
    world.now += 10 * MINUTE
    exporter.poll()
    world.denied = set()
    exporter.poll()
    assert exporter.totals() == {FAILURE: 6}


def test_a_denied_look_up_with_a_short_lookback_loses_nothing(world: World) -> None:
    """With a lookback shorter than the denial, the runs that start and fail meanwhile count when they are listed."""
    exporter = Exporter(world, configuration("tfm-a", lookback=HOUR))
    exporter.poll()
    world.add(Run("tsk-hung", world.now, world.now + 5 * HOUR, status="FAILED"))
    exporter.poll()
    world.denied = {"tsk-hung"}
    for number in range(5):
        world.now += HOUR
        fail(world, f"tsk-{number}")
        assert exporter.poll()
    world.denied = set()
    world.now += HOUR
    exporter.poll()
    assert exporter.totals() == {FAILURE: 6}


def test_denied_look_ups_do_not_keep_others_waiting(world: World) -> None:
    """Of four open runs two are denied for ever: the two others are looked up, and a poll makes one denied call."""
    names = ["tsk-hung-a", "tsk-hung-b", "tsk-hung-c", "tsk-hung-d"]
    exporter = open_for_long(world, *names)
    world.denied = {"tsk-hung-a", "tsk-hung-b"}
    for _ in range(3):
        world.now += 60
        exporter.poll()
    world.now += 5 * MINUTE
    exporter.poll()
    assert exporter.totals() == {FAILURE: 2}
    tried = []
    for _ in range(4):
        exporter.poll()
        assert world.calls.count("GetMLTaskRun") == 1
        tried.append(list(exporter.monitored_transform("tfm-a").failed_look_ups)[-1])
    assert tried in (["tsk-hung-a", "tsk-hung-b"] * 2, ["tsk-hung-b", "tsk-hung-a"] * 2)


def test_a_denied_look_up_is_logged_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """One line names the run whose look-up is denied, and one line says that all runs can be looked up again."""
    caplog.set_level("INFO")
    exporter = open_for_long(world, "tsk-hung")
    for denied in ({"tsk-hung"}, {"tsk-hung"}, {"tsk-hung"}, set[str](), set[str]()):
        world.denied = denied
        world.now += 30
        exporter.poll()
    lines = [(record.levelname, str(record.msg)) for record in caplog.records if "looked up" in str(record.msg)]
    assert [level for level, _ in lines if level != "DEBUG"] == ["WARNING", "INFO"]
    assert "tsk-hung" in lines[0][1]
