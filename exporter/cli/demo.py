"""`demo`: the exporter against the simulator, both in this process."""

import os
from functools import partial

import yaml

from exporter.cli.options import DemoOptions
from exporter.cli.serve import run_until_stopped, share_one_arena, start_telemetry
from exporter.cli.signals import handle_signals
from exporter.cli.simulate import scenario_of
from exporter.config.settings import load_config
from exporter.service import Service
from exporter.simulator import Simulator
from exporter.web.server import WebServer


def demo(options: DemoOptions) -> int:
    """Run simulator and exporter until SIGTERM or SIGINT; return 0.

    Raises:
        ExporterError: the scenario cannot be used.
        ListenError: an address cannot be listened on.
    """
    with handle_signals() as signals:
        share_one_arena()
        telemetry = start_telemetry(options, process=True)
        _use_fake_settings()
        with Simulator(scenario_of(options.scenario)) as simulator:
            config = _demo_config(simulator)
            service = Service(partial(load_config, config, source="demo", environ={}), telemetry)
            server = WebServer(service, addresses=options.web_listen_address)
            return run_until_stopped(signals, service, server, lambda: _print_greeting(server, simulator.usage()))


def _use_fake_settings() -> None:
    """Let boto3 sign with fake credentials and use no proxy.

    The demo then never reads the credentials of the user, and reaches the simulator on this machine behind any proxy.
    """
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE"):
        os.environ.pop(name, None)
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "simulated",
        "AWS_SECRET_ACCESS_KEY": "simulated",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "*",
        "no_proxy": "*",
    }


def _demo_config(simulator: Simulator) -> str:
    """Return the YAML of a configuration that polls the simulator every two seconds.

    The team and the expected times of a transform are those of its tags.
    """
    world = simulator.world
    config = {
        "region": "eu-west-1",
        "endpoint_url": simulator.url,
        "polling": {"interval": "2s", "stale_after": "30s", "requests_per_second": 50},
        "metrics": {"initial_hold": "3s"},
        "transforms": [
            {
                "id": transform_id,
                "labels": {key: tag for key, tag in world.transform(transform_id).tags.items() if key == "team"},
                "expected_interval": world.transform(transform_id).tags.get("glue-ml/expected-interval"),
                "expected_duration": world.transform(transform_id).tags.get("glue-ml/expected-duration"),
            }
            for transform_id in world.transform_ids()
        ],
    }
    return yaml.safe_dump(config)


def _print_greeting(server: WebServer, simulator_usage: str) -> None:
    port = server.addresses[0].rpartition(":")[2]
    print(
        f"""
glue-ml-exporter demo: runs of simulated transforms, without AWS.

Metrics:      http://localhost:{port}/metrics
Status page:  http://localhost:{port}/

Try next:
  curl -s localhost:{port}/metrics | grep task_runs_finished_total
  curl -s localhost:{port}/metrics | grep 'latest_status.* 1'

{simulator_usage}Press Ctrl-C to stop.
""",
        flush=True,
    )
