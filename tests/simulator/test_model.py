import json
from typing import Any

import pytest
from botocore.model import Shape
from botocore.validate import ParamValidator

from exporter.simulator import Simulator
from exporter.simulator.protocol import ERROR_STATUS, AwsError
from exporter.simulator.service_model import (
    FINAL_STATUSES,
    OPERATIONS,
    STATUSES,
    TASK_TYPES,
    allowed_values,
    request_shape,
    service_model,
)
from exporter.simulator.validation import validate
from tests.simulator.clients import client

EVERYTHING = {
    "transforms": [
        {
            "name": "full",
            "id": "tfm-full",
            "description": "two\nlines",
            "tags": {"team": "data"},
            "worker_type": "G.2X",
            "number_of_workers": 4,
            "labels": 12,
            "security_configuration": "secure",
            "quality": {
                "precision": 0.9,
                "recall": 0.8,
                "f1": 0.85,
                "area_under_pr_curve": 0.9,
                "true_positives": 1,
                "false_positives": 2,
                "true_negatives": 3,
                "false_negatives": 4,
                "column_importances": {"email": 0.7},
            },
            "tables": [{"database": "crm", "table": "customers"}],
            "columns": {"email": "string"},
            "runs": [{"type": kind, "status": "FAILED", "started": "-1h", "completed": "-30m"} for kind in TASK_TYPES],
        }
    ]
}


@pytest.fixture(scope="module")
def glue():
    with Simulator(EVERYTHING) as simulator:
        yield client(simulator)


def request_shapes() -> dict[str, Shape]:
    """Return every shape of the requests of the simulated operations, by name."""
    found: dict[str, Shape] = {}
    queue = [request_shape(name) for name in OPERATIONS]
    while queue:
        shape = queue.pop()
        if shape.name not in found:
            found[shape.name] = shape
            queue += getattr(shape, "members", {}).values()
            queue += [getattr(shape, part) for part in ("member", "key", "value") if hasattr(shape, part)]
    return found


def test_the_simulator_has_the_task_types_and_statuses_of_the_model():
    """The simulator knows exactly the task types and statuses of the service model."""
    assert set(TASK_TYPES) == set(allowed_values("TaskType"))
    assert set(STATUSES) == set(allowed_values("TaskStatusType"))
    assert set(FINAL_STATUSES) < set(STATUSES)


@pytest.mark.parametrize("name", sorted(request_shapes()))
def test_a_value_of_the_wrong_json_type_is_refused_for_every_shape(name):
    """Every shape of every request refuses values whose JSON type differs from the model."""
    wrong = object()
    with pytest.raises(AwsError, match="SerializationException"):
        validate(request_shapes()[name], wrong)


@pytest.mark.parametrize("name", [name for name, shape in sorted(request_shapes().items()) if "max" in shape.metadata])
def test_every_upper_bound_of_the_model_is_enforced(name):
    """A number, text, list or map is refused if it exceeds the maximum of the model by 1."""
    shape = request_shapes()[name]
    too_many = int(shape.metadata["max"]) + 1
    value = {
        "string": "x" * too_many,
        "integer": too_many,
        "list": [{}] * too_many,
        "map": {str(number): "" for number in range(too_many)},
    }
    with pytest.raises(AwsError, match="less than or equal to"):
        validate(shape, value[shape.type_name])


def test_every_documented_error_has_its_http_status():
    """The simulator can answer every error that an operation documents; only InternalServiceException is a 500."""
    model = service_model()
    documented = {shape.name for name in OPERATIONS for shape in model.operation_model(name).error_shapes}
    assert {name for name in documented if ERROR_STATUS[name] == 500} == {"InternalServiceException"}


def test_every_answer_is_valid_against_botocores_model(glue):
    """No answer has an unknown member, a value of a wrong type, or a value out of range."""
    run_id = glue.get_ml_task_runs(TransformId="tfm-full")["TaskRuns"][0]["TaskRunId"]
    requests = {
        "GetMLTaskRuns": {"TransformId": "tfm-full", "MaxResults": 2},
        "GetMLTaskRun": {"TransformId": "tfm-full", "TaskRunId": run_id},
        "GetMLTransform": {"TransformId": "tfm-full"},
        "GetMLTransforms": {},
        "ListMLTransforms": {"Tags": {"team": "data"}},
        "GetTags": {"ResourceArn": "arn:aws:glue:eu-west-1:123456789012:mlTransform/tfm-full"},
        "StartMLEvaluationTaskRun": {"TransformId": "tfm-full"},
        "StartMLLabelingSetGenerationTaskRun": {"TransformId": "tfm-full", "OutputS3Path": "s3://b/p"},
        "CancelMLTaskRun": {
            "TransformId": "tfm-full",
            "TaskRunId": glue.start_ml_evaluation_task_run(TransformId="tfm-full")["TaskRunId"],
        },
    }
    assert set(requests) == set(OPERATIONS)
    raw: list[dict[str, Any]] = []
    glue.meta.events.register("before-parse.glue.*", lambda response_dict, **_: raw.append(response_dict))
    for name, request in requests.items():
        glue._make_api_call(name, request)
        body = raw[-1]["body"]
        output = glue.meta.service_model.operation_model(name).output_shape
        report = ParamValidator().validate(json.loads(body), output)
        assert not report.has_errors(), f"{name}: {report.generate_report()}"


def test_a_complete_transform_has_every_documented_member(glue):
    """A transform with all settings lacks only MaxCapacity, because Glue forbids it together with a worker type."""
    transform = glue.get_ml_transform(TransformId="tfm-full")
    documented = glue.meta.service_model.operation_model("GetMLTransform").output_shape.members
    assert set(documented) - set(transform) == {"MaxCapacity"}
