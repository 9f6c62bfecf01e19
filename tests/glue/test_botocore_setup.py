import pytest

from exporter.config.settings import load_config
from exporter.glue import botocore_setup
from exporter.glue.botocore_setup import BODY, Connection
from exporter.telemetry import GLUE_OPERATIONS

CONFIG = load_config("region: eu-west-1\ntransforms: [tfm-a]", source="test", environ={})


@pytest.fixture
def connect(simulator):
    """Return a function that connects to the simulator without retries."""
    connections = []

    def connect():
        polling = CONFIG.polling.model_copy(update={"max_attempts": 1})
        url = simulator.url
        connections.append(
            Connection(CONFIG.accounts[0], "eu-west-1", polling, endpoint_url=url, observe=lambda _: None)
        )
        return connections[-1]

    yield connect
    for one in connections:
        one.close()


def test_answers_of_glue_stay_bytes_and_those_of_sts_are_parsed(connect):
    """`decode` gets the body of every successful answer of Glue as it was sent."""
    connection = connect()
    assert connection.glue.list_ml_transforms()[BODY] == b'{"TransformIds":["tfm-a","tfm-b"]}'
    assert connection.glue.get_ml_transform(TransformId="tfm-a")[BODY].startswith(b"{")
    assert connection.client("sts").get_caller_identity()["Account"]


def test_an_error_of_glue_is_parsed_by_botocore(connect):
    """Botocore parses an error of Glue, because it decides by the code about a retry, and raises its exception."""
    glue = connect().glue
    with pytest.raises(glue.exceptions.EntityNotFoundException):
        glue.get_ml_transform(TransformId="tfm-none")


def test_a_client_has_only_the_operations_that_are_called(connect):
    """A client lacks the methods of unused operations, because they would take two thirds of its memory."""
    called = {*GLUE_OPERATIONS, *botocore_setup.INTERACTIVE_OPERATIONS}
    assert set(connect().glue.meta.service_model.operation_names) == called


def test_sessions_do_not_make_the_shared_loader_grow(connect):
    """The shared loader does not keep the search path that each boto3 session appends."""
    connect()
    before = botocore_setup._LOADER.search_paths
    connect()
    assert botocore_setup._LOADER.search_paths == before
