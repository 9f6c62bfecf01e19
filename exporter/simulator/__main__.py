"""`python -m exporter.simulator`: only the simulator, on a port of its own, for any AWS client."""

import argparse
import signal
import sys
import threading
from collections.abc import Sequence

from exporter.simulator.scenario import BUILT_IN, ScenarioError, built_in_scenarios
from exporter.simulator.simulator import serve


def parse_address(text: str) -> tuple[str, int]:
    """Read `host:port` (`[::1]:10211` for IPv6, `:10211` for every interface).

    Raises:
        argparse.ArgumentTypeError: it is neither.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not host:port, e.g. 127.0.0.1:10211")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104  # asked for by an empty host


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; give its exit code: 0 after SIGINT or SIGTERM, 1 if it cannot start."""
    parser = argparse.ArgumentParser(prog="python -m exporter.simulator", description=__doc__)
    parser.add_argument(
        "--scenario",
        default=BUILT_IN,
        help=f"a YAML file, or one of: {', '.join(built_in_scenarios())} (default: %(default)s)",
    )
    parser.add_argument(
        "--listen", type=parse_address, default="127.0.0.1:10211", help="host:port (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    host, port = options.listen
    try:
        serve(options.scenario, host=host, port=port, stop=stop, output=sys.stdout)
    except (ScenarioError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
