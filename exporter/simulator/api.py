"""The Glue operations over a world: checked request in, answer out, `AwsError` for everything that is refused."""

import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from exporter.simulator.protocol import AwsError
from exporter.simulator.queries import find_runs, find_transforms
from exporter.simulator.records import render_run
from exporter.simulator.service_model import request_shape, service_model
from exporter.simulator.tokens import DEFAULT_PAGE_SIZE, Tokens, page_query
from exporter.simulator.validation import validate
from exporter.simulator.world import NotPossibleError, NotThereError, World

_TRANSFORM_ARN = re.compile(r"arn:[a-z-]+:glue:(?P<region>[^:]*):(?P<account>[^:]*):mlTransform/(?P<transform>.+)")


class Caller(NamedTuple):
    """On whose behalf a request is made: the account of its credentials and the region it was signed for."""

    account: str
    region: str


class GlueApi:
    """The operations of `service_model.OPERATIONS`, answered from a world."""

    def __init__(self, world: World) -> None:
        service_model()  # loaded here, so that the first request is not slower than the others
        self._world = world
        self._tokens = Tokens(sha256(f"page tokens of seed {world.scenario.seed}".encode()).digest())
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
            AwsError: UnknownOperationException, a broken constraint, an entity that is not there, ...
        """
        if operation not in self._operations:
            raise AwsError("UnknownOperationException", f"Unknown operation {operation}")
        validate(request_shape(operation), request)
        try:
            with self._world.lock:
                return self._operations[operation](caller, request)
        except NotThereError as error:
            raise AwsError("EntityNotFoundException", str(error)) from error
        except NotPossibleError as error:
            raise AwsError("InvalidInputException", str(error)) from error

    def _get_task_runs(self, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        resident = self._world.resident(request["TransformId"], *caller)
        query = page_query("GetMLTaskRuns", caller, request)
        offset = self._tokens.offset(request.get("NextToken"), query)
        size = request.get("MaxResults") or DEFAULT_PAGE_SIZE
        with self._world.runs_of(resident) as (history, now):
            page, more = find_runs(history, now, request, offset, size)
            answer: dict[str, Any] = {
                "TaskRuns": [render_run(history, slot, now, resident.spec, resident.id) for slot in page]
            }
        if more:
            answer["NextToken"] = self._tokens.make(offset + size, query)
        return answer

    def _get_task_run(self, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        self._world.resident(request["TransformId"], *caller)
        return self._world.run(request["TransformId"], request["TaskRunId"])

    def _get_transform(self, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        return self._world.transform(self._world.resident(request["TransformId"], *caller))

    def _get_transforms(self, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        records = map(self._world.transform, self._world.residents(*caller))
        return self._page_of_transforms("GetMLTransforms", caller, request, list(records))

    def _list_transforms(self, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        tags = (request.get("Tags") or {}).items()
        records = [
            self._world.transform(resident)
            for resident in self._world.residents(*caller)
            if tags <= resident.tags.items()
        ]
        answer = self._page_of_transforms("ListMLTransforms", caller, request, records)
        answer["TransformIds"] = [record["TransformId"] for record in answer.pop("Transforms")]
        return answer

    def _get_tags(self, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        arn = _TRANSFORM_ARN.fullmatch(request["ResourceArn"])
        if arn is None or (arn["account"], arn["region"]) != caller:
            raise AwsError("EntityNotFoundException", f"Resource not found: {request['ResourceArn']}")
        return {"Tags": dict(self._world.resident(arn["transform"], *caller).tags)}

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
        transform_id = request["TransformId"]
        resident = self._world.resident(transform_id, *caller)
        if self._world.transform(resident)["Status"] != "READY":
            raise AwsError("MLTransformNotReadyException", f"MLTransform {transform_id} is not ready.")
        return {"TaskRunId": self._world.start_run(transform_id, "EVALUATION")}

    def _start_labeling_set_generation(self, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        self._world.resident(request["TransformId"], *caller)
        properties = {
            "TaskType": "LABELING_SET_GENERATION",
            "LabelingSetGenerationTaskRunProperties": {"OutputS3Path": request["OutputS3Path"]},
        }
        run_id = self._world.start_run(request["TransformId"], "LABELING_SET_GENERATION", {"Properties": properties})
        return {"TaskRunId": run_id}

    def _cancel_task_run(self, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        transform_id, run_id = request["TransformId"], request["TaskRunId"]
        self._world.resident(transform_id, *caller)
        status = self._world.cancel_run(transform_id, run_id)
        return {"TransformId": transform_id, "TaskRunId": run_id, "Status": status}
