"""Transform details from GetMLTransform, which are optional."""

import threading
from dataclasses import replace

import pytest

from exporter.config.settings import load_config
from exporter.glue.client import GlueClients
from exporter.model.errors import GlueError
from exporter.model.transform import Lane
from exporter.telemetry import Telemetry
from tests.running import REGION, keeps_polling, running, wait_for

CONFIG = load_config("region: eu-west-1\ntransforms: [tfm-a]", source="test", environ={})
INFO = "glue_ml_transform_info"


@pytest.mark.slow
def test_details_are_read_once_for_many_polls(simulator):
    """Name, type and versions come from one GetMLTransform call, whose answer is kept for ten minutes."""
    with running(simulator, transforms=["tfm-a"]) as exporter:
        exporter.wait_until_up("tfm-a")
        keeps_polling(exporter, "tfm-a")
        assert simulator.requests.count("GetMLTransform") == 1
        assert exporter.value(INFO, transform_name="alpha", transform_type="FIND_MATCHES", glue_version="2.0") == 1


@pytest.mark.slow
def test_without_permission_the_id_is_the_name_and_polls_succeed(simulator, caplog):
    """When GetMLTransform is denied, it is called once for each transform, one warning is logged, and no poll fails."""
    simulator.faults.set({"kind": "access_denied", "operations": ["GetMLTransform"]})
    with running(simulator, transforms=["tfm-a", "tfm-b"]) as exporter:
        exporter.wait_until_up("tfm-a", "tfm-b")
        keeps_polling(exporter, "tfm-a")
        assert exporter.value("glue_ml_task_runs", transform_name="tfm-a", transform_id="tfm-a") == 0
        assert not exporter.errors()
        assert simulator.requests.count("GetMLTransform") == 2
        assert caplog.text.count("transform details cannot be read") == 1
        denied = {"operation": "GetMLTransform", "code": "AccessDeniedException"}
        wait_for(lambda: exporter.value("glue_ml_exporter_api_requests_total", **denied) == 2)


def test_a_temporary_failure_of_details_is_retried_at_the_next_poll(simulator):
    """A server error is not kept for ten minutes: the name appears as soon as GetMLTransform answers."""
    simulator.faults.set({"kind": "server_error", "operations": ["GetMLTransform"], "times": 1})
    with running(simulator, transforms=["tfm-a"]) as exporter:
        wait_for(lambda: exporter.value(INFO, transform_name="alpha") == 1)
        assert not exporter.errors()


@pytest.mark.slow
def test_details_can_be_switched_off(simulator):
    """With transform_details false GetMLTransform is not called; after a reload with true the next poll calls it."""
    with running(simulator, transforms=["tfm-a"], transform_details=False) as exporter:
        exporter.wait_until_up("tfm-a")
        keeps_polling(exporter, "tfm-a")
        assert not simulator.requests.count("GetMLTransform")
        assert exporter.reload(transform_details="true") is None
        wait_for(lambda: exporter.value(INFO, transform_name="alpha") == 1)


def test_details_are_read_again_after_ten_minutes(simulator):
    """An answer of GetMLTransform, and a denial too, is kept for ten minutes; then it is called again."""
    now = [0.0]
    config = replace(CONFIG, endpoint_url=simulator.url)
    clients = GlueClients(config, telemetry=Telemetry(), stop=threading.Event(), clock=lambda: now[0])
    glue = clients.client_for(Lane("default", REGION))
    assert glue.details("tfm-a").status == "READY"
    simulator.world.alter_transform("tfm-a", {"Status": "DELETING"})
    now[0] = 599.0
    assert glue.details("tfm-a").status == "READY"
    simulator.faults.set({"kind": "access_denied", "operations": ["GetMLTransform"]})
    now[0] = 601.0
    for _ in range(3):
        with pytest.raises(GlueError):
            glue.details("tfm-a")
    assert simulator.requests.count("GetMLTransform") == 2
    simulator.faults.clear()
    now[0] = 1202.0
    assert glue.details("tfm-a").status == "DELETING"
    clients.close()
