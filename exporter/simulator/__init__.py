"""An AWS Glue that lives in this process: the machine learning operations of Glue, and STS, over the real wire.

It shares nothing with the exporter: the joint is an endpoint URL.

    with Simulator({"transforms": [{"name": "customers", "id": "tfm-1"}]}) as sim:
        glue = boto3.client("glue", endpoint_url=sim.url, region_name="eu-west-1", ...)

`Simulator(scenario="demo", *, clock=time.time, host="127.0.0.1", port=0)`
    scenario: the name of a built-in scenario, a path of a YAML file, plain data of the same form, or a `Scenario`.
    `.url`, `.start()`, `.stop()` (again and again, same port: an outage), `.usage()`

`.world` (times are epoch seconds; every method is thread-safe)
    start, now()
    add_transform({...as in a scenario...}) -> [id, ...]      alter_transform(id, {"Status": "NOT_READY"})
    remove_transform(id)                                      transform_ids() -> [id, ...]
    add_run(transform_id, task_type="FIND_MATCHES", *, status="RUNNING", started=None, completed=None,
            appears=None, run_id=None, fields=None) -> run id
        An exact run. `status` is the one it has in the end; with `completed` ahead it is RUNNING until then.
        `fields` sets members as on the wire ({"ErrorString": "x", "StartedOn": None}; None leaves one out).
    finish_run(transform_id, run_id, status="SUCCEEDED", *, completed=None, fields=None)
    alter_run(transform_id, run_id, fields)                   remove_run(transform_id, run_id)
    start_run(transform_id, task_type, fields=None) -> run id (lives on its own)
    cancel_run(transform_id, run_id) -> status
    run(transform_id, run_id) -> dict, runs(transform_id) -> [dict, ...] as on the wire
    truth(since=None) -> {"now", "start", "transforms": {id: {"name", "account", "region",
        "started": {type: n}, "runs": {type: {status: n}}, "finished": {type: {final status: n}},
        "completions": [{"run_id", "task_type", "status", "started", "completed", "execution_time"}, ...]}}}
        over everything visible now; completions only since `since` (default: the simulator's start).

`.faults`
    set({"kind": "throttle", "probability": 0.5, "times": 3, "after": 0, "until": "30s", "operations": [...],
         "transforms": [...], "regions": [...], "accounts": [...]}) -> number
    clear(number=None), hits() -> {number: times fired}
    Kinds: see `scenario.Fault`. `after` and `until` count from when the fault was set.

`.requests`
    all(operation=None) -> [LoggedRequest(time, operation, transform_id, region, account, access_key_id, params,
        status, code), ...], count(operation=None, code=None) ("OK" for success), counts(), clear()

The same over HTTP, for clients on this machine only: `/_simulator/...`, see `control`. `truth` there is the same dict.

`serve(scenario, *, host, port, stop, output)` runs one until the event `stop` is set.

**Time.** The simulator's calendar is the real one (or the injected clock). With `acceleration: f`, what a scenario's
tasks say about durations and gaps passes f times faster from the start on; history before the start has natural
length. Nothing lies in the future unless a run was added so.
"""

from exporter.simulator.injected_faults import FaultBoard
from exporter.simulator.request_log import LoggedRequest, RequestLog
from exporter.simulator.scenario import (
    Fault,
    Scenario,
    ScenarioError,
    Transform,
    built_in_scenarios,
    load_scenario,
)
from exporter.simulator.simulator import Simulator, serve
from exporter.simulator.world import NotThereError, World

__all__ = [
    "Fault",
    "FaultBoard",
    "LoggedRequest",
    "NotThereError",
    "RequestLog",
    "Scenario",
    "ScenarioError",
    "Simulator",
    "Transform",
    "World",
    "built_in_scenarios",
    "load_scenario",
    "serve",
]
