"""`simulate`: the simulator alone, on a port of its own."""

import sys
import threading

from exporter import logs
from exporter.cli.options import SimulateOptions
from exporter.cli.signals import handle_signals
from exporter.simulator import serve


def simulate(options: SimulateOptions) -> int:
    """Run the simulator until SIGTERM or SIGINT; return 0.

    Raises:
        ScenarioError: the scenario cannot be used.
        OSError: the address cannot be listened on.
    """
    logs.configure(options.log_level, options.log_format, sys.stderr)
    stop = threading.Event()
    host, port = options.listen_address
    with handle_signals(stop=stop.set, reload=lambda: None):
        serve(options.scenario or "demo", host=host or "127.0.0.1", port=port, stop=stop, output=sys.stdout)
    return 0
