"""`simulate`: the simulator alone, on a port of its own."""

import os
import threading
from pathlib import Path

from yaml.composer import ComposerError
from yaml.parser import ParserError
from yaml.scanner import ScannerError

from exporter import logs
from exporter.cli.options import SimulateOptions
from exporter.cli.signals import handle_signals
from exporter.config.parsing import Address, format_address
from exporter.config.problems import ConfigError
from exporter.config.syntax import syntax_problem
from exporter.model.errors import ExporterError
from exporter.simulator import Scenario, ScenarioError, Simulator, load_scenario

_SYNTAX_ERRORS = (ScannerError, ParserError, ComposerError)


def simulate(options: SimulateOptions) -> int:
    """Run the simulator until SIGTERM or SIGINT; return 0.

    Raises:
        ExporterError: the scenario cannot be used, or the address cannot be listened on.
        OSError: stdout cannot be written.
    """
    with handle_signals() as signals:
        logs.configure(options.log_level, options.log_format, logs.STDERR)
        host, port = options.listen_address
        simulator = Simulator(scenario_of(options.scenario), host=host or "127.0.0.1", port=port)
        stop = threading.Event()
        signals.attach(stop=stop.set, reload=lambda: None)
        _start(simulator, options.listen_address)
        try:
            print(f"{simulator.usage()}\nA configuration for the exporter, which needs these variables too:\n")
            print(simulator.configuration(), flush=True)
            stop.wait()
        finally:
            simulator.stop()
    return 0


def _start(simulator: Simulator, address: Address) -> None:
    try:
        simulator.start()
    except OSError as error:
        # asyncio has put the address into the text of an error of bind(2). An unknown host has a number below 0.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise ExporterError(f"cannot listen on {format_address(address)}: {reason}") from error


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
