"""`simulate`: the simulator alone, on a port of its own."""

import sys
import threading

from exporter import logs
from exporter.cli.options import SimulateOptions
from exporter.cli.signals import handle_signals
from exporter.model.errors import ExporterError
from exporter.simulator import Scenario, ScenarioError, load_scenario, serve


def simulate(options: SimulateOptions) -> int:
    """Run the simulator until SIGTERM or SIGINT; return 0.

    Raises:
        ExporterError: the scenario cannot be used.
        OSError: the address cannot be listened on.
    """
    with handle_signals() as signals:
        logs.configure(options.log_level, options.log_format, logs.STDERR)
        scenario = scenario_of(options.scenario)
        stop = threading.Event()
        host, port = options.listen_address
        signals.attach(stop=stop.set, reload=lambda: None)
        serve(scenario, host=host or "127.0.0.1", port=port, stop=stop, output=sys.stdout)
    return 0


def scenario_of(name: str | None) -> Scenario:
    """Return the scenario with this name or in this file; the built-in `demo` for None.

    Raises:
        ExporterError: the scenario cannot be used. `ScenarioError` is not an ExporterError, because the simulator does
            not import code of the exporter.
    """
    try:
        return load_scenario(name or "demo")
    except ScenarioError as error:
        raise ExporterError(str(error)) from error
