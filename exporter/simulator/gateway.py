"""Turn an AWS request into a server action: identify the caller, inject faults, run the operation, log the request."""

import uuid
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any

from exporter.simulator.glue_api import Caller, GlueApi
from exporter.simulator.injected_faults import FaultTarget, InjectedFaults, fault_error, garbage_response
from exporter.simulator.messages import HttpRequest, HttpResponse, ServerAction
from exporter.simulator.protocol import (
    TARGET_PREFIX,
    AwsError,
    json_error,
    json_response,
    read_json,
    read_scope,
    xml_error,
    xml_response,
)
from exporter.simulator.request_log import LoggedRequest, RequestLog
from exporter.simulator.scenario import Fault
from exporter.simulator.sts import AccessKeys, Identity, StsApi, read_query
from exporter.simulator.world import World

_KINDS_WITHOUT_ERROR_CODE = ("hang", "reset", "garbage", "repeat_token")
"""Kinds of faults that break the answer without an error code. The request log then has the kind as its code."""


@dataclass(slots=True)
class _Exchange:
    """One request and the facts about it. The gateway fills in the facts step by step, and logs the known facts."""

    service: str
    operation: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    region: str = ""
    account: str = ""
    access_key_id: str = ""
    code: str | None = None
    faults: list[Fault] = field(default_factory=list)
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def target(self) -> FaultTarget:
        transform_id = self.params.get("TransformId")
        known = transform_id if isinstance(transform_id, str) else None
        return FaultTarget(self.operation, known, self.region, self.account)


class Gateway:
    """Answers the requests to Glue and to STS."""

    def __init__(self, world: World, faults: InjectedFaults, log: RequestLog) -> None:
        self._world = world
        self._faults = faults
        self._log = log
        self._access_keys = AccessKeys(world.scenario, world.now)
        self._glue = GlueApi(world)
        self._sts = StsApi(world.scenario, self._access_keys)

    def handle(self, request: HttpRequest) -> ServerAction:
        """Decide what the server does with a request, and log the request."""
        exchange = _Exchange("glue" if "x-amz-target" in request.headers else "sts")
        try:
            identity = self._read_request(exchange, request)
            exchange.faults = self._faults.matching(exchange.target)
            _raise_injected_error(exchange)
            response = self._answer(exchange, identity)
        except AwsError as error:
            exchange.code = error.code
            response = _error_response(exchange, error)
        action = _apply_faults(exchange, response, self._world.now())
        self._record(exchange, action)
        return action

    def _read_request(self, exchange: _Exchange, request: HttpRequest) -> Identity:
        if exchange.service == "glue":
            target = request.headers["x-amz-target"]
            exchange.operation = target.removeprefix(TARGET_PREFIX)
            exchange.params = read_json(request.body)
        else:
            exchange.params = dict(read_query(request.body))
            exchange.operation = exchange.params.get("Action", "")
        scope = read_scope(request.headers.get("authorization"), exchange.service)
        exchange.region, exchange.access_key_id = scope.region, scope.access_key_id
        identity = self._access_keys.identify(scope.access_key_id)
        exchange.account = identity.account
        return identity

    def _answer(self, exchange: _Exchange, identity: Identity) -> HttpResponse:
        if exchange.service == "sts":
            result = self._sts.call(exchange.operation, identity, exchange.params)
            return xml_response(exchange.operation, result, exchange.request_id)
        caller = Caller(exchange.account, exchange.region)
        result = self._glue.call(exchange.operation, caller, exchange.params)
        if any(fault.kind == "repeat_token" for fault in exchange.faults):
            result["NextToken"] = exchange.params.get("NextToken") or result.get("NextToken")
        return json_response({name: value for name, value in result.items() if value is not None})

    def _record(self, exchange: _Exchange, action: ServerAction) -> None:
        fault_kind = next((fault.kind for fault in exchange.faults if fault.kind in _KINDS_WITHOUT_ERROR_CODE), None)
        self._log.add(
            LoggedRequest(
                time=self._world.now(),
                operation=exchange.operation,
                transform_id=exchange.target.transform_id,
                region=exchange.region,
                account=exchange.account,
                access_key_id=exchange.access_key_id,
                params=exchange.params,
                status=action.response.status if action.response else 0,
                code=fault_kind or exchange.code,
            )
        )


def _raise_injected_error(exchange: _Exchange) -> None:
    for fault in exchange.faults:
        error = fault_error(fault, exchange.target)
        if error is not None:
            raise error


def _error_response(exchange: _Exchange, error: AwsError) -> HttpResponse:
    return json_error(error) if exchange.service == "glue" else xml_error(error, exchange.request_id)


def _apply_faults(exchange: _Exchange, response: HttpResponse, now: float) -> ServerAction:
    # AWS dates its answers. The world may have a clock of its own, which gives the times of the runs too.
    date = formatdate(now, usegmt=True)
    headers = {**response.headers, "Date": date, "x-amzn-RequestId": exchange.request_id}
    action = ServerAction(replace(response, headers=headers))
    for fault in exchange.faults:
        if fault.kind == "delay":
            action = replace(action, delay=action.delay + fault.seconds)
        elif fault.kind in ("hang", "reset"):
            action = replace(action, response=None, reset=fault.kind == "reset")
        elif fault.kind == "garbage":
            action = replace(action, response=garbage_response(fault, response))
    return action
