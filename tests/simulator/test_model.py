import json
from typing import Any

import pytest
from botocore.model import Shape as ModelShape
from botocore.validate import ParamValidator

from exporter.simulator import Simulator
from exporter.simulator.protocol import ERROR_STATUS
from exporter.simulator.shapes import OPERATIONS, SHAPES, Shape
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
            "runs": [
                {"type": kind, "status": "FAILED", "started": "-1h", "completed": "-30m"}
                for kind in SHAPES["TaskType"].enum
            ],
        }
    ]
}


@pytest.fixture(scope="module")
def glue():
    with Simulator(EVERYTHING) as simulator:
        yield client(simulator)


def reachable(model: Any) -> dict[str, ModelShape]:
    """Give every shape that the simulated operations of botocore's model use, by name."""
    found: dict[str, ModelShape] = {}
    queue = [
        shape
        for name in OPERATIONS
        for shape in (model.operation_model(name).input_shape, model.operation_model(name).output_shape)
    ]
    while queue:
        shape = queue.pop()
        if shape.name not in found:
            found[shape.name] = shape
            queue += getattr(shape, "members", {}).values()
            queue += [getattr(shape, part) for part in ("member", "key", "value") if hasattr(shape, part)]
    return found


def as_ours(shape: ModelShape) -> Shape:
    """Say what botocore's model knows of a shape in the simulator's own terms."""
    ours: dict[str, Any] = {
        "type": shape.type_name,
        "enum": tuple(shape.metadata.get("enum", ())),
        "minimum": shape.metadata.get("min"),
        "maximum": shape.metadata.get("max"),
        "pattern": shape.metadata.get("pattern"),
    }
    if shape.type_name == "structure":
        ours["members"] = {name: member.name for name, member in shape.members.items()}
        ours["required"] = tuple(shape.required_members)
    if shape.type_name == "list":
        ours["element"] = shape.member.name
    if shape.type_name == "map":
        ours["key"], ours["element"] = shape.key.name, shape.value.name
    return Shape(**ours)


def test_every_shape_equals_the_one_of_botocores_model(glue):
    """Members, required members, enums and constraints of every shape in use are those of the published model."""
    theirs = {name: as_ours(shape) for name, shape in reachable(glue.meta.service_model).items()}
    assert dict(SHAPES) == theirs


def test_every_operation_equals_the_one_of_botocores_model(glue):
    """Each operation takes, gives and refuses what the published model says."""
    for name, operation in OPERATIONS.items():
        model = glue.meta.service_model.operation_model(name)
        assert (operation.request, operation.response) == (model.input_shape.name, model.output_shape.name)
        assert set(operation.errors) == {shape.name for shape in model.error_shapes}


def test_every_documented_error_has_its_http_status():
    """Every error that an operation documents can be answered, only InternalServiceException as a 500."""
    documented = {error for operation in OPERATIONS.values() for error in operation.errors}
    assert {name for name in documented if ERROR_STATUS[name] == 500} == {"InternalServiceException"}


def test_every_answer_is_valid_against_botocores_model(glue):
    """No answer has a member that the model does not know, or a value of another type or out of range."""
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


def test_a_full_transform_shows_every_documented_member(glue):
    """A transform of which everything is said answers all members but MaxCapacity, which excludes a worker type."""
    transform = glue.get_ml_transform(TransformId="tfm-full")
    missing = set(SHAPES["GetMLTransformResponse"].members) - set(transform)
    assert missing == {"MaxCapacity"}
