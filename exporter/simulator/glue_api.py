"""The Glue operations of a `World`. A decoded request goes in, and a decoded answer or an `AwsError` comes out."""

import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from exporter.simulator.page_tokens import DEFAULT_PAGE_SIZE, PageTokens, page_query
from exporter.simulator.protocol import AwsError
from exporter.simulator.queries import find_runs, find_transforms
from exporter.simulator.rendering import render_run
from exporter.simulator.service_model import request_shape, service_model
from exporter.simulator.validation import validate
from exporter.simulator.world import InvalidChangeError, NotFoundError, World

_TRANSFORM_ARN = re.compile(r"arn:[a-z-]+:glue:(?P<region>[^:]*):(?P<account>[^:]*):mlTransform/(?P<transform>.+)")


class Caller(NamedTuple):
    """The account of a request's credentials, and the region that it was signed for."""

    account: str
    region: str


class GlueApi:
    """Answers the operations in `service_model.OPERATIONS` with the data of a `World`."""

    def __init__(self, world: World) -> None:
        service_model()  # loaded here, so that the first request is as fast as the later requests
        self._world = world
        self._tokens = PageTokens(sha256(f"page tokens of seed {world.scenario.seed}".encode()).digest())
        self._operations: Mapping[str, Callable[[Caller, dict[str, Any]], dict[str, Any]]] = {
            "GetMLTaskRuns": self._get_task_runs,
            "GetMLTaskRun": self._get_task_run,
            "GetMLTransform": self._get_transform,
            "GetMLTransforms": self._get_transforms,
            "ListMLTransforms": self._list_transforms,
            "GetTags": self._get_tags,
            "StartMLEvaluationTaskRun": self._start_evaluation,
            "StartMLLabelingSetGenerationTaskRun": self._start_labeling_set_generation,
            "CancelMLTaskRun": self._cancel_task_run,
        }

    def call(self, operation: str, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request.

        Raises:
            AwsError: UnknownOperationException, EntityNotFoundException, InvalidInputException, or another error that
                the operation documents.
        """
        if operation not in self._operations:
            raise AwsError("UnknownOperationException", f"Unknown operation {operation}")
        validate(request_shape(operation), request)
        try:
            with self._world.lock:
                return self._operations[operation](caller, request)
        except NotFoundError as error:
            raise AwsError("EntityNotFoundException", str(error)) from error
        except InvalidChangeError as error:
            raise AwsError("InvalidInputException", str(error)) from error

    def _get_task_runs(self, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        transform = self._world.transform(request["TransformId"], *caller)
        query = page_query("GetMLTaskRuns", caller, request)
        offset = self._tokens.offset(request.get("NextToken"), query)
        size = request.get("MaxResults") or DEFAULT_PAGE_SIZE
        with self._world.runs_of(transform) as (table, now):
            page, more = find_runs(table, now, request, offset, size)
            answer: dict[str, Any] = {
                "TaskRuns": [render_run(table, row, now, transform.spec, transform.id) for row in page]
            }
        if more:
            answer["NextToken"] = self._tokens.make(offset + size, query)
        return answer

    def _get_task_run(self, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        self._world.transform(request["TransformId"], *caller)
        return self._world.run(request["TransformId"], request["TaskRunId"])

    def _get_transform(self, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        return self._world.transform(request["TransformId"], *caller).render(self._world.start)

    def _get_transforms(self, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        records = [transform.render(self._world.start) for transform in self._world.transforms(*caller)]
        return self._page_of_transforms("GetMLTransforms", caller, request, records)

    def _list_transforms(self, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        tags = (request.get("Tags") or {}).items()
        records = [
            transform.render(self._world.start)
            for transform in self._world.transforms(*caller)
            if tags <= transform.tags.items()
        ]
        answer = self._page_of_transforms("ListMLTransforms", caller, request, records)
        answer["TransformIds"] = [record["TransformId"] for record in answer.pop("Transforms")]
        return answer

    def _get_tags(self, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        arn = _TRANSFORM_ARN.fullmatch(request["ResourceArn"])
        if arn is None or (arn["account"], arn["region"]) != caller:
            raise AwsError("EntityNotFoundException", f"Resource not found: {request['ResourceArn']}")
        return {"Tags": dict(self._world.transform(arn["transform"], *caller).tags)}

    def _page_of_transforms(
        self, operation: str, caller: Caller, request: dict[str, Any], records: list[dict[str, Any]]
    ) -> dict[str, Any]:
        query = page_query(operation, caller, request)
        offset = self._tokens.offset(request.get("NextToken"), query)
        end = offset + (request.get("MaxResults") or DEFAULT_PAGE_SIZE)
        found = find_transforms(records, request)
        answer: dict[str, Any] = {"Transforms": found[offset:end]}
        if end < len(found):
            answer["NextToken"] = self._tokens.make(end, query)
        return answer

    def _start_evaluation(self, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        transform = self._world.transform(request["TransformId"], *caller)
        if transform.render(self._world.start)["Status"] != "READY":
            raise AwsError("MLTransformNotReadyException", f"MLTransform {transform.id} is not ready.")
        return {"TaskRunId": self._world.start_run(transform.id, "EVALUATION")}

    def _start_labeling_set_generation(self, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        transform = self._world.transform(request["TransformId"], *caller)
        properties = {
            "TaskType": "LABELING_SET_GENERATION",
            "LabelingSetGenerationTaskRunProperties": {"OutputS3Path": request["OutputS3Path"]},
        }
        run_id = self._world.start_run(transform.id, "LABELING_SET_GENERATION", {"Properties": properties})
        return {"TaskRunId": run_id}

    def _cancel_task_run(self, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        transform_id, run_id = request["TransformId"], request["TaskRunId"]
        self._world.transform(transform_id, *caller)
        status = self._world.cancel_run(transform_id, run_id)
        return {"TransformId": transform_id, "TaskRunId": run_id, "Status": status}
