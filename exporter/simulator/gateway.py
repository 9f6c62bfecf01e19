"""From an HTTP request to an answer: who asks, what goes wrong on purpose, the operation, and its line in the log."""

import uuid
from dataclasses import dataclass, field, replace
from typing import Any

from exporter.simulator.api import Caller, GlueApi
from exporter.simulator.injected_faults import FaultBoard, Target, fault_error, garble
from exporter.simulator.messages import HttpRequest, HttpResponse, ServerAction
from exporter.simulator.protocol import (
    TARGET_PREFIX,
    AwsError,
    json_answer,
    json_error,
    read_json,
    read_scope,
    xml_answer,
    xml_error,
)
from exporter.simulator.request_log import LoggedRequest, RequestLog
from exporter.simulator.scenario import Fault
from exporter.simulator.sts import Identity, Keyring, StsApi, read_query
from exporter.simulator.world import World

_SPOILERS = ("hang", "reset", "garbage", "repeat_token")


@dataclass(slots=True)
class _Exchange:
    """One request on its way, filled in as more of it is understood; the log shows how far it came."""

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
    def target(self) -> Target:
        transform_id = self.params.get("TransformId")
        known = transform_id if isinstance(transform_id, str) else None
        return Target(self.operation, known, self.region, self.account)


class Gateway:
    """Answers every AWS request of the simulator, Glue's and those of STS."""

    def __init__(self, world: World, faults: FaultBoard, log: RequestLog) -> None:
        self._world = world
        self._faults = faults
        self._log = log
        self._keyring = Keyring(world.scenario, world.now)
        self._glue = GlueApi(world)
        self._sts = StsApi(world.scenario, self._keyring)

    def react(self, request: HttpRequest) -> ServerAction:
        """Decide what happens with a request, and log it."""
        exchange = _Exchange("glue" if "x-amz-target" in request.headers else "sts")
        try:
            identity = self._understand(exchange, request)
            exchange.faults = self._faults.meet(exchange.target)
            _raise_error(exchange)
            answer = self._answer(exchange, identity)
        except AwsError as error:
            exchange.code = error.code
            answer = _refusal(exchange, error)
        reaction = _spoil(exchange, answer)
        self._record(exchange, reaction)
        return reaction

    def _understand(self, exchange: _Exchange, request: HttpRequest) -> Identity:
        if exchange.service == "glue":
            target = request.headers["x-amz-target"]
            exchange.operation = target.removeprefix(TARGET_PREFIX)
            exchange.params = read_json(request.body)
        else:
            exchange.params = dict(read_query(request.body))
            exchange.operation = exchange.params.get("Action", "")
        scope = read_scope(request.headers.get("authorization"), exchange.service)
        exchange.region, exchange.access_key_id = scope.region, scope.access_key_id
        identity = self._keyring.identify(scope.access_key_id)
        exchange.account = identity.account
        return identity

    def _answer(self, exchange: _Exchange, identity: Identity) -> HttpResponse:
        if exchange.service == "sts":
            result = self._sts.call(exchange.operation, identity, exchange.params)
            return xml_answer(exchange.operation, result, exchange.request_id)
        caller = Caller(exchange.account, exchange.region)
        result = self._glue.call(exchange.operation, caller, exchange.params)
        if any(fault.kind == "repeat_token" for fault in exchange.faults):
            result["NextToken"] = exchange.params.get("NextToken") or result.get("NextToken")
        return json_answer({name: value for name, value in result.items() if value is not None})

    def _record(self, exchange: _Exchange, reaction: ServerAction) -> None:
        spoiled = next((fault.kind for fault in exchange.faults if fault.kind in _SPOILERS), None)
        self._log.add(
            LoggedRequest(
                time=self._world.now(),
                operation=exchange.operation,
                transform_id=exchange.target.transform_id,
                region=exchange.region,
                account=exchange.account,
                access_key_id=exchange.access_key_id,
                params=exchange.params,
                status=reaction.response.status if reaction.response else 0,
                code=spoiled or exchange.code,
            )
        )


def _raise_error(exchange: _Exchange) -> None:
    for fault in exchange.faults:
        error = fault_error(fault, exchange.target)
        if error is not None:
            raise error


def _refusal(exchange: _Exchange, error: AwsError) -> HttpResponse:
    return json_error(error) if exchange.service == "glue" else xml_error(error, exchange.request_id)


def _spoil(exchange: _Exchange, answer: HttpResponse) -> ServerAction:
    headers = {**answer.headers, "x-amzn-RequestId": exchange.request_id}
    reaction = ServerAction(replace(answer, headers=headers))
    for fault in exchange.faults:
        if fault.kind == "delay":
            reaction = replace(reaction, delay=reaction.delay + fault.seconds)
        elif fault.kind in ("hang", "reset"):
            reaction = replace(reaction, response=None, reset=fault.kind == "reset")
        elif fault.kind == "garbage":
            reaction = replace(reaction, response=garble(fault, answer))
    return reaction
