"""The command: `python -m bench [--quick] [NAME ...]`."""

import argparse
import importlib
import os
import platform
import sys
import time

from bench.servers import CREDENTIALS
from bench.tables import Row, table

NAMES = (
    "scrape",
    "nginx",
    "memory",
    "republish",
    "parse",
    "first_scan",
    "busy",
    "steady",
    "fleet",
    "histories",
    "ledger",
    "state",
    "clients",
    "crowd",
    "page",
    "resize",
    "startup",
    "initial_hold",
)


def main() -> int:
    """Run the named benchmarks and print their tables. Return 0, even if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Run all benchmarks, or those of NAME.")
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true", help="small sizes and one round, to test the benchmarks")
    arguments = parser.parse_args()
    os.environ.update(CREDENTIALS)
    print(f"# {_machine()}\n")
    rows = []
    for name in arguments.names or NAMES:
        rows += _run(name, quick=arguments.quick)
    missed = [row.what for row in rows if row.missed]
    print(f"Targets missed: {'; '.join(missed) or 'none'}")
    return 0


def _run(name: str, *, quick: bool) -> list[Row]:
    module = importlib.import_module(f"bench.{name}")
    began = time.monotonic()
    rows = list(module.run(quick=quick))
    print(table(module.TITLE, rows))
    print(f"{module.NOTE}\nTook {time.monotonic() - began:.0f} s.\n", flush=True)
    return rows


def _machine() -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, {python}"


if __name__ == "__main__":
    sys.exit(main())
