from exporter.simulator import Simulator
from tests.running import running


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
