"""`simulate`: the simulator alone, on a port of its own."""

import sys
import threading
from pathlib import Path

from yaml.composer import ComposerError
from yaml.parser import ParserError
from yaml.scanner import ScannerError

from exporter import logs
from exporter.cli.options import SimulateOptions
from exporter.cli.signals import handle_signals
from exporter.config.problems import ConfigError
from exporter.config.syntax import syntax_problem
from exporter.model.errors import ExporterError
from exporter.simulator import Scenario, ScenarioError, load_scenario, serve

_SYNTAX_ERRORS = (ScannerError, ParserError, ComposerError)


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
        if name is not None and isinstance(error.__cause__, _SYNTAX_ERRORS):
            text = Path(name).read_text(encoding="utf-8")
            raise ConfigError(name, (syntax_problem(text, error.__cause__),)) from error
        raise ExporterError(str(error)) from error
