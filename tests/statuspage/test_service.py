import pytest

from exporter.simulator import Simulator
from tests.running import Running, running, wait_for


def test_the_pages_can_be_turned_off_and_on_by_a_reload() -> None:
    """A reload of web.status_page takes effect at once. A transform that is not monitored has no page."""
    with (
        Simulator({"transforms": [{"id": "tfm-a", "name": "alpha"}]}) as simulator,
        running(simulator, transforms=["tfm-a"], web={"status_page": False}) as exporter,
    ):
        service = exporter.service
        assert service.status_page({}, "/metrics") is None
        assert service.transform_page("tfm-a", "/metrics") is None
        assert exporter.reload(web={"status_page": True}) is None
        exporter.wait_until_up("tfm-a")
        front = service.status_page({}, "/metrics")
        assert front is not None
        assert b"alpha" in front.body
        assert service.transform_page("tfm-a", "/metrics") is not None
        assert service.transform_page("tfm-b", "/metrics") is None


def front(exporter: Running) -> str:
    page = exporter.service.status_page({}, "/metrics")
    assert page is not None
    return page.body.decode()


def test_a_refused_configuration_shows_its_message_until_a_good_one_comes() -> None:
    """The message of a refused reload stands on the page. The next good reload removes it."""
    with (
        Simulator({"transforms": [{"id": "tfm-a", "name": "alpha"}]}) as simulator,
        running(simulator, transforms=["tfm-a"]) as exporter,
    ):
        message = exporter.reload(polling={"interval": "never"})
        assert message is not None
        assert "polling.interval" in front(exporter)
        assert "has errors and is not in use" in front(exporter)
        assert exporter.reload(polling={"interval": "100ms"}) is None
        assert "has errors and is not in use" not in front(exporter)


@pytest.mark.slow
def test_an_outage_and_a_failed_discovery_go_when_glue_answers_again() -> None:
    """The top of the page shows both while they last, each with its cause, and since when the outage lasts."""
    transforms = [{"id": f"tfm-{number}", "name": f"t{number}"} for number in range(3)]
    with (
        Simulator({"transforms": transforms}) as simulator,
        running(simulator, discovery=[{"regions": ["eu-west-1"], "interval": "1s"}]) as exporter,
    ):
        exporter.wait_until_up("tfm-0", "tfm-1", "tfm-2")
        simulator.faults.set({"kind": "throttle", "operations": ["ListMLTransforms"]})
        wait_for(lambda: "discovery fails, so new transforms are not found" in front(exporter))
        assert "ThrottlingException" in front(exporter)
        simulator.faults.set({"kind": "access_denied"})
        wait_for(lambda: "3 of 3 transforms down since" in front(exporter))
        assert "discovery fails" not in front(exporter)
        transform = exporter.service._poller.monitored[0]
        first = transform.poll
        wait_for(lambda: transform.poll != first)
        assert first is not None
        assert transform.poll is not None
        assert transform.poll.down_since == first.down_since
        simulator.faults.clear()
        wait_for(lambda: "transforms down since" not in front(exporter))
        wait_for(lambda: "discovery fails" not in front(exporter))
        exporter.wait_until_up("tfm-0", "tfm-1", "tfm-2")
        assert transform.poll.down_since is None


def test_new_failure_reasons_show_at_the_next_poll() -> None:
    """After a reload of metrics.failure_reasons, the front page shows the new class of the last failure."""
    reasons = [{"name": "exploded", "pattern": "cell * exploded"}]
    with Simulator({"transforms": [{"id": "tfm-a", "name": "alpha"}]}) as simulator:
        simulator.world.add_run("tfm-a", status="FAILED", fields={"ErrorString": "Cell 7 exploded"})
        with running(simulator, transforms=["tfm-a"]) as exporter:
            exporter.wait_until_up("tfm-a")
            assert "<code>other</code>" in front(exporter)
            assert exporter.reload(metrics={"failure_reasons": reasons}) is None
            wait_for(lambda: "<code>exploded</code>" in front(exporter))


def test_a_transform_that_is_not_ready_shows_since_when() -> None:
    """The page shows that Glue calls a transform NOT_READY, and since when the exporter has seen it."""
    with (
        Simulator({"transforms": [{"id": "tfm-a", "name": "alpha", "status": "NOT_READY"}]}) as simulator,
        running(simulator, transforms=["tfm-a"]) as exporter,
    ):
        exporter.wait_until_up("tfm-a")
        assert "NOT_READY in Glue" in front(exporter)
        (transform,) = exporter.service._poller.monitored
        assert transform.not_ready_since is not None
