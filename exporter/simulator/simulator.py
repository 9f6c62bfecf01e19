"""The whole simulator: a `World`, an HTTP server for its data, the faults to inject and the request log."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from exporter.simulator.control import PREFIX, Control
from exporter.simulator.gateway import Gateway
from exporter.simulator.injected_faults import InjectedFaults
from exporter.simulator.messages import HttpRequest, HttpResponse, ServerAction
from exporter.simulator.request_log import RequestLog
from exporter.simulator.scenario import BUILT_IN, Role, Scenario, load_scenario
from exporter.simulator.server import HttpServer
from exporter.simulator.world import World


class Simulator:
    """An AWS Glue and STS in this process, with a port of its own.

    It is a context manager. A test can also call `start` and `stop` several times, for example to simulate an outage.
    The world and the port then stay the same. `world`, `faults` and `requests` can be used from any thread at any time.

    Args:
        scenario: see `load_scenario`.
        clock: returns epoch seconds.
        host: the address to listen on.
        port: the port to listen on; 0 takes any free port.

    Raises:
        ScenarioError: the scenario is not valid.
    """

    def __init__(
        self,
        scenario: str | Path | Mapping[str, Any] | Scenario = BUILT_IN,
        *,
        clock: Callable[[], float] = time.time,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.scenario = load_scenario(scenario)
        self.world = World(self.scenario, clock)
        self.faults = InjectedFaults(self.scenario.seed)
        self.requests = RequestLog()
        self._gateway = Gateway(self.world, self.faults, self.requests)
        self._control = Control(self.world, self.faults, self.requests)
        self._server = HttpServer(self._handle, host, port)
        for fault in self.scenario.faults:
            self.faults.set(fault)

    @property
    def url(self) -> str:
        """The endpoint URL for an AWS client. The simulator must have been started."""
        host = self._server.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._server.port}"

    def start(self) -> None:
        """Start the server, and return when it accepts connections.

        Raises:
            OSError: the address cannot be listened on.
        """
        self._server.start()

    def stop(self) -> None:
        """Stop the server, and reset every connection."""
        self._server.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _handle(self, request: HttpRequest) -> ServerAction:
        if request.target.startswith(PREFIX):
            return ServerAction(self._control.handle(request))
        if request.method != "POST":
            return ServerAction(HttpResponse(200, self.usage().encode(), "text/plain; charset=utf-8"))
        return self._gateway.handle(request)

    def usage(self) -> str:
        """Return a few lines that show how to use the simulator with the aws command."""
        ids = self.world.transform_ids()
        shown = ids[0] if ids else "tfm-..."
        command = f"aws --endpoint-url {self.url} --region eu-west-1"
        return "\n".join(
            [
                f"Simulated AWS Glue with {len(ids)} transforms at {self.url}",
                "",
                "Any credentials will do:",
                "  export AWS_ACCESS_KEY_ID=simulated AWS_SECRET_ACCESS_KEY=simulated",
                f"  export AWS_ENDPOINT_URL_STS={self.url}",
                f"  {command} glue list-ml-transforms",
                f"  {command} glue get-ml-task-runs --transform-id {shown}",
                f"  {command} glue start-ml-evaluation-task-run --transform-id {shown}",
                "  aws --region eu-west-1 sts get-caller-identity",
                "",
            ]
        )

    def configuration(self) -> str:
        """Return a configuration of the exporter, in YAML, that discovers the transforms of all accounts.

        The exporter assumes a role in each account. For an account without a role in the scenario any role will do.
        """
        scenario = self.scenario
        accounts = dict.fromkeys(one.account or scenario.default_account for one in scenario.transforms)
        roles = {role.arn.split(":")[4]: role for role in scenario.roles}
        regions = list(dict.fromkeys(one.region or "eu-west-1" for one in scenario.transforms)) or ["eu-west-1"]
        content: dict[str, Any] = {"region": regions[0], "endpoint_url": self.url}
        if accounts.keys() <= {scenario.default_account}:
            content["discovery"] = [{"regions": regions}]
            return yaml.safe_dump(content, sort_keys=False)
        content["accounts"] = [_account(one, roles.get(one)) for one in accounts]
        content["discovery"] = [{"account": one, "regions": regions} for one in accounts]
        return yaml.safe_dump(content, sort_keys=False)


def _account(account_id: str, role: Role | None) -> dict[str, str]:
    """Return an item of `accounts` in the exporter's configuration."""
    arn = role.arn if role else f"arn:aws:iam::{account_id}:role/simulated"
    external_id = {"external_id": role.external_id} if role and role.external_id else {}
    return {"name": account_id, "role_arn": arn, **external_id}
