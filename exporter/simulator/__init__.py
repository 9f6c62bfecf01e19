"""An AWS Glue and STS in this process: the machine learning operations of Glue over real HTTP, without AWS.

A scenario goes in, answers to AWS clients come out. The package shares no code with the exporter; both meet at an
endpoint URL:

    with Simulator({"transforms": [{"name": "customers", "id": "tfm-1"}]}) as simulator:
        glue = boto3.client("glue", endpoint_url=simulator.url, region_name="eu-west-1", ...)
        simulator.world.add_run("tfm-1", status="FAILED")
        simulator.faults.set({"kind": "throttle", "probability": 0.5, "until": "30s"})
        assert simulator.requests.count("GetMLTaskRuns", "OK") == 0

`Simulator.world` (`World`) has the transforms and runs, and the figures that an exporter is expected to show.
`Simulator.faults` (`InjectedFaults`) has the faults to inject; `Fault` describes their kinds. `Simulator.requests`
(`RequestLog`) has the requests received. Other processes on this machine can do the same over HTTP: see `control`.

The simulator uses the real time, or the time of a clock that is passed to it. After the start, the `acceleration` of a
scenario shortens the durations of runs and the gaps between runs. The history before the start keeps its length. Times
in the future occur only in runs that a scenario or a test gave such a time.
"""

from exporter.simulator.injected_faults import InjectedFaults
from exporter.simulator.request_log import LoggedRequest, RequestLog
from exporter.simulator.scenario import (
    Fault,
    Scenario,
    ScenarioError,
    Transform,
    built_in_scenarios,
    load_scenario,
)
from exporter.simulator.simulator import Simulator
from exporter.simulator.world import NotFoundError, World

__all__ = [
    "Fault",
    "InjectedFaults",
    "LoggedRequest",
    "NotFoundError",
    "RequestLog",
    "Scenario",
    "ScenarioError",
    "Simulator",
    "Transform",
    "World",
    "built_in_scenarios",
    "load_scenario",
]
