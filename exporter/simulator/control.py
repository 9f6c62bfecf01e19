"""Control of the simulator over HTTP, for tests that run it in another process: JSON under `/_simulator/`.

Only clients with a loopback address are answered. Requests from other addresses get a 404. Requests with an `Origin`
header get a 404 too, because they come from a browser. The table gives the Python method behind each path and the
parameters of the method. They are sent in a JSON body (POST, PATCH, DELETE) or in the query string (GET):

    GET    /_simulator/expected-counts  World.expected_counts    since
    GET    /_simulator/transforms       World.transform_ids
    POST   /_simulator/transforms       World.add_transform      a transform as in a scenario
    PATCH  /_simulator/transforms       World.alter_transform    transform_id, fields
    DELETE /_simulator/transforms       World.remove_transform   transform_id
    GET    /_simulator/runs             World.runs               transform_id
    POST   /_simulator/runs             World.add_run            transform_id, task_type, status, started, ...
    PATCH  /_simulator/runs             World.alter_run          transform_id, run_id, fields
    DELETE /_simulator/runs             World.remove_run         transform_id, run_id
    POST   /_simulator/runs/start       World.start_run          transform_id, task_type, fields
    POST   /_simulator/runs/finish      World.finish_run         transform_id, run_id, status, completed, fields
    POST   /_simulator/runs/cancel      World.cancel_run         transform_id, run_id
    GET    /_simulator/faults           InjectedFaults.hits
    POST   /_simulator/faults           InjectedFaults.set       a fault as in a scenario
    DELETE /_simulator/faults           InjectedFaults.clear     number (none: all)
    GET    /_simulator/requests         RequestLog               operation, limit
    DELETE /_simulator/requests         RequestLog.clear
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import ValidationError, validate_call

from exporter.simulator.injected_faults import InjectedFaults
from exporter.simulator.messages import HttpRequest, HttpResponse
from exporter.simulator.request_log import RequestLog
from exporter.simulator.world import NotFoundError, World

PREFIX = "/_simulator/"

_Route = tuple[Callable[..., Any], str | None]


class Control:
    """Answers the requests whose path begins with `PREFIX`.

    Each route has a method and the name of the result in the JSON answer. If a route has no name, the result is the
    whole JSON object.
    """

    def __init__(self, world: World, faults: InjectedFaults, log: RequestLog) -> None:
        self._log = log
        routes: Mapping[tuple[str, str], _Route] = {
            ("GET", "expected-counts"): (world.expected_counts, None),
            ("GET", "transforms"): (world.transform_ids, "transform_ids"),
            ("POST", "transforms"): (lambda **transform: world.add_transform(transform), "transform_ids"),
            ("PATCH", "transforms"): (world.alter_transform, "altered"),
            ("DELETE", "transforms"): (world.remove_transform, "removed"),
            ("GET", "runs"): (world.runs, "runs"),
            ("POST", "runs"): (world.add_run, "run_id"),
            ("PATCH", "runs"): (world.alter_run, "altered"),
            ("DELETE", "runs"): (world.remove_run, "removed"),
            ("POST", "runs/start"): (world.start_run, "run_id"),
            ("POST", "runs/finish"): (world.finish_run, "finished"),
            ("POST", "runs/cancel"): (world.cancel_run, "status"),
            ("GET", "faults"): (faults.hits, "hits"),
            ("POST", "faults"): (lambda **fault: faults.set(fault), "number"),
            ("DELETE", "faults"): (faults.clear, "cleared"),
            ("GET", "requests"): (self._requests, None),
            ("DELETE", "requests"): (log.clear, "cleared"),
        }
        self._routes = {key: (validate_call(method), name) for key, (method, name) in routes.items()}

    def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer one control request: 200, or 400 with the reason.

        The answer is 404 if the path, transform or run does not exist, or if the client is not on this machine.
        """
        url = urlsplit(request.target)
        route = self._routes.get((request.method, url.path.removeprefix(PREFIX)))
        if route is None or not _is_local(request):
            return _json(404, {"error": "not found"})
        method, name = route
        try:
            parameters = dict(parse_qsl(url.query)) or json.loads(request.body or b"{}")
            result = method(**parameters)
        except NotFoundError as error:
            return _json(404, {"error": str(error)})
        except ValidationError as error:
            return _json(400, {"error": error.errors(include_url=False, include_context=False)})
        except (ValueError, TypeError) as error:
            return _json(400, {"error": str(error)})
        return _json(200, result if name is None else {name: result})

    def _requests(self, operation: str | None = None, limit: int = 1000) -> dict[str, Any]:
        kept = self._log.all(operation)
        newest = kept[-limit:] if limit > 0 else []
        return {"counts": self._log.counts(), "requests": [asdict(request) for request in newest]}


def _is_local(request: HttpRequest) -> bool:
    address = ip_address(request.peer.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback and "origin" not in request.headers


def _json(status: int, value: Mapping[str, Any]) -> HttpResponse:
    return HttpResponse(status, json.dumps(value, default=str).encode(), "application/json")
